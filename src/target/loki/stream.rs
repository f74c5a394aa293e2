//! What is known of the streams of one Loki: their newest entry, what is left of their rate, whether they wait.
//!
//! All of it is an estimate from what this session sent and was told. It decides who is at risk of being refused, not
//! who is refused: that is for Loki to say.

use std::{collections::HashMap, time::Duration};

use crate::{
    limits::{LOKI_BURST_RESERVE_PERCENT, LOKI_SPAN, LOKI_STREAMS_KNOWN_MAX},
    model::Nanos,
};

/// Rate of one stream in bytes per second, and what it may send at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    pub bytes_per_second: u64,
    pub burst_bytes: u64,
}

#[derive(Clone, Debug)]
struct Known {
    /// Loki took something of it since the connection was made.
    taken: bool,
    /// Of what was sent, stored or not: the answer may have been lost.
    newest: Nanos,
    /// The oldest entry Loki took since: whatever it had before us, it takes what is not older.
    floor: Nanos,
    /// Bytes it may still send at once, as of `filled`.
    tokens: f64,
    filled: Duration,
    /// Nothing of it is sent before.
    held_until: Duration,
    /// Its rate as Loki told it at the last refusal: from then on no push of it is larger than what it may send.
    told_rate: Option<u64>,
}

/// Some neighbouring entries of one stream: what decides whether they may travel in company.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    pub hash: u64,
    pub oldest: Nanos,
    pub newest: Nanos,
    pub bytes: usize,
}

/// The streams of one session, by the hash of their labels.
#[derive(Debug)]
pub struct Streams {
    rate: Rate,
    known: HashMap<u64, Known>,
}

impl Streams {
    pub fn new(rate: Rate) -> Self {
        Self { rate, known: HashMap::new() }
    }

    pub fn set_rate(&mut self, rate: Rate) {
        self.rate = rate;
    }

    /// A new connection, perhaps to another replica or to a Loki that was started anew: all are new.
    pub fn doubt_all(&mut self) {
        self.known.values_mut().for_each(|known| known.taken = false);
    }

    /// Loki said something about a push that another stream may have hidden.
    pub fn doubt(&mut self, hash: u64) {
        if let Some(known) = self.known.get_mut(&hash) {
            known.taken = false;
        }
    }

    /// Nobody waits any more.
    pub fn let_all_go(&mut self) {
        for known in self.known.values_mut() {
            known.held_until = Duration::ZERO;
            known.told_rate = None;
        }
    }

    /// Whether these entries could be refused, and the refusal be hidden by those of another stream.
    pub fn is_at_risk(&self, load: &Load, now: Duration) -> bool {
        let Some(known) = self.known.get(&load.hash).filter(|known| known.taken) else { return true };
        let reserve = self.rate.burst_bytes / 100 * LOKI_BURST_RESERVE_PERCENT;
        load.oldest < before(known.newest, LOKI_SPAN).max(known.floor)
            || known.told_rate.is_some()
            || known.tokens(self.rate, now) - (load.bytes as f64) < reserve as f64
    }

    /// Bytes of the stream that may go at once; only a stream that was refused for its rate is held to it.
    pub fn allowance(&self, hash: u64, now: Duration) -> usize {
        match self.known.get(&hash) {
            Some(known) if known.told_rate.is_some() => known.tokens(self.rate, now).max(0.0) as usize,
            _ => usize::MAX,
        }
    }

    pub fn is_held(&self, hash: u64, now: Duration) -> bool {
        self.known.get(&hash).is_some_and(|known| known.held_until > now)
    }

    /// When a stream that waits may go on.
    pub fn held_until(&self, hash: u64) -> Duration {
        self.known.get(&hash).map_or(Duration::ZERO, |known| known.held_until)
    }

    /// These entries are on their way, whatever becomes of them: they count against the rate.
    pub fn sent(&mut self, load: &Load, now: Duration) {
        let rate = self.rate;
        let known = self.entry(load.hash, now);
        known.tokens = (known.tokens(rate, now) - load.bytes as f64).max(-(rate.burst_bytes as f64));
        known.filled = now;
        known.newest = known.newest.max(load.newest);
    }

    /// Loki has these entries.
    pub fn stored(&mut self, load: &Load, now: Duration) {
        let burst = self.rate.burst_bytes as f64;
        let rate = self.rate;
        let known = self.entry(load.hash, now);
        known.floor = if known.taken { known.floor.min(load.oldest) } else { load.oldest };
        known.taken = true;
        if known.told_rate.is_some() && known.tokens(rate, now) > burst / 2.0 {
            known.told_rate = None;
        }
    }

    /// The stream is over its rate, or cannot be made: it waits for `pause`. A rate told is believed.
    pub fn hold(&mut self, hash: u64, pause: Duration, over_rate: Option<Option<u64>>, now: Duration) {
        if let Some(Some(told)) = over_rate.map(|told| told.filter(|told| *told < self.rate.bytes_per_second)) {
            // What holds for one holds for all. The burst is not told; by default it is five times the rate.
            self.rate = Rate { bytes_per_second: told, burst_bytes: self.rate.burst_bytes.min(5 * told) };
        }
        let known = self.entry(hash, now);
        known.held_until = now + pause;
        if let Some(told) = over_rate {
            known.tokens = 0.0;
            known.filled = now;
            known.told_rate = Some(told.unwrap_or(0));
        }
    }

    fn entry(&mut self, hash: u64, now: Duration) -> &mut Known {
        if self.known.len() >= LOKI_STREAMS_KNOWN_MAX && !self.known.contains_key(&hash) {
            self.known.retain(|_, known| known.held_until > now);
        }
        let tokens = self.rate.burst_bytes as f64;
        self.known.entry(hash).or_insert(Known {
            taken: false,
            newest: Nanos(i64::MIN),
            floor: Nanos(i64::MAX),
            tokens,
            filled: now,
            held_until: Duration::ZERO,
            told_rate: None,
        })
    }
}

impl Known {
    fn tokens(&self, rate: Rate, now: Duration) -> f64 {
        let per_second = match self.told_rate {
            Some(told) if told > 0 => told.min(rate.bytes_per_second),
            _ => rate.bytes_per_second,
        };
        let passed = now.saturating_sub(self.filled).as_secs_f64();
        (self.tokens + passed * per_second as f64).min(rate.burst_bytes as f64)
    }
}

/// Earlier by `span`, saturating.
pub fn before(time: Nanos, span: Duration) -> Nanos {
    Nanos(time.0.saturating_sub(i64::try_from(span.as_nanos()).unwrap_or(i64::MAX)))
}

/// Later by `span`, saturating.
pub fn after(time: Nanos, span: Duration) -> Nanos {
    time.plus(u64::try_from(span.as_nanos()).unwrap_or(u64::MAX))
}
