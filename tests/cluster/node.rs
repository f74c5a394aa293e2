//! A whole corelane on the cluster's etcd: its directory, its client, and a child that never outlives the test.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use corelane::{
    cli::client::{Client, Reply, Trust},
    control::{
        keys::{Endpoint, Keys},
        seal,
        store::file::write_durably,
    },
};
use http::Method;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::etcd::{Etcd, await_some};

pub const SOURCES: &str = "/api/v2/logs/sources";
pub const TARGETS: &str = "/api/v2/logs/targets";
const STATUS: &str = "/api/v2/logs/status";
const COLLECTORS: &str = "/api/v2/logs/collectors";

pub struct Node {
    pub name: String,
    directory: PathBuf,
    child: Option<Child>,
    client: Option<Client>,
}

impl Node {
    /// Prepares a node below `place`, where the cluster's key is, or is made.
    pub fn new(place: &Path, name: &str, etcd: &Etcd) -> Self {
        Self::of_cluster(place, name, "test", &etcd.endpoints())
    }

    /// As `new`, of another cluster or by other ways to etcd.
    pub fn of_cluster(place: &Path, name: &str, cluster: &str, endpoints: &[String]) -> Self {
        let key = place.join("cluster.key");
        if !key.exists() {
            write_durably(&key, seal::new_key_file().expect("a key").as_bytes()).expect("a file");
        }
        let directory = place.join(name);
        fs::create_dir_all(directory.join("conf.d")).expect("a directory");
        let config = format!(
            "node = {name:?}\ncluster = {cluster:?}\nlisten = \"127.0.0.1:0\"\nbackend = \"poll\"\nstate_dir = {:?}\n\
             objects = {:?}\nstore = \"etcd\"\netcd_endpoints = {:?}\ncluster_key = {key:?}\n",
            directory.join("state"),
            directory.join("conf.d"),
            endpoints,
        );
        fs::write(directory.join("corelane.toml"), config).expect("a file");
        Self { name: name.to_owned(), directory, child: None, client: None }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Starts it and waits until it answers.
    pub fn start(&mut self) {
        let endpoint = self.path("state/endpoint.json");
        let _ = fs::remove_file(endpoint);
        let log = File::options().create(true).append(true).open(self.path("log")).expect("a file");
        let mut command = Command::new(env!("CARGO_BIN_EXE_corelane"));
        for name in ["CORELANE_JWT", "CORELANE_ENDPOINT", "CORELANE_STATE_DIR", "CORELANE_LOG", "NOTIFY_SOCKET"] {
            command.env_remove(name);
        }
        command.args(["run", "--config"]).arg(self.path("corelane.toml"));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        self.child = Some(command.spawn().expect("the binary runs"));
        self.client = Some(await_some("the node answers", || {
            let ended = self.child.as_mut().expect("it runs").try_wait().expect("a child");
            assert!(ended.is_none(), "the node ended: {}", self.log());
            let endpoint = Endpoint::read(&self.path("state")).ok()?;
            let token = fs::read_to_string(&Keys::of(&self.path("state")).token).ok()?;
            let client = Client::new(&endpoint.endpoint, &Trust::Pinned(endpoint.certificate_pem), Some(token)).ok()?;
            client.call(Method::GET, STATUS, None).ok().map(|_| client)
        }));
    }

    /// SIGKILL, and waits until it is gone.
    pub fn kill(&mut self) {
        let mut child = self.child.take().expect("it runs");
        child.kill().expect("it can be killed");
        child.wait().expect("a child");
    }

    /// SIGTERM, and waits until it has ended well.
    pub fn terminate(&mut self) {
        let mut child = self.child.take().expect("it runs");
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).expect("a pid");
        kill_process(pid, Signal::TERM).expect("it can be signalled");
        let ended = await_some("it ends after SIGTERM", || child.try_wait().expect("a child"));
        assert!(ended.success(), "{ended}\n{}", self.log());
    }

    pub fn send(&self, method: Method, path: &str, body: &Value) -> Reply {
        self.client.as_ref().expect("it runs").send(method, path, Some(body), None).expect("an answer")
    }

    /// As `send`, and it must be accepted.
    pub fn accepted(&self, method: Method, path: &str, body: &Value) -> Value {
        let reply = self.send(method, path, body);
        assert_eq!(reply.status, 200, "{path}: {}", reply.body);
        reply.body
    }

    pub fn status(&self) -> Value {
        self.accepted(Method::GET, STATUS, &Value::Null)
    }

    /// Revision of the plan, and the least that a lane obeys.
    pub fn revisions(&self) -> (u64, u64) {
        let status = self.status();
        let lanes = status["lanes"].as_array().expect("lanes").iter().map(|lane| lane["revision"].as_u64());
        (status["revision"].as_u64().expect("a number"), lanes.min().flatten().unwrap_or(0))
    }

    /// What it says of a node.
    pub fn collector(&self, node: &str) -> Option<Value> {
        let listed = self.accepted(Method::GET, COLLECTORS, &Value::Null);
        let collectors = listed["collectors"].as_array().expect("a list").clone();
        collectors.into_iter().find(|collector| collector["id"] == node)
    }

    /// Its command line, which must succeed; what it printed.
    pub fn cli(&self, args: &[&str]) -> String {
        let mut command = Command::new(env!("CARGO_BIN_EXE_corelane"));
        for name in ["CORELANE_JWT", "CORELANE_ENDPOINT", "CORELANE_STATE_DIR"] {
            command.env_remove(name);
        }
        let output = command.arg("--state-dir").arg(self.path("state")).args(args).stdin(Stdio::null()).output();
        let output = output.expect("the binary runs");
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text")
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            // Gone already is as good.
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            println!("the log of {} ends:\n{}", self.name, lines[lines.len().saturating_sub(20)..].join("\n"));
        }
    }
}

/// Three nodes that run.
pub fn three(place: &Path, etcd: &Etcd) -> [Node; 3] {
    ["n1", "n2", "n3"].map(|name| {
        let mut node = Node::new(place, name, etcd);
        node.start();
        node
    })
}
