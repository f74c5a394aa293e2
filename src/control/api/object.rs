//! Sources, targets and TLS bundles: list, create, read, replace, patch, delete.

use std::sync::Arc;

use axum::{
    Extension,
    body::Bytes,
    extract::{Path, State, rejection::BytesRejection},
};
use http::{HeaderMap, header};
use serde_json::{Value, json};

use super::{
    Shared,
    answer::{self, Answer},
};
use crate::{
    config::Kind,
    control::{registry::IfMatch, token::Caller},
    fault::Fault,
    limits,
};

pub(super) type Body = Result<Bytes, BytesRejection>;

pub async fn list(kind: Kind, State(shared): State<Arc<Shared>>) -> Answer {
    let views = shared.registry().list(kind);
    let items: Vec<Value> = views.into_iter().map(|view| Value::Object(view.fields)).collect();
    Ok(answer::ok(&json!({ kind.list_wrapper(): items })))
}

pub async fn read(kind: Kind, State(shared): State<Arc<Shared>>, Path(name): Path<String>) -> Answer {
    let view = shared.registry().read(kind, &name)?;
    Ok(answer::object(view))
}

pub async fn create(
    kind: Kind,
    State(shared): State<Arc<Shared>>,
    Extension(caller): Extension<Caller>,
    body: Body,
) -> Answer {
    let body = json_body(body)?;
    let view = shared.registry().create(kind, &body, &caller.describe()).await?;
    Ok(answer::object(view))
}

pub async fn replace(
    kind: Kind,
    State(shared): State<Arc<Shared>>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    let if_match = if_match(&headers);
    let body = json_body(body)?;
    let view = shared.registry().replace(kind, &name, &body, &if_match, &caller.describe()).await?;
    Ok(answer::object(view))
}

pub async fn patch(
    kind: Kind,
    State(shared): State<Arc<Shared>>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    let if_match = if_match(&headers);
    let body = json_body(body)?;
    let view = shared.registry().patch(kind, &name, &body, &if_match, &caller.describe()).await?;
    Ok(answer::object(view))
}

pub async fn delete(
    kind: Kind,
    State(shared): State<Arc<Shared>>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Answer {
    shared.registry().delete(kind, &name, &if_match(&headers), &caller.describe()).await?;
    Ok(answer::ok(&json!({})))
}

/// The body as JSON, whatever its content type says: clients in the field do not always say it.
pub(super) fn json_body(body: Body) -> Result<Value, Fault> {
    let bytes = body.map_err(|_| {
        let text = format!("could not be read; at most {} bytes are taken", limits::REQUEST_BODY_BYTES_MAX);
        Fault::invalid("request body", text)
    })?;
    // The error of serde_json gives a place, never the text itself.
    serde_json::from_slice(&bytes).map_err(|error| Fault::invalid("request body", format!("is not JSON: {error}")))
}

/// `If-Match`: a weak tag never matches (RFC 9110 §13.1.1), nor does one that is not ours.
fn if_match(headers: &HeaderMap) -> IfMatch {
    let values: Vec<&str> =
        headers.get_all(header::IF_MATCH).iter().map(|value| value.to_str().unwrap_or_default()).collect();
    if values.is_empty() {
        return IfMatch::Whatever;
    }
    let tags: Vec<&str> = values.iter().flat_map(|value| value.split(',')).map(str::trim).collect();
    if tags.contains(&"*") {
        return IfMatch::Any;
    }
    IfMatch::OneOf(tags.iter().filter_map(|tag| tag.trim_matches('"').parse().ok()).collect())
}
