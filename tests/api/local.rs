//! The unix socket, the access log, and secrets that stay in memory.

use std::{
    fs,
    os::unix::{
        fs::{MetadataExt, PermissionsExt},
        process::{CommandExt, ExitStatusExt},
    },
    process::Command,
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use super::node::{Node, SOURCES, STATUS, await_that, curl};

/// curl over the node's unix socket.
fn ask(node: &Node, method: &str, path: &str, args: &[&str]) -> super::node::Reply {
    let socket = node.state().join("api.sock");
    let url = format!("http://localhost{path}");
    let head = ["--unix-socket", socket.to_str().unwrap(), "-X", method];
    curl(&[&head[..], args, &[url.as_str()]].concat()).expect("an answer")
}

#[test]
fn the_unix_socket_shows_everything_and_changes_nothing() {
    let node = Node::start();
    let source = json!({"name": "a", "journald": {"identifier": "etcd"}});
    assert_eq!(node.send("POST", SOURCES, &source).status, 200);
    for path in [STATUS, SOURCES, "/api/v2/logs/sources/a", "/api/v2/logs/collectors", "/api/v2/logs/tls-bundles"] {
        let here = ask(&node, "GET", path, &[]);
        assert_eq!(here.status, 200, "{path}");
    }
    assert_eq!(ask(&node, "GET", SOURCES, &[]).body, node.get(SOURCES).body);
    // Not even with the administrator's token.
    let bearer = format!("Authorization: Bearer {}", node.token());
    for args in [vec![], vec!["-H", bearer.as_str()]] {
        for (method, path) in
            [("POST", SOURCES), ("DELETE", "/api/v2/logs/sources/a"), ("PATCH", "/api/v2/logs/sources/a")]
        {
            let (status, code, message) = ask(&node, method, path, &args).refusal();
            assert_eq!((status, code, message.as_str()), (403, 7, "Permission denied."), "{method} {path}");
        }
    }
    assert_eq!(node.revision(), 1);
    let mode = fs::metadata(node.state().join("api.sock")).unwrap().permissions().mode() & 0o777;
    assert!([0o600, 0o660].contains(&mode), "{mode:o}");
}

/// A user outside of the group is turned away even where the file's mode would let them in.
#[test]
fn the_unix_socket_knows_who_asks() {
    let node = Node::start();
    assert_eq!(ask(&node, "GET", STATUS, &[]).status, 200, "whoever runs it may read");
    if !rustix::process::geteuid().is_root() {
        // Nobody else to be; who is a member has its own tests beside the code.
        return;
    }
    let socket = node.state().join("api.sock");
    for path in [node.place.path(), &node.state()] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    fs::set_permissions(&socket, fs::Permissions::from_mode(0o666)).unwrap();
    let mut command = Command::new("curl");
    command.args(["-sS", "-m", "60", "--unix-socket"]).arg(&socket).arg(format!("http://localhost{STATUS}"));
    let output = command.uid(65_534).gid(65_534).output().expect("curl is installed");
    assert!(!output.status.success() && output.stdout.is_empty(), "{output:?}");
    assert_eq!(ask(&node, "GET", STATUS, &[]).status, 200);
}

#[test]
fn every_request_and_every_change_is_in_the_log() {
    let node = Node::start();
    let source = json!({"name": "a", "journald": {"identifier": "etcd"}});
    assert_eq!(node.send("POST", SOURCES, &source).status, 200);
    let target = json!({"name": "t", "type": "loki", "url": "http://127.0.0.1:1/loki/api/v1/push",
                        "bearerToken": "hush-hush", "basicAuth": null});
    assert_eq!(node.send("POST", "/api/v2/logs/targets", &target).status, 200);
    assert_eq!(node.get("/api/v2/logs/sources/b?token=hush-hush").status, 404);
    assert_eq!(node.curl(SOURCES, &["-H", "Authorization: Bearer hush-hush"]).status, 401);
    ask(&node, "GET", STATUS, &[]);
    for part in [
        "root (system:root) creates source \"a\": revision 0 -> 1",
        "root (system:root) creates target \"t\": revision 1 -> 2",
        "request peer=\"127.0.0.1\" who=\"root (system:root)\" method=POST path=\"/api/v2/logs/sources\" status=200",
        "path=\"/api/v2/logs/sources/b\" status=404",
        "who=\"-\" method=GET path=\"/api/v2/logs/sources\" status=401",
        "reason=\"malformed token\"",
        "who=\"uid ",
    ] {
        await_that(part, || node.log().contains(part));
    }
    let log = node.log();
    assert!(!log.contains("hush") && !log.contains(&node.token()), "{log}");
}

/// Memory that holds keys is not for a dump, nor for a debugger of the same user.
#[test]
fn the_daemon_s_memory_is_its_own() {
    if !rustix::process::geteuid().is_root() {
        let node = Node::start();
        assert_eq!(fs::metadata(format!("/proc/{}/mem", node.running.child.id())).unwrap().uid(), 0);
        return;
    }
    // As root everything is root's anyway, so as somebody else.
    let place = tempfile::tempdir().unwrap();
    let binary = place.path().join("corelane");
    // By another process: a file this one had open for writing could be inherited by a child of another test, and could
    // then not be executed.
    let copied = Command::new("cp").arg(env!("CARGO_BIN_EXE_corelane")).arg(&binary).status();
    assert!(copied.unwrap().success());
    std::os::unix::fs::chown(place.path(), Some(65_534), Some(65_534)).unwrap();
    let mut command = Command::new(&binary);
    command.uid(65_534).gid(65_534);
    let node = Node::by(place, "", command);
    assert_eq!(fs::metadata(format!("/proc/{}/mem", node.running.child.id())).unwrap().uid(), 0);
}

#[test]
fn a_crash_leaves_no_core_dump() {
    let place = tempfile::tempdir().unwrap();
    let limitless = "ulimit -c unlimited 2>/dev/null; exec \"$@\"";
    let mut command = Command::new("sh");
    command.args(["-c", limitless, "sh", env!("CARGO_BIN_EXE_corelane")]).current_dir(place.path());
    let mut node = Node::by(tempfile::tempdir().unwrap(), "", command);
    kill_process(Pid::from_child(&node.running.child), Signal::ABORT).unwrap();
    let ended = node.running.child.wait().unwrap();
    assert_eq!((ended.signal(), ended.core_dumped()), (Some(Signal::ABORT.as_raw()), false), "{ended}");
    assert_eq!(fs::read_dir(place.path()).unwrap().count(), 0, "nothing lies where a dump would");
    // Another program in its place leaves one, if this machine makes dumps at all.
    let mut other = Command::new("sh");
    other.args(["-c", limitless, "sh", "sh", "-c", "kill -ABRT $$"]).current_dir(place.path());
    println!("another program left a dump: {}", other.status().unwrap().core_dumped());
}
