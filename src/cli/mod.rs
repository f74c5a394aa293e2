//! The command line: one grammar for the daemon, the objects and the questions about both.
//!
//! `grammar` says what can be typed, `access` finds API and token, `client` speaks to it, and one module for each group
//! of verbs does the work. Exit codes: 0 done, 1 failed, 2 not understood.

pub mod access;
pub mod check;
pub mod client;
pub mod cluster_key;
pub mod completion;
pub mod diff;
pub mod document;
pub mod environment;
pub mod export;
pub mod grammar;
pub mod inspect;
mod inspect_bytes;
mod inspect_lists;
mod inspect_objects;
pub mod inspect_spool;
pub mod manifest;
pub mod next;
pub mod object;
pub mod print;
pub mod quarantine;
pub mod revision;
pub mod run;
pub mod screen;
pub mod status;
pub mod table;
pub mod wait;
pub mod watch;

use std::{ffi::OsString, io::IsTerminal, path::Path, process::ExitCode};

use clap::{ColorChoice, CommandFactory, FromArgMatches};
use serde_json::json;

use self::{
    grammar::{Access, Cli, ColorWhen, CreateNoun, InspectNoun, JwtFlags, Listed, ReplayNoun, Verb},
    screen::coloured,
};
use crate::{
    config::{compile::amount, document::spelling::did_you_mean},
    control::{
        keys::{self, Keys},
        token::{self, Grant, ROLE_ADMIN, ROLE_VIEWER},
    },
    fault::{Fault, Kind},
};

/// Does what `args` (with the program's name first) ask for.
pub fn main(args: impl Iterator<Item = OsString>) -> ExitCode {
    let args: Vec<OsString> = args.collect();
    if let Some(shell) = completion::asked_by() {
        return code(completion::answer(&shell, args).map(|()| ExitCode::SUCCESS));
    }
    let args = grammar::understood(args.into_iter());
    let command = Cli::command().color(clap_colours(&args));
    let cli = match command.try_get_matches_from(args).and_then(|matches| Cli::from_arg_matches(&matches)) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version go to stdout with 0, everything else to stderr with 2; a closed pipe is nobody's fault.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    if let Some(token) = cli.access.jwt.as_deref().filter(|token| !token.starts_with('@'))
        && let Err(error) = crate::os::process::scrub_argument(token)
    {
        tracing::debug!("a token given by -J stays visible in the process list: {error}");
    }
    // Tokens and keys are in the memory of the daemon and of whoever asks it.
    if let Err(error) = crate::os::process::forbid_core_dumps() {
        tracing::debug!("a core dump of this process would hold secrets: {error}");
    }
    code(perform(cli))
}

fn code(done: Result<ExitCode, Fault>) -> ExitCode {
    match done {
        Ok(code) => code,
        Err(fault) => {
            print::error(&fault);
            ExitCode::from(if fault.kind() == Kind::Usage { 2 } else { 1 })
        }
    }
}

/// Colours of help and of what is not understood, which are told before the flags are known.
fn clap_colours(args: &[OsString]) -> ColorChoice {
    let given = args.iter().enumerate().find_map(|(index, arg)| {
        let arg = arg.to_str()?;
        let value = arg.strip_prefix("--color=").map(str::to_owned);
        value.or_else(|| (arg == "--color").then(|| args.get(index + 1)?.to_str().map(str::to_owned))?)
    });
    match given.as_deref() {
        Some("always") => ColorChoice::Always,
        Some("never") => ColorChoice::Never,
        _ if coloured(ColorWhen::Auto, std::io::stdout().is_terminal()) => ColorChoice::Auto,
        _ => ColorChoice::Never,
    }
}

fn perform(cli: Cli) -> Result<ExitCode, Fault> {
    let access = &cli.access;
    match cli.verb {
        Verb::Run(flags) => run::run(&flags, access)?,
        Verb::Check(flags) => return check::check(&flags, access),
        Verb::Status(watch) => status::status(&watch, access)?,
        Verb::Inspect { noun: InspectNoun::Journal { file, export: true } } => return export::export(&file),
        Verb::Inspect { noun: InspectNoun::Journal { file, .. } } => return inspect::journal(&file, access),
        Verb::Inspect { noun: InspectNoun::Spool { directory } } => return inspect_spool::spool(&directory, access),
        Verb::Create { noun: CreateNoun::Jwt(flags), wait } => {
            if wait.wait.is_some() {
                return Err(Fault::new(Kind::Usage, "--wait", "a token is good at once"));
            }
            print::value(access, &json!({"jwt": jwt(&flags, access)?}), |value, _| {
                format!("{}\n", value["jwt"].as_str().unwrap_or_default())
            })?;
        }
        Verb::Create { noun: CreateNoun::Object(noun), wait } => object::create(&noun, &wait, access)?,
        Verb::Update { noun, wait } => object::update(&noun, &wait, access)?,
        Verb::List { noun: Listed::Objects(noun), watch } => object::list(noun, &watch, access)?,
        Verb::List { noun: Listed::Quarantine(flags), .. } => quarantine::list(&flags, access)?,
        Verb::Replay { noun: ReplayNoun::Quarantine(flags) } => quarantine::replay(&flags, access)?,
        Verb::Get { noun, watch } => object::get(&noun, &watch, access)?,
        Verb::Delete { noun, wait } => object::delete(&noun, &wait, access)?,
        Verb::Apply(flags) => return revision::apply(&flags, access),
        Verb::Diff(flags) => return Ok(revision::diff(&flags, access)),
        Verb::Export(flags) => revision::export(&flags, access)?,
        Verb::History(flags) => revision::history(&flags, access)?,
        Verb::Rollback(flags) => revision::rollback(&flags, access)?,
        Verb::ClusterKey { noun } => cluster_key::perform(&noun)?,
        Verb::Completions { shell } => print::out(&completion::script(shell)?)?,
        Verb::Man { directory } => man(directory.as_deref())?,
    }
    Ok(ExitCode::SUCCESS)
}

/// The manual pages, one for each verb and noun, or the first one on stdout.
fn man(directory: Option<&Path>) -> Result<(), Fault> {
    let Some(directory) = directory else {
        let mut page = Vec::new();
        let written = clap_mangen::Man::new(Cli::command()).render(&mut page);
        written.map_err(|error| Fault::io("manual page", &error))?;
        return print::out(&String::from_utf8_lossy(&page));
    };
    let failed = |error: &std::io::Error| Fault::io(directory.display().to_string(), error);
    std::fs::create_dir_all(directory).map_err(|error| failed(&error))?;
    clap_mangen::generate_to(Cli::command(), directory).map_err(|error| failed(&error))
}

/// A token signed by the key of this node, or by the one named.
fn jwt(flags: &JwtFlags, access: &Access) -> Result<String, Fault> {
    let lives = amount::duration(&flags.expires).map_err(|cause| Fault::new(Kind::Usage, "--expires", cause))?;
    let path = flags.key.clone().unwrap_or_else(|| Keys::of(&access.state_dir_or_default()).signing_key);
    let key = keys::read_text(&path).map_err(|fault| fault.way_out("run as root, or name a key with --key"))?;
    let roles = if flags.role.is_empty() { vec![ROLE_ADMIN.to_owned()] } else { flags.role.clone() };
    for role in roles.iter().filter(|role| ![ROLE_ADMIN, ROLE_VIEWER].contains(&role.as_str())) {
        let hint = did_you_mean(role, [ROLE_ADMIN, ROLE_VIEWER]);
        print::note(&format!("the API gives no rights to the role {role:?}{hint}"));
    }
    let grant = Grant { kid: flags.kid.clone(), subject: flags.subject.clone(), roles, seconds: lives.as_secs() };
    token::mint(&grant, key.as_bytes())
}
