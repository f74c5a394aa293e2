//! What can be typed: verbs, nouns and flags.
//!
//! The grammar of `create list get update delete` is the one people know: plural or singular nouns, the word `logs` in
//! between or not, `--name` or the bare name. Values are passed on as typed; the API judges them, so that there is one
//! judge with one set of words. `object` has the flags of objects, `revision` those of whole configurations, `spelling`
//! what is mended before anything is parsed; `example` what `--help` shows below.

mod example;
pub mod object;
pub mod revision;
mod spelling;

#[cfg(test)]
mod tests;

pub use object::{SourceFlags, TargetFlags, TlsBundleFlags};
pub use revision::{ApplyFlags, DiffFlags, ExportFlags, Files, HistoryFlags, RollbackFlags};
pub use spelling::understood;

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::config::{Kind, node::STATE_DIR};

/// Ships logs of this node to Loki and syslog.
#[derive(Debug, Parser)]
#[command(name = "corelane", version, about, arg_required_else_help = true, after_help = example::CORELANE)]
pub struct Cli {
    #[command(flatten)]
    pub access: Access,
    #[command(subcommand)]
    pub verb: Verb,
}

/// How to reach the API; on a node with a running corelane nothing of this is needed.
#[derive(Clone, Args)]
#[command(next_help_heading = "Everywhere")]
pub struct Access {
    /// The API, `https://host:port` [default: this node's own]
    #[arg(long, global = true, env = "CORELANE_ENDPOINT", hide_env_values = true, value_name = "URL")]
    pub endpoint: Option<String>,
    /// Token, or @FILE that holds one; CORELANE_JWT is better, since others can see a command line
    #[arg(short = 'J', long, global = true, env = "CORELANE_JWT", hide_env_values = true, value_name = "TOKEN|@FILE")]
    pub jwt: Option<String>,
    /// Authorities that may have signed the certificate of --endpoint [default: the system's]
    #[arg(long, global = true, value_name = "FILE")]
    pub endpoint_ca: Option<PathBuf>,
    /// State directory of the node [default: /var/lib/corelane]
    #[arg(long, global = true, env = "CORELANE_STATE_DIR", value_name = "DIR")]
    pub state_dir: Option<PathBuf>,
    /// How answers are shown
    #[arg(short = 'o', long, global = true, value_enum, default_value_t, ignore_case = true, value_name = "FORMAT")]
    pub output_format: OutputFormat,
    /// Colours; `auto`: on a terminal, unless NO_COLOR is set
    #[arg(long, global = true, value_enum, default_value_t, value_name = "WHEN")]
    pub color: ColorWhen,
}

impl std::fmt::Debug for Access {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Access").field("endpoint", &self.endpoint).field("state_dir", &self.state_dir).finish()
    }
}

impl Access {
    pub fn state_dir_or_default(&self) -> PathBuf {
        self.state_dir.clone().unwrap_or_else(|| Path::new(STATE_DIR).to_owned())
    }

    /// Whether the answer is for people rather than programs.
    pub fn is_for_people(&self) -> bool {
        self.output_format == OutputFormat::HumanReadableFormat
    }
}

/// How an answer is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum OutputFormat {
    #[default]
    #[value(alias = "human", alias = "table")]
    HumanReadableFormat,
    Json,
    Yaml,
}

/// When answers are coloured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum ColorWhen {
    #[default]
    Auto,
    Always,
    Never,
}

#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Run the appliance in the foreground
    #[command(after_help = example::RUN)]
    Run(RunFlags),
    /// Judge the configuration, the objects and this machine without running
    #[command(after_help = example::CHECK)]
    Check(CheckFlags),
    /// Show what the node does right now
    #[command(after_help = example::STATUS)]
    Status(Watch),
    /// Look into a file of a log system
    Inspect {
        #[command(subcommand)]
        noun: InspectNoun,
    },
    /// Create a source, target, TLS bundle or token
    #[command(after_help = example::CREATE)]
    Create {
        #[command(subcommand)]
        noun: CreateNoun,
        #[command(flatten)]
        wait: Wait,
    },
    /// List all objects of a kind
    #[command(after_help = example::LIST)]
    List {
        #[command(subcommand)]
        noun: Listed,
        #[command(flatten)]
        watch: Watch,
    },
    /// Show one object
    #[command(after_help = example::GET)]
    Get {
        #[command(subcommand)]
        noun: NamedNoun,
        #[command(flatten)]
        watch: Watch,
    },
    /// Change fields of an object
    #[command(after_help = example::UPDATE)]
    Update {
        #[command(subcommand)]
        noun: ObjectNoun,
        #[command(flatten)]
        wait: Wait,
    },
    /// Delete an object
    #[command(after_help = example::DELETE)]
    Delete {
        #[command(subcommand)]
        noun: NamedNoun,
        #[command(flatten)]
        wait: Wait,
    },
    /// Make the configuration what files say, in one step or not at all
    #[command(after_help = example::APPLY)]
    Apply(ApplyFlags),
    /// Show what `apply` would change; exit code 1 when it would, 2 on trouble
    #[command(after_help = example::DIFF)]
    Diff(DiffFlags),
    /// Print the objects as `apply` takes them, without secrets
    #[command(after_help = example::EXPORT)]
    Export(ExportFlags),
    /// List the revisions of the configuration: when, who, what
    #[command(after_help = example::HISTORY)]
    History(HistoryFlags),
    /// Make a new revision that equals an old one
    #[command(after_help = example::ROLLBACK)]
    Rollback(RollbackFlags),
    /// Do again what was put aside
    #[command(after_help = example::REPLAY)]
    Replay {
        #[command(subcommand)]
        noun: ReplayNoun,
    },
    /// The key that seals secrets of a cluster
    #[command(after_help = example::CLUSTER_KEY)]
    ClusterKey {
        #[command(subcommand)]
        noun: ClusterKeyNoun,
    },
    /// Print a completion script
    #[command(after_help = example::COMPLETIONS)]
    Completions { shell: clap_complete::Shell },
    /// Write the manual pages into a directory, or print the first one
    #[command(after_help = example::MAN)]
    Man {
        #[arg(value_name = "DIR")]
        directory: Option<PathBuf>,
    },
}

/// Whether a view is shown once or kept up to date.
#[derive(Clone, Debug, Args)]
pub struct Watch {
    /// Keep it up to date: redrawn on a terminal, only what changes in a pipe
    #[arg(short, long, global = true)]
    pub watch: bool,
    /// How often --watch looks
    #[arg(long, global = true, default_value = "2s", value_name = "DURATION")]
    pub interval: String,
}

/// Whether to wait until a change has come into force.
#[derive(Clone, Debug, Args)]
pub struct Wait {
    /// Return when every node has it in force and, for what is enabled, a first line is acknowledged [within: 1m]
    #[arg(
        long,
        global = true,
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "1m",
        value_name = "DURATION"
    )]
    pub wait: Option<String>,
}

#[derive(Debug, Args)]
pub struct RunFlags {
    /// Node configuration [default: /etc/corelane/corelane.toml, if it exists]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Try it out: temporary state, generated keys, a free port
    #[arg(long)]
    pub dev: bool,
    /// Directory of read-only object files
    #[arg(long, value_name = "DIR")]
    pub objects: Option<PathBuf>,
    /// Where the API listens
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub listen: Option<SocketAddr>,
    /// How lanes talk to the kernel
    #[arg(long, value_name = "auto|uring|poll", value_parser = ["auto", "uring", "poll"])]
    pub backend: Option<String>,
    /// Name of this node
    #[arg(long)]
    pub node: Option<String>,
    /// Name of the cluster
    #[arg(long)]
    pub cluster: Option<String>,
    /// Lanes, each one thread
    #[arg(long)]
    pub lanes: Option<usize>,
}

#[derive(Debug, Subcommand)]
pub enum InspectNoun {
    /// A systemd journal file: what it holds, and what is wrong with it
    Journal {
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// Print every entry with all its fields, as journalctl -o export does; FILE may be a directory then
        #[arg(long)]
        export: bool,
    },
    /// The spool, where bytes of deleted files wait for targets that lag: whose they are, and what is wrong with them
    Spool {
        #[arg(value_name = "DIR")]
        directory: PathBuf,
    },
}

#[derive(Debug, Args)]
pub struct CheckFlags {
    /// Node configuration [default: /etc/corelane/corelane.toml, if it exists]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Object files or directories, judged alone [default: what the configuration names, and this machine]
    #[arg(long, value_name = "DIR|FILE", num_args = 1..)]
    pub objects: Vec<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub enum CreateNoun {
    #[command(flatten)]
    Object(ObjectNoun),
    /// A token, signed by this node's key
    Jwt(JwtFlags),
}

#[derive(Debug, Args)]
pub struct JwtFlags {
    /// Who it stands for
    #[arg(long, default_value = "cli")]
    pub subject: String,
    /// What they may do: system:cluster-admin (the default) or system:viewer
    #[arg(long)]
    pub role: Vec<String>,
    /// How long it lives
    #[arg(long, default_value = "24h")]
    pub expires: String,
    /// Which key signs it, as the API knows it
    #[arg(long, default_value = crate::control::keys::ROOT_KID)]
    pub kid: String,
    /// That key, in PEM [default: this node's]
    #[arg(long, value_name = "FILE")]
    pub key: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub enum ClusterKeyNoun {
    /// Make a new one; the same file goes onto every node
    New {
        /// Where it goes, readable by its owner only; nothing is overwritten [default: printed]
        #[arg(long, value_name = "FILE")]
        file: Option<PathBuf>,
    },
    /// Begin to replace it: add a second key, which opens but does not seal yet
    Add {
        #[arg(long, value_name = "FILE")]
        file: PathBuf,
    },
    /// Go on when every node has both: the added key seals from now on, the old one still opens
    Turn {
        #[arg(long, value_name = "FILE")]
        file: PathBuf,
    },
}

/// Objects with their fields.
#[derive(Debug, Subcommand)]
pub enum ObjectNoun {
    /// Where lines come from
    #[command(name = "sources", visible_alias = "source")]
    Source(Box<SourceFlags>),
    /// Where lines go
    #[command(name = "targets", visible_alias = "target")]
    Target(Box<TargetFlags>),
    /// Certificates for targets
    #[command(name = "tls-bundles", visible_alias = "tls-bundle", alias = "tlsbundle", alias = "tlsbundles")]
    TlsBundle(TlsBundleFlags),
}

/// Everything that can be listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Subcommand)]
pub enum ListNoun {
    #[command(name = "sources", visible_alias = "source")]
    Sources,
    #[command(name = "targets", visible_alias = "target")]
    Targets,
    #[command(name = "tls-bundles", visible_alias = "tls-bundle", alias = "tlsbundle", alias = "tlsbundles")]
    TlsBundles,
    #[command(name = "collectors", visible_alias = "collector")]
    Collectors,
}

/// What can be listed.
#[derive(Debug, Subcommand)]
pub enum Listed {
    #[command(flatten)]
    Objects(ListNoun),
    /// Lines that targets refused for good, by target and reason; read from the state directory of this node
    Quarantine(QuarantineFlags),
}

/// What can be done again.
#[derive(Debug, Subcommand)]
pub enum ReplayNoun {
    /// Send the lines in quarantine again, once their cause is mended
    Quarantine(QuarantineFlags),
}

#[derive(Clone, Debug, Args)]
pub struct QuarantineFlags {
    /// Of this target only
    #[arg(long, value_name = "NAME")]
    pub target: Option<String>,
}

/// One thing by its name.
#[derive(Debug, Subcommand)]
pub enum NamedNoun {
    #[command(name = "sources", visible_alias = "source")]
    Source(Name),
    #[command(name = "targets", visible_alias = "target")]
    Target(Name),
    #[command(name = "tls-bundles", visible_alias = "tls-bundle", alias = "tlsbundle", alias = "tlsbundles")]
    TlsBundle(Name),
    #[command(name = "collectors", visible_alias = "collector")]
    Collector(Name),
}

impl NamedNoun {
    /// The object's kind (none for a collector) and name.
    pub fn parts(&self) -> (Option<Kind>, &str) {
        match self {
            Self::Source(name) => (Some(Kind::Source), name.as_str()),
            Self::Target(name) => (Some(Kind::Target), name.as_str()),
            Self::TlsBundle(name) => (Some(Kind::TlsBundle), name.as_str()),
            Self::Collector(name) => (None, name.as_str()),
        }
    }
}

/// A name, with or without its flag.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub struct Name {
    #[arg(value_name = "NAME")]
    bare: Option<String>,
    #[arg(long = "name", value_name = "NAME")]
    flag: Option<String>,
}

impl Name {
    pub fn as_str(&self) -> &str {
        self.flag.as_deref().or(self.bare.as_deref()).unwrap_or_default()
    }
}
