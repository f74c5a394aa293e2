//! The control plane: objects in, plans out, the API in between.
//!
//! `Control::start` does everything that can fail before it returns — keys, store, first plan, socket, certificate — so
//! that a node either has a control plane or says in one line why not. It then runs on a thread of its own and never
//! makes a lane wait: plans go out by a callback, reports come in by the board.

pub mod api;
pub mod keys;
pub mod registry;
pub mod seal;
pub mod store;
mod telling;
pub mod token;

use std::{
    net::{SocketAddr, TcpListener},
    sync::Arc,
    thread::JoinHandle,
};

use tokio::{sync::watch, time::MissedTickBehavior};

use self::{
    api::{
        OnRenewal, Shared,
        identity::Identity,
        server::{self, Bounds, Doors},
        socket::Socket,
    },
    keys::Endpoint,
    registry::{OnPlan, Registry},
    store::Store,
    token::KeyRing,
};
use crate::{config::NodeConfig, fault::Fault, limits, plan::Plan, stats::Board};

/// A running control plane.
pub struct Control {
    address: SocketAddr,
    shared: Arc<Shared>,
    stop: watch::Sender<bool>,
    thread: JoinHandle<()>,
}

/// Opens the store, compiles, calls `on_plan` with the first plan, binds, and then runs on the thread `control`.
///
/// # Errors
/// The state directory cannot be used, the address is taken, or a certificate or key is bad. Nothing is left running.
pub fn start(config: &NodeConfig, board: Arc<Board>, on_plan: OnPlan) -> Result<Control, Fault> {
    // Nothing is made before it is known that it will be needed.
    let (listener, address) = bind(config.listen)?;
    // The lock of the store comes next: what follows writes into a directory that is then known to be ours.
    let store = Store::open(config)?;
    let keys = keys::ensure(config)?;
    let certificate = config.tls_cert.as_ref().unwrap_or(&keys.server_cert);
    let key = config.tls_key.as_ref().unwrap_or(&keys.server_key);
    let identity = Arc::new(Identity::load(certificate, key)?);
    let endpoint = Endpoint {
        endpoint: keys::local_url(address),
        certificate_pem: identity.current().pem.clone(),
        token_file: keys.token.clone(),
    };
    // On a full disk lines flow all the same; the command line finds its way once there is room.
    let told =
        endpoint.publish(config).inspect_err(|fault| tracing::warn!("not written, tried again: {fault}")).is_ok();
    let untold = (!told).then(|| (endpoint.clone(), config.clone()));
    // Only the group's way in: without it the API is still there.
    let socket = Socket::bind(config).inspect_err(|fault| tracing::warn!("no unix socket: {fault}")).ok();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Fault::io("control", &error))?;
    let ring = KeyRing::open([Some(keys.public), config.jwt_keys.clone()].into_iter().flatten().collect());
    let registry = Registry::open(config, store, on_plan);
    let shared =
        Arc::new(Shared::new(registry, ring, board, Arc::clone(&identity), publish_anew(endpoint, config.clone())));
    let router = api::router(Arc::clone(&shared));
    let doors = Doors { listener, identity, socket, bounds: Bounds::default() };
    let (stop, stopped) = watch::channel(false);
    let ticking = Arc::clone(&shared);
    let run = move || {
        runtime.block_on(async {
            let (following, running) = (Arc::clone(&ticking), Arc::clone(&ticking));
            let follower = tokio::spawn(async move { following.registry().follow().await });
            let store = tokio::spawn(async move { running.registry().store().run().await });
            let closing = Arc::clone(&ticking);
            let ticker = tokio::spawn(tick(ticking, untold, stopped.clone()));
            if let Err(error) = server::serve(doors, router, stopped).await {
                tracing::error!("{}", Fault::io("API", &error));
            }
            ticker.abort();
            follower.abort();
            store.abort();
            closing.registry().store().close().await;
        });
    };
    let thread = std::thread::Builder::new()
        .name("control".to_owned())
        .spawn(run)
        .map_err(|error| Fault::io("thread control", &error))?;
    Ok(Control { address, shared, stop, thread })
}

impl Control {
    /// Where the API listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The plan in force.
    pub fn plan(&self) -> Arc<Plan> {
        self.shared.registry().plan()
    }

    /// Stops listening, lets requests under way end, and waits for the thread. `on_plan` is not called afterwards.
    pub fn stop(self) {
        // The receiver lives as long as the thread; if that has ended already there is nobody to tell.
        let _ = self.stop.send(true);
        if self.thread.join().is_err() {
            tracing::error!("the control thread had panicked");
        }
    }
}

/// Looks about once a second, and tells the other nodes how this one is, until told to stop; `untold` is written when
/// it can be.
async fn tick(shared: Arc<Shared>, mut untold: Option<(Endpoint, NodeConfig)>, mut stop: watch::Receiver<bool>) {
    let mut interval = tokio::time::interval(limits::OBJECTS_POLL);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // On its own: a store that does not answer must not stop the looking.
    let mut telling = Box::pin(telling::run(Arc::clone(&shared)));
    loop {
        tokio::select! {
            _ = interval.tick() => {
                shared.tick();
                untold = untold.filter(|(endpoint, config)| endpoint.publish(config).is_err());
            }
            () = &mut telling => return,
            _ = stop.wait_for(|stop| *stop) => return,
        }
    }
}

fn bind(listen: SocketAddr) -> Result<(TcpListener, SocketAddr), Fault> {
    let fault = |error: &std::io::Error| {
        let way_out = match error.kind() {
            std::io::ErrorKind::AddrInUse => "another program listens there; set `listen` (or --listen) to a free port",
            std::io::ErrorKind::PermissionDenied => "ports below 1024 need a privilege; set `listen` to a higher one",
            _ => "set `listen` (or --listen) to an address of this machine",
        };
        Fault::io(format!("listen {listen}"), error).way_out(way_out)
    };
    let listener = TcpListener::bind(listen).map_err(|error| fault(&error))?;
    listener.set_nonblocking(true).map_err(|error| fault(&error))?;
    let address = listener.local_addr().map_err(|error| fault(&error))?;
    Ok((listener, address))
}

/// Tells the command line on this node which certificate the API shows after it was renewed.
fn publish_anew(endpoint: Endpoint, config: NodeConfig) -> OnRenewal {
    Box::new(move |certificate_pem| {
        let renewed = Endpoint { certificate_pem, ..endpoint.clone() };
        if let Err(fault) = renewed.publish(&config) {
            tracing::warn!("the command line on this node does not know the new certificate: {fault}");
        }
    })
}
