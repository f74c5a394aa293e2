//! Waiting for conditions, never for a time to pass.

use std::{
    thread,
    time::{Duration, Instant},
};

/// How long a condition may take before the test fails. Nothing is measured by it.
pub const PATIENCE: Duration = Duration::from_secs(90);
/// How often a condition is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// Waits until `done` gives something.
pub fn await_some<T>(what: &str, mut done: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = done() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        thread::sleep(LOOK);
    }
}

/// Waits until `done` holds.
pub fn await_that(what: &str, mut done: impl FnMut() -> bool) {
    await_some(what, || done().then_some(()));
}

/// As `await_that`, letting others on this thread go on.
pub async fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        tokio::time::sleep(LOOK).await;
    }
}
