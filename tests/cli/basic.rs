//! Grammar, answers, exit codes, and a whole life of objects.

use std::{
    fs,
    net::TcpListener,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Stdio},
};

use crate::node::{Node, code, corelane, err, out};

#[test]
fn what_is_not_understood_exits_with_2() {
    for (args, text) in [
        (vec!["crate", "source"], "create"),
        (vec!["create", "sauce"], "source"),
        (vec!["create", "source"], "NAME"),
        (vec!["create", "source", "a", "--log-fromat=x"], "--log-format"),
        (vec!["run", "--listen", "nowhere"], "--listen"),
        (vec!["run", "--backend", "glommio"], "uring"),
        (vec!["--endpoint", "http://x", "-J", "t", "status"], "https://host:port"),
        (vec!["--endpoint", "https://127.0.0.1:1", "status"], "no token"),
        (vec!["create", "source", "a", "--label", "x"], "NAME=VALUE"),
        (vec!["update", "source", "a"], "nothing to change"),
        (vec!["delete", "collector", "a"], "cannot be deleted"),
    ] {
        let output = corelane(&args);
        assert_eq!(code(&output), 2, "{args:?}: {}", err(&output));
        assert!(err(&output).contains(text), "{args:?}: {}", err(&output));
    }
}

#[test]
fn help_and_completions_exit_with_0() {
    for args in
        [vec!["--help"], vec!["--version"], vec!["create", "logs", "sources", "--help"], vec!["completions", "bash"]]
    {
        let output = corelane(&args);
        assert_eq!(code(&output), 0, "{args:?}: {}", err(&output));
        assert!(out(&output).contains("corelane") || out(&output).contains("Usage"), "{args:?}");
    }
}

#[test]
fn without_a_node_it_says_what_to_do() {
    let empty = tempfile::tempdir().unwrap();
    let output = corelane(&["--state-dir", empty.path().to_str().unwrap(), "status"]);
    assert_eq!(code(&output), 1);
    let text = err(&output);
    assert!(text.contains("endpoint.json: no such file or directory") && text.contains("corelane run"), "{text}");
    let output = corelane(&["--endpoint", "https://127.0.0.1:1", "-J", "token", "list", "sources"]);
    assert_eq!(code(&output), 1);
    assert!(err(&output).contains("https://127.0.0.1:1: connection refused"), "{}", err(&output));
}

#[test]
fn check_tells_all_complaints_and_exits_with_1() {
    let place = tempfile::tempdir().unwrap();
    let path = |name: &str| place.path().join(name).to_str().unwrap().to_owned();
    fs::write(path("good.toml"), "node = \"n1\"\n").unwrap();
    fs::write(path("bad.toml"), "node = 1\nlanse = 1\n").unwrap();
    fs::create_dir(path("conf.d")).unwrap();
    fs::write(path("conf.d/a.yaml"), "kind: source\nname: etcd\njournald: {identifier: etcd}\n").unwrap();
    let good = corelane(&["check", "--config", &path("good.toml"), "--objects", &path("conf.d")]);
    assert_eq!((code(&good), out(&good).as_str()), (0, "good: node n1, 1 source(s), 0 target(s), 0 tls-bundle(s)\n"));
    let bad = corelane(&["check", "--config", &path("bad.toml")]);
    assert_eq!(code(&bad), 1);
    assert!(err(&bad).contains("bad.toml:1: `node` must be a string"), "{}", err(&bad));
    assert!(err(&bad).contains("bad.toml:2: unknown key `lanse`; did you mean `lanes`?"), "{}", err(&bad));
    fs::write(path("conf.d/b.yaml"), "kind: target\nname: t\ntype: loki\nurl: loki\n---\nname: [\n").unwrap();
    fs::write(path("conf.d/c.json"), "{\"kind\": \"target\", \"name\": \"u\", \"tyep\": \"loki\"}").unwrap();
    let bad = corelane(&["check", "--config", &path("good.toml"), "--objects", &path("conf.d")]);
    assert_eq!(code(&bad), 1);
    let text = out(&bad);
    assert!(text.contains("b.yaml:"), "{text}");
    assert!(text.contains("target u: ") && text.contains("unknown field `tyep`; did you mean `type`?"), "{text}");
    let missing = corelane(&["check", "--config", &path("missing.toml")]);
    assert_eq!(code(&missing), 1);
    assert!(err(&missing).contains("missing.toml: no such file or directory"));
}

#[test]
fn check_judges_the_machine_unless_objects_are_given() {
    let place = tempfile::tempdir().unwrap();
    let config = place.path().join("c.toml");
    let state = place.path().join("state");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let holder = TcpListener::bind(taken).unwrap();
    fs::write(&config, format!("listen = \"{taken}\"\nstate_dir = {state:?}\nbackend = \"poll\"\n")).unwrap();
    let config = config.to_str().unwrap();
    let busy = corelane(&["check", "--config", config]);
    assert_eq!(code(&busy), 1, "{}", out(&busy));
    assert!(out(&busy).contains("address already in use; set `listen`"), "{}", out(&busy));
    let objects = place.path().join("a.yaml");
    fs::write(&objects, "kind: source\nname: etcd\njournald: {}\n").unwrap();
    assert_eq!(code(&corelane(&["check", "--config", config, "--objects", objects.to_str().unwrap()])), 0);
    drop(holder);
    let free = corelane(&["check", "--config", config]);
    let text = out(&free);
    assert_eq!(code(&free), 0, "{text}");
    let told: serde_json::Value =
        serde_json::from_str(&out(&corelane(&["check", "--config", config, "-o", "json"]))).unwrap();
    assert_eq!((&told["good"], &told["machine"][0]["result"]), (&true.into(), &"OK".into()));
    for about in ["backend", "core of lane 0", "descriptors", "state directory", "listen"] {
        assert!(text.contains(&format!("\n{about} ")), "{about}: {text}");
    }
    assert!(text.contains("OK      poll: poll was asked for") && !state.exists(), "{text}");
}

#[test]
fn run_refuses_in_one_line() {
    let place = tempfile::tempdir().unwrap();
    let config = place.path().join("c.toml");
    fs::write(&config, "tls_cert = \"/c.pem\"\n").unwrap();
    let output = corelane(&["run", "--config", config.to_str().unwrap()]);
    assert_eq!(code(&output), 1);
    assert_eq!(err(&output), "corelane: tls_cert, tls_key: one is given without the other (give both)\n");
}

#[test]
fn the_three_commands_people_know() {
    let node = Node::start();
    // As it is pasted from a document whose editor made dashes long.
    let source = [
        "create",
        "logs",
        "sources",
        "\u{2013}name=node-manager",
        "--journald-id=node-manager",
        "--log-format=zap-json",
        "--min-level=info",
        "--enabled",
    ];
    let made = node.run(&source);
    assert_eq!(code(&made), 0, "{}", err(&made));
    assert_eq!(
        out(&made),
        "source node-manager created, enabled, but no enabled target: `corelane create target --help`\n"
    );
    let target = [
        "create",
        "logs",
        "targets",
        "--name=loki1",
        "--type=loki",
        "--url=http://127.0.0.1:1/loki/api/v1/push",
        "--enabled",
    ];
    let made = node.run(&target);
    assert_eq!(out(&made), "target loki1 created, enabled: see it flow with `corelane status`\n", "{}", err(&made));
    let listed = node.run(&["list", "logs", "collectors"]);
    let text = out(&listed);
    let heading: Vec<&str> = text.lines().next().unwrap_or_default().split_whitespace().collect();
    assert_eq!(heading.join(" "), "NAME LAST SEEN ALLOY STATUS PIPELINE REV LAG");
    assert!(text.lines().nth(1).is_some_and(|line| line.starts_with("n1 ") && line.contains("ONLINE")), "{text}");
    assert!(!text.contains('\u{1b}'), "no colour in a pipe");
    assert!(out(&node.run(&["status"])).contains("corelane 0.1.0 on n1 (cluster default), revision 2"));
}

#[test]
fn objects_live_their_life() {
    let node = Node::start();
    let made = node.run(&["create", "source", "a", "--file=/var/log/a.log", "--log-format=logfmt"]);
    assert_eq!(
        out(&made),
        "source a created, disabled: enable with `corelane update source a --enabled`\n",
        "{}",
        err(&made)
    );
    assert_eq!(code(&node.run(&["update", "source", "a", "--enabled", "--label", "team=storage"])), 0);
    let shown: serde_json::Value =
        serde_json::from_str(&out(&node.run(&["get", "source", "a", "-o", "json"]))).unwrap();
    assert_eq!((&shown["enabled"], &shown["labels"]["team"]), (&true.into(), &"storage".into()));
    let yaml = out(&node.run(&["list", "sources", "-o", "yaml"]));
    assert!(yaml.contains("name: a") && yaml.contains("logFormat: LOGFMT"), "{yaml}");
    let table = out(&node.run(&["list", "sources"]));
    assert_eq!(
        table.lines().nth(1).unwrap().split_whitespace().take(4).collect::<Vec<_>>(),
        ["a", "yes", "/var/log/a.log", "LOGFMT"]
    );
    let twice = node.run(&["create", "source", "--name=a", "--file=/b", "--log-format=logfmt"]);
    assert_eq!((code(&twice), err(&twice)), (1, "corelane: Source with the provided name already exists.\n".into()));
    let typo = node.run(&["create", "source", "b", "--file=/b", "--log-format=logfnt"]);
    assert_eq!(
        (code(&typo), err(&typo)),
        (1, "corelane: `logFormat` cannot be \"logfnt\"; did you mean `LOGFMT`?\n".into())
    );
    assert_eq!(out(&node.run(&["delete", "source", "--name", "a"])), "source a deleted\n");
    assert_eq!(out(&node.run(&["list", "sources"])), "no sources\n");
    let gone = node.run(&["get", "source", "a"]);
    assert_eq!((code(&gone), err(&gone)), (1, "corelane: no source 'a'\n".into()));
}

#[test]
fn what_was_probably_meant_is_said() {
    let node = Node::start();
    assert_eq!(code(&node.run(&["create", "source", "node-manager", "--journald-id=node-manager"])), 0);
    for args in [
        ["get", "source", "node-manger"].as_slice(),
        &["update", "source", "node-manger", "--enabled"],
        &["delete", "source", "--name=node-manger"],
    ] {
        let output = node.run(args);
        let text = "corelane: no source 'node-manger'; did you mean 'node-manager'?\n";
        assert_eq!((code(&output), err(&output).as_str()), (1, text));
    }
    for (args, hint) in [
        (["lsit", "sources", "-w"], "'list'"),
        (["list", "sorces", "-w"], "'sources'"),
        (["list", "sources", "--wacht"], "'--watch'"),
        (["list", "sources", "-oymal"], "yaml"),
    ] {
        let output = node.run(&args);
        assert_eq!(code(&output), 2, "{args:?}");
        assert!(err(&output).contains(hint), "{args:?}: {}", err(&output));
    }
}

#[test]
fn without_a_readable_token_the_socket_answers_and_changes_nothing() {
    let node = Node::start();
    assert_eq!(code(&node.run(&["create", "source", "a", "--journald"])), 1, "a format is needed");
    fs::remove_file(node.state.path().join("keys/token")).unwrap();
    let status = node.run(&["status"]);
    assert_eq!(code(&status), 0, "{}", err(&status));
    assert_eq!(out(&node.run(&["list", "sources"])), "no sources\n");
    let refused = node.run(&["create", "source", "a", "--journald", "--log-format=unstructured"]);
    assert_eq!(code(&refused), 1);
    assert!(err(&refused).contains("the unix socket is read only (run as root, or give a token"), "{}", err(&refused));
    fs::remove_file(node.state.path().join("endpoint.json")).unwrap();
    assert_eq!(code(&node.run(&["list", "collectors"])), 0, "nor is the endpoint file needed");
}

#[test]
fn tokens_decide() {
    let node = Node::start();
    let viewer = out(&node.run(&["create", "jwt", "--role=system:viewer", "--expires=1h"]));
    let viewer = viewer.trim();
    let odd = node.run(&["create", "jwt", "--role=system:veiwer", "-o", "json"]);
    assert!(err(&odd).contains("did you mean `system:viewer`?") && out(&odd).contains("\"jwt\": "), "{}", err(&odd));
    assert_eq!(viewer.split('.').count(), 3);
    assert_eq!(code(&node.run(&["-J", viewer, "list", "sources"])), 0);
    let denied = node.run(&["-J", viewer, "create", "target", "c", "--type=console"]);
    assert_eq!(code(&denied), 1);
    assert!(err(&denied).starts_with("corelane: Permission denied."), "{}", err(&denied));
    let file = node.state.path().join("token");
    fs::write(&file, "not.a.token\n").unwrap();
    let unknown = node.run(&["-J", &format!("@{}", file.display()), "list", "sources"]);
    assert_eq!(code(&unknown), 1);
    assert!(err(&unknown).starts_with("corelane: Unauthorized: authentication failed."), "{}", err(&unknown));
    assert!(!err(&unknown).contains("not.a.token"));
}

#[test]
fn a_token_on_the_command_line_is_overwritten_at_once() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("https://{}", listener.local_addr().unwrap());
    let mut child = Command::new(env!("CARGO_BIN_EXE_corelane"))
        .args(["-J", "SECRET-TOKEN", "--endpoint", &endpoint, "list", "sources"])
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    // It connects only after it has read its arguments, and then waits for a handshake that never comes.
    let connection = listener.accept().unwrap();
    let arguments = fs::read(format!("/proc/{}/cmdline", child.id())).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    drop(connection);
    let text = String::from_utf8(arguments).unwrap();
    assert!(text.contains("list\0sources") && !text.contains("SECRET"), "{text:?}");
}

#[test]
fn a_bundle_is_made_from_files() {
    let node = Node::start();
    let key = rcgen::KeyPair::generate().unwrap();
    let cert = rcgen::CertificateParams::new(vec!["a".to_owned()]).unwrap().self_signed(&key).unwrap().pem();
    let write = |name: &str, text: &str| {
        let path = node.state.path().join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (cert, key) = (write("c.pem", &cert), write("k.pem", &key.serialize_pem()));
    let made = node.run(&["create", "tls-bundle", "b", "--ca-file", &cert, "--cert-file", &cert, "--key-file", &key]);
    assert_eq!(code(&made), 0, "{}", err(&made));
    let shown = out(&node.run(&["get", "tls-bundles", "--name=b"]));
    assert!(shown.contains("sha256: ") && !shown.contains("PRIVATE KEY"), "{shown}");
    let missing = node.run(&["create", "tls-bundle", "c", "--ca-file", "/nonexistent/ca.pem"]);
    assert_eq!(
        (code(&missing), err(&missing)),
        (1, "corelane: /nonexistent/ca.pem: no such file or directory\n".into())
    );
}

#[test]
fn a_second_node_on_one_state_directory_is_refused() {
    let node = Node::start();
    let state = node.state.path().to_str().unwrap();
    let second = corelane(&["run", "--dev", "--state-dir", state]);
    assert_eq!(code(&second), 1);
    assert!(err(&second).contains("in use by another corelane"), "{}", err(&second));
    assert!(Path::new(state).join("endpoint.json").exists());
    assert_eq!(code(&node.run(&["status"])), 0, "the first goes on");
}

#[test]
fn a_cluster_key_is_made_once_and_replaced_in_steps() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("cluster.key");
    let file = format!("--file={}", path.display());
    let keys = || {
        let text = fs::read_to_string(&path).unwrap();
        text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(code(&corelane(&["cluster-key", "new", &file])), 0);
    let first = keys();
    assert_eq!((first.len(), fs::metadata(&path).unwrap().permissions().mode() & 0o777), (1, 0o600));
    let again = corelane(&["cluster-key", "new", &file]);
    assert_eq!((code(&again), keys()), (1, first.clone()));
    assert!(err(&again).contains("cluster.key: exists already"), "{}", err(&again));
    let early = corelane(&["cluster-key", "turn", &file]);
    assert!(code(&early) == 1 && err(&early).contains("has one key only"), "{}", err(&early));
    assert_eq!(code(&corelane(&["cluster-key", "add", &file])), 0);
    let both = keys();
    assert_eq!((both.len(), &both[0]), (2, &first[0]));
    let turned = corelane(&["cluster-key", "turn", &file]);
    assert_eq!((code(&turned), keys()), (0, vec![both[1].clone(), both[0].clone()]), "{}", err(&turned));
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let printed = corelane(&["cluster-key", "new"]);
    assert!(out(&printed).contains("corelane-key ") && !out(&printed).contains(&first[0]), "{}", out(&printed));
}
