//! A Loki as seen by who pushes to it: the same answers, the same refusals, the same silence.
//!
//! Everything a shipper can notice of `POST /loki/api/v1/push` was measured on a real Loki 3.7 and is done alike here:
//! partial acceptance behind a 400, prefixes behind a 429, drops behind a 204, deduplication, the 4 MiB at which it
//! answers 500 for ever. On top of it come faults on command (`Fault`) and the verification of numbered lines.
//! HTTP/1.1 and HTTP/2 by prior knowledge are taken on the same port. Only protobuf is taken: JSON is answered 415.

mod http;
mod judge;
mod labels;
mod limits;
pub mod proto;
mod store;
#[cfg(test)]
mod tests;

use std::{io, net::SocketAddr, ops::Range, sync::Arc, time::Duration};

pub use self::{
    http::{Fault, Share},
    judge::Judge,
    labels::Pairs,
    limits::{Limits, Rate},
    store::{Counters, Stored},
};
use crate::{
    net::{Receiver, ServerTls, Watched},
    verify::{Differing, Marker},
};

/// How a sink is set up.
#[derive(Clone)]
pub struct LokiOptions {
    /// Port 0 picks a free one.
    pub bind: SocketAddr,
    /// Loki's own TLS port offers only http/1.1: leave `alpn` as `http/1.1` or empty. A gateway offers `h2`.
    pub tls: Option<ServerTls>,
    pub limits: Limits,
    /// With authentication on, `X-Scope-OrgID` is demanded; off, it is ignored and the tenant is `fake`.
    pub auth: bool,
    /// Entries kept for inspection, the first ones. With 0 and no `verify` nothing is deduplicated: a blackhole.
    pub keep: usize,
    /// Numbers in the lines are followed; resends are then told apart by number instead of by content, in 8 bytes each.
    pub verify: Option<Marker>,
}

impl Default for LokiOptions {
    /// A free port on loopback, plain, default limits, no authentication, every entry kept.
    fn default() -> Self {
        Self {
            bind: SocketAddr::from(([127, 0, 0, 1], 0)),
            tls: None,
            limits: Limits::default(),
            auth: false,
            keep: usize::MAX,
            verify: None,
        }
    }
}

impl LokiOptions {
    /// For runs of millions of lines: numbers behind `marker` are verified, only the first ten entries kept.
    pub fn verifying(marker: impl Into<String>) -> Self {
        Self { keep: 10, verify: Some(Marker::new(marker)), ..Self::default() }
    }
}

/// A running receiver; dropping it stops it.
pub struct LokiSink {
    receiver: Receiver,
    shared: Arc<Watched<http::Shared>>,
    scheme: &'static str,
}

impl LokiSink {
    /// # Errors
    /// The address cannot be bound, or the TLS material does not fit.
    pub fn start(options: LokiOptions) -> io::Result<Self> {
        let acceptor = options.tls.as_ref().map(ServerTls::acceptor).transpose()?;
        let scheme = if acceptor.is_some() { "https" } else { "http" };
        let bind = options.bind;
        let shared = Arc::new(Watched::new(http::Shared::new(options)));
        let state = Arc::clone(&shared);
        let receiver = Receiver::start("loki-sink", bind, None, move |session| {
            http::serve(session, acceptor.clone(), Arc::clone(&state))
        })?;
        Ok(Self { receiver, shared, scheme })
    }

    pub fn addr(&self) -> SocketAddr {
        self.receiver.addr()
    }

    /// The push URL a target is given.
    pub fn url(&self) -> String {
        format!("{}://{}/loki/api/v1/push", self.scheme, self.addr())
    }

    /// Ends the receiver; what it stored can still be looked at.
    pub fn stop(&mut self) {
        self.receiver.stop();
    }

    /// Kills every connection by TCP reset; the port stays open.
    pub fn reset(&self) {
        self.receiver.reset();
    }

    /// Closes the port and kills every connection; what was stored stays.
    pub fn down(&self) {
        self.receiver.down();
    }

    /// Opens the same port again, which stayed reserved.
    ///
    /// # Errors
    /// The socket cannot be had.
    pub fn up(&self) -> io::Result<()> {
        self.receiver.up()
    }

    pub fn counters(&self) -> Counters {
        self.shared.read(|shared| shared.store.counters.clone())
    }

    /// The entries kept, in the order of arrival.
    pub fn entries(&self) -> Vec<Stored> {
        self.shared.read(|shared| shared.store.kept.clone())
    }

    /// As `entries`, without copying them.
    pub fn for_each(&self, mut look: impl FnMut(&Stored)) {
        self.shared.read(|shared| shared.store.kept.iter().for_each(&mut look));
    }

    /// Gaps in the numbers seen, lowest first, at most a hundred.
    pub fn missing(&self, range: Range<u64>) -> Vec<Range<u64>> {
        self.shared.read(|shared| shared.store.sequence.missing(range))
    }

    /// As `missing`, of the numbers that `expected` names.
    pub fn missing_where(&self, range: Range<u64>, expected: impl Fn(u64) -> bool) -> Vec<Range<u64>> {
        self.shared.read(|shared| shared.store.sequence.missing_where(range, expected))
    }

    /// The first resends that were not the same as before; must be empty.
    pub fn differing(&self) -> Vec<Differing> {
        self.shared.read(|shared| shared.store.differing().to_vec())
    }

    /// Blocks a tenant's ingestion, or lets it go on: 260 to all its pushes, a 2xx that drops the data.
    pub fn block(&self, tenant: &str, is_blocked: bool) {
        self.shared.update(|shared| shared.block(tenant, is_blocked));
    }

    /// Changes limits, as an operator does.
    pub fn change_limits(&self, change: impl FnOnce(&mut Limits)) {
        self.shared.update(|shared| change(shared.store.limits()));
    }

    /// Waits until `done` holds; false when it does not within `patience`.
    #[must_use]
    pub fn wait(&self, patience: Duration, mut done: impl FnMut(&Counters) -> bool) -> bool {
        self.shared.wait(patience, |shared| done(&shared.store.counters))
    }

    /// From now on `fault` happens to the requests of `share`. Faults queue up: the first planned is used up first.
    pub fn inject(&self, share: Share, fault: Fault) {
        self.shared.update(|shared| shared.plan(share, fault));
    }

    /// Forgets every planned fault.
    pub fn heal(&self) {
        self.shared.update(http::Shared::heal);
    }
}
