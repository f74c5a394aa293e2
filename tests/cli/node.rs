//! A node for one test, and what its command line said.

use std::{
    fs,
    io::Write,
    path::PathBuf,
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

/// How long a condition may take before the test fails. Nothing is measured by it.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// The binary, with nothing of this process's environment that could lead it elsewhere.
pub fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_corelane"));
    for name in ["CORELANE_JWT", "CORELANE_ENDPOINT", "CORELANE_STATE_DIR", "NO_COLOR", "COLUMNS"] {
        command.env_remove(name);
    }
    command
}

pub fn corelane(args: &[&str]) -> Output {
    command().args(args).stdin(Stdio::null()).output().expect("the binary runs")
}

pub fn code(output: &Output) -> i32 {
    output.status.code().expect("it exits")
}

pub fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("text")
}

pub fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("text")
}

/// Waits until `done` gives something.
pub fn await_some<T>(what: &str, mut done: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = done() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A running node, killed when the test is over.
pub struct Node {
    pub state: tempfile::TempDir,
    child: Child,
}

impl Node {
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    pub fn start_with(flags: &[&str]) -> Self {
        let state = tempfile::tempdir().expect("a directory");
        let child = command()
            .args(["run", "--dev", "--node", "n1", "--state-dir"])
            .arg(state.path())
            .args(flags)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the binary runs");
        let mut node = Self { state, child };
        await_some("the node answers", || {
            assert!(node.child.try_wait().expect("a child").is_none(), "the node ended");
            (code(&node.run(&["status"])) == 0).then_some(())
        });
        node
    }

    /// Its command line, ready to be given more.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = command();
        command.arg("--state-dir").arg(self.state.path()).args(args).stdin(Stdio::null());
        command
    }

    pub fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().expect("the binary runs")
    }

    /// As `run`, and it must succeed; what it printed.
    pub fn ok(&self, args: &[&str]) -> String {
        let output = self.run(args);
        assert_eq!(code(&output), 0, "{args:?}: {}{}", out(&output), err(&output));
        out(&output)
    }

    /// As `run`, with something to read.
    pub fn feed(&self, args: &[&str], input: &str) -> Output {
        let mut child = self
            .command(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary runs");
        // A child that refuses before it reads closes the pipe.
        let _ = child.stdin.take().expect("a pipe").write_all(input.as_bytes());
        child.wait_with_output().expect("a child")
    }

    /// Writes a file beside its state; gives the path.
    pub fn file(&self, name: &str, content: &str) -> String {
        let path: PathBuf = self.state.path().join("files").join(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
        fs::write(&path, content).expect("a file");
        path.to_str().expect("text").to_owned()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // Gone already is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
