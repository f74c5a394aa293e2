//! What the two real backends share: clocks, open files, watches, the bell and the persist thread.
//!
//! `Uring` and `Poll` differ only in how they read a file and how they sleep; the rest is delegated here.

use std::{io, sync::Arc, time::Duration};

use rustix::time::{ClockId, Timespec, clock_gettime};

use super::{Now, files::Files, persist::Persister, wake::Bell, watch::Watches};
use crate::model::Nanos;

/// The shared half of a real backend.
#[derive(Debug)]
pub(super) struct Kernel {
    origin: Duration,
    pub now: Now,
    pub files: Files,
    pub watches: Watches,
    pub bell: Arc<Bell>,
    pub persister: Persister,
}

impl Kernel {
    pub fn new() -> io::Result<Self> {
        let bell = Bell::new()?;
        let origin = monotonic();
        Ok(Self {
            origin,
            now: Now { mono: Duration::ZERO, wall: wall() },
            files: Files::default(),
            watches: Watches::new()?,
            persister: Persister::new(Arc::clone(&bell))?,
            bell,
        })
    }

    /// Reads both clocks (vDSO: no system call).
    pub fn tick(&mut self) {
        self.now = Now { mono: monotonic().saturating_sub(self.origin), wall: wall() };
    }
}

/// CPU time of the calling thread (a system call).
pub fn cpu() -> Duration {
    time_of(ClockId::ThreadCPUTime)
}

fn monotonic() -> Duration {
    time_of(ClockId::Monotonic)
}

fn time_of(clock: ClockId) -> Duration {
    let Timespec { tv_sec, tv_nsec } = clock_gettime(clock);
    Duration::new(u64::try_from(tv_sec).unwrap_or(0), u32::try_from(tv_nsec).unwrap_or(0))
}

fn wall() -> Nanos {
    let Timespec { tv_sec, tv_nsec } = clock_gettime(ClockId::Realtime);
    Nanos::new(tv_sec, u32::try_from(tv_nsec).unwrap_or(0)).unwrap_or_default()
}
