//! A node for one test, and what its command line said.

use std::{
    fs,
    io::Write,
    path::PathBuf,
    process::{Command, Output, Stdio},
};

use crate::common::binary::Running;
pub use crate::common::{binary::command, wait::await_some};

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

/// A running node, killed when the test is over.
pub struct Node {
    running: Running,
    pub state: tempfile::TempDir,
}

impl Node {
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    pub fn start_with(flags: &[&str]) -> Self {
        let state = tempfile::tempdir().expect("a directory");
        let mut command = command();
        command.args(["run", "--dev", "--node", "n1", "--state-dir"]).arg(state.path()).args(flags);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let running = Running::start(&mut command, &state.path().join("log"));
        let mut node = Self { running, state };
        await_some("the node answers", || {
            node.running.check();
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
