//! A whole corelane on the cluster's etcd: its directory, its client, and a child that never outlives the test.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Output, Stdio},
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
use serde_json::Value;

use crate::common::{
    binary::{self, Running},
    etcd::Etcd,
    wait::await_some,
};

pub const SOURCES: &str = "/api/v2/logs/sources";
pub const TARGETS: &str = "/api/v2/logs/targets";
const STATUS: &str = "/api/v2/logs/status";
const COLLECTORS: &str = "/api/v2/logs/collectors";

pub struct Node {
    pub name: String,
    directory: PathBuf,
    running: Option<Running>,
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
        Self { name: name.to_owned(), directory, running: None, client: None }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Starts it and waits until it answers.
    pub fn start(&mut self) {
        let endpoint = self.path("state/endpoint.json");
        let _ = fs::remove_file(endpoint);
        let mut command = binary::command();
        command.args(["run", "--config"]).arg(self.path("corelane.toml")).stdin(Stdio::null()).stdout(Stdio::null());
        self.running = Some(Running::start(&mut command, &self.path("log")));
        self.client = Some(await_some("the node answers", || {
            self.running.as_mut().expect("it runs").check();
            let endpoint = Endpoint::read(&self.path("state")).ok()?;
            let token = fs::read_to_string(&Keys::of(&self.path("state")).token).ok()?;
            let client = Client::new(&endpoint.endpoint, &Trust::Pinned(endpoint.certificate_pem), Some(token)).ok()?;
            client.call(Method::GET, STATUS, None).ok().map(|_| client)
        }));
    }

    /// SIGKILL, and waits until it is gone.
    pub fn kill(&mut self) {
        self.running.take().expect("it runs").kill();
    }

    /// SIGTERM, and waits until it has ended well.
    pub fn terminate(&mut self) {
        self.running.take().expect("it runs").terminate();
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

    /// Its command line.
    pub fn run(&self, args: &[&str]) -> Output {
        let mut command = binary::command();
        command.arg("--state-dir").arg(self.path("state")).args(args).stdin(Stdio::null());
        command.output().expect("the binary runs")
    }

    /// As `run`, and it must succeed; what it printed, and what it said beside that.
    pub fn cli(&self, args: &[&str]) -> (String, String) {
        let Output { status, stdout, stderr } = self.run(args);
        let text = |bytes| String::from_utf8(bytes).expect("text");
        let (stdout, stderr) = (text(stdout), text(stderr));
        assert!(status.success(), "{args:?}: {stdout}{stderr}");
        (stdout, stderr)
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
