//! Flags of objects: one for each field that is written by hand. Values are passed on as typed.

use std::path::PathBuf;

use clap::Args;

use super::Name;

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
    /// The sources it takes: names, or labels like team=audit
    #[arg(long, value_delimiter = ',', value_name = "NAME|LABEL,…")]
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
