//! What this machine offers to `run`: the ways to the kernel, cores, descriptors, directories, journals, the address.
//!
//! Judged for the user who asks; a service with other rights may fare better or worse. Nothing is made or changed.

use std::{
    collections::BTreeSet,
    fs, io,
    net::TcpListener,
    path::{Path, PathBuf},
};

use rustix::fs::{Access, access};
use serde_json::{Value, json};

use super::{screen::Screen, table::Table};
use crate::{
    appliance::DESCRIPTORS_WANTED,
    config::{self, NodeConfig},
    control::keys::{Endpoint, local_url},
    fault::Fault,
    os::{cpu, process},
    plan::{Input, Plan},
    ring,
};

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Ok,
    /// It would run, but not as well, or not with everything.
    Warn,
    /// It would not start.
    Fail,
}

impl Verdict {
    fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "OK",
            Self::Warn => "WARN",
            Self::Fail => "FAIL",
        }
    }
}

/// One thing looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub about: String,
    pub verdict: Verdict,
    /// What was found and, where it is not well, the way out.
    pub words: String,
}

impl Finding {
    fn new(about: impl Into<String>, verdict: Verdict, words: impl Into<String>) -> Self {
        Self { about: about.into(), verdict, words: words.into() }
    }

    /// For programs.
    pub fn told(&self) -> Value {
        json!({"check": self.about, "result": self.verdict.as_str(), "found": self.words})
    }
}

/// Everything `run` would need of this machine.
pub fn judge(config: &NodeConfig, plan: &Plan) -> Vec<Finding> {
    let mut findings = vec![backend(config.backend)];
    findings.extend((0..config.lanes).map(core));
    findings.push(descriptors(process::raise_descriptor_limit(DESCRIPTORS_WANTED)));
    findings.push(state_dir(&config.state_dir));
    findings.push(listen(config));
    let inputs = || plan.sources.iter().filter(|source| source.enabled).map(|source| &source.input);
    let journals: BTreeSet<&Vec<PathBuf>> = inputs()
        .filter_map(|input| match input {
            Input::Journal(journal) => Some(&journal.directories),
            Input::File(_) => None,
        })
        .collect();
    findings.extend(journals.into_iter().map(|directories| journal(directories)));
    let bases: BTreeSet<&Path> = inputs()
        .flat_map(|input| match input {
            Input::File(file) => file.paths.as_slice(),
            Input::Journal(_) => &[],
        })
        .map(|glob| glob.base.as_path())
        .collect();
    findings.extend(bases.into_iter().map(log_directory));
    findings
}

/// The findings as a table.
pub fn render(findings: Vec<Finding>, screen: &Screen) -> String {
    let mut table = Table::new(&["CHECK", "RESULT", "FOUND"]);
    for Finding { about, verdict, words } in findings {
        table.row(vec![about, verdict.as_str().to_owned(), words]);
    }
    table.render(screen)
}

fn backend(wanted: config::Backend) -> Finding {
    let wanted = match wanted {
        config::Backend::Auto => ring::Backend::Auto,
        config::Backend::Uring => ring::Backend::Uring,
        config::Backend::Poll => ring::Backend::Poll,
    };
    match ring::probe(wanted) {
        Ok((backend, reason)) => Finding::new("backend", Verdict::Ok, format!("{backend}: {reason}")),
        Err(error) => Finding::new("backend", Verdict::Fail, format!("{error}; set `backend` to \"auto\" or \"poll\"")),
    }
}

fn core(lane: usize) -> Finding {
    let about = format!("core of lane {lane}");
    match cpu::choose(lane) {
        Ok(core) => Finding::new(about, Verdict::Ok, format!("pinned to core {core}")),
        // What the scheduler does with an unpinned lane is fine, unless it was given fixed cores.
        Err(why) if why.contains("no core is set aside") => Finding::new(about, Verdict::Ok, why),
        Err(why) => {
            Finding::new(about, Verdict::Warn, format!("{why}; give it cores by AllowedCPUs=, or fewer `lanes`"))
        }
    }
}

fn descriptors(allowed: usize) -> Finding {
    if allowed >= DESCRIPTORS_WANTED {
        return Finding::new("descriptors", Verdict::Ok, format!("{allowed} allowed, {DESCRIPTORS_WANTED} wanted"));
    }
    let words = format!(
        "{allowed} allowed, {DESCRIPTORS_WANTED} wanted: with many files some are not read; raise LimitNOFILE= or \
         ulimit -n"
    );
    Finding::new("descriptors", Verdict::Warn, words)
}

fn state_dir(directory: &Path) -> Finding {
    let shown = directory.display();
    // What does not exist yet is made: then the nearest directory above decides.
    let missing = |path: &&Path| access(*path, Access::EXISTS) == Err(rustix::io::Errno::NOENT);
    let existing = directory.ancestors().find(|path| !missing(path)).unwrap_or(Path::new("/"));
    let way_out = "run as the service's user or root, or set `state_dir`";
    match access(existing, Access::WRITE_OK | Access::EXEC_OK) {
        Ok(()) if !existing.is_dir() => {
            Finding::new("state directory", Verdict::Fail, format!("{}: is not a directory", existing.display()))
        }
        Ok(()) if existing == directory => {
            Finding::new("state directory", Verdict::Ok, format!("{shown}: can be written"))
        }
        Ok(()) => Finding::new("state directory", Verdict::Ok, format!("{shown}: does not exist yet, can be made")),
        Err(error) => {
            let fault = Fault::io(existing.display().to_string(), &error.into());
            Finding::new("state directory", Verdict::Fail, format!("{fault}; {way_out}"))
        }
    }
}

fn listen(config: &NodeConfig) -> Finding {
    let address = config.listen;
    match TcpListener::bind(address) {
        Ok(_) => Finding::new("listen", Verdict::Ok, format!("{address}: free")),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse && is_own(config) => Finding::new(
            "listen",
            Verdict::Ok,
            format!("{address}: taken by the corelane that runs on this state directory"),
        ),
        Err(error) => {
            let fault = Fault::io(address.to_string(), &error);
            Finding::new("listen", Verdict::Fail, format!("{fault}; set `listen` to a free port of this machine"))
        }
    }
}

/// Whether the last corelane on this state directory listened where this one would.
fn is_own(config: &NodeConfig) -> bool {
    Endpoint::read(&config.state_dir).is_ok_and(|endpoint| endpoint.endpoint == local_url(config.listen))
}

/// The directories of one source's journal, of which one suffices.
fn journal(directories: &[PathBuf]) -> Finding {
    let shown: Vec<String> = directories.iter().map(|directory| directory.display().to_string()).collect();
    let about = "journal";
    let (mut readable, mut denied) = (0, None);
    for directory in directories {
        for file in journal_files(directory, &mut denied) {
            match fs::File::open(&file) {
                Ok(_) => readable += 1,
                Err(error) => denied = Some(Fault::io(file.display().to_string(), &error)),
            }
        }
    }
    match denied {
        Some(fault) => {
            let words = format!("{fault}; {readable} files can be read; be in group systemd-journal or run as root");
            Finding::new(about, Verdict::Warn, words)
        }
        None if readable == 0 => {
            let words = format!("no journal file in {}: no lines until there is one", shown.join(" or "));
            Finding::new(about, Verdict::Warn, words)
        }
        None => Finding::new(about, Verdict::Ok, format!("{}: {readable} files can be read", shown.join(", "))),
    }
}

/// `*.journal` of a directory and of those of machines right below.
fn journal_files(directory: &Path, denied: &mut Option<Fault>) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut waiting = vec![(directory.to_owned(), true)];
    while let Some((directory, descend)) = waiting.pop() {
        let entries = match fs::read_dir(&directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => {
                *denied = Some(Fault::io(directory.display().to_string(), &error));
                continue;
            }
        };
        for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
            if descend && path.is_dir() {
                waiting.push((path, false));
            } else if path.extension().is_some_and(|ending| ending == "journal") {
                found.push(path);
            }
        }
    }
    found
}

/// Where the globs of a file source begin.
fn log_directory(base: &Path) -> Finding {
    let about = "log directory";
    match access(base, Access::READ_OK | Access::EXEC_OK) {
        Ok(()) => Finding::new(about, Verdict::Ok, format!("{}: can be listed", base.display())),
        Err(error) => {
            let fault = Fault::io(base.display().to_string(), &error.into());
            Finding::new(about, Verdict::Warn, format!("{fault}; no lines from there until it can be listed"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_state_directory_may_be_yet_to_be_made() {
        let place = tempfile::tempdir().unwrap();
        assert!(state_dir(place.path()).words.ends_with("can be written"));
        let deep = state_dir(&place.path().join("a/b"));
        assert_eq!((deep.verdict, deep.words.ends_with("can be made")), (Verdict::Ok, true), "{deep:?}");
        let file = place.path().join("file");
        fs::write(&file, "").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(state_dir(&file).verdict, Verdict::Fail);
        assert_eq!(state_dir(&file.join("below")).verdict, Verdict::Fail);
    }

    #[test]
    fn a_taken_address_fails_unless_it_is_our_own() {
        let place = tempfile::tempdir().unwrap();
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut config = NodeConfig::defaults();
        (config.state_dir, config.dev) = (place.path().to_owned(), true);
        config.listen = taken.local_addr().unwrap();
        let found = listen(&config);
        assert_eq!((found.verdict, found.words.contains("set `listen`")), (Verdict::Fail, true), "{found:?}");
        let endpoint = Endpoint {
            endpoint: local_url(config.listen),
            certificate_pem: String::new(),
            token_file: place.path().join("token"),
        };
        endpoint.publish(&config).unwrap();
        assert_eq!(listen(&config).verdict, Verdict::Ok);
        config.listen.set_port(0);
        assert_eq!(listen(&config).verdict, Verdict::Ok);
    }

    #[test]
    fn few_descriptors_are_warned_of() {
        assert_eq!(descriptors(1024).verdict, Verdict::Warn);
        assert_eq!(descriptors(DESCRIPTORS_WANTED).verdict, Verdict::Ok);
    }

    #[test]
    fn a_journal_directory_without_files_is_warned_of() {
        let place = tempfile::tempdir().unwrap();
        let directories = [place.path().join("away"), place.path().to_owned()];
        assert_eq!(journal(&directories).verdict, Verdict::Warn);
        let machine = place.path().join("0123456789abcdef0123456789abcdef");
        fs::create_dir(&machine).unwrap();
        fs::write(machine.join("system.journal"), "").unwrap();
        let found = journal(&directories);
        assert_eq!((found.verdict, found.words.ends_with("1 files can be read")), (Verdict::Ok, true), "{found:?}");
    }

    #[test]
    fn a_log_directory_that_is_away_is_warned_of() {
        assert_eq!(log_directory(Path::new("/nowhere/at/all")).verdict, Verdict::Warn);
        assert_eq!(log_directory(Path::new("/")).verdict, Verdict::Ok);
    }
}
