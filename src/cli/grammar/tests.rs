//! The grammar is whole, and every spelling of a thing means the same.

use std::ffi::OsString;

use clap::{CommandFactory, Parser};

use super::*;

fn spelled(args: &[&str]) -> Vec<String> {
    understood(args.iter().map(OsString::from)).into_iter().map(|arg| arg.into_string().unwrap()).collect()
}

#[test]
fn the_grammar_is_whole() {
    Cli::command().debug_assert();
}

#[test]
fn long_dashes_and_the_word_logs_are_understood() {
    for (typed, meant) in [
        (vec!["c", "\u{2013}name=a"], vec!["c", "--name=a"]),
        (vec!["c", "\u{2014}name"], vec!["c", "--name"]),
        (vec!["c", "\u{2013}\u{2013}name=a\u{2013}b"], vec!["c", "--name=a\u{2013}b"]),
        (vec!["c", "\u{2212}J", "x"], vec!["c", "-J", "x"]),
        (vec!["c", "list", "logs", "sources"], vec!["c", "list", "sources"]),
        (vec!["c", "get", "source", "logs"], vec!["c", "get", "source", "logs"]),
    ] {
        assert_eq!(spelled(&typed), meant);
    }
}

#[test]
fn every_spelling_of_a_noun_is_the_same() {
    for noun in ["source", "sources"] {
        let cli = Cli::try_parse_from(["corelane", "get", noun, "x"]).unwrap();
        let Verb::Get { noun, .. } = cli.verb else { panic!("get") };
        assert_eq!(noun.parts(), (Some(Kind::Source), "x"));
    }
    for noun in ["tls-bundle", "tls-bundles", "tlsbundle"] {
        assert!(Cli::try_parse_from(["corelane", "delete", noun, "--name=x"]).is_ok(), "{noun}");
    }
    assert!(Cli::try_parse_from(["corelane", "get", "source", "x", "--name=x"]).is_err(), "the name twice");
}

#[test]
fn a_token_is_never_debugged() {
    let cli = Cli::try_parse_from(["corelane", "-J", "SECRET", "status"]).unwrap();
    assert!(!format!("{cli:?}").contains("SECRET"));
}

#[test]
fn to_wait_and_to_watch_can_stand_anywhere_after_the_verb() {
    for words in [vec!["create", "--wait", "source", "a"], vec!["create", "source", "a", "--wait=5m"]] {
        let cli = Cli::try_parse_from(["corelane"].into_iter().chain(words)).unwrap();
        let Verb::Create { wait, .. } = cli.verb else { panic!("create") };
        assert!(wait.wait.is_some());
    }
    let cli = Cli::try_parse_from(["corelane", "list", "sources", "-w", "--interval=1s"]).unwrap();
    let Verb::List { watch, .. } = cli.verb else { panic!("list") };
    assert!(watch.watch && watch.interval == "1s");
}
