//! `create`, `update`, `get`, `list` and `delete` of objects, with a word on what to do next.

use std::path::Path;

use http::Method;
use serde_json::{Map, Value, json};

use super::{
    access,
    client::{Client, path_segment},
    grammar::{Access, ListNoun, NamedNoun, ObjectNoun, OutputFormat, SourceFlags, TargetFlags, TlsBundleFlags},
    print,
    table::Table,
};
use crate::{
    config::Kind,
    control::keys,
    fault::{Fault, Kind as FaultKind},
};

const BASE: &str = "/api/v2/logs";

pub fn create(noun: &ObjectNoun, access: &Access) -> Result<(), Fault> {
    let (kind, body) = document(noun)?;
    let client = access::client(access)?;
    let made = client.call(Method::POST, &format!("{BASE}/{}", kind.plural()), Some(&body))?;
    told(&client, access, kind, "created", &made)
}

pub fn update(noun: &ObjectNoun, access: &Access) -> Result<(), Fault> {
    let (kind, mut body) = document(noun)?;
    let name = body.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
    if let Some(fields) = body.as_object_mut() {
        fields.remove("name");
        if fields.is_empty() {
            return Err(Fault::new(FaultKind::Usage, "update", "nothing to change").way_out("give the fields as flags"));
        }
    }
    let client = access::client(access)?;
    let path = format!("{BASE}/{}/{}", kind.plural(), path_segment(&name));
    let made = client.call(Method::PATCH, &path, Some(&body))?;
    told(&client, access, kind, "updated", &made)
}

pub fn get(noun: &NamedNoun, access: &Access) -> Result<(), Fault> {
    let (kind, name) = noun.parts();
    let nouns = kind.map_or("collectors", Kind::plural);
    let shown = access::client(access)?.call(Method::GET, &format!("{BASE}/{nouns}/{}", path_segment(name)), None)?;
    let human = |value: &Value| print::plain(&serde_norway::to_string(value).unwrap_or_default());
    print::value(access.output_format, &shown, human)
}

pub fn delete(noun: &NamedNoun, access: &Access) -> Result<(), Fault> {
    let (kind, name) = noun.parts();
    let Some(kind) = kind else {
        return Err(Fault::new(FaultKind::Usage, "delete", "a collector cannot be deleted: it is a node that runs"));
    };
    let path = format!("{BASE}/{}/{}", kind.plural(), path_segment(name));
    let answer = access::client(access)?.call(Method::DELETE, &path, None)?;
    print::value(access.output_format, &answer, |_| format!("{} {name} deleted\n", kind.singular()))
}

pub fn list(noun: ListNoun, access: &Access) -> Result<(), Fault> {
    let (nouns, wrapper) = match noun {
        ListNoun::Sources => ("sources", "sources"),
        ListNoun::Targets => ("targets", "targets"),
        ListNoun::TlsBundles => ("tls-bundles", "tlsBundles"),
        ListNoun::Collectors => ("collectors", "collectors"),
    };
    let answer = access::client(access)?.call(Method::GET, &format!("{BASE}/{nouns}"), None)?;
    print::value(access.output_format, &answer, |answer| {
        let items = answer.get(wrapper).and_then(Value::as_array).cloned().unwrap_or_default();
        let table = rows(noun, &items);
        if table.is_empty() { format!("no {nouns}\n") } else { table.render() }
    })
}

fn rows(noun: ListNoun, items: &[Value]) -> Table {
    let heading: &[&str] = match noun {
        ListNoun::Sources => &["NAME", "ENABLED", "FROM", "FORMAT", "MIN LEVEL", "TROUBLE"],
        ListNoun::Targets => &["NAME", "ENABLED", "TYPE", "TO", "MIN LEVEL", "TROUBLE"],
        ListNoun::TlsBundles => &["NAME", "SUBJECT", "NOT AFTER", "SHA256", "TROUBLE"],
        ListNoun::Collectors => &["NAME", "LAST SEEN", "ALLOY STATUS", "PIPELINE", "REV", "LAG"],
    };
    let mut table = Table::new(heading);
    for item in items {
        let text = |name: &str| item.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let enabled = || if item["enabled"] == Value::Bool(true) { "yes".to_owned() } else { "no".to_owned() };
        let trouble = || item["complaints"][0].as_str().unwrap_or_default().to_owned();
        let to = || if text("url").is_empty() { text("address") } else { text("url") };
        table.row(match noun {
            ListNoun::Sources => {
                vec![text("name"), enabled(), origin(item), text("logFormat"), text("minLevel"), trouble()]
            }
            ListNoun::Targets => vec![text("name"), enabled(), text("type"), to(), text("minLevel"), trouble()],
            ListNoun::TlsBundles => {
                let hash: String = text("sha256").chars().take(16).collect();
                vec![text("name"), text("subject"), text("notAfter"), hash, trouble()]
            }
            ListNoun::Collectors => {
                let health = text("pipelineHealth").replace("HEALTHY", "OK");
                let lag = format!("{:.0}s", item["lagSeconds"].as_f64().unwrap_or(0.0));
                vec![text("id"), text("lastSeen"), text("alloyStatus"), health, text("revision"), lag]
            }
        });
    }
    table
}

/// Where a source's lines come from, in one cell.
fn origin(source: &Value) -> String {
    if let Some(paths) = source["file"]["paths"].as_array() {
        return paths.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" ");
    }
    let journald = &source["journald"];
    let name = journald["identifier"].as_str().or_else(|| journald["unit"].as_str()).unwrap_or("*");
    format!("journald {name}")
}

/// Says what was done and what comes next.
fn told(client: &Client, access: &Access, kind: Kind, done: &str, made: &Value) -> Result<(), Fault> {
    if access.output_format != OutputFormat::HumanReadableFormat {
        return print::value(access.output_format, made, |_| String::new());
    }
    let name = made["name"].as_str().unwrap_or_default();
    let next = next_step(client, kind, name, made["enabled"] == Value::Bool(true));
    print::out(&format!("{} {name} {done}{next}\n", kind.singular()))
}

fn next_step(client: &Client, kind: Kind, name: &str, enabled: bool) -> String {
    let noun = kind.singular();
    let enabled_ones = |nouns: &str| {
        let answer = client.call(Method::GET, &format!("{BASE}/{nouns}"), None).unwrap_or(Value::Null);
        answer[nouns].as_array().is_some_and(|items| items.iter().any(|item| item["enabled"] == Value::Bool(true)))
    };
    match kind {
        Kind::TlsBundle => format!("; use it with `corelane update target NAME --tls-bundle={name}`"),
        _ if !enabled => format!(", disabled: enable with `corelane update {noun} {name} --enabled`"),
        Kind::Source if !enabled_ones("targets") => {
            ", enabled, but no enabled target: `corelane create target --help`".to_owned()
        }
        Kind::Target if !enabled_ones("sources") => {
            ", enabled, but no enabled source: `corelane create source --help`".to_owned()
        }
        _ => ", enabled: see it flow with `corelane status`".to_owned(),
    }
}

/// The document that flags describe.
fn document(noun: &ObjectNoun) -> Result<(Kind, Value), Fault> {
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
