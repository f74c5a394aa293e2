//! `create`, `update`, `get`, `list` and `delete` of objects, with a word on what to do next.

use http::Method;
use serde_json::Value;

use super::{
    access,
    client::path_segment,
    document::document,
    grammar::{Access, ListNoun, NamedNoun, ObjectNoun, Wait, Watch},
    next::{self, Change},
    print,
    screen::Screen,
    status,
    table::{Table, time},
    watch::{self, Line, View},
};
use crate::{
    config::Kind,
    fault::{Fault, Kind as FaultKind},
};

/// Where the objects are in the API.
pub const BASE: &str = "/api/v2/logs";

/// # Errors
/// The API refuses or cannot be reached, or what was waited for did not happen in time.
pub fn create(noun: &ObjectNoun, wait: &Wait, access: &Access) -> Result<(), Fault> {
    let (kind, body) = document(noun)?;
    let client = access::client(access)?;
    let made = client.call(Method::POST, &format!("{BASE}/{}", kind.plural()), Some(&body))?;
    next::tell(&client, access, wait, &Change::of(kind, "created", made))
}

/// # Errors
/// As `create`.
pub fn update(noun: &ObjectNoun, wait: &Wait, access: &Access) -> Result<(), Fault> {
    let (kind, mut body) = document(noun)?;
    let name = body.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
    if let Some(fields) = body.as_object_mut() {
        fields.remove("name");
        if fields.is_empty() {
            return Err(Fault::new(FaultKind::Usage, "update", "nothing to change").way_out("give the fields as flags"));
        }
    }
    let client = access::client(access)?;
    let made = client.call(Method::PATCH, &path(Some(kind), &name), Some(&body))?;
    next::tell(&client, access, wait, &Change::of(kind, "updated", made))
}

/// # Errors
/// As `create`.
pub fn delete(noun: &NamedNoun, wait: &Wait, access: &Access) -> Result<(), Fault> {
    let (kind, name) = noun.parts();
    let Some(kind) = kind else {
        return Err(Fault::new(FaultKind::Usage, "delete", "a collector cannot be deleted: it is a node that runs"));
    };
    let client = access::client(access)?;
    let answer = client.call(Method::DELETE, &path(Some(kind), name), None)?;
    print::value(access, &answer, |_, _| format!("{} {name} deleted\n", kind.singular()))?;
    next::await_newest(&client, wait)
}

/// # Errors
/// The API refuses or cannot be reached.
pub fn get(noun: &NamedNoun, watch: &Watch, access: &Access) -> Result<(), Fault> {
    let (kind, name) = noun.parts();
    watch::show(&One { kind, name, access }, watch, access)
}

/// # Errors
/// The API refuses or cannot be reached.
pub fn list(noun: ListNoun, watch: &Watch, access: &Access) -> Result<(), Fault> {
    watch::show(&All { noun, access }, watch, access)
}

/// The path of one object; of a collector when it is of no kind.
fn path(kind: Option<Kind>, name: &str) -> String {
    format!("{BASE}/{}/{}", kind.map_or("collectors", Kind::plural), path_segment(name))
}

struct One<'a> {
    kind: Option<Kind>,
    name: &'a str,
    access: &'a Access,
}

impl View for One<'_> {
    fn look(&self) -> Result<Value, Fault> {
        access::client(self.access)?.call(Method::GET, &path(self.kind, self.name), None)
    }

    fn human(&self, value: &Value, _: &Screen) -> String {
        print::plain(&print::yaml(value).unwrap_or_default())
    }

    fn lines(&self, value: &Value) -> Vec<Line> {
        let text = print::plain(&print::yaml(value).unwrap_or_default());
        vec![Line { about: self.name.to_owned(), text: format!("---\n{}", text.trim_end()) }]
    }
}

struct All<'a> {
    noun: ListNoun,
    access: &'a Access,
}

impl All<'_> {
    fn nouns(&self) -> &'static str {
        match self.noun {
            ListNoun::Sources => "sources",
            ListNoun::Targets => "targets",
            ListNoun::TlsBundles => "tls-bundles",
            ListNoun::Collectors => "collectors",
        }
    }

    fn table(&self, answer: &Value) -> Table {
        let wrapper = if self.noun == ListNoun::TlsBundles { "tlsBundles" } else { self.nouns() };
        let mut table = Table::new(heading(self.noun));
        for item in answer.get(wrapper).and_then(Value::as_array).into_iter().flatten() {
            table.row(row(self.noun, item));
        }
        table
    }
}

impl View for All<'_> {
    fn look(&self) -> Result<Value, Fault> {
        access::client(self.access)?.call(Method::GET, &format!("{BASE}/{}", self.nouns()), None)
    }

    fn human(&self, answer: &Value, screen: &Screen) -> String {
        let table = self.table(answer);
        if table.is_empty() { format!("no {}\n", self.nouns()) } else { table.render(screen) }
    }

    fn lines(&self, answer: &Value) -> Vec<Line> {
        let table = self.table(answer);
        let text = table.render(&Screen::plain());
        let about = std::iter::once("").chain(table.names());
        text.lines().zip(about).map(|(text, about)| Line { about: about.to_owned(), text: text.to_owned() }).collect()
    }
}

fn heading(noun: ListNoun) -> &'static [&'static str] {
    match noun {
        ListNoun::Sources => &["NAME", "ENABLED", "FROM", "FORMAT", "MIN LEVEL", "TROUBLE"],
        ListNoun::Targets => &["NAME", "ENABLED", "TYPE", "TO", "SOURCES", "MIN LEVEL", "TROUBLE"],
        ListNoun::TlsBundles => &["NAME", "SUBJECT", "NOT AFTER", "SHA256", "TROUBLE"],
        ListNoun::Collectors => &["NAME", "LAST SEEN", "ALLOY STATUS", "PIPELINE", "REV", "LAG"],
    }
}

fn row(noun: ListNoun, item: &Value) -> Vec<String> {
    let text = |name: &str| item.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let enabled = || if item["enabled"] == Value::Bool(true) { "yes".to_owned() } else { "no".to_owned() };
    let to = || if text("url").is_empty() { text("address") } else { text("url") };
    match noun {
        ListNoun::Sources => {
            vec![text("name"), enabled(), origin(item), text("logFormat"), text("minLevel"), trouble(item)]
        }
        ListNoun::Targets => {
            let sources = joined(&item["sources"], ",");
            vec![text("name"), enabled(), text("type"), to(), sources, text("minLevel"), trouble(item)]
        }
        ListNoun::TlsBundles => {
            let hash: String = text("sha256").chars().take(16).collect();
            vec![text("name"), text("subject"), text("notAfter"), hash, trouble(item)]
        }
        ListNoun::Collectors => {
            let lag = format!("{:.0}s", item["lagSeconds"].as_f64().unwrap_or(0.0));
            let revision = match text("desiredRevision") {
                desired if desired.is_empty() || desired == text("revision") => text("revision"),
                desired => format!("{} of {desired}", text("revision")),
            };
            vec![text("id"), time(&text("lastSeen")), text("alloyStatus"), status::health(item), revision, lag]
        }
    }
}

fn joined(texts: &Value, between: &str) -> String {
    texts.as_array().into_iter().flatten().filter_map(Value::as_str).collect::<Vec<_>>().join(between)
}

/// Everything wrong with an object.
fn trouble(item: &Value) -> String {
    joined(&item["complaints"], "; ")
}

/// Where a source's lines come from, in one cell.
fn origin(source: &Value) -> String {
    if source["file"]["paths"].is_array() {
        return joined(&source["file"]["paths"], " ");
    }
    let journald = &source["journald"];
    let name = journald["identifier"].as_str().or_else(|| journald["unit"].as_str()).unwrap_or("*");
    format!("journald {name}")
}
