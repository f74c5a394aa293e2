//! The command line: one grammar for the daemon, the objects and the questions about both.
//!
//! `grammar` says what can be typed, `access` finds API and token, `client` speaks to it, and one module for each group
//! of verbs does the work. Exit codes: 0 done, 1 failed, 2 not understood.

pub mod access;
pub mod check;
pub mod client;
pub mod environment;
pub mod grammar;
pub mod inspect;
pub mod object;
pub mod print;
pub mod run;
pub mod status;
pub mod table;

use std::{ffi::OsString, process::ExitCode};

use clap::{CommandFactory, Parser};

use self::grammar::{Cli, CreateNoun, InspectNoun, JwtFlags, Verb};
use crate::{
    config::compile::amount,
    control::{
        keys::{self, Keys},
        token::{self, Grant, ROLE_ADMIN},
    },
    fault::{Fault, Kind},
};

/// Does what `args` (with the program's name first) ask for.
pub fn main(args: impl Iterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(grammar::understood(args)) {
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
    match perform(cli) {
        Ok(code) => code,
        Err(fault) => {
            print::error(&fault);
            ExitCode::from(if fault.kind() == Kind::Usage { 2 } else { 1 })
        }
    }
}

fn perform(cli: Cli) -> Result<ExitCode, Fault> {
    let access = &cli.access;
    match cli.verb {
        Verb::Run(flags) => run::run(&flags, access)?,
        Verb::Check(flags) => return check::check(&flags, access),
        Verb::Status => status::status(access)?,
        Verb::Inspect { noun: InspectNoun::Journal { file } } => return inspect::journal(&file, access.output_format),
        Verb::Create { noun: CreateNoun::Jwt(flags) } => print::out(&format!("{}\n", jwt(&flags, access)?))?,
        Verb::Create { noun: CreateNoun::Object(noun) } => object::create(&noun, access)?,
        Verb::Update { noun } => object::update(&noun, access)?,
        Verb::List { noun } => object::list(noun, access)?,
        Verb::Get { noun } => object::get(&noun, access)?,
        Verb::Delete { noun } => object::delete(&noun, access)?,
        Verb::Completions { shell } => {
            let mut text = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "corelane", &mut text);
            print::out(&String::from_utf8_lossy(&text))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// A token signed by the key of this node, or by the one named.
fn jwt(flags: &JwtFlags, access: &grammar::Access) -> Result<String, Fault> {
    let lives = amount::duration(&flags.expires).map_err(|cause| Fault::new(Kind::Usage, "--expires", cause))?;
    let path = flags.key.clone().unwrap_or_else(|| Keys::of(&access.state_dir_or_default()).signing_key);
    let key = keys::read_text(&path).map_err(|fault| fault.way_out("run as root, or name a key with --key"))?;
    let roles = if flags.role.is_empty() { vec![ROLE_ADMIN.to_owned()] } else { flags.role.clone() };
    let grant = Grant { kid: flags.kid.clone(), subject: flags.subject.clone(), roles, seconds: lives.as_secs() };
    token::mint(&grant, key.as_bytes())
}
