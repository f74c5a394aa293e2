//! Tables on a terminal and in a pipe: colours, folding, `--watch`, a reader that goes away.

use std::{
    io::{BufRead, BufReader, Read},
    process::{Command, Stdio},
};

use crate::{
    common::binary::apart,
    node::{Node, await_some, code, err, out},
};

const WIDE: &str = "--file=/nowhere/a-long-path-to-nowhere/a-long-name-of-a-file-that-is-not-there.log";

fn with_a_source(node: &Node) {
    node.ok(&["create", "source", "a", WIDE, "--log-format=logfmt", "--enabled"]);
}

/// What a command line prints on a terminal of so many columns.
fn on_terminal(node: &Node, columns: u32, environment: &[(&str, &str)], args: &str) -> String {
    let program = env!("CARGO_BIN_EXE_corelane");
    let state = node.state.path().display();
    let line = format!("stty cols {columns}; {program} --state-dir {state} {args}");
    let mut command = Command::new("script");
    command.args(["-qec", &line, "/dev/null"]).stdin(Stdio::null());
    apart(&mut command);
    let output = command.env("TERM", "xterm").envs(environment.iter().copied()).output();
    out(&output.expect("script(1) of bsdutils runs")).replace('\r', "")
}

#[test]
fn colours_are_for_a_terminal_and_can_be_turned_off() {
    let node = Node::start();
    with_a_source(&node);
    let green = "\u{1b}[32myes\u{1b}[0m";
    assert!(on_terminal(&node, 200, &[], "list sources").contains(green));
    for (environment, args) in [
        (&[("NO_COLOR", "1")][..], "list sources"),
        (&[("TERM", "dumb")], "list sources"),
        (&[], "list sources --color=never"),
        (&[], "list sources -o yaml"),
    ] {
        let shown = on_terminal(&node, 200, environment, args);
        assert!(shown.contains("a") && !shown.contains('\u{1b}'), "{environment:?} {args}: {shown:?}");
    }
    assert!(!node.ok(&["list", "sources"]).contains('\u{1b}'), "a pipe");
    assert!(node.ok(&["list", "sources", "--color", "always"]).contains(green), "a pipe that wants colours");
    assert!(on_terminal(&node, 200, &[("NO_COLOR", "1")], "list sources --color=always").contains(green));
    let help = on_terminal(&node, 200, &[], "--help");
    assert!(help.contains("\u{1b}["), "{help:?}");
    assert!(!on_terminal(&node, 200, &[("NO_COLOR", "1")], "--help").contains('\u{1b}'));
    assert!(on_terminal(&node, 200, &[], "status").contains("pipeline \u{1b}[33mUNKNOWN\u{1b}[0m"));
}

#[test]
fn wide_tables_fold_on_a_terminal_only() {
    let node = Node::start();
    with_a_source(&node);
    let piped = node.ok(&["list", "sources"]);
    assert_eq!(piped.lines().count(), 2, "{piped}");
    let folded = on_terminal(&node, 60, &[], "list sources --color=never");
    assert!(folded.lines().count() > 2, "{folded}");
    assert!(folded.lines().all(|line| line.chars().count() <= 60), "{folded}");
    let words: String = folded.lines().skip(1).map(|line| line.trim().trim_start_matches("a  yes")).collect();
    assert!(words.replace(' ', "").contains("that-is-not-there.log"), "nothing is cut off: {folded}");
}

#[test]
fn a_watched_list_prints_what_changes_and_ends_with_its_reader() {
    let node = Node::start();
    with_a_source(&node);
    let mut child = node
        .command(&["list", "sources", "--watch", "--interval=100ms"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("the binary runs");
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut next = || lines.next().expect("it goes on").expect("text");
    assert!(next().starts_with("NAME  ENABLED"));
    assert!(next().starts_with("a     yes"));
    node.ok(&["create", "source", "b", "--file=/nowhere/b.log", "--log-format=logfmt"]);
    assert!(next().starts_with("b     no"));
    node.ok(&["update", "source", "a", "--enabled=false"]);
    assert!(next().starts_with("a     no"));
    node.ok(&["delete", "source", "b"]);
    assert_eq!(next(), "b  deleted");
    drop(lines);
    // The next change meets a closed pipe.
    node.ok(&["update", "source", "a", "--enabled"]);
    let ended = await_some("it ends", || child.try_wait().expect("a child"));
    assert!(ended.success(), "a reader that goes away is no error: {ended}");
}

#[test]
fn status_and_objects_can_be_watched_in_any_format() {
    let node = Node::start();
    with_a_source(&node);
    for (args, begins) in [
        (&["status"][..], "20"),
        (&["status", "-o", "json"], "{\"cluster\":"),
        (&["get", "source", "a"], "---"),
        (&["list", "collectors", "-o", "yaml"], "---"),
    ] {
        let mut child = node.command(args).arg("-w").stdout(Stdio::piped()).spawn().expect("the binary runs");
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).expect("text");
        child.kill().expect("it runs on");
        child.wait().expect("a child");
        assert!(line.starts_with(begins), "{args:?}: {line}");
    }
    let program = env!("CARGO_BIN_EXE_corelane");
    let watched = format!("timeout 3 {program} --state-dir {} status -w --interval=200ms", node.state.path().display());
    let output = Command::new("script").args(["-qec", &watched, "/dev/null"]).stdin(Stdio::null()).output().unwrap();
    let drawn = out(&output);
    assert!(drawn.matches("\u{1b}[H").count() > 1, "drawn over itself: {drawn:?}");
}

#[test]
fn a_watch_outlives_a_node_that_goes_away() {
    let node = Node::start();
    with_a_source(&node);
    let mut child = node
        .command(&["list", "sources", "--watch", "--interval=100ms"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary runs");
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    stdout.read_line(&mut line).expect("text");
    drop(node);
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let mut told = String::new();
    stderr.read_line(&mut told).expect("text");
    assert!(told.starts_with("corelane: "), "{told}");
    child.kill().expect("it waits for the node");
    child.wait().expect("a child");
    let mut rest = String::new();
    stderr.read_to_string(&mut rest).expect("text");
    assert!(rest.lines().count() < 3, "told once, not at every look: {rest}");
}

#[test]
fn a_closed_pipe_is_quiet() {
    let node = Node::start();
    let program = env!("CARGO_BIN_EXE_corelane");
    let state = node.state.path().display();
    for args in ["--help", "status", "man", "completions bash", "export", "create jwt"] {
        let line = format!("{program} --state-dir {state} {args} | true; exit ${{PIPESTATUS[0]}}");
        let output = Command::new("bash").args(["-c", &line]).output().expect("bash runs");
        assert_eq!(code(&output), 0, "{args}: {}", err(&output));
        assert!(!err(&output).contains("roken pipe"), "{args}: {}", err(&output));
    }
}
