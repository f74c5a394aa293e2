//! What the two real backends share: clocks, open files, watches, the bell, the persist thread and the way to the
//! service manager.
//!
//! `Uring` and `Poll` differ only in how they read a file and how they sleep; the rest is delegated here.

use std::{io, os::fd::OwnedFd, sync::Arc, time::Duration};

use rustix::time::{ClockId, Timespec, clock_gettime};

use super::{Handle, Now, files::Files, persist::Persister, wake::Bell, watch::Watches};
use crate::{model::Nanos, os::store::Store};

/// The shared half of a real backend.
#[derive(Debug)]
pub(super) struct Kernel {
    origin: Duration,
    pub now: Now,
    pub files: Files,
    pub watches: Watches,
    pub bell: Arc<Bell>,
    pub persister: Persister,
    store: Option<Store>,
    inherited: Vec<(String, OwnedFd)>,
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
            store: Store::from_environment(),
            inherited: Vec::new(),
        })
    }

    /// Gives this ring what the service manager has kept for it.
    pub fn inherit(&mut self, kept: Vec<(String, OwnedFd)>) {
        self.inherited.extend(kept);
    }

    pub fn inherited(&mut self) -> Vec<(String, Handle)> {
        let kept = std::mem::take(&mut self.inherited);
        let adopt = |(name, file)| match self.files.adopt(file) {
            Ok(handle) => Some((name, handle)),
            Err(error) => {
                tracing::debug!("stored descriptor {name}: {error}");
                None
            }
        };
        kept.into_iter().filter_map(adopt).collect()
    }

    pub fn store(&mut self, handle: Handle, name: &str) -> io::Result<bool> {
        let Some(store) = &self.store else { return Ok(false) };
        store.push(self.files.borrow(handle)?, name)?;
        Ok(true)
    }

    pub fn unstore(&mut self, name: &str) -> io::Result<()> {
        self.store.as_ref().map_or(Ok(()), |store| store.remove(name))
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
