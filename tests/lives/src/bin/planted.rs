//! Plants one bug after the other and demands that the lives catch each; `scripts/planted` calls it.
//!
//! ```text
//!   planted [--seeds N] [name…]     all bugs unless named; so many seeds for each, 2,000 unless told
//! ```
//! The tree is copied once, each bug is put into the copy, built and taken out again. The copy has build results of its
//! own, so that no broken program ever stands where a sound one is expected; what a bug costs is one build of the data
//! plane.

#[path = "../planted.rs"]
mod planted;

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    time::Instant,
};

use planted::{Planted, parse};

const LIST: &str = "tests/lives/planted.txt";
const SEEDS: u64 = 2_000;

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

fn run() -> Result<usize, String> {
    let (seeds, names) = arguments()?;
    let root = std::env::current_dir().map_err(|error| error.to_string())?;
    let mut all = parse(&read(&root.join(LIST))?)?;
    if !names.is_empty() {
        all.retain(|bug| names.contains(&bug.name));
        if all.len() != names.len() {
            return Err(format!("some of {names:?} do not stand in {LIST}"));
        }
    }
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    let copy = target.join("planted");
    copy_tree(&root, &copy)?;
    let mut missed = 0;
    for bug in &all {
        let begun = Instant::now();
        let told = match try_one(bug, &root, &copy, &target, seeds)? {
            Some(caught) => caught,
            None => {
                missed += 1;
                format!("NOT CAUGHT within {seeds} lives: {}", bug.breaks)
            }
        };
        println!("{:<32} {:>4} s  {told}", bug.name, begun.elapsed().as_secs());
    }
    println!("{} of {} planted bugs were caught", all.len() - missed, all.len());
    Ok(missed)
}

fn arguments() -> Result<(u64, Vec<String>), String> {
    let (mut seeds, mut names) = (SEEDS, Vec::new());
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        if argument == "--seeds" {
            let value = arguments.next().and_then(|value| value.parse().ok());
            seeds = value.ok_or("--seeds wants a number")?;
        } else {
            names.push(argument);
        }
    }
    Ok((seeds, names))
}

fn read(path: &Path) -> Result<String, String> {
    fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
}

/// What git knows, and what it would if it were added. What is the same already is left alone: it need not be built
/// again.
fn copy_tree(root: &Path, copy: &Path) -> Result<(), String> {
    let listing = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .current_dir(root)
        .output()
        .map_err(|error| format!("git: {error}"))?;
    for name in String::from_utf8_lossy(&listing.stdout).lines() {
        let (from, to) = (root.join(name), copy.join(name));
        let Ok(content) = fs::read(&from) else { continue };
        if fs::read(&to).is_ok_and(|there| there == content) {
            continue;
        }
        let folder = to.parent().ok_or("a file without a folder")?;
        fs::create_dir_all(folder).and_then(|()| fs::write(&to, content)).map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// Which seed and invariant caught the bug; `None` if none did.
fn try_one(bug: &Planted, root: &Path, copy: &Path, target: &Path, seeds: u64) -> Result<Option<String>, String> {
    let sound = read(&root.join(&bug.file))?;
    let place = copy.join(&bug.file);
    let write = |text: &str| fs::write(&place, text).map_err(|error| error.to_string());
    write(&bug.plant(&sound)?)?;
    let built = Command::new("cargo")
        .args(["build", "--quiet", "--package", "corelane-lives", "--bin", "corelane-lives"])
        .current_dir(copy)
        .env("CARGO_TARGET_DIR", target.join("planted-build"))
        .output()
        .map_err(|error| format!("cargo: {error}"))?;
    let program = target.join("planted-build/debug/corelane-lives");
    write(&sound)?;
    if !built.status.success() {
        return Err(format!("{}: does not build\n{}", bug.name, String::from_utf8_lossy(&built.stderr)));
    }
    let lives = Command::new(&program)
        .args(["--first", "0", "--seeds", &seeds.to_string()])
        .output()
        .map_err(|error| format!("{}: {error}", program.display()))?;
    let told = String::from_utf8_lossy(&lives.stdout).into_owned();
    Ok(told.lines().find_map(|line| line.strip_prefix("FAILED ")).map(|line| line.chars().take(160).collect()))
}
