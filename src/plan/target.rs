//! What a target means once its document has been compiled.

use std::{fmt, sync::Arc, time::Duration};

use super::source::SourcePlan;
pub use crate::model::Framing;
use crate::{
    limits,
    model::{Level, ObjectId},
};

/// One target, ready for egress.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetPlan {
    pub id: ObjectId,
    pub name: String,
    pub enabled: bool,
    pub kind: TargetKind,
    pub route: Route,
    /// Narrows what the sources let through; `Level::Trace` narrows nothing.
    pub min_level: Level,
    pub output: Output,
    /// Memory budget of sealed batches, in bytes, per lane.
    pub queue_bytes: usize,
    /// Lines older than this when their turn comes are dropped, counted as `max-age`; `None` drops none.
    pub max_age: Option<Duration>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TargetKind {
    Loki(LokiPlan),
    Syslog(SyslogPlan),
    Console(ConsolePlan),
}

impl TargetKind {
    /// What it shows and trusts over TLS, if it says so.
    pub fn tls(&self) -> Option<&TlsBundle> {
        match self {
            Self::Loki(plan) => plan.tls.as_deref(),
            Self::Syslog(plan) => plan.tls.as_deref(),
            Self::Console(_) => None,
        }
    }
}

/// A Loki push endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LokiPlan {
    pub https: bool,
    pub host: String,
    pub port: u16,
    /// Path and query as written, `/loki/api/v1/push` as a rule.
    pub path: String,
    /// The name the certificate must bear; the host unless the document says otherwise.
    pub server_name: String,
    /// Client certificate and CA; `None` with https: the system's roots.
    pub tls: Option<Arc<TlsBundle>>,
    pub auth: Option<Auth>,
    pub tenant: Option<String>,
    /// Values may hold tokens.
    pub headers: Vec<(String, Secret)>,
    pub timeout: Duration,
    pub too_old: TooOld,
    pub limits: LokiLimits,
}

/// What becomes of lines whose time a Loki does not take: too old, too far ahead, or too far behind their stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TooOld {
    /// They are kept apart and counted.
    #[default]
    Quarantine,
    /// They are dropped and counted.
    Drop,
    /// They are sent with the time of sending; their own goes along as structured metadata.
    Restamp,
}

/// What a Loki takes, as far as it is configured there: the stock values unless the document says otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LokiLimits {
    /// Oldest entry (`reject_old_samples_max_age`), and furthest ahead of now (`creation_grace_period`).
    pub oldest: Duration,
    pub ahead: Duration,
    /// Bytes per second of one stream, and at once (`per_stream_rate_limit`, `per_stream_rate_limit_burst`).
    pub stream_rate: u64,
    pub stream_burst: u64,
    /// Streams this node may have in it; beyond, labels other than the core ones become structured metadata.
    pub streams: usize,
}

impl Default for LokiLimits {
    fn default() -> Self {
        Self {
            oldest: limits::LOKI_OLDEST,
            ahead: limits::LOKI_AHEAD,
            stream_rate: limits::LOKI_STREAM_RATE_BYTES,
            stream_burst: limits::LOKI_STREAM_BURST_BYTES,
            streams: limits::LOKI_STREAMS_MAX,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Auth {
    Basic { username: String, password: Secret },
    Bearer(Secret),
}

/// An RFC 5424 receiver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyslogPlan {
    pub host: String,
    pub port: u16,
    pub protocol: Protocol,
    /// RELP counts octets, too.
    pub framing: Framing,
    /// 0–23 (RFC 5424 table 1).
    pub facility: u8,
    /// Longest message in bytes; longer ones are split and marked.
    pub max_message_bytes: usize,
    pub sd_id: String,
    pub server_name: String,
    pub tls: Option<Arc<TlsBundle>>,
    /// SHA-256 of the peer's certificate; replaces the name check.
    pub permitted_peer: Option<[u8; 32]>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    Tcp,
    Tls,
    Relp,
    RelpTls,
}

impl Protocol {
    pub fn is_tls(self) -> bool {
        matches!(self, Self::Tls | Self::RelpTls)
    }

    /// Whether every message is answered.
    pub fn is_relp(self) -> bool {
        matches!(self, Self::Relp | Self::RelpTls)
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConsolePlan;

/// Which sources a target takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    All,
    /// Those that one of these picks.
    Only(Vec<Pick>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pick {
    /// The source of this name.
    Named(String),
    /// Sources that bear this label (name, value) by their own `labels`.
    Labelled(String, String),
}

impl Route {
    pub fn takes(&self, source: &SourcePlan) -> bool {
        let picks = |pick: &Pick| match pick {
            Pick::Named(name) => *name == source.name,
            Pick::Labelled(name, value) => source.labels.iter().any(|label| label.0 == *name && label.1 == *value),
        };
        match self {
            Self::All => true,
            Self::Only(some) => some.iter().any(picks),
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Output {
    /// The frame exactly as written.
    #[default]
    Line,
    /// The message span only.
    Message,
}

/// A CA, a certificate chain and a private key, as PEM, checked against each other; or a CA alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsBundle {
    pub name: String,
    pub ca_pem: String,
    pub cert_pem: String,
    pub key_pem: Secret,
}

impl TlsBundle {
    /// Whether it only says whom to trust, and has no certificate to show.
    pub fn is_authority_only(&self) -> bool {
        self.cert_pem.trim().is_empty()
    }
}

/// A string that must never be shown. Its `Debug` says nothing.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// The text itself, for the one place that sends or parses it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("«secret»")
    }
}
