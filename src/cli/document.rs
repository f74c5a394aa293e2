//! From the flags of `create` and `update` to the document the API takes.
//!
//! Only what was given becomes a field; what it may hold is judged by the API.

use std::path::Path;

use serde_json::{Map, Value, json};

use super::grammar::{ObjectNoun, SourceFlags, TargetFlags, TlsBundleFlags};
use crate::{
    config::Kind,
    control::keys,
    fault::{Fault, Kind as FaultKind},
};

/// The document that flags describe.
///
/// # Errors
/// A flag is malformed, or a file it names cannot be read.
pub fn document(noun: &ObjectNoun) -> Result<(Kind, Value), Fault> {
    Ok(match noun {
        ObjectNoun::Source(flags) => (Kind::Source, source(flags)?),
        ObjectNoun::Target(flags) => (Kind::Target, target(flags)?),
        ObjectNoun::TlsBundle(flags) => (Kind::TlsBundle, tls_bundle(flags)?),
    })
}

/// Fields that were given, and no others.
#[derive(Default)]
struct Fields(Map<String, Value>);

impl Fields {
    fn text(&mut self, name: &str, value: Option<&String>) {
        if let Some(value) = value {
            self.0.insert(name.to_owned(), json!(value));
        }
    }

    fn texts(&mut self, name: &str, values: &[String]) {
        if !values.is_empty() {
            self.0.insert(name.to_owned(), json!(values));
        }
    }

    fn map(&mut self, name: &str, flag: &str, pairs: &[String]) -> Result<(), Fault> {
        let mut map = Map::new();
        for pair in pairs {
            let Some((key, value)) = pair.split_once('=') else {
                return Err(Fault::new(FaultKind::Usage, flag, format!("{pair:?} is not NAME=VALUE")));
            };
            map.insert(key.to_owned(), json!(value));
        }
        self.object(name, map);
        Ok(())
    }

    fn object(&mut self, name: &str, map: Map<String, Value>) {
        if !map.is_empty() {
            self.0.insert(name.to_owned(), Value::Object(map));
        }
    }

    fn file(&mut self, name: &str, path: Option<&Path>) -> Result<(), Fault> {
        if let Some(path) = path {
            self.0.insert(name.to_owned(), json!(keys::read_text(path)?));
        }
        Ok(())
    }

    /// A file that holds one secret, and maybe a newline after it.
    fn secret(&mut self, name: &str, path: Option<&Path>) -> Result<(), Fault> {
        if let Some(path) = path {
            self.0.insert(name.to_owned(), json!(keys::read_text(path)?.trim_end_matches(['\r', '\n'])));
        }
        Ok(())
    }

    fn enabled(&mut self, value: Option<bool>) {
        if let Some(value) = value {
            self.0.insert("enabled".to_owned(), json!(value));
        }
    }
}

fn source(flags: &SourceFlags) -> Result<Value, Fault> {
    let mut fields = Fields::default();
    fields.text("name", Some(&flags.name.as_str().to_owned()));
    let mut journald = Fields::default();
    journald.text("identifier", flags.journald_id.as_ref());
    journald.text("unit", flags.journald_unit.as_ref());
    journald.texts("matches", &flags.journald_match);
    journald.text("namespace", flags.journald_namespace.as_ref());
    journald.text("directory", flags.journald_directory.as_ref());
    fields.object("journald", journald.0);
    if flags.journald {
        fields.0.entry("journald").or_insert_with(|| json!({}));
    }
    let mut file = Fields::default();
    file.texts("paths", &flags.file);
    file.texts("exclude", &flags.exclude);
    fields.object("file", file.0);
    fields.text("logFormat", flags.log_format.as_ref());
    fields.text("minLevel", flags.min_level.as_ref());
    fields.enabled(flags.enabled);
    fields.text("startAt", flags.start_at.as_ref());
    fields.map("labels", "--label", &flags.label)?;
    fields.texts("metadata", &flags.metadata);
    fields.text("tenant", flags.tenant.as_ref());
    Ok(Value::Object(fields.0))
}

fn target(flags: &TargetFlags) -> Result<Value, Fault> {
    let mut fields = Fields::default();
    fields.text("name", Some(&flags.name.as_str().to_owned()));
    for (name, value) in [
        ("type", &flags.kind),
        ("url", &flags.url),
        ("tenant", &flags.tenant),
        ("timeout", &flags.timeout),
        ("address", &flags.address),
        ("protocol", &flags.protocol),
        ("framing", &flags.framing),
        ("facility", &flags.facility),
        ("maxMessageBytes", &flags.max_message_bytes),
        ("sdId", &flags.sd_id),
        ("permittedPeer", &flags.permitted_peer),
        ("serverName", &flags.server_name),
        ("tlsBundle", &flags.tls_bundle),
        ("minLevel", &flags.min_level),
        ("output", &flags.output),
        ("queueBytes", &flags.queue_bytes),
    ] {
        fields.text(name, value.as_ref());
    }
    let mut basic = Fields::default();
    basic.text("username", flags.username.as_ref());
    basic.secret("password", flags.password_file.as_deref())?;
    fields.object("basicAuth", basic.0);
    fields.secret("bearerToken", flags.bearer_token_file.as_deref())?;
    fields.map("headers", "--header", &flags.header)?;
    fields.texts("sources", &flags.sources);
    fields.enabled(flags.enabled);
    Ok(Value::Object(fields.0))
}

fn tls_bundle(flags: &TlsBundleFlags) -> Result<Value, Fault> {
    let mut fields = Fields::default();
    fields.text("name", Some(&flags.name.as_str().to_owned()));
    fields.file("caPem", flags.ca_file.as_deref())?;
    fields.file("certPem", flags.cert_file.as_deref())?;
    fields.file("keyPem", flags.key_file.as_deref())?;
    Ok(Value::Object(fields.0))
}
