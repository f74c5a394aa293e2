//! A corelane for each test and curl to ask it; the child never outlives the test.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use serde_json::Value;

use super::common::binary::{self, Running};
pub use super::common::wait::{await_some, await_that};

pub const SOURCES: &str = "/api/v2/logs/sources";
pub const TARGETS: &str = "/api/v2/logs/targets";
pub const BUNDLES: &str = "/api/v2/logs/tls-bundles";
pub const STATUS: &str = "/api/v2/logs/status";

pub struct Node {
    pub running: Running,
    pub place: tempfile::TempDir,
    /// `https://127.0.0.1:port`.
    pub url: String,
}

/// What curl got.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: BTreeMap<String, String>,
    pub body: Value,
}

impl Reply {
    /// The text of an error, which must have the one shape all errors have.
    pub fn refusal(&self) -> (u16, u64, String) {
        let fields: Vec<&String> = self.body.as_object().expect("an object").keys().collect();
        assert_eq!(fields, ["code", "details", "error", "message"], "{self:?}");
        assert_eq!((&self.body["error"], self.body["details"].as_array().unwrap().len()), (&self.body["message"], 0));
        (self.status, self.body["code"].as_u64().unwrap(), self.body["message"].as_str().unwrap().to_owned())
    }
}

impl Node {
    pub fn start() -> Self {
        Self::with("")
    }

    /// With further lines of `corelane.toml`.
    pub fn with(config: &str) -> Self {
        Self::named("n1", config)
    }

    pub fn named(name: &str, config: &str) -> Self {
        let config = format!("node = {name:?}\n{config}");
        Self::by(tempfile::tempdir().expect("a directory"), &config, binary::command())
    }

    /// In a directory that is prepared, by a command that is the binary or leads to it.
    pub fn by(place: tempfile::TempDir, config: &str, mut command: Command) -> Self {
        let file = place.path().join("corelane.toml");
        fs::write(&file, config).unwrap();
        binary::apart(&mut command).args(["run", "--dev", "--config"]).arg(&file);
        command.arg("--state-dir").arg(place.path().join("state"));
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let running = Running::start(&mut command, &place.path().join("log"));
        let mut node = Self { running, place, url: String::new() };
        node.url = await_some("the node's endpoint", || {
            node.running.check();
            // Written before the API answers; whoever connects waits in the backlog.
            let text = fs::read_to_string(node.state().join("endpoint.json")).ok()?;
            let endpoint: Value = serde_json::from_str(&text).ok()?;
            Some(endpoint["endpoint"].as_str()?.to_owned())
        });
        node
    }

    pub fn state(&self) -> PathBuf {
        self.place.path().join("state")
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.place.path().join("log")).unwrap_or_default()
    }

    pub fn token(&self) -> String {
        fs::read_to_string(self.state().join("keys/token")).unwrap()
    }

    pub fn port(&self) -> u16 {
        self.url.rsplit_once(':').unwrap().1.parse().unwrap()
    }

    /// The command line on this node.
    pub fn corelane(&self, args: &[&str]) -> Output {
        let mut command = binary::command();
        command.arg("--state-dir").arg(self.state()).args(args).output().expect("the binary runs")
    }

    /// curl with these arguments before the URL, trusting whatever certificate is shown.
    pub fn curl(&self, path: &str, args: &[&str]) -> Reply {
        let url = format!("{}{path}", self.url);
        curl(&[&["-k", "--path-as-is", "-g"], args, &[url.as_str()]].concat()).expect("an answer")
    }

    /// As the administrator.
    pub fn ask(&self, method: &str, path: &str, args: &[&str]) -> Reply {
        let bearer = format!("Authorization: Bearer {}", self.token());
        self.curl(path, &[&["-X", method, "-H", &bearer], args].concat())
    }

    pub fn get(&self, path: &str) -> Reply {
        self.ask("GET", path, &[])
    }

    /// With a body, as the administrator.
    pub fn send(&self, method: &str, path: &str, body: &Value) -> Reply {
        let file = self.place.path().join("body");
        fs::write(&file, body.to_string()).unwrap();
        self.send_file(method, path, &file, &["-H", "Content-Type: application/json"])
    }

    pub fn send_file(&self, method: &str, path: &str, file: &Path, args: &[&str]) -> Reply {
        let data = format!("@{}", file.display());
        self.ask(method, path, &[&["--data-binary", data.as_str()], args].concat())
    }

    /// The revision in force.
    pub fn revision(&self) -> u64 {
        self.get(STATUS).body["revision"].as_u64().expect("a revision")
    }
}

/// Runs curl; its exit code when there was no answer.
pub fn curl(args: &[&str]) -> Result<Reply, i32> {
    let output = Command::new("curl").args(["-sS", "-i", "-m", "60"]).args(args).output().expect("curl is installed");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut rest = text.as_str();
    loop {
        let Some((head, body)) = rest.split_once("\r\n\r\n") else { return Err(output.status.code().unwrap_or(-1)) };
        rest = body;
        let mut lines = head.lines();
        let status: u16 = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        if status == 100 {
            continue;
        }
        let headers = lines.filter_map(|line| line.split_once(": "));
        let headers = headers.map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())).collect();
        return Ok(Reply { status, headers, body: serde_json::from_str(body).unwrap_or(Value::Null) });
    }
}
