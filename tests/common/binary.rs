//! The built binary, apart from the environment of the tests, and as a child that never outlives them.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus},
    thread,
};

use rustix::process::{Pid, Signal, kill_process};

use super::wait::await_some;

/// What could lead it elsewhere, or make it speak otherwise.
const ENVIRONMENT: [&str; 7] =
    ["CORELANE_JWT", "CORELANE_ENDPOINT", "CORELANE_STATE_DIR", "CORELANE_LOG", "NOTIFY_SOCKET", "NO_COLOR", "COLUMNS"];
/// Lines of its log that a failed test shows.
const LOG_LINES_SHOWN: usize = 40;

/// The binary, with nothing of this process's environment that could lead it elsewhere.
pub fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_corelane"));
    apart(&mut command);
    command
}

/// Takes what could lead the binary elsewhere out of a command's environment.
pub fn apart(command: &mut Command) -> &mut Command {
    ENVIRONMENT.iter().fold(command, |command, name| command.env_remove(name))
}

/// A daemon and its log.
pub struct Running {
    pub child: Child,
    log: PathBuf,
}

impl Running {
    /// Starts a daemon that writes its log there.
    pub fn start(command: &mut Command, log: &Path) -> Self {
        let file = fs::File::options().create(true).append(true).open(log).expect("a file");
        Self { child: command.stderr(file).spawn().expect("the binary runs"), log: log.to_owned() }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Fails if it has ended.
    pub fn check(&mut self) {
        let ended = self.child.try_wait().expect("a child");
        assert!(ended.is_none(), "the node ended: {ended:?}\n{}", self.log_end());
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("it can be signalled");
    }

    /// SIGKILL, and waits until it is gone.
    pub fn kill(mut self) {
        self.child.kill().expect("it can be killed");
        self.child.wait().expect("a child");
    }

    /// SIGTERM, and waits until it has ended well.
    pub fn terminate(mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        let ended = await_some("it ends after SIGTERM", || self.child.try_wait().expect("a child"));
        assert!(ended.success(), "{ended}\n{}", self.log_end());
        ended
    }

    fn log_end(&self) -> String {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(LOG_LINES_SHOWN)..].join("\n")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Gone already is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            println!("{} ends:\n{}", self.log.display(), self.log_end());
        }
    }
}
