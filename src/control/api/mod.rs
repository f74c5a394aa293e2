//! The REST API: routes, who may use them, and what they share.
//!
//! The table of routes below is all there is; the OpenAPI document in `docs/` is held against it by a test. Every
//! request but that for the document needs a token; reading needs the viewer's role, everything else the admin's.

pub mod answer;
pub mod collector;
pub mod health;
pub mod object;
pub mod revision;
pub mod server;
pub mod status;

#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use axum::{
    Router,
    extract::{DefaultBodyLimit, Request, State},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{MethodRouter, get, post},
};
use http::{Method, StatusCode, header};

use self::answer::{Refused, error};
use super::{
    registry::Registry,
    token::{Caller, KeyRing},
};
use crate::{
    config::Kind,
    fault::{Fault, Kind as FaultKind},
    limits,
    stats::Board,
};

/// The OpenAPI 3.1 document, kept by hand beside the other documentation.
pub const OPENAPI: &str = include_str!("../../../docs/openapi.json");
const OPENAPI_PATH: &str = "/api/openapi.json";

/// What all handlers share.
pub struct Shared {
    registry: Registry,
    keys: RwLock<KeyRing>,
    trend: Mutex<health::Trend>,
    pub board: Arc<Board>,
}

impl Shared {
    pub fn new(registry: Registry, keys: KeyRing, board: Arc<Board>) -> Self {
        let trend = Mutex::new(health::Trend::default());
        Self { registry, keys: RwLock::new(keys), trend, board }
    }

    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    pub fn trend(&self) -> MutexGuard<'_, health::Trend> {
        self.trend.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn verify(&self, token: &str) -> Option<Caller> {
        self.keys.read().unwrap_or_else(PoisonError::into_inner).verify(token)
    }

    /// Looks at everything that may have changed outside: token keys, the objects directory, the trend of the counts.
    pub fn tick(&self) {
        self.keys.write().unwrap_or_else(PoisonError::into_inner).refresh();
        self.registry().poll_directory();
        self.trend().sample(&self.board, health::now());
    }
}

/// One path and what it answers to.
struct Route {
    path: String,
    /// What `handler` takes, for the comparison with the OpenAPI document.
    #[cfg_attr(not(test), expect(dead_code, reason = "only the tests compare"))]
    methods: &'static [&'static str],
    handler: MethodRouter<Arc<Shared>>,
}

fn routes() -> Vec<Route> {
    let mut routes = Vec::new();
    for kind in Kind::ALL {
        routes.push(Route {
            path: format!("/api/v2/logs/{}", kind.plural()),
            methods: &["get", "post"],
            handler: get(move |state| object::list(kind, state))
                .post(move |state, caller, body| object::create(kind, state, caller, body)),
        });
        routes.push(Route {
            path: format!("/api/v2/logs/{}/{{name}}", kind.plural()),
            methods: &["get", "put", "patch", "delete"],
            handler: get(move |state, path| object::read(kind, state, path))
                .put(move |state, caller, path, head, body| object::replace(kind, state, caller, path, head, body))
                .patch(move |state, caller, path, head, body| object::patch(kind, state, caller, path, head, body))
                .delete(move |state, caller, path, head| object::delete(kind, state, caller, path, head)),
        });
    }
    let plain: [(&str, MethodRouter<Arc<Shared>>); 5] = [
        ("/api/v2/logs/collectors", get(collector::list)),
        ("/api/v2/logs/collectors/{id}", get(collector::read)),
        ("/api/v2/logs/status", get(status::read)),
        ("/api/v2/logs/revisions/{revision}", get(revision::read)),
        (OPENAPI_PATH, get(openapi)),
    ];
    routes.push(Route {
        path: "/api/v2/logs/revisions".to_owned(),
        methods: &["get", "post"],
        handler: get(revision::history).post(revision::make),
    });
    routes.push(Route {
        path: "/api/v2/logs/revisions/{revision}/rollback".to_owned(),
        methods: &["post"],
        handler: post(revision::rollback),
    });
    routes.extend(plain.map(|(path, handler)| Route { path: path.to_owned(), methods: &["get"], handler }));
    routes
}

/// The whole API as a service.
pub fn router(shared: Arc<Shared>) -> Router {
    let mut router = Router::new();
    for route in routes() {
        router = router.route(&route.path, route.handler);
    }
    router
        .fallback(async || error(StatusCode::NOT_FOUND, 5, "there is nothing at this path"))
        .method_not_allowed_fallback(async || {
            error(StatusCode::METHOD_NOT_ALLOWED, 12, "this path does not take this method")
        })
        .layer(middleware::from_fn_with_state(Arc::clone(&shared), admit))
        .layer(DefaultBodyLimit::max(limits::REQUEST_BODY_BYTES_MAX))
        .with_state(shared)
}

/// Lets a request in when its token and role allow it, and gives up on one that takes too long.
async fn admit(State(shared): State<Arc<Shared>>, mut request: Request, next: Next) -> Response {
    if request.uri().path() != OPENAPI_PATH {
        let header = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let Some(caller) = header.and_then(bearer).and_then(|token| shared.verify(token)) else {
            return Refused(answer::unauthenticated()).into_response();
        };
        let reads = matches!(*request.method(), Method::GET | Method::HEAD);
        let may = if reads { caller.may_read() } else { caller.may_change() };
        if !may {
            return Refused(answer::denied()).into_response();
        }
        request.extensions_mut().insert(caller);
    }
    match tokio::time::timeout(limits::API_REQUEST_TIMEOUT, next.run(request)).await {
        Ok(response) => response,
        Err(_) => Refused(Fault::new(FaultKind::Unavailable, "", "the request took too long")).into_response(),
    }
}

/// The token of `Authorization: Bearer …`; the scheme in any case (RFC 9110 §11.1).
fn bearer(header: &str) -> Option<&str> {
    let (scheme, token) = header.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

async fn openapi() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], OPENAPI).into_response()
}
