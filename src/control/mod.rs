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
pub mod token;

use std::{
    net::{SocketAddr, TcpListener},
    sync::Arc,
    thread::JoinHandle,
};

use rustls_pki_types::{CertificateDer, pem::PemObject};
use tokio::{sync::watch, time::MissedTickBehavior};

use self::{
    api::{Shared, server},
    keys::{Endpoint, Keys},
    registry::{OnPlan, Registry},
    store::Store,
    token::KeyRing,
};
use crate::{
    config::NodeConfig,
    fault::{Fault, Kind},
    limits,
    plan::Plan,
    stats::Board,
};

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
    let tls = server::tls(certificate, config.tls_key.as_ref().unwrap_or(&keys.server_key))?;
    publish(config, &keys, address)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Fault::io("control", &error))?;
    let ring = KeyRing::open([Some(keys.public), config.jwt_keys.clone()].into_iter().flatten().collect());
    let registry = Registry::open(config, store, on_plan);
    let shared = Arc::new(Shared::new(registry, ring, board));
    let router = api::router(Arc::clone(&shared));
    let (stop, stopped) = watch::channel(false);
    let ticking = Arc::clone(&shared);
    let run = move || {
        runtime.block_on(async {
            let (following, running) = (Arc::clone(&ticking), Arc::clone(&ticking));
            let follower = tokio::spawn(async move { following.registry().follow().await });
            let store = tokio::spawn(async move { running.registry().store().run().await });
            let closing = Arc::clone(&ticking);
            let ticker = tokio::spawn(tick(ticking, stopped.clone()));
            if let Err(error) = server::serve(listener, tls, router, stopped).await {
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

/// Looks about once a second, until told to stop.
async fn tick(shared: Arc<Shared>, mut stop: watch::Receiver<bool>) {
    let mut interval = tokio::time::interval(limits::OBJECTS_POLL);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = interval.tick() => shared.tick(),
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

/// Tells the command line on this node where the API is and what certificate it shows.
fn publish(config: &NodeConfig, keys: &Keys, address: SocketAddr) -> Result<(), Fault> {
    let path = config.tls_cert.as_ref().unwrap_or(&keys.server_cert);
    let pem = keys::read_text(path)?;
    if CertificateDer::pem_slice_iter(pem.as_bytes()).next().is_none() {
        return Err(Fault::new(Kind::Invalid, path.display().to_string(), "has no certificate in it"));
    }
    let endpoint =
        Endpoint { endpoint: keys::local_url(address), certificate_pem: pem, token_file: keys.token.clone() };
    endpoint.publish(config)
}
