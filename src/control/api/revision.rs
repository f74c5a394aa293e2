//! The configuration as a whole: many objects changed as one revision, the history, an old revision, the way back.
//!
//! `POST /api/v2/logs/revisions` makes the objects what they are wanted to be, all or none; with `dryRun` it only tells
//! what would become of them, with their documents before and after. What is refused stands in `details`, one entry
//! with kind, name and text for each complaint. Secrets are shown by placeholder, which means the secret that is kept
//! when it is written back.

use std::sync::Arc;

use axum::{
    Extension,
    extract::{Path, State},
};
use http::{HeaderMap, StatusCode};
use serde_json::{Map, Value, json};

use super::{
    Shared,
    answer::{self, Answer},
    body::{self, Body},
};
use crate::{
    config::{
        Kind,
        document::spelling::{camel, did_you_mean},
    },
    control::{
        registry::whole::{Objection, Outcome, Step, Wanted},
        store::Entry,
        token::Caller,
    },
    fault::{Fault, Kind as FaultKind},
};

/// The word that stands for the newest revision in a path.
const LATEST: &str = "latest";

pub async fn history(State(shared): State<Arc<Shared>>) -> Answer {
    let entries = shared.registry.history().await?;
    Ok(answer::ok(&json!({ "revisions": entries.iter().map(entry).collect::<Vec<_>>() })))
}

/// The documents of one revision, as `POST` takes them in `put`.
pub async fn read(State(shared): State<Arc<Shared>>, Path(revision): Path<String>) -> Answer {
    let revision = if revision == LATEST { None } else { Some(number(&revision)?) };
    let (revision, documents) = shared.registry.documents(revision).await?;
    let objects: Vec<Value> = documents
        .into_iter()
        .map(|(kind, fields)| {
            let kind = ("kind".to_owned(), Value::from(kind.singular()));
            Value::Object(std::iter::once(kind).chain(fields).collect())
        })
        .collect();
    Ok(answer::ok(&json!({"revision": revision.to_string(), "objects": objects})))
}

pub async fn make(
    State(shared): State<Arc<Shared>>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    let order = order(&body::json(&headers, body)?)?;
    let done = match order.dry_run {
        true => shared.registry.try_make(&order.wanted),
        false => shared.registry.make(&order.wanted, &caller.describe()).await,
    };
    match done {
        Ok(outcome) => Ok(answer::ok(&shown(&outcome, order.dry_run))),
        Err(Objection::Fault(fault)) => Err(fault.into()),
        Err(Objection::Complaints(complaints)) => {
            let details: Vec<Value> = complaints
                .iter()
                .map(|complaint| json!({"kind": complaint.kind, "name": complaint.name, "text": complaint.text}))
                .collect();
            let texts = complaints.iter().map(|c| format!("{} '{}': {}", c.kind, c.name, c.text));
            let message = texts.collect::<Vec<_>>().join("; ");
            Ok(answer::error_about(StatusCode::BAD_REQUEST, 3, &message, details))
        }
    }
}

pub async fn rollback(
    State(shared): State<Arc<Shared>>,
    Extension(caller): Extension<Caller>,
    Path(revision): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    let revision = number(&revision)?;
    let flags = match body {
        Ok(bytes) if bytes.is_empty() => Map::new(),
        body => fields(body::json(&headers, body)?, &["dryRun"])?,
    };
    let dry_run = flag(&flags, "dryRun")?;
    let would = shared.registry.try_rollback(revision).await?;
    if dry_run {
        return Ok(answer::ok(&shown(&would, true)));
    }
    let applied = shared.registry.rollback(revision, &caller.describe()).await?;
    let changes: Vec<Value> = applied
        .touched
        .iter()
        .map(|touched| json!({"kind": touched.kind, "name": touched.name, "action": touched.action.as_str()}))
        .collect();
    Ok(answer::ok(&json!({"revision": applied.revision.to_string(), "dryRun": false, "changes": changes})))
}

/// What a client wants of `POST`.
struct Order {
    wanted: Wanted,
    dry_run: bool,
}

fn order(body: &Value) -> Result<Order, Fault> {
    let order = fields(body.clone(), &["put", "delete", "prune", "dryRun"])?;
    let mut wanted = Wanted { prune: flag(&order, "prune")?, ..Wanted::default() };
    for (index, item) in list(&order, "put")?.iter().enumerate() {
        let mut document = item.clone();
        let word = document.as_object_mut().and_then(|fields| fields.remove("kind"));
        wanted.put.push((kind(word.as_ref(), &format!("put[{index}]"))?, document));
    }
    for (index, item) in list(&order, "delete")?.iter().enumerate() {
        let place = format!("delete[{index}]");
        let Some(name) = item["name"].as_str() else { return Err(Fault::invalid(place, "has no `name`")) };
        wanted.delete.push((kind(item.get("kind"), &place)?, name.to_owned()));
    }
    Ok(Order { wanted, dry_run: flag(&order, "dryRun")? })
}

/// The fields of an object, none of them unknown, in one spelling.
fn fields(value: Value, known: &[&str]) -> Result<Map<String, Value>, Fault> {
    let Value::Object(map) = value else { return Err(Fault::invalid("request body", "must be a JSON object")) };
    let mut out = Map::new();
    for (key, value) in map {
        let name = camel(&key);
        if !known.contains(&name.as_str()) {
            let hint = did_you_mean(&name, known.iter().copied());
            return Err(Fault::invalid("request body", format!("unknown field `{key}`{hint}")));
        }
        out.insert(name, value);
    }
    Ok(out)
}

fn flag(fields: &Map<String, Value>, name: &str) -> Result<bool, Fault> {
    match fields.get(name) {
        None | Some(Value::Null) => Ok(false),
        Some(Value::Bool(flag)) => Ok(*flag),
        Some(_) => Err(Fault::invalid("request body", format!("`{name}` must be true or false"))),
    }
}

fn list<'a>(fields: &'a Map<String, Value>, name: &str) -> Result<&'a [Value], Fault> {
    match fields.get(name) {
        None | Some(Value::Null) => Ok(&[]),
        Some(Value::Array(items)) => Ok(items),
        Some(_) => Err(Fault::invalid("request body", format!("`{name}` must be a list"))),
    }
}

fn kind(word: Option<&Value>, place: &str) -> Result<Kind, Fault> {
    let kind = word.and_then(Value::as_str).and_then(Kind::parse);
    kind.ok_or_else(|| Fault::invalid(place, "`kind` must be source, target or tls-bundle"))
}

fn number(revision: &str) -> Result<u64, Fault> {
    revision
        .parse()
        .map_err(|_| Fault::new(FaultKind::Invalid, "", format!("{revision:?} is not the number of a revision")))
}

fn entry(entry: &Entry) -> Value {
    let touched: Vec<Value> = entry
        .touched
        .iter()
        .map(|touched| json!({"kind": touched.kind, "name": touched.name, "action": touched.action.as_str()}))
        .collect();
    json!({
        "revision": entry.revision.to_string(), "at": entry.at, "who": entry.who, "what": entry.what,
        "touched": touched,
    })
}

/// An outcome; with documents when nothing was done yet, for whoever wants to compare.
fn shown(outcome: &Outcome, dry_run: bool) -> Value {
    let change = |step: &Step| {
        let mut change = json!({"kind": step.kind.singular(), "name": step.name, "action": step.action()});
        if dry_run {
            change["before"] = json!(step.before);
            change["after"] = json!(step.after);
        }
        change
    };
    json!({
        "revision": outcome.revision.to_string(),
        "dryRun": dry_run,
        "changes": outcome.steps.iter().map(change).collect::<Vec<_>>(),
    })
}
