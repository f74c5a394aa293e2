//! The command line on a cluster of two nodes: what is done on one is waited for and seen on the other, what another
//! hand left in etcd is shown with its complaint while the rest is in force, and an old revision comes back.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
};

use corelane::control::{seal, store::file::write_durably};
use serde_json::Value;

use crate::{
    etcd::{Etcd, await_some, runtime},
    peer::SECRET,
};

const OBJECTS: &str =
    "kind: source\nname: app\nfile: {paths: [/nowhere/app.log]}\nlogFormat: zap-json\nenabled: true\n";

/// A daemon of the cluster, killed when the test is over.
struct Daemon {
    state: PathBuf,
    child: Child,
}

impl Daemon {
    fn start(place: &Path, name: &str, etcd: &Etcd) -> Self {
        let key = place.join("cluster.key");
        if !key.exists() {
            write_durably(&key, seal::new_key_file().expect("a key").as_bytes()).expect("a file");
        }
        let (config, state) = (place.join(format!("{name}.toml")), place.join(name));
        let text = format!(
            "node = {name:?}\ncluster = \"test\"\nlisten = \"127.0.0.1:0\"\nstate_dir = {state:?}\nstore = \"etcd\"\n\
             etcd_endpoints = {:?}\ncluster_key = {key:?}\n",
            etcd.endpoints(),
        );
        fs::write(&config, text).expect("a file");
        let child = command(&["run", "--config"]).arg(config).stderr(Stdio::null()).spawn().expect("the binary runs");
        let mut daemon = Self { state, child };
        await_some("the node answers", || {
            assert!(daemon.child.try_wait().expect("a child").is_none(), "the node ended");
            daemon.run(&["status"]).status.success().then_some(())
        });
        daemon
    }

    fn run(&self, args: &[&str]) -> Output {
        command(args).arg("--state-dir").arg(&self.state).output().expect("the binary runs")
    }

    /// As `run`, and it must succeed; what it printed, and what it said beside that.
    fn ok(&self, args: &[&str]) -> (String, String) {
        let Output { status, stdout, stderr } = self.run(args);
        let text = |bytes| String::from_utf8(bytes).expect("text");
        let (stdout, stderr) = (text(stdout), text(stderr));
        assert!(status.success(), "{args:?}: {stdout}{stderr}");
        (stdout, stderr)
    }

    /// The row of the table that is about `name`.
    fn row(&self, nouns: &str, name: &str) -> Option<String> {
        let (listed, _) = self.ok(&["list", nouns]);
        listed.lines().find(|line| line.starts_with(&format!("{name} "))).map(str::to_owned)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Gone already is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_corelane"));
    for name in ["CORELANE_JWT", "CORELANE_ENDPOINT", "CORELANE_STATE_DIR"] {
        command.env_remove(name);
    }
    command.args(args).stdin(Stdio::null());
    command
}

#[test]
fn what_is_done_on_one_node_is_seen_on_the_other_and_another_hands_garbage_is_isolated() {
    let place = tempfile::tempdir().unwrap();
    let etcd = Etcd::start(1);
    let (first, second) = (Daemon::start(place.path(), "n1", &etcd), Daemon::start(place.path(), "n2", &etcd));
    let file = |name: &str, content: &str| {
        let path = place.path().join(name);
        fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (objects, token) = (file("objects.yaml", OBJECTS), format!("--bearer-token-file={}", file("token", SECRET)));
    let (made, waited) = first.ok(&["apply", "-f", &objects]);
    assert_eq!((made.as_str(), waited.as_str()), ("source app created\n1 created; revision 1\n", ""));
    await_some("both know of each other", || {
        let knows = |daemon: &Daemon, name: &str| daemon.row("collectors", name).is_some();
        (knows(&first, "n2") && knows(&second, "n1")).then_some(())
    });
    let (made, _) =
        first.ok(&["create", "target", "l", "--type=loki", "--url=http://127.0.0.1:1/x", &token, "--wait=2m"]);
    assert!(made.starts_with("target l created, in force on 2 nodes"), "{made}");
    assert!(second.row("sources", "app").is_some() && second.row("targets", "l").is_some());
    // Secrets: sealed in etcd, a placeholder on the way out, kept on the way in.
    runtime().block_on(async { assert!(!etcd.dump().await.contains(SECRET)) });
    let (exported, _) = second.ok(&["export"]);
    assert!(exported.contains("bearerToken: <secret>\n") && !exported.contains(SECRET), "{exported}");
    let (again, _) = second.ok(&["apply", "-f", &file("exported.yaml", &exported)]);
    assert!(again.contains("2 unchanged"), "{again}");

    let (history, _) = first.ok(&["history", "-o", "json"]);
    let history: Value = serde_json::from_str(&history).unwrap();
    let good = history["revisions"][0]["revision"].as_str().unwrap().to_owned();
    runtime().block_on(async {
        etcd.client(0).await.put("/corelane/test/v1/sources/app", "{rubbish", None).await.unwrap();
    });
    let complained = |daemon: &Daemon| daemon.row("sources", "app").filter(|row| row.contains("is not JSON in etcd"));
    await_some("it is complained of on both", || complained(&first).and(complained(&second)));
    await_some("the history tells of it", || {
        first.ok(&["history"]).0.lines().any(|line| line.contains("another hand")).then_some(())
    });
    let (made, _) = second.ok(&["create", "target", "c", "--type=console"]);
    assert!(made.starts_with("target c created"), "the rest goes on: {made}");
    let (back, _) = first.ok(&["rollback", &good]);
    assert!(back.contains("source app ") && back.contains("target c deleted"), "{back}");
    await_some("it is mended on both", || {
        let mended = |daemon: &Daemon| complained(daemon).is_none() && daemon.row("targets", "c").is_none();
        (mended(&first) && mended(&second)).then_some(())
    });
    assert_eq!(second.ok(&["export"]).0, exported);
}
