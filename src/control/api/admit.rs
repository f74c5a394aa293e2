//! Who may: token or socket → caller → role → rate, around every request, each of which is noted in the access log.
//!
//! A stranger learns nothing, not even which paths there are, and not why a token was refused; the access log does.

use std::{
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use axum::{
    body::Body,
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use http::{Method, header};

use super::{
    OPENAPI_PATH, Shared,
    access::Entry,
    answer::{self, Refused},
    body,
    rate::{Buckets, Rate},
    server::{Peer, network},
};
use crate::{
    control::token::{Caller, Refusal},
    fault::{Fault, Kind},
    limits,
};

/// How often each caller, and each stranger's address, may ask.
pub struct Rates {
    began: Instant,
    callers: Mutex<Buckets<(String, String)>>,
    strangers: Mutex<Buckets<Option<IpAddr>>>,
}

impl Rates {
    pub fn new() -> Self {
        let callers = Rate::new(limits::API_REQUESTS_PER_SECOND, limits::API_REQUESTS_BURST);
        let strangers = Rate::new(limits::API_STRANGERS_PER_SECOND, limits::API_STRANGERS_BURST);
        Self {
            began: Instant::now(),
            callers: Mutex::new(Buckets::new(callers, limits::API_RATES_MAX)),
            strangers: Mutex::new(Buckets::new(strangers, limits::API_RATES_MAX)),
        }
    }

    fn caller(&self, caller: &Caller) -> Result<(), Duration> {
        let key = (caller.kid.clone(), caller.subject.clone());
        held(&self.callers).take(&key, self.began.elapsed())
    }

    fn stranger(&self, peer: Option<Peer>) -> Result<(), Duration> {
        let address = match peer {
            Some(Peer::Address(address)) => Some(network(address.ip())),
            Some(Peer::Local(_)) | None => None,
        };
        held(&self.strangers).take(&address, self.began.elapsed())
    }
}

impl Default for Rates {
    fn default() -> Self {
        Self::new()
    }
}

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A request that does not get in: the answer, and why for the log.
struct TurnedAway {
    answer: Refused,
    who: Option<String>,
    reason: &'static str,
}

/// Lets a request in when its caller is known, allowed and not too fast; gives up on one that takes too long.
pub async fn admit(State(shared): State<Arc<Shared>>, mut request: Request, next: Next) -> Response {
    let began = Instant::now();
    let peer = request.extensions().get::<Peer>().copied();
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let (response, who, reason) = match judge(&shared, &request, peer) {
        Ok(caller) => {
            let who = caller.as_ref().map(Caller::describe);
            if let Some(caller) = caller {
                request.extensions_mut().insert(caller);
            }
            let response = match tokio::time::timeout(limits::API_REQUEST_TIMEOUT, perform(request, next)).await {
                Ok(response) => response,
                Err(_) => too_long().into_response(),
            };
            (response, who, "")
        }
        Err(TurnedAway { answer, who, reason }) => {
            body::discard(request.into_body()).await;
            (answer.into_response(), who, reason)
        }
    };
    shared.access.note(&Entry {
        who: who.as_deref().unwrap_or("-"),
        peer: &peer_text(peer),
        method: &method,
        path: &path,
        status: response.status(),
        reason,
        took: began.elapsed(),
    });
    response
}

/// Reads the whole body before anything is decided about it: an answer that overtakes its request is lost on many a
/// client.
async fn perform(request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    match body::read(body).await {
        Ok(bytes) => answer::in_shape(next.run(Request::from_parts(parts, Body::from(bytes))).await),
        Err(fault) => Refused::from(fault).into_response(),
    }
}

fn too_long() -> Refused {
    Refused::from(Fault::new(Kind::Unavailable, "", "the request took too long"))
}

fn peer_text(peer: Option<Peer>) -> String {
    match peer {
        Some(Peer::Address(address)) => address.ip().to_canonical().to_string(),
        Some(Peer::Local(credentials)) => format!("pid:{}", credentials.pid),
        None => "-".to_owned(),
    }
}

/// Whoever asks, if they may ask this now; nobody for what is open to all.
fn judge(shared: &Shared, request: &Request, peer: Option<Peer>) -> Result<Option<Caller>, TurnedAway> {
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    if request.uri().path() == OPENAPI_PATH && reads {
        let may = shared.rates.stranger(peer);
        return may.map(|()| None).map_err(|pause| too_fast(pause, None));
    }
    let caller = match identify(shared, request, peer) {
        Ok(caller) => caller,
        Err(refusal) => {
            // Guessing has a rate; a good token never waits for a neighbour's guesses.
            shared.rates.stranger(peer).map_err(|pause| too_fast(pause, None))?;
            let answer = Refused::from(answer::unauthenticated());
            return Err(TurnedAway { answer, who: None, reason: refusal.as_str() });
        }
    };
    if let Err(pause) = shared.rates.caller(&caller) {
        return Err(too_fast(pause, Some(caller.describe())));
    }
    let may = if reads { caller.may_read() } else { caller.may_change() };
    match may {
        true => Ok(Some(caller)),
        false => {
            Err(TurnedAway { answer: answer::denied().into(), who: Some(caller.describe()), reason: "not allowed" })
        }
    }
}

fn identify(shared: &Shared, request: &Request, peer: Option<Peer>) -> Result<Caller, Refusal> {
    if let Some(Peer::Local(credentials)) = peer {
        // A token is not looked at here: the socket is read only for everybody.
        return Ok(Caller::local(credentials.uid));
    }
    let mut headers = request.headers().get_all(header::AUTHORIZATION).iter();
    let (Some(header), None) = (headers.next(), headers.next()) else { return Err(Refusal::NoToken) };
    let token = header.to_str().ok().and_then(bearer).ok_or(Refusal::NoToken)?;
    shared.verify(token)
}

fn too_fast(pause: Duration, who: Option<String>) -> TurnedAway {
    TurnedAway { answer: Refused::too_fast(pause), who, reason: "too many requests" }
}

/// The token of `Authorization: Bearer …`; the scheme in any case (RFC 9110 §11.1).
fn bearer(header: &str) -> Option<&str> {
    let (scheme, token) = header.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}
