//! A corelane of its own for each test: objects as files, a state directory, and a child that never outlives the test.

use std::{
    fs,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Output, Stdio},
    thread,
};

use rustix::process::Signal;
use serde_json::Value;

use crate::common::binary::{Running, apart};
pub use crate::common::wait::{PATIENCE, await_some, await_that};

/// The ways to the kernel that every promise holds on.
pub const BACKENDS: [&str; 2] = ["uring", "poll"];

/// Runs a test on every backend, side by side: what takes the time is waiting for peers.
pub fn on_both(test: impl Fn(&'static str) + Sync) {
    thread::scope(|scope| {
        let test = &test;
        let runs = BACKENDS.map(|backend| (backend, scope.spawn(move || test(backend))));
        let failed: Vec<&str> = runs.into_iter().filter_map(|(on, run)| run.join().is_err().then_some(on)).collect();
        assert!(failed.is_empty(), "failed on {failed:?}; see above");
    });
}

/// Runs the command line with nothing of this process's environment that could lead it elsewhere.
pub fn corelane<I: AsRef<std::ffi::OsStr>>(args: impl IntoIterator<Item = I>) -> Output {
    command().args(args).stdin(Stdio::null()).output().expect("the binary runs")
}

fn command() -> Command {
    command_by(&[])
}

fn command_by(runner: &[String]) -> Command {
    let binary = env!("CARGO_BIN_EXE_corelane").to_owned();
    let mut words = runner.iter().chain([&binary]);
    let mut command = Command::new(words.next().expect("at least the binary"));
    command.args(words);
    apart(&mut command);
    command
}

/// One node: its directory, and its process while it runs.
pub struct Node {
    running: Option<Running>,
    place: tempfile::TempDir,
    backend: &'static str,
    /// More of its environment, and a redirection its shell makes: what a service manager would give it.
    manager: Vec<(String, String)>,
    passed: Option<String>,
    /// Words before its command line: what it is to be run by.
    runner: Vec<String>,
}

impl Node {
    /// Prepares a node that is not running yet.
    pub fn new(backend: &'static str) -> Self {
        let place = tempfile::tempdir().expect("a directory");
        for name in ["conf.d", "logs"] {
            fs::create_dir(place.path().join(name)).expect("a directory");
        }
        Self { running: None, place, backend, manager: Vec::new(), passed: None, runner: Vec::new() }
    }

    /// Runs it and its command line by another program from now on, which must become it (exec).
    pub fn run_by(&mut self, runner: impl IntoIterator<Item = String>) {
        self.runner = runner.into_iter().collect();
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }

    pub fn state_dir(&self) -> PathBuf {
        self.path("state")
    }

    /// Writes (or replaces) an object file, in one step as a good editor does.
    pub fn object(&self, name: &str, content: &Value) {
        let draft = self.path("draft");
        fs::write(&draft, content.to_string()).expect("a file");
        fs::rename(draft, self.path("conf.d").join(format!("{name}.json"))).expect("a file");
    }

    /// Removes an object file.
    pub fn forget(&self, name: &str) {
        fs::remove_file(self.path("conf.d").join(format!("{name}.json"))).expect("the file was there");
    }

    /// From its next start on it has a service manager at this socket.
    pub fn managed_by(&mut self, socket: &Path) {
        self.manager = vec![("NOTIFY_SOCKET".to_owned(), socket.to_str().expect("text").to_owned())];
    }

    /// At its next start it gets one descriptor, which this process has open as `number`, under a name.
    pub fn pass(&mut self, number: i32, name: &str) {
        self.passed = Some(format!("LISTEN_FDS=1 LISTEN_FDNAMES='{name}' 3</proc/{}/fd/{number}", std::process::id()));
    }

    /// The program as a service manager starts it: with descriptors it has kept, if there are any.
    fn managed(&mut self) -> Command {
        let Some(passed) = self.passed.take() else { return command_by(&self.runner) };
        let (variables, redirection) = passed.split_once(" 3<").expect("both");
        let script = format!("export LISTEN_PID=$$ {variables}; exec 3<{redirection}; exec \"$@\"");
        let mut shell = Command::new("sh");
        shell.args(["-c", &script, "sh"]).arg(command().get_program());
        shell
    }

    /// Starts it without waiting.
    pub fn spawn(&mut self) {
        assert!(self.running.is_none(), "it runs already");
        let mut program = self.managed();
        program.env_remove("NOTIFY_SOCKET");
        let open = |name: &str| {
            let file = fs::OpenOptions::new().create(true).append(true).open(self.path(name));
            Stdio::from(file.expect("a file"))
        };
        program
            .envs(self.manager.iter().cloned())
            .args(["run", "--node", "n1", "--listen", "127.0.0.1:0", "--backend", self.backend, "--state-dir"])
            .arg(self.state_dir())
            .arg("--objects")
            .arg(self.path("conf.d"))
            .stdin(Stdio::null())
            .stdout(open("stdout"))
            .process_group(0);
        self.running = Some(Running::start(&mut program, &self.path("log")));
    }

    /// Starts it and waits until it answers.
    pub fn start(&mut self) {
        self.spawn();
        await_that("the node answers", || {
            self.running.as_mut().expect("it runs").check();
            self.try_status().is_some()
        });
    }

    /// SIGKILL, and waits until it is gone.
    pub fn kill(&mut self) {
        self.running.take().expect("it runs").kill();
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        self.running.as_ref().expect("it runs").signal(signal);
    }

    /// SIGTERM, and waits until it has ended.
    pub fn terminate(&mut self) -> ExitStatus {
        self.running.take().expect("it runs").terminate()
    }

    pub fn pid(&self) -> u32 {
        self.running.as_ref().expect("it runs").pid()
    }

    /// Its command line.
    pub fn cli(&self, args: &[&str]) -> Output {
        command_by(&self.runner)
            .arg("--state-dir")
            .arg(self.state_dir())
            .args(args)
            .stdin(Stdio::null())
            .output()
            .expect("the binary runs")
    }

    /// As `cli`, and it must succeed; its output.
    pub fn cli_ok(&self, args: &[&str]) -> String {
        let output = self.cli(args);
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text")
    }

    pub fn try_status(&self) -> Option<Value> {
        let output = self.cli(&["status", "-o", "json"]);
        output.status.success().then(|| serde_json::from_slice(&output.stdout).expect("JSON"))
    }

    /// What it says of itself.
    pub fn status(&self) -> Value {
        self.try_status().expect("the node answers")
    }

    /// Waits until its status is as wanted.
    pub fn await_status(&self, what: &str, mut done: impl FnMut(&Value) -> bool) -> Value {
        await_some(what, || Some(self.status()).filter(|status| done(status)))
    }

    /// Waits until its lane has obeyed a plan younger than this revision.
    pub fn await_plan_after(&self, revision: &Value) {
        self.await_status("the change is live", |status| {
            status["revision"] != *revision && status["lanes"][0]["revision"] == status["revision"]
        });
    }

    /// Everything it logged, over all its lives.
    pub fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    /// Files it holds open although they are deleted, by name.
    pub fn deleted_files(&self) -> Vec<PathBuf> {
        let open = fs::read_dir(format!("/proc/{}/fd", self.pid())).expect("its descriptors");
        let links = open.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
        links.filter(|link| link.starts_with(self.place.path()) && is_deleted(link)).collect()
    }
}

fn is_deleted(link: &Path) -> bool {
    link.to_str().is_some_and(|text| text.ends_with(" (deleted)"))
}

/// The sum of one of the totals over the flows of a status, narrowed to a target.
pub fn total(status: &Value, target: &str, what: &str) -> u64 {
    let flows = status["flows"].as_array().map_or(&[][..], Vec::as_slice);
    let mine = flows.iter().filter(|flow| flow["target"] == target);
    mine.map(|flow| flow["totals"][what].as_u64().expect("a total")).sum()
}

/// Lines of all flows to a target that were dropped for a reason.
pub fn dropped(status: &Value, target: &str, reason: &str) -> u64 {
    let flows = status["flows"].as_array().map_or(&[][..], Vec::as_slice);
    let mine = flows.iter().filter(|flow| flow["target"] == target);
    mine.map(|flow| flow["totals"]["dropped"][reason].as_u64().expect("a count")).sum()
}

/// Lines read and not settled, over all flows.
pub fn in_flight(status: &Value) -> u64 {
    let flows = status["flows"].as_array().map_or(&[][..], Vec::as_slice);
    flows.iter().map(|flow| flow["inFlight"].as_u64().expect("a number")).sum()
}
