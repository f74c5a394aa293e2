//! A node's store and registry without the rest of it, and objects to give it.

use std::{
    path::Path,
    sync::{Arc, Mutex},
};

use corelane::{
    config::{EtcdConfig, Kind, NodeConfig, StoreKind},
    control::{
        registry::{Edit, IfMatch, Registry},
        seal,
        store::{Feed, Store, file},
    },
    plan::Plan,
};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::common::{etcd::Etcd, wait::eventually};

/// A secret that must show nowhere.
pub const SECRET: &str = "hunter2-hunter2";

/// One node. Its state directory is the test's.
pub struct Peer {
    pub registry: Arc<Registry>,
    pub plans: Arc<Mutex<Vec<Arc<Plan>>>>,
    tasks: Vec<JoinHandle<()>>,
}

/// The configuration of a node of the cluster of `etcd`, with its state and the key below `place`.
pub fn config(place: &Path, node: &str, etcd: &Etcd) -> NodeConfig {
    let key = place.join("cluster.key");
    if !key.exists() {
        file::write_durably(&key, seal::new_key_file().expect("a key").as_bytes()).expect("a file");
    }
    NodeConfig {
        node: node.to_owned(),
        cluster: "test".to_owned(),
        state_dir: place.join(node),
        store: StoreKind::Etcd,
        etcd: EtcdConfig { endpoints: etcd.endpoints(), ..EtcdConfig::default() },
        cluster_key: Some(key),
        dev: true,
        ..NodeConfig::defaults()
    }
}

impl Peer {
    /// Starts it; whether its store answers is another matter.
    pub fn start(config: &NodeConfig) -> Self {
        let store = Store::open(config).expect("a store");
        let plans = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&plans);
        let on_plan = Box::new(move |plan| sink.lock().expect("a lock").push(plan));
        let registry = Arc::new(Registry::open(config, store, on_plan));
        let (running, following) = (Arc::clone(&registry), Arc::clone(&registry));
        let tasks = vec![
            tokio::spawn(async move { running.store().run().await }),
            tokio::spawn(async move { following.follow().await }),
        ];
        Self { registry, plans, tasks }
    }

    /// Starts it and waits until its store answers.
    pub async fn up(config: &NodeConfig) -> Self {
        let peer = Self::start(config);
        peer.await_up().await;
        peer
    }

    pub async fn await_up(&self) {
        eventually("the store answers", || self.registry.store().feed() == Feed::Up).await;
    }

    /// Waits until it says why its store does not answer.
    pub async fn await_down(&self) -> String {
        eventually("the node says that the store is down", || self.down().is_some()).await;
        self.down().unwrap_or_default()
    }

    fn down(&self) -> Option<String> {
        match self.registry.store().feed() {
            Feed::Up => None,
            Feed::Down { reason, .. } => Some(reason),
        }
    }

    /// Ends it as a node that is stopped ends.
    pub async fn stop(mut self) {
        for task in self.tasks.drain(..) {
            task.abort();
            let _ = task.await;
        }
        self.registry.store().close().await;
    }

    pub fn plan(&self) -> Arc<Plan> {
        self.registry.plan()
    }

    /// Waits until the plan in force is as wanted.
    pub async fn await_plan(&self, what: &str, mut done: impl FnMut(&Plan) -> bool) {
        eventually(what, || done(&self.plan())).await;
    }

    /// Waits until this revision is in force.
    pub async fn await_revision(&self, revision: u64) {
        self.await_plan(&format!("revision {revision}"), |plan| plan.revision >= revision).await;
    }

    pub async fn put(&self, kind: Kind, body: Value) -> u64 {
        self.registry.apply(&[Edit::Put { kind, body }], "me").await.expect("it is taken").revision
    }

    pub async fn delete(&self, kind: Kind, name: &str) {
        self.registry.delete(kind, name, &IfMatch::Whatever, "me").await.expect("it is taken");
    }

    pub fn names(&self, kind: Kind) -> Vec<String> {
        let views = self.registry.list(kind);
        views.iter().map(|view| view.fields["name"].as_str().expect("a name").to_owned()).collect()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

pub fn source(name: &str) -> Value {
    json!({"name": name, "file": {"paths": [format!("/nonexistent/{name}.log")]}, "logFormat": "LOGFMT"})
}

pub fn put_source(name: &str) -> Edit {
    Edit::Put { kind: Kind::Source, body: source(name) }
}

/// A target with a secret in it.
pub fn loki(name: &str) -> Value {
    json!({
        "name": name, "type": "LOKI", "url": "http://127.0.0.1:9/loki/api/v1/push",
        "basicAuth": {"username": "u", "password": SECRET},
    })
}
