//! The target document: where lines go.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::schema::{Field, Shape, answer, built, later};

pub(crate) const SCHEMA: &[Field] = &[
    built("name", Shape::Text),
    built("enabled", Shape::Bool),
    built("type", Shape::Word { built: &["LOKI", "RSYSLOG", "CONSOLE"], later: &[] }),
    built("url", Shape::Text),
    built("tenant", Shape::Text),
    built("basicAuth", Shape::Object(&[built("username", Shape::Text), built("password", Shape::Secret)])),
    built("bearerToken", Shape::Secret),
    built("headers", Shape::TextMap),
    built("timeout", Shape::Text),
    built("address", Shape::Text),
    built("protocol", Shape::Word { built: &["tcp", "tls", "relp", "relp-tls"], later: &[] }),
    built("framing", Shape::Word { built: &["octet-counted", "newline"], later: &[] }),
    built("facility", Shape::TextOrNumber),
    built("maxMessageBytes", Shape::Amount),
    built("sdId", Shape::Text),
    built("permittedPeer", Shape::Text),
    built("serverName", Shape::Text),
    built("tlsBundle", Shape::Text),
    built("sources", Shape::Texts),
    built("minLevel", Shape::Level),
    built("output", Shape::Word { built: &["line", "message"], later: &[] }),
    built("queueBytes", Shape::Amount),
    built("maxAge", Shape::Text),
    built("tooOld", Shape::Word { built: &["quarantine", "drop", "restamp"], later: &[] }),
    built(
        "limits",
        Shape::Object(&[
            built("oldest", Shape::Text),
            built("ahead", Shape::Text),
            built("streamRate", Shape::Amount),
            built("streamBurst", Shape::Amount),
            built("streams", Shape::Amount),
        ]),
    ),
    later("proxy"),
    answer("complaints"),
    answer("managedBy"),
];

/// A target with its fields typed; what is not written is `None` or empty.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TargetDocument {
    pub name: String,
    pub enabled: bool,
    pub r#type: Option<String>,
    pub url: Option<String>,
    pub tenant: Option<String>,
    pub basic_auth: Option<BasicAuthDocument>,
    pub bearer_token: Option<String>,
    pub headers: BTreeMap<String, String>,
    pub timeout: Option<String>,
    pub address: Option<String>,
    pub protocol: Option<String>,
    pub framing: Option<String>,
    pub facility: Option<Amount>,
    pub max_message_bytes: Option<Amount>,
    pub sd_id: Option<String>,
    pub permitted_peer: Option<String>,
    pub server_name: Option<String>,
    pub tls_bundle: Option<String>,
    pub sources: Option<Vec<String>>,
    pub min_level: Option<String>,
    pub output: Option<String>,
    pub queue_bytes: Option<Amount>,
    pub max_age: Option<String>,
    pub too_old: Option<String>,
    pub limits: Option<LimitsDocument>,
}

/// What a Loki takes, where it is not what a stock one does.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LimitsDocument {
    pub oldest: Option<String>,
    pub ahead: Option<String>,
    pub stream_rate: Option<Amount>,
    pub stream_burst: Option<Amount>,
    pub streams: Option<Amount>,
}

/// HTTP basic authentication.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BasicAuthDocument {
    pub username: Option<String>,
    pub password: Option<String>,
}

/// A number, or a text with a unit.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub enum Amount {
    Number(u64),
    Text(String),
}
