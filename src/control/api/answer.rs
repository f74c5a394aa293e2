//! Answers: JSON bodies, `ETag`, and the one shape of errors that clients in the field know.

use std::{fmt::Display, time::Duration};

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use http::{HeaderValue, StatusCode, header};
use serde_json::{Value, json};
use xxhash_rust::xxh3::xxh3_64;

use crate::{
    control::registry::View,
    fault::{Fault, Kind},
};

/// What a handler gives: a JSON answer, or a fault that becomes one.
pub type Answer = Result<Response, Refused>;

/// What a request is refused with.
#[derive(Debug)]
pub struct Refused {
    status: StatusCode,
    code: u8,
    message: String,
    /// Seconds until a next try makes sense.
    retry_after: Option<u64>,
}

impl Refused {
    /// 429, with a `Retry-After` that covers `pause`.
    pub fn too_fast(pause: Duration) -> Self {
        let message = "too many requests; try again later".to_owned();
        let retry_after = Some(pause.as_secs() + u64::from(pause.subsec_nanos() > 0));
        Self { status: StatusCode::TOO_MANY_REQUESTS, code: 8, message, retry_after }
    }

    /// 415: the body is of a media type that is not taken.
    pub fn unsupported_media(message: String) -> Self {
        Self { status: StatusCode::UNSUPPORTED_MEDIA_TYPE, code: 3, message, retry_after: None }
    }
}

impl From<Fault> for Refused {
    fn from(fault: Fault) -> Self {
        let (status, code) = codes(fault.kind());
        Self { status, code, message: fault.to_string(), retry_after: None }
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let mut response = error(self.status, self.code, &self.message);
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

/// HTTP status and gRPC code of a fault.
fn codes(kind: Kind) -> (StatusCode, u8) {
    match kind {
        Kind::Usage | Kind::Invalid => (StatusCode::BAD_REQUEST, 3),
        Kind::NotFound => (StatusCode::NOT_FOUND, 5),
        Kind::Conflict => (StatusCode::CONFLICT, 6),
        Kind::Unauthenticated => (StatusCode::UNAUTHORIZED, 16),
        Kind::Forbidden => (StatusCode::FORBIDDEN, 7),
        Kind::Stale => (StatusCode::PRECONDITION_FAILED, 9),
        Kind::Exhausted => (StatusCode::TOO_MANY_REQUESTS, 8),
        Kind::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, 14),
        Kind::Io | Kind::Internal => (StatusCode::INTERNAL_SERVER_ERROR, 13),
    }
}

/// An error in its fixed shape.
pub fn error(status: StatusCode, code: u8, message: &str) -> Response {
    error_about(status, code, message, Vec::new())
}

/// An error in its fixed shape, with what it is about.
pub fn error_about(status: StatusCode, code: u8, message: &str, details: Vec<Value>) -> Response {
    let body = json!({"error": message, "code": code, "message": message, "details": details});
    let mut response = with_status(status, &body);
    if status == StatusCode::UNAUTHORIZED {
        response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    response
}

/// An answer as it is, or, should the router have refused a request in words of its own, in the shape of all errors.
pub fn in_shape(response: Response) -> Response {
    let status = response.status();
    let ours = response.headers().get(header::CONTENT_TYPE).is_some_and(|kind| kind == "application/json");
    if ours || status.is_success() {
        return response;
    }
    let (code, message) = match status.as_u16() {
        500.. => (13, "the request could not be handled"),
        _ => (3, "the path or the request is malformed"),
    };
    error(status, code, message)
}

/// 200 with a JSON body.
pub fn ok(body: &Value) -> Response {
    with_status(StatusCode::OK, body)
}

/// 200 with an object and its `ETag`.
pub fn object(view: View) -> Response {
    tagged(&Value::Object(view.fields), view.revision)
}

/// 200 with what is only read; its `ETag` is that of its content.
pub fn reading(body: &Value) -> Response {
    tagged(body, format_args!("{:016x}", xxh3_64(body.to_string().as_bytes())))
}

fn tagged(body: &Value, tag: impl Display) -> Response {
    let mut response = ok(body);
    if let Ok(tag) = HeaderValue::from_str(&format!("\"{tag}\"")) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    response
}

fn with_status(status: StatusCode, body: &Value) -> Response {
    let mut response = Response::new(Body::from(body.to_string()));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// `authenticated, but may not`.
pub fn denied() -> Fault {
    Fault::new(Kind::Forbidden, "", "Permission denied.")
}

/// `no good token`; says nothing of why.
pub fn unauthenticated() -> Fault {
    Fault::new(Kind::Unauthenticated, "", "Unauthorized: authentication failed.")
}
