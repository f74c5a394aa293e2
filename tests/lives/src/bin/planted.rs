//! Plants one bug after the other and demands that the lives catch each; `scripts/planted` calls it.
//!
//! ```text
//!   planted [--seeds N] [--record] [name…]     all bugs unless named; so many seeds for each, 2,000 unless told
//! ```
//! The tree is copied once, each bug is put into the copy, built and taken out again. The copy has build results of its
//! own, so that no broken program ever stands where a sound one is expected; what a bug costs is one build of the data
//! plane. A seed that the sound tree does not survive either has caught nothing and is passed over.

// What reads the record is for the test.
#[allow(dead_code)]
#[path = "../planted.rs"]
mod planted;

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    time::Instant,
};

use planted::{CAUGHT, Caught, LIST, Planted, parse, render};

const SEEDS: u64 = 2_000;
/// Seeds that are looked for. One alone may be chance; more of them say so.
const WITNESSES: usize = 2;
/// A bug that makes the lane run in circles is ended after so long.
const MOST_SECONDS: u64 = 900;

fn main() -> ExitCode {
    match run() {
        Ok(0) => ExitCode::SUCCESS,
        Ok(missed) => {
            println!("{missed} bugs were not caught");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("planted: {error}");
            ExitCode::from(2)
        }
    }
}

struct Options {
    seeds: u64,
    record: bool,
    names: Vec<String>,
}

/// Where the copy lies, and what is built from it.
struct Yard {
    root: PathBuf,
    copy: PathBuf,
    build: PathBuf,
}

/// A life that failed: its seed and what it said.
type Failed = (u64, String);

fn run() -> Result<usize, String> {
    let options = arguments()?;
    let root = std::env::current_dir().map_err(|error| error.to_string())?;
    let mut all = parse(&read(&root.join(LIST))?)?;
    if !options.names.is_empty() {
        all.retain(|bug| options.names.contains(&bug.name));
        if all.len() != options.names.len() {
            return Err(format!("some of {:?} do not stand in {LIST}", options.names));
        }
    }
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    let yard = Yard { copy: target.join("planted"), build: target.join("planted-build"), root };
    yard.copy_tree()?;
    yard.build()?;
    fs::copy(yard.program(), yard.sound()).map_err(|error| format!("the sound program: {error}"))?;
    let mut missed = 0;
    for bug in &all {
        let begun = Instant::now();
        let found = yard.try_one(bug, options.seeds)?;
        let seconds = begun.elapsed().as_secs();
        match found.first() {
            Some((seed, what)) => {
                let others: Vec<u64> = found[1..].iter().map(|(seed, _)| *seed).collect();
                println!("{:<32} {seconds:>4} s  seed {seed}, then {others:?}: {what}", bug.name);
                if options.record {
                    yard.record(Caught { name: bug.name.clone(), seed: *seed, by: invariant(what), others })?;
                }
            }
            None => {
                missed += 1;
                println!("{:<32} {seconds:>4} s  NOT CAUGHT within {} lives: {}", bug.name, options.seeds, bug.breaks);
            }
        }
    }
    println!("{} of {} planted bugs were caught", all.len() - missed, all.len());
    Ok(missed)
}

fn arguments() -> Result<Options, String> {
    let mut options = Options { seeds: SEEDS, record: false, names: Vec::new() };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--seeds" => {
                let value = arguments.next().and_then(|value| value.parse().ok());
                options.seeds = value.ok_or("--seeds wants a number")?;
            }
            "--record" => options.record = true,
            _ => options.names.push(argument),
        }
    }
    Ok(options)
}

fn read(path: &Path) -> Result<String, String> {
    fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
}

/// The invariant a life broke; an assertion of the lane's own is one too.
fn invariant(what: &str) -> String {
    let named = what.strip_prefix("invariant ").and_then(|rest| rest.split_once(' '));
    named.map_or("assertion", |(name, _)| name).to_owned()
}

impl Yard {
    /// What git knows, and what it would if it were added. What is the same already is left alone: it need not be built
    /// again.
    fn copy_tree(&self) -> Result<(), String> {
        let listing = Command::new("git")
            .args(["ls-files", "--cached", "--others", "--exclude-standard"])
            .current_dir(&self.root)
            .output()
            .map_err(|error| format!("git: {error}"))?;
        for name in String::from_utf8_lossy(&listing.stdout).lines() {
            let (from, to) = (self.root.join(name), self.copy.join(name));
            let Ok(content) = fs::read(&from) else { continue };
            if fs::read(&to).is_ok_and(|there| there == content) {
                continue;
            }
            let folder = to.parent().ok_or("a file without a folder")?;
            fs::create_dir_all(folder).and_then(|()| fs::write(&to, content)).map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    /// Writes a finding down at once: a run takes long.
    fn record(&self, caught: Caught) -> Result<(), String> {
        let place = self.root.join(CAUGHT);
        let before = fs::read_to_string(&place).unwrap_or_default();
        fs::write(&place, render(&before, &caught)).map_err(|error| error.to_string())
    }

    fn program(&self) -> PathBuf {
        self.build.join("debug/corelane-lives")
    }

    fn sound(&self) -> PathBuf {
        self.build.join("sound-lives")
    }

    fn build(&self) -> Result<(), String> {
        let built = Command::new("cargo")
            .args(["build", "--quiet", "--locked", "--package", "corelane-lives", "--bin", "corelane-lives"])
            .current_dir(&self.copy)
            .env("CARGO_TARGET_DIR", &self.build)
            .output()
            .map_err(|error| format!("cargo: {error}"))?;
        let told = || format!("does not build\n{}", String::from_utf8_lossy(&built.stderr));
        if built.status.success() { Ok(()) } else { Err(told()) }
    }

    /// The seeds that catch a bug and that the sound tree survives, the lowest first.
    fn try_one(&self, bug: &Planted, seeds: u64) -> Result<Vec<Failed>, String> {
        let place = self.copy.join(&bug.file);
        let sound = read(&place)?;
        let write = |text: &str| fs::write(&place, text).map_err(|error| error.to_string());
        write(&bug.plant(&sound)?)?;
        let built = self.build();
        write(&sound)?;
        built.map_err(|why| format!("{}: {why}", bug.name))?;
        let (mut found, mut next) = (Vec::new(), 0);
        while found.len() < WITNESSES && next < seeds {
            let wanted = WITNESSES - found.len();
            let failed = lives(&self.program(), next, seeds - next, wanted)?;
            next = if failed.len() < wanted { seeds } else { failed.last().map_or(seeds, |(seed, _)| seed + 1) };
            for (seed, what) in failed {
                if lives(&self.sound(), seed, 1, 1)?.is_empty() {
                    found.push((seed, what));
                } else {
                    println!("{:<32}         seed {seed} fails without it too", bug.name);
                }
            }
        }
        Ok(found)
    }
}

/// Lives `seeds` lives from `first` on until so many have failed.
fn lives(program: &Path, first: u64, seeds: u64, failures: usize) -> Result<Vec<Failed>, String> {
    let number = |number: u64| number.to_string();
    let told = Command::new("timeout")
        .arg(number(MOST_SECONDS))
        .arg(program)
        .args(["--first", &number(first), "--seeds", &number(seeds), "--failures", &number(failures as u64)])
        .output()
        .map_err(|error| format!("{}: {error}", program.display()))?;
    let text = String::from_utf8_lossy(&told.stdout);
    let failed = |line: &str| {
        let (seed, what) = line.strip_prefix("FAILED seed ")?.split_once(": ")?;
        Some((seed.parse().ok()?, what.chars().take(160).collect()))
    };
    let failed: Vec<Failed> = text.lines().filter_map(failed).collect();
    if failed.is_empty() && !told.status.success() {
        let cause = String::from_utf8_lossy(&told.stderr);
        return Err(format!("seeds from {first} on: {} {cause}", told.status));
    }
    Ok(failed)
}
