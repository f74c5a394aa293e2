//! Sources, targets and TLS bundles: list, create, read, replace, patch, delete.

use std::sync::Arc;

use axum::{
    Extension,
    extract::{FromRequestParts, Path, State},
};
use http::{HeaderMap, header, request::Parts};
use serde_json::{Value, json};

use super::{
    Shared,
    answer::{self, Answer, Refused},
    body::{self, Body},
    health,
};
use crate::{
    config::{Kind, compile::advice, document::check_name},
    control::{
        registry::{IfMatch, View},
        token::Caller,
    },
    fault::Fault,
};

/// The name in a path, which could be one: no other gets as far as a look-up, an error text or the log.
pub struct Name(pub String);

impl<S: Send + Sync> FromRequestParts<S> for Name {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refused> {
        let Path(name) = Path::<String>::from_request_parts(parts, state)
            .await
            .map_err(|_| Fault::invalid("path", "the name is not UTF-8"))?;
        check_name(&name).map_err(|cause| Fault::invalid("path", cause))?;
        Ok(Self(name))
    }
}

pub async fn list(kind: Kind, State(shared): State<Arc<Shared>>) -> Answer {
    let views = shared.registry().list(kind);
    let items: Vec<Value> = views.into_iter().map(|view| Value::Object(advised(kind, view).fields)).collect();
    Ok(answer::ok(&json!({ kind.list_wrapper(): items })))
}

pub async fn read(kind: Kind, State(shared): State<Arc<Shared>>, Name(name): Name) -> Answer {
    let view = shared.registry().read(kind, &name)?;
    Ok(answer::object(advised(kind, view)))
}

pub async fn create(
    kind: Kind,
    State(shared): State<Arc<Shared>>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    let body = body::json(&headers, body)?;
    let view = shared.registry().create(kind, &body, &caller.describe()).await?;
    Ok(answer::object(advised(kind, view)))
}

pub async fn replace(
    kind: Kind,
    State(shared): State<Arc<Shared>>,
    Extension(caller): Extension<Caller>,
    Name(name): Name,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    let if_match = if_match(&headers);
    let body = body::json(&headers, body)?;
    let view = shared.registry().replace(kind, &name, &body, &if_match, &caller.describe()).await?;
    Ok(answer::object(advised(kind, view)))
}

pub async fn patch(
    kind: Kind,
    State(shared): State<Arc<Shared>>,
    Extension(caller): Extension<Caller>,
    Name(name): Name,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    let if_match = if_match(&headers);
    let body = body::json(&headers, body)?;
    let view = shared.registry().patch(kind, &name, &body, &if_match, &caller.describe()).await?;
    Ok(answer::object(advised(kind, view)))
}

pub async fn delete(
    kind: Kind,
    State(shared): State<Arc<Shared>>,
    Extension(caller): Extension<Caller>,
    Name(name): Name,
    headers: HeaderMap,
) -> Answer {
    shared.registry().delete(kind, &name, &if_match(&headers), &caller.describe()).await?;
    Ok(answer::ok(&json!({})))
}

/// With what a person should know of it: a TLS bundle can be good and a peer refuse it.
fn advised(kind: Kind, mut view: View) -> View {
    if kind == Kind::TlsBundle {
        let pem = |name: &str| view.fields.get(name).and_then(Value::as_str).unwrap_or_default();
        let warnings = advice::warnings(pem("caPem"), pem("certPem"), health::now());
        if !warnings.is_empty() {
            view.fields.insert("warnings".to_owned(), json!(warnings));
        }
    }
    view
}

/// `If-Match`: a weak tag never matches (RFC 9110 §13.1.1), nor does one that is not ours.
fn if_match(headers: &HeaderMap) -> IfMatch {
    let values: Vec<&str> =
        headers.get_all(header::IF_MATCH).iter().map(|value| value.to_str().unwrap_or_default()).collect();
    if values.is_empty() {
        return IfMatch::Whatever;
    }
    if let [only] = values.as_slice()
        && only.trim() == "*"
    {
        return IfMatch::Any;
    }
    let tags = values.iter().flat_map(|value| value.split(',')).map(str::trim);
    IfMatch::OneOf(tags.filter_map(own_tag).collect())
}

/// The revision of a strong tag as this API writes it.
fn own_tag(tag: &str) -> Option<u64> {
    let text = tag.strip_prefix('"')?.strip_suffix('"')?;
    text.parse().ok().filter(|revision: &u64| revision.to_string() == text)
}
