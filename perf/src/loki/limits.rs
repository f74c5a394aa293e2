//! What a Loki refuses, with the values of a stock Loki 3 (its `limits_config` defaults and the gRPC limit behind it).
//!
//! Each limit can be lifted, because a test of delivery must not fail for the age of its sample lines or a rate of
//! 4 MB/s. `Limits::default()` keeps what depends on the request alone; `Limits::stock()` is a Loki as installed.

use std::time::{Duration, Instant};

const MIB: usize = 1024 * 1024;

/// Bytes per second with a burst.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    pub bytes_per_second: f64,
    pub burst_bytes: f64,
}

/// The limits of one receiver; `None` lifts one.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Entries older than this are refused: 400 (`reject_old_samples_max_age`, 7 days).
    pub age_max: Option<Duration>,
    /// Entries further ahead of now are refused: 400 (`creation_grace_period`, 10 minutes).
    pub ahead_max: Option<Duration>,
    /// Entries further behind their stream's newest are refused: 400 (half of `max_chunk_age`, 1 hour).
    pub behind_max: Option<Duration>,
    /// Rate of a tenant, whole requests: 429 and nothing stored (4 MB/s, burst 6 MB).
    pub tenant_rate: Option<Rate>,
    /// Rate of one stream: 429 and a prefix stored (3 MB/s, burst 15 MB).
    pub stream_rate: Option<Rate>,
    /// Active streams of a tenant: 429 for the ones above (`max_global_streams_per_user`, 5,000).
    pub streams_max: usize,
    /// Bytes of one line: 400 (`max_line_size`, 256 KiB).
    pub line_bytes_max: usize,
    /// Labels of a stream: 400 (15).
    pub labels_max: usize,
    /// Bytes of a label name and of a label value: 400 (1,024 and 2,048).
    pub label_name_bytes_max: usize,
    pub label_value_bytes_max: usize,
    /// Structured metadata of an entry, in pairs and bytes: 400 (128 and 64 KiB).
    pub metadata_pairs_max: usize,
    pub metadata_bytes_max: usize,
    /// Uncompressed bytes of a request: above it 500 at every try (stock gRPC message limit, 4 MiB).
    pub message_bytes_max: usize,
    /// Bytes of a request body: 413 (100 MiB).
    pub body_bytes_max: usize,
}

impl Limits {
    /// A Loki as installed, every default in force.
    pub fn stock() -> Self {
        let hour = Duration::from_secs(3600);
        Self {
            age_max: Some(7 * 24 * hour),
            ahead_max: Some(hour / 6),
            behind_max: Some(hour),
            tenant_rate: Some(Rate { bytes_per_second: 4.0 * MIB as f64, burst_bytes: 6.0 * MIB as f64 }),
            stream_rate: Some(Rate { bytes_per_second: 3.0 * MIB as f64, burst_bytes: 15.0 * MIB as f64 }),
            streams_max: 5_000,
            ..Self::default()
        }
    }
}

impl Default for Limits {
    /// The limits that depend on the request alone; no age, no rate, and room for 100,000 streams.
    fn default() -> Self {
        Self {
            age_max: None,
            ahead_max: None,
            behind_max: None,
            tenant_rate: None,
            stream_rate: None,
            streams_max: 100_000,
            line_bytes_max: 262_144,
            labels_max: 15,
            label_name_bytes_max: 1_024,
            label_value_bytes_max: 2_048,
            metadata_pairs_max: 128,
            metadata_bytes_max: 64 * 1024,
            message_bytes_max: 4 * MIB,
            body_bytes_max: 100 * MIB,
        }
    }
}

/// A token bucket; time is an argument.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bucket {
    rate: Rate,
    tokens: f64,
    filled: Instant,
}

impl Bucket {
    pub(crate) fn new(rate: Rate, now: Instant) -> Self {
        Self { rate, tokens: rate.burst_bytes, filled: now }
    }

    /// Takes `bytes` if they are there; takes nothing otherwise.
    pub(crate) fn take(&mut self, bytes: usize, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.filled).as_secs_f64();
        self.tokens = (self.tokens + passed * self.rate.bytes_per_second).min(self.rate.burst_bytes);
        self.filled = now;
        let enough = self.tokens >= bytes as f64;
        if enough {
            self.tokens -= bytes as f64;
        }
        enough
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_refills_to_its_burst_and_no_further() {
        let start = Instant::now();
        let mut bucket = Bucket::new(Rate { bytes_per_second: 10.0, burst_bytes: 20.0 }, start);
        assert!(!bucket.take(21, start));
        assert!(bucket.take(20, start));
        assert!(!bucket.take(1, start));
        assert!(bucket.take(10, start + Duration::from_secs(1)));
        assert!(!bucket.take(21, start + Duration::from_secs(100)));
        assert!(bucket.take(20, start + Duration::from_secs(100)));
    }
}
