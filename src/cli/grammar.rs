//! What can be typed: verbs, nouns and flags.
//!
//! The grammar of `create list get update delete` is the one people know: plural or singular nouns, the word `logs` in
//! between or not, `--name` or the bare name. Values are passed on as typed; the API judges them, so that there is one
//! judge with one set of words. A dash that a text processor made longer is understood as the two it was.

use std::{
    ffi::OsString,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::config::{Kind, node::STATE_DIR};

/// Ships logs of this node to Loki and syslog.
#[derive(Debug, Parser)]
#[command(name = "corelane", version, about, arg_required_else_help = true)]
pub struct Cli {
    #[command(flatten)]
    pub access: Access,
    #[command(subcommand)]
    pub verb: Verb,
}

/// How to reach the API; on a node with a running corelane nothing of this is needed.
#[derive(Clone, Args)]
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

#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Run the appliance in the foreground
    Run(RunFlags),
    /// Judge the configuration, the objects and this machine without running
    Check(CheckFlags),
    /// Show what the node does right now
    Status,
    /// Look into a file of a log system
    Inspect {
        #[command(subcommand)]
        noun: InspectNoun,
    },
    /// Create a source, target, TLS bundle or token
    Create {
        #[command(subcommand)]
        noun: CreateNoun,
    },
    /// List all objects of a kind
    List {
        #[command(subcommand)]
        noun: ListNoun,
    },
    /// Show one object
    Get {
        #[command(subcommand)]
        noun: NamedNoun,
    },
    /// Change fields of an object
    Update {
        #[command(subcommand)]
        noun: ObjectNoun,
    },
    /// Delete an object
    Delete {
        #[command(subcommand)]
        noun: NamedNoun,
    },
    /// Print a completion script
    Completions { shell: clap_complete::Shell },
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
#[derive(Clone, Copy, Debug, Subcommand)]
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

#[derive(Debug, Args)]
pub struct SourceFlags {
    #[command(flatten)]
    pub name: Name,
    /// Entries of the journal with this SYSLOG_IDENTIFIER, or an instance of it
    #[arg(long, value_name = "IDENTIFIER")]
    pub journald_id: Option<String>,
    /// Entries of the journal of this unit
    #[arg(long, value_name = "UNIT")]
    pub journald_unit: Option<String>,
    /// Entries of the journal that match; AND between fields, OR within one
    #[arg(long, value_name = "FIELD=VALUE")]
    pub journald_match: Vec<String>,
    /// A namespace of the journal
    #[arg(long, value_name = "NAMESPACE")]
    pub journald_namespace: Option<String>,
    /// A journal directory instead of the machine's
    #[arg(long, value_name = "DIR")]
    pub journald_directory: Option<String>,
    /// The whole journal
    #[arg(long)]
    pub journald: bool,
    /// Files, absolute; `*` and `**` are taken
    #[arg(long, value_name = "PATH")]
    pub file: Vec<String>,
    /// Files to leave out
    #[arg(long, value_name = "PATH")]
    pub exclude: Vec<String>,
    /// zap-json, logfmt or unstructured
    #[arg(long, value_name = "FORMAT")]
    pub log_format: Option<String>,
    /// trace, debug, info, warn, error or fatal
    #[arg(long, value_name = "LEVEL")]
    pub min_level: Option<String>,
    /// Let lines flow, or with =false not
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub enabled: Option<bool>,
    /// end, beginning or since: with a duration (since:1h)
    #[arg(long, value_name = "WHERE")]
    pub start_at: Option<String>,
    /// An extra label
    #[arg(long, value_name = "NAME=VALUE")]
    pub label: Vec<String>,
    /// Fields that go along as metadata
    #[arg(long, value_delimiter = ',', value_name = "FIELD,…")]
    pub metadata: Vec<String>,
    /// X-Scope-OrgID at Loki
    #[arg(long)]
    pub tenant: Option<String>,
}

#[derive(Debug, Args)]
pub struct TargetFlags {
    #[command(flatten)]
    pub name: Name,
    /// loki, rsyslog or console
    #[arg(long = "type", value_name = "TYPE")]
    pub kind: Option<String>,
    /// loki: push URL, http://host:3100/loki/api/v1/push
    #[arg(long)]
    pub url: Option<String>,
    /// loki: X-Scope-OrgID
    #[arg(long)]
    pub tenant: Option<String>,
    /// loki: user of basic authentication
    #[arg(long, value_name = "USER")]
    pub username: Option<String>,
    /// loki: file that holds the password
    #[arg(long, value_name = "FILE")]
    pub password_file: Option<PathBuf>,
    /// loki: file that holds a bearer token
    #[arg(long, value_name = "FILE")]
    pub bearer_token_file: Option<PathBuf>,
    /// loki: an extra header
    #[arg(long, value_name = "NAME=VALUE")]
    pub header: Vec<String>,
    /// loki: how long an answer may take
    #[arg(long, value_name = "DURATION")]
    pub timeout: Option<String>,
    /// rsyslog: host:port
    #[arg(long)]
    pub address: Option<String>,
    /// rsyslog: tcp, tls, relp or relp-tls
    #[arg(long)]
    pub protocol: Option<String>,
    /// rsyslog: octet-counted or newline
    #[arg(long)]
    pub framing: Option<String>,
    /// rsyslog: kern to local7
    #[arg(long)]
    pub facility: Option<String>,
    /// rsyslog: longer messages are split
    #[arg(long, value_name = "SIZE")]
    pub max_message_bytes: Option<String>,
    /// rsyslog: SD-ID, name@number
    #[arg(long)]
    pub sd_id: Option<String>,
    /// rsyslog: SHA-256 fingerprint of the peer's certificate
    #[arg(long, value_name = "FINGERPRINT")]
    pub permitted_peer: Option<String>,
    /// Name in the peer's certificate
    #[arg(long)]
    pub server_name: Option<String>,
    /// Name of a TLS bundle
    #[arg(long, value_name = "NAME")]
    pub tls_bundle: Option<String>,
    /// Names of the sources it takes
    #[arg(long, value_delimiter = ',', value_name = "NAME,…")]
    pub sources: Vec<String>,
    /// trace, debug, info, warn, error or fatal
    #[arg(long, value_name = "LEVEL")]
    pub min_level: Option<String>,
    /// line or message
    #[arg(long)]
    pub output: Option<String>,
    /// Memory for lines under way
    #[arg(long, value_name = "SIZE")]
    pub queue_bytes: Option<String>,
    /// Let lines flow, or with =false not
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub enabled: Option<bool>,
}

#[derive(Debug, Args)]
pub struct TlsBundleFlags {
    #[command(flatten)]
    pub name: Name,
    /// Authorities that may have signed the peer's certificate, in PEM
    #[arg(long, value_name = "FILE")]
    pub ca_file: Option<PathBuf>,
    /// Our certificate and its issuers, in PEM
    #[arg(long, value_name = "FILE")]
    pub cert_file: Option<PathBuf>,
    /// Its private key, in PEM
    #[arg(long, value_name = "FILE")]
    pub key_file: Option<PathBuf>,
}

/// Arguments with long dashes made two again, and without the word `logs` after a verb.
pub fn understood(args: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let args: Vec<OsString> = args.map(with_plain_dashes).collect();
    let is_verb = |word: &OsString| ["create", "list", "get", "update", "delete"].iter().any(|verb| word == verb);
    let logs = (1..args.len()).find(|index| args[*index] == "logs" && is_verb(&args[index - 1]));
    args.iter().enumerate().filter(|(index, _)| Some(*index) != logs).map(|(_, arg)| arg.clone()).collect()
}

/// `–name`, `—name` and `−name` → `--name`; `–J` → `-J`.
fn with_plain_dashes(arg: OsString) -> OsString {
    const DASHES: [char; 3] = ['\u{2013}', '\u{2014}', '\u{2212}'];
    let Some(text) = arg.to_str() else { return arg };
    if !text.starts_with(DASHES) {
        return arg;
    }
    let rest = text.trim_start_matches(|letter| DASHES.contains(&letter) || letter == '-');
    let short = rest.split('=').next().is_some_and(|name| name.chars().count() == 1);
    OsString::from(format!("{}{rest}", if short { "-" } else { "--" }))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

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
            let Verb::Get { noun } = cli.verb else { panic!("get") };
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
}
