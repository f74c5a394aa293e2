//! The REST API: routes, who may use them, and what they share.
//!
//! The table of routes below is all there is; the OpenAPI document in `docs/` is held against it by a test. Every
//! request but that for the document needs a token or comes by the unix socket; reading needs the viewer's role,
//! everything else the admin's.

pub mod access;
pub mod admit;
pub mod answer;
pub mod body;
pub mod collector;
pub mod expiry;
pub mod health;
pub mod identity;
pub mod object;
pub mod rate;
pub mod revision;
pub mod server;
pub mod socket;
pub mod status;

#[cfg(test)]
mod tests;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock},
    time::{Duration, Instant},
};

use axum::{
    Router,
    extract::DefaultBodyLimit,
    middleware,
    response::{IntoResponse, Response},
    routing::{MethodRouter, get, post},
};
use http::{StatusCode, header};

use self::{
    access::AccessLog,
    admit::Rates,
    answer::error,
    expiry::Expiry,
    identity::{Identity, Look},
};
use super::{
    registry::Registry,
    store::Beat,
    token::{self, Caller, KeyRing, Refusal},
};
use crate::{config::Kind, limits, model::Nanos, plan::Plan, stats::Board};

/// The OpenAPI 3.1 document, kept by hand beside the other documentation.
pub const OPENAPI: &str = include_str!("../../../docs/openapi.json");
const OPENAPI_PATH: &str = "/api/openapi.json";

/// What all handlers share.
pub struct Shared {
    registry: Registry,
    keys: RwLock<KeyRing>,
    trend: Mutex<health::Trend>,
    rates: Rates,
    access: AccessLog,
    identity: Arc<Identity>,
    on_renewal: OnRenewal,
    expiry: Mutex<Expiry>,
    others: Mutex<Others>,
    pub board: Arc<Board>,
}

/// What other nodes last told, for when they cannot be asked, and whether each was heard of.
#[derive(Default)]
struct Others {
    known: Vec<(Beat, bool)>,
    heard: collector::Heard,
}

/// Called with the chain in PEM each time the API's certificate was renewed.
pub type OnRenewal = Box<dyn Fn(String) + Send + Sync>;

impl Shared {
    pub fn new(
        registry: Registry,
        keys: KeyRing,
        board: Arc<Board>,
        identity: Arc<Identity>,
        on_renewal: OnRenewal,
    ) -> Self {
        Self {
            registry,
            keys: RwLock::new(keys),
            trend: Mutex::default(),
            rates: Rates::new(),
            access: AccessLog::new(),
            identity,
            on_renewal,
            expiry: Mutex::default(),
            others: Mutex::default(),
            board,
        }
    }

    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    pub fn trend(&self) -> MutexGuard<'_, health::Trend> {
        self.trend.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn verify(&self, token: &str) -> Result<Caller, Refusal> {
        token::verify(token, &self.keys.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn look_at_certificate(&self) {
        match self.identity.look() {
            Look::Same => {}
            Look::Renewed(pem) => {
                tracing::info!("the API's certificate was renewed");
                (self.on_renewal)(pem);
            }
            Look::Refused(text) => tracing::warn!("{text}"),
        }
    }

    /// When the first certificate in use ends, what is to be said of them, and which are trouble.
    fn certificates(&self, plan: &Arc<Plan>, now: Nanos) -> (Option<Nanos>, Vec<String>, Vec<health::Component>) {
        let mut expiry = self.expiry.lock().unwrap_or_else(PoisonError::into_inner);
        expiry.update(plan, &self.identity.current(), now);
        (expiry.earliest(), expiry.warnings(now), expiry.components(now))
    }

    /// What other nodes last told; when nobody can be asked, what was known last, as of nodes not heard of.
    async fn others(&self) -> Vec<(Beat, bool)> {
        let asked = self.registry.store().collectors().await;
        let mut others = self.others.lock().unwrap_or_else(PoisonError::into_inner);
        let Others { known, heard } = &mut *others;
        match asked {
            Ok(beats) => *known = heard.look(beats, Instant::now()),
            Err(fault) => tracing::debug!("other nodes cannot be asked: {fault}"),
        }
        known.clone()
    }

    /// Tells the other nodes how this one is. Gives how long to wait if there is news and it is too early for it.
    pub async fn beat(&self) -> Option<Duration> {
        let record = collector::collector(self, health::now());
        let told = self.registry.store().put_collector(&record).await;
        told.unwrap_or_else(|fault| {
            tracing::debug!("the other nodes do not know how this one is: {fault}");
            None
        })
    }

    /// Looks at everything that may have changed outside: token keys, the objects directory, the trend of the counts,
    /// the API's certificate.
    pub fn tick(&self) {
        self.keys.write().unwrap_or_else(PoisonError::into_inner).refresh();
        self.registry().refresh();
        self.trend().sample(&self.board, health::now());
        self.look_at_certificate();
        // Stages reached are logged by this.
        let _ = self.certificates(&self.registry.plan(), health::now());
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
                .post(move |state, caller, head, body| object::create(kind, state, caller, head, body)),
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
        .layer(middleware::from_fn_with_state(Arc::clone(&shared), admit::admit))
        .layer(DefaultBodyLimit::max(limits::REQUEST_BODY_BYTES_MAX))
        .with_state(shared)
}

async fn openapi() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], OPENAPI).into_response()
}
