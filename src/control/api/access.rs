//! The access log: one line for every request, under the tracing target `access`.
//!
//! Who, what, how it ended, how long it took; never a header, a query or a body. Peers decide how many requests there
//! are, so lines have a rate; those beyond are counted and the count is told. `CORELANE_LOG=info,access=off` silences
//! it.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use http::{Method, StatusCode};

use super::rate::{Buckets, Rate};
use crate::limits;

/// One request as the log has it.
pub struct Entry<'a> {
    /// `root (system:root)`, or `-` for a stranger.
    pub who: &'a str,
    pub peer: &'a str,
    pub method: &'a Method,
    pub path: &'a str,
    pub status: StatusCode,
    /// Why it was refused before it was looked at; empty otherwise.
    pub reason: &'a str,
    pub took: Duration,
}

/// The log with its rate.
pub struct AccessLog {
    began: Instant,
    state: Mutex<State>,
}

struct State {
    lines: Buckets<()>,
    left_out: u64,
}

impl AccessLog {
    pub fn new() -> Self {
        let rate = Rate::new(limits::ACCESS_LINES_PER_SECOND, limits::ACCESS_LINES_BURST);
        Self { began: Instant::now(), state: Mutex::new(State { lines: Buckets::new(rate, 1), left_out: 0 }) }
    }

    pub fn note(&self, entry: &Entry<'_>) {
        let Some(left_out) = self.may(self.began.elapsed()) else { return };
        if left_out > 0 {
            tracing::warn!(target: "access", "{left_out} requests are not in this log: too many at once");
        }
        let (path, status, micros) = (shown(entry.path), entry.status.as_u16(), entry.took.as_micros());
        let Entry { who, peer, method, reason, .. } = entry;
        if reason.is_empty() {
            tracing::info!(target: "access", peer, who, %method, path, status, micros, "request");
        } else {
            tracing::info!(target: "access", peer, who, %method, path, status, micros, reason, "request");
        }
    }

    /// Whether a line may be written; then also how many were left out before it.
    fn may(&self, now: Duration) -> Option<u64> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.lines.take(&(), now).is_err() {
            state.left_out += 1;
            return None;
        }
        Some(std::mem::take(&mut state.left_out))
    }
}

impl Default for AccessLog {
    fn default() -> Self {
        Self::new()
    }
}

/// A path that cannot break the line it stands in, nor fill the log. What a URI lets through is printable already, save
/// for what hyper passes on beyond RFC 3986.
fn shown(path: &str) -> String {
    let mut letters = path.chars();
    let clean = |letter: char| if letter.is_control() || letter.is_whitespace() { '?' } else { letter };
    let mut out: String = letters.by_ref().take(limits::ACCESS_PATH_CHARS_MAX).map(clean).collect();
    if letters.next().is_some() {
        out.push('…');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_have_a_rate_and_those_left_out_are_counted() {
        let log = AccessLog::new();
        let now = Duration::from_secs(1);
        let written = (0..10_000).filter(|_| log.may(now).is_some()).count();
        assert_eq!(written, limits::ACCESS_LINES_BURST as usize);
        assert_eq!(log.may(now + Duration::from_secs(1)), Some(10_000 - written as u64));
        assert_eq!(log.may(now + Duration::from_secs(1)), Some(0));
    }

    #[test]
    fn a_path_cannot_forge_a_line() {
        assert_eq!(shown("/a\nb c\u{7}"), "/a?b?c?");
        assert_eq!(shown(&"x".repeat(1000)).chars().count(), limits::ACCESS_PATH_CHARS_MAX + 1);
    }
}
