//! Completion of a command line: verbs, flags, values, and the names of objects as the node has them.
//!
//! The script that `completions` prints asks the program itself at every tab (through the variable below), so that it
//! never grows stale and knows names. Trouble is answered with nothing: a shell is no place for it.

use std::{env, ffi::OsString, time::Duration};

use clap::{Args, Command, CommandFactory, FromArgMatches};
use clap_complete::{
    Shell,
    engine::{ArgValueCandidates, CompletionCandidate},
    env::Shells,
};
use http::Method;
use serde_json::Value;

use super::{
    access,
    grammar::{Access, Cli, understood},
    object::BASE,
    print,
};
use crate::fault::{Fault, Kind};

/// Set by the script when it asks; holds the shell's name.
const VARIABLE: &str = "CORELANE_COMPLETE";
/// Nobody waits longer for a tab.
const PATIENCE: Duration = Duration::from_secs(1);
/// Verbs between which and their noun the word `logs` may stand.
const VERBS: [&str; 5] = ["create", "list", "get", "update", "delete"];

/// The shell that wants something completed, if this is such a call.
pub fn asked_by() -> Option<String> {
    env::var(VARIABLE).ok().filter(|shell| !shell.is_empty())
}

/// The script for a shell.
///
/// # Errors
/// The shell is not known.
pub fn script(shell: Shell) -> Result<String, Fault> {
    let mut script = Vec::new();
    with_shell(&shell.to_string(), |shell| {
        shell.write_registration(VARIABLE, "corelane", "corelane", "corelane", &mut script)
    })?;
    Ok(String::from_utf8_lossy(&script).into_owned())
}

/// Prints what could stand at the place the shell asks about; `args` are the program, `--`, and the words so far.
///
/// # Errors
/// The shell is not known.
pub fn answer(shell: &str, args: Vec<OsString>) -> Result<(), Fault> {
    let words: Vec<OsString> = args.into_iter().skip_while(|arg| arg != "--").skip(1).collect();
    let mut found = Vec::new();
    let here = env::current_dir().ok();
    with_shell(shell, |shell| shell.write_complete(&mut command(&words), words.clone(), here.as_deref(), &mut found))?;
    let index = env::var("_CLAP_COMPLETE_INDEX").ok().and_then(|index| index.parse().ok());
    let word = words.get(index.unwrap_or(words.len().saturating_sub(1))).and_then(|word| word.to_str());
    let between = env::var("_CLAP_IFS").ok().filter(|between| !between.is_empty()).unwrap_or("\n".to_owned());
    print::out(&sifted(&String::from_utf8_lossy(&found), word.unwrap_or_default(), &between))
}

/// What was found, without flags where none was begun and there is something better.
fn sifted(found: &str, word: &str, between: &str) -> String {
    let better: Vec<&str> = found.split(between).filter(|candidate| !candidate.starts_with('-')).collect();
    let flags_wanted = word.starts_with('-') || better.iter().all(|candidate| candidate.is_empty());
    if flags_wanted { found.to_owned() } else { better.join(between) }
}

fn with_shell(
    name: &str,
    act: impl FnOnce(&dyn clap_complete::env::EnvCompleter) -> std::io::Result<()>,
) -> Result<(), Fault> {
    let shells = Shells::builtins();
    let Some(shell) = shells.completer(name) else {
        return Err(Fault::new(Kind::Usage, VARIABLE, format!("{name:?} is not a shell that is known")));
    };
    act(shell).map_err(|error| Fault::io("completion", &error))
}

/// The grammar with the word `logs` in it, and with names where names are wanted.
fn command(words: &[OsString]) -> Command {
    let access = access_of(words);
    let names = |nouns: &'static str| ArgValueCandidates::new(names(access.clone(), nouns));
    let mut command = Cli::command();
    for verb in ["get", "update", "delete"] {
        for nouns in ["sources", "targets", "tls-bundles", "collectors"] {
            if verb == "update" && nouns == "collectors" {
                continue;
            }
            let (bare, flag) = (names(nouns), names(nouns));
            command = command.mut_subcommand(verb, |command| {
                command.mut_subcommand(nouns, |noun| {
                    noun.mut_arg("bare", |arg| arg.add(bare)).mut_arg("flag", |arg| arg.add(flag))
                })
            });
        }
    }
    for verb in ["create", "update"] {
        let (bundles, sources) = (names("tls-bundles"), names("sources"));
        command = command.mut_subcommand(verb, |command| {
            command.mut_subcommand("targets", |noun| {
                noun.mut_arg("tls_bundle", |arg| arg.add(bundles)).mut_arg("sources", |arg| arg.add(sources))
            })
        });
    }
    for verb in VERBS {
        command = command.mut_subcommand(verb, |command| {
            let logs = command.clone().name("logs").hide(true);
            command.subcommand(logs)
        });
    }
    command
}

/// What the words so far say of where the API is.
fn access_of(words: &[OsString]) -> Option<Access> {
    let words = understood(words.iter().cloned());
    let flags = Access::augment_args(Command::new("corelane")).ignore_errors(true);
    let matches = flags.allow_external_subcommands(true).try_get_matches_from(words).ok()?;
    Access::from_arg_matches(&matches).ok()
}

/// The names of all objects of a kind, asked for when they are wanted.
fn names(access: Option<Access>, nouns: &'static str) -> impl Fn() -> Vec<CompletionCandidate> + Send + Sync + 'static {
    move || {
        let Some(client) = access.as_ref().and_then(|access| access::client(access).ok()) else { return Vec::new() };
        let answer = client.within(PATIENCE).call(Method::GET, &format!("{BASE}/{nouns}"), None);
        let Ok(Value::Object(answer)) = answer else { return Vec::new() };
        let key = if nouns == "collectors" { "id" } else { "name" };
        let items = answer.values().filter_map(Value::as_array).flatten();
        items.filter_map(|item| item[key].as_str()).map(CompletionCandidate::new).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_offered_when_one_is_begun_or_there_is_nothing_else() {
        assert_eq!(sifted("alpha\nbeta\n--name\n", "", "\n"), "alpha\nbeta\n");
        assert_eq!(sifted("--name\u{b}--watch", "", "\u{b}"), "--name\u{b}--watch");
        assert_eq!(sifted("--name:Its name\n", "--n", "\n"), "--name:Its name\n");
    }
}
