//! The same Loki without sockets and without a clock: bodies in, answers out, for tests of what a shipper decides.

use std::time::{Duration, Instant};

use super::{
    Counters, LokiOptions, Stored, proto,
    store::{Now, Store},
};

/// A receiver that is asked directly.
pub struct Judge {
    store: Store,
    body_bytes_max: usize,
    epoch: Instant,
}

impl Judge {
    /// Address, TLS and authentication of the options mean nothing here.
    pub fn new(options: LokiOptions) -> Self {
        let body_bytes_max = options.limits.body_bytes_max;
        Self { store: Store::new(options.limits, options.keep, options.verify), body_bytes_max, epoch: Instant::now() }
    }

    /// Takes a push: one raw snappy block of a `PushRequest`. `mono` is the time since whenever, never back. Gives
    /// status and text of the answer.
    pub fn push(&mut self, tenant: &str, body: &[u8], wall_ns: i64, mono: Duration) -> (u16, String) {
        if body.len() > self.body_bytes_max {
            return (413, format!("request body too large, limit: {} bytes", self.body_bytes_max));
        }
        let now = Now { wall_ns, mono: self.epoch + mono };
        self.store.counters.requests += 1;
        let answer = match proto::decode(body, self.body_bytes_max) {
            Ok((request, bytes)) => self.store.push(tenant, request, bytes, now),
            Err(malformed) => return (400, malformed.to_string()),
        };
        *self.store.counters.answers.entry(answer.status).or_default() += 1;
        (answer.status, answer.text)
    }

    pub fn counters(&self) -> &Counters {
        &self.store.counters
    }

    /// The entries kept, in the order of arrival.
    pub fn entries(&self) -> &[Stored] {
        &self.store.kept
    }

    /// Changes a limit, as an operator does.
    pub fn limits(&mut self) -> &mut super::Limits {
        self.store.limits()
    }
}
