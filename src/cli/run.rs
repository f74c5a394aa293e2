//! `corelane run`: the daemon, and `--dev` to try it out with nothing prepared.

use std::{
    fs::DirBuilder,
    io::IsTerminal,
    net::SocketAddr,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

use tracing_subscriber::EnvFilter;

use super::{
    grammar::{Access, RunFlags},
    print,
};
use crate::{
    appliance,
    config::{Backend, NodeConfig, node::Overrides},
    fault::{Fault, Kind},
};

/// Log files that many machines have, for the example of `--dev`.
const LOG_FILES: [&str; 4] = ["/var/log/syslog", "/var/log/messages", "/var/log/dpkg.log", "/var/log/dnf.log"];

/// Runs until told to stop.
///
/// # Errors
/// All faults of the configuration are told, and the last is given back; or something could not start.
pub fn run(flags: &RunFlags, access: &Access) -> Result<(), Fault> {
    let mut config = match NodeConfig::load(flags.config.as_deref(), &overrides(flags, access)) {
        Ok(config) => config,
        Err(faults) => return Err(told_but_last(faults)),
    };
    if flags.dev {
        config.dev = true;
        if access.state_dir.is_none() {
            config.state_dir = temporary_state()?;
        }
        if flags.listen.is_none() {
            config.listen = SocketAddr::from(([127, 0, 0, 1], 0));
        }
        print::note(&introduction(&config.state_dir));
    }
    let filter = EnvFilter::try_from_env("CORELANE_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    // A subscriber that is set already (in tests) stays.
    let _ = tracing_subscriber::fmt()
        .with_ansi(colour)
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_target(false)
        .try_init();
    appliance::run(config)
}

/// Tells all faults but the last, which the caller tells.
pub fn told_but_last(mut faults: Vec<Fault>) -> Fault {
    let last = faults.pop();
    faults.iter().for_each(print::error);
    last.unwrap_or_else(|| Fault::new(Kind::Internal, "configuration", "refused without a reason"))
}

/// What the flags say over the file.
pub fn overrides(flags: &RunFlags, access: &Access) -> Overrides {
    Overrides {
        node: flags.node.clone(),
        cluster: flags.cluster.clone(),
        listen: flags.listen,
        lanes: flags.lanes,
        backend: flags.backend.as_deref().and_then(Backend::parse),
        state_dir: access.state_dir.clone(),
        objects: flags.objects.clone(),
    }
}

fn temporary_state() -> Result<PathBuf, Fault> {
    let number = getrandom::u64()
        .map_err(|error| Fault::new(Kind::Unavailable, "state directory", format!("no random numbers: {error}")))?;
    let path = std::env::temp_dir().join(format!("corelane-dev-{number:016x}"));
    // Not recursive: a directory that somebody else made first is refused.
    DirBuilder::new().mode(0o700).create(&path).map_err(|error| Fault::io(path.display().to_string(), &error))?;
    Ok(path)
}

/// What to try next, to be pasted into another terminal.
fn introduction(state_dir: &Path) -> String {
    let program = std::env::current_exe().unwrap_or_else(|_| PathBuf::from("corelane"));
    let corelane = format!("{} --state-dir {}", quoted(&program), quoted(state_dir));
    let source = match LOG_FILES.iter().find(|path| std::fs::File::open(path).is_ok()) {
        Some(path) => format!("--name=sample --file={path}"),
        None => "--name=journal --journald".to_owned(),
    };
    format!(
        "State, keys and token are in {state} (kept until you remove it).\n\
         Try next, in another terminal:\n\n  \
         {corelane} create source {source} --log-format=unstructured --start-at=beginning --enabled\n  \
         {corelane} create target --name=console --type=console --enabled\n  \
         {corelane} status\n\n\
         For Loki: --type=loki --url=http://HOST:3100/loki/api/v1/push\n",
        state = state_dir.display(),
    )
}

/// A path as a shell takes it.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    if text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/._-+".contains(&byte)) {
        return text;
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}
