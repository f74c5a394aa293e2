//! Help, manual pages and completion say what is true: every example runs, every page is written, names are known.

use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    process::{Command, Output, Stdio},
};

use clap::CommandFactory;
use corelane::cli::grammar::Cli;

use crate::node::{Node, code, corelane, err, out};

/// Verbs that do not end by themselves; that their examples are understood is tested with the documentation.
const ENDLESS: [&str; 2] = [" run", "--watch"];
/// Examples that change nothing they are not meant to, but find differences.
const DIFFERENCES: &str = " diff ";

/// The commands below `Examples:` of every help text, in the order of the verbs.
fn examples() -> Vec<String> {
    fn collect(command: &clap::Command, found: &mut Vec<String>) {
        let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        let lines = help.lines().filter(|line| line.starts_with("  corelane ")).map(|line| line.trim().to_owned());
        found.extend(lines);
        command.get_subcommands().for_each(|command| collect(command, found));
    }
    let mut found = Vec::new();
    collect(&Cli::command(), &mut found);
    found
}

/// Runs a line as a shell in a directory would, with `corelane` in its path.
fn shell(directory: &Path, node: &Node, line: &str) -> Output {
    let binary = Path::new(env!("CARGO_BIN_EXE_corelane")).parent().unwrap();
    let path = format!("{}:{}", binary.display(), std::env::var("PATH").unwrap_or_default());
    Command::new("bash")
        .args(["-o", "pipefail", "-c", line])
        .current_dir(directory)
        .env("PATH", path)
        .env("CORELANE_STATE_DIR", node.state.path())
        .env_remove("CORELANE_JWT")
        .env_remove("CORELANE_ENDPOINT")
        .stdin(Stdio::null())
        .output()
        .expect("bash runs")
}

#[test]
fn every_example_runs_as_it_is_shown() {
    let node = Node::start();
    let place = tempfile::tempdir().unwrap();
    let write = |name: &str, content: &str| {
        let path = place.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    };
    let key = rcgen::KeyPair::generate().unwrap();
    let cert = rcgen::CertificateParams::new(vec!["a".to_owned()]).unwrap().self_signed(&key).unwrap().pem();
    write("ca.pem", &cert);
    write("node.pem", &cert);
    write("node.key", &key.serialize_pem());
    let object = "kind: source\nname: conf\nfile: {paths: [/nowhere/*.log]}\nlogFormat: logfmt\n";
    write("conf.d/conf.yaml", object);
    write("objects.yaml", object);
    let mut ran = 0;
    for line in examples() {
        if ENDLESS.iter().any(|word| line.contains(word)) {
            continue;
        }
        // A page is shown by a pager that may not be there.
        let line = line.split(" | man ").next().unwrap();
        let output = shell(place.path(), &node, line);
        let allowed: &[i32] = if line.contains(DIFFERENCES) || line == "corelane check" { &[0, 1] } else { &[0] };
        assert!(allowed.contains(&code(&output)), "{line}: {}{}", out(&output), err(&output));
        ran += 1;
    }
    assert!(ran > 30, "only {ran} examples ran");
}

#[test]
fn a_manual_page_is_written_for_every_command() {
    let place = tempfile::tempdir().unwrap();
    let pages = place.path().join("man1");
    let output = corelane(&["man", pages.to_str().unwrap()]);
    assert_eq!(code(&output), 0, "{}", err(&output));
    let names: BTreeSet<String> =
        fs::read_dir(&pages).unwrap().map(|page| page.unwrap().file_name().into_string().unwrap()).collect();
    for name in ["corelane.1", "corelane-apply.1", "corelane-create-sources.1", "corelane-rollback.1"] {
        assert!(names.contains(name), "{name}: {names:?}");
    }
    let page = fs::read_to_string(pages.join("corelane-apply.1")).unwrap();
    assert!(page.contains("\\-\\-prune") && page.contains("Examples:"), "{page}");
    assert!(out(&corelane(&["man"])).contains(".TH corelane 1"));
}

/// What bash would offer after these words; the last one is unfinished.
fn offered(node: &Node, words: &[&str]) -> Vec<String> {
    let quoted: Vec<String> = words.iter().map(|word| format!("'{word}'")).collect();
    let line = format!(
        "source <(corelane completions bash); COMP_WORDS=({}); COMP_CWORD={}; COMP_TYPE=9; \
         _clap_complete_corelane corelane '{}' x 2>/dev/null; printf '%s\\n' \"${{COMPREPLY[@]}}\"",
        quoted.join(" "),
        words.len() - 1,
        words[words.len() - 1],
    );
    let output = shell(node.state.path(), node, &line);
    out(&output).lines().map(|line| line.trim().to_owned()).collect()
}

#[test]
fn bash_completes_verbs_flags_and_the_names_of_objects() {
    let node = Node::start();
    for name in ["alpha", "beta"] {
        node.ok(&["create", "source", name, "--file=/nowhere/x.log", "--log-format=logfmt"]);
    }
    assert_eq!(offered(&node, &["corelane", "roll"]), ["rollback"]);
    assert!(offered(&node, &["corelane", "list", "logs", "coll"])[0].starts_with("collector"));
    assert_eq!(offered(&node, &["corelane", "get", "sources", ""]), ["alpha", "beta"]);
    assert_eq!(offered(&node, &["corelane", "delete", "logs", "source", "al"]), ["alpha"]);
    assert_eq!(offered(&node, &["corelane", "apply", "--dry"]), ["--dry-run"]);
    assert_eq!(offered(&node, &["corelane", "get", "collectors", ""]), ["n1"]);
}

#[test]
fn every_shell_gets_a_script() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let output = corelane(&["completions", shell]);
        assert_eq!(code(&output), 0, "{shell}");
        assert!(out(&output).contains("CORELANE_COMPLETE"), "{shell}");
    }
}
