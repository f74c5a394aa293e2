//! The HTTP side of the sink: what is decided before a push is decoded, and the faults planned for it.

use std::{
    collections::{HashSet, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Body, Incoming},
    header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap},
    service::service_fn,
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use tokio_rustls::TlsAcceptor;

use super::{
    LokiOptions, proto,
    store::{Answer, Now, Store},
};
use crate::{
    net::{Session, Watched},
    time::now_ns,
};

/// Bytes of a tenant name.
const TENANT_BYTES_MAX: usize = 150;
/// The tenant when authentication is off.
const TENANT_NONE: &str = "fake";

/// What goes wrong with a push.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// This answer, nothing stored. 260 is a 2xx that dropped the data.
    Answer(u16, String),
    /// As `Answer`, with a Retry-After header in seconds (Loki never sends one; gateways do).
    RetryAfter(u16, u32),
    /// Stored, then the connection is closed without an answer: the answer is lost.
    LoseAnswer,
    /// Nothing stored, the connection is closed without an answer.
    LoseRequest,
    /// Handled as usual, after a pause.
    Delay(Duration),
}

/// Which pushes a fault happens to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Share {
    Next(u64),
    For(Duration),
    UntilHealed,
}

enum Span {
    Requests(u64),
    Until(Instant),
    Always,
}

/// What the sessions of one sink share.
pub(crate) struct Shared {
    pub(crate) store: Store,
    auth: bool,
    body_bytes_max: usize,
    faults: VecDeque<(Span, Fault)>,
    /// Tenants whose ingestion is blocked (`block_ingestion_until`).
    blocked: HashSet<String>,
}

impl Shared {
    pub(crate) fn new(options: LokiOptions) -> Self {
        Self {
            auth: options.auth,
            body_bytes_max: options.limits.body_bytes_max,
            store: Store::new(options.limits, options.keep, options.verify),
            faults: VecDeque::new(),
            blocked: HashSet::new(),
        }
    }

    pub(crate) fn block(&mut self, tenant: &str, is_blocked: bool) {
        if is_blocked {
            self.blocked.insert(tenant.to_owned());
        } else {
            self.blocked.remove(tenant);
        }
    }

    pub(crate) fn plan(&mut self, share: Share, fault: Fault) {
        let span = match share {
            Share::Next(requests) => Span::Requests(requests),
            Share::For(time) => Span::Until(Instant::now() + time),
            Share::UntilHealed => Span::Always,
        };
        self.faults.push_back((span, fault));
    }

    pub(crate) fn heal(&mut self) {
        self.faults.clear();
    }

    /// The fault of the next push, if one is planned.
    fn fault(&mut self, now: Instant) -> Option<Fault> {
        loop {
            let (span, fault) = self.faults.front_mut()?;
            match span {
                Span::Requests(left) if *left > 0 => {
                    *left -= 1;
                    return Some(fault.clone());
                }
                Span::Until(end) if now < *end => return Some(fault.clone()),
                Span::Always => return Some(fault.clone()),
                Span::Requests(_) | Span::Until(_) => drop(self.faults.pop_front()),
            }
        }
    }
}

/// A connection that is to be closed without an answer.
#[derive(Debug)]
struct Dropped;

impl std::fmt::Display for Dropped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("closed on command")
    }
}

impl std::error::Error for Dropped {}

type Reply = Response<Full<Bytes>>;

/// Serves one connection to its end.
pub(crate) async fn serve(session: Session, acceptor: Option<TlsAcceptor>, shared: Arc<Watched<Shared>>) {
    let service = service_fn(move |request| handle(Arc::clone(&shared), request));
    let server = auto::Builder::new(TokioExecutor::new());
    // A connection that ends badly is the client's to complain of.
    match acceptor {
        None => drop(server.serve_connection(TokioIo::new(session), service).await),
        Some(acceptor) => {
            if let Ok(stream) = acceptor.accept(session).await {
                drop(server.serve_connection(TokioIo::new(stream), service).await);
            }
        }
    }
}

async fn handle(shared: Arc<Watched<Shared>>, request: Request<Incoming>) -> Result<Reply, Dropped> {
    match (request.method(), request.uri().path()) {
        (&Method::GET, "/ready") => Ok(reply(&Answer::new(200, "ready\n"), None)),
        (&Method::POST, "/loki/api/v1/push" | "/api/prom/push") => push(shared, request).await,
        (_, "/ready" | "/loki/api/v1/push" | "/api/prom/push") => Ok(reply(&Answer::new(405, ""), None)),
        _ => Ok(reply(&Answer::new(404, "404 page not found\n"), None)),
    }
}

async fn push(shared: Arc<Watched<Shared>>, request: Request<Incoming>) -> Result<Reply, Dropped> {
    let (auth, body_bytes_max) = shared.read(|shared| (shared.auth, shared.body_bytes_max));
    let (parts, body) = request.into_parts();
    let too_large = || Answer::new(413, format!("request body too large, limit: {body_bytes_max} bytes"));
    let fault = shared.update(|shared| {
        shared.store.counters.requests += 1;
        shared.fault(Instant::now())
    });
    if body.size_hint().lower() > body_bytes_max as u64 {
        return Ok(finish(&shared, &too_large(), None));
    }
    let body = match Limited::new(body, body_bytes_max).collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) if error.is::<http_body_util::LengthLimitError>() => return Ok(finish(&shared, &too_large(), None)),
        Err(_) => return Err(Dropped),
    };
    shared.update(|shared| shared.store.counters.body_bytes += body.len() as u64);
    let lose_answer = match fault {
        Some(Fault::Answer(status, text)) => return Ok(finish(&shared, &Answer::new(status, text), None)),
        Some(Fault::RetryAfter(status, after)) => return Ok(finish(&shared, &Answer::new(status, ""), Some(after))),
        Some(Fault::LoseRequest) => return Err(Dropped),
        Some(Fault::Delay(pause)) => {
            tokio::time::sleep(pause).await;
            false
        }
        Some(Fault::LoseAnswer) => true,
        None => false,
    };
    let answer = take(&shared, auth, &parts.headers, &body);
    if lose_answer {
        shared.update(|shared| shared.store.counters.answers_lost += 1);
        return Err(Dropped);
    }
    Ok(finish(&shared, &answer, None))
}

/// Everything between a whole body and the answer.
fn take(shared: &Watched<Shared>, auth: bool, headers: &HeaderMap, body: &[u8]) -> Answer {
    let tenant = match tenant(auth, headers) {
        Ok(tenant) => tenant,
        Err(answer) => return answer,
    };
    if let Some(answer) = unsupported(headers) {
        return answer;
    }
    if shared.read(|shared| shared.blocked.contains(&tenant)) {
        return Answer::new(260, format!("ingestion blocked for user {tenant}"));
    }
    let claim_max = shared.read(|shared| shared.body_bytes_max);
    let (request, bytes) = match proto::decode(body, claim_max) {
        Ok(decoded) => decoded,
        Err(malformed) => return Answer::new(400, malformed.to_string()),
    };
    let now = Now { wall_ns: now_ns(), mono: Instant::now() };
    shared.update(|shared| shared.store.push(&tenant, request, bytes, now))
}

fn tenant(auth: bool, headers: &HeaderMap) -> Result<String, Answer> {
    if !auth {
        return Ok(TENANT_NONE.to_owned());
    }
    let Some(value) = headers.get("x-scope-orgid").filter(|value| !value.is_empty()) else {
        return Err(Answer::new(401, "no org id\n"));
    };
    let name = String::from_utf8_lossy(value.as_bytes()).into_owned();
    if name.len() > TENANT_BYTES_MAX {
        return Err(Answer::new(400, format!("tenant ID is too long: max {TENANT_BYTES_MAX} characters\n")));
    }
    if name.contains('|') {
        return Err(Answer::new(400, "multiple org IDs present\n"));
    }
    let safe = |c: char| c.is_ascii_alphanumeric() || "!-_.*'()".contains(c);
    if let Some(bad) = name.chars().find(|c| !safe(*c)) {
        return Err(Answer::new(400, format!("tenant ID '{name}' contains unsupported character '{bad}'\n")));
    }
    if name == "." || name == ".." {
        return Err(Answer::new(400, "tenant ID is '.' or '..'\n"));
    }
    Ok(name)
}

/// The answer to a body of a kind that is not taken.
fn unsupported(headers: &HeaderMap) -> Option<Answer> {
    let text = |name| headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    let content_type = text(CONTENT_TYPE).unwrap_or_default();
    match content_type.split(';').next().unwrap_or_default().trim() {
        "" => return Some(Answer::new(400, "mime: no media type")),
        "application/x-protobuf" => {}
        other => return Some(Answer::new(415, format!("content type {other} is not taken by this receiver"))),
    }
    match text(CONTENT_ENCODING).as_deref() {
        None | Some("" | "snappy") => None,
        Some(other) => Some(Answer::new(400, format!("Content-Encoding \"{other}\" not supported"))),
    }
}

/// Counts an answer and makes it a response.
fn finish(shared: &Watched<Shared>, answer: &Answer, retry_after: Option<u32>) -> Reply {
    shared.update(|shared| *shared.store.counters.answers.entry(answer.status).or_default() += 1);
    reply(answer, retry_after)
}

fn reply(answer: &Answer, retry_after: Option<u32>) -> Reply {
    let mut response = Response::new(Full::new(Bytes::from(answer.text.clone())));
    *response.status_mut() = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    if let Some(seconds) = retry_after {
        response.headers_mut().insert("retry-after", seconds.into());
    }
    response
}
