//! The wake-up of a sleeping lane: an eventfd behind a flag that says whether anybody sleeps.
//!
//! A system call per wake-up would cost more than the work it announces, so the eventfd is written only when the lane
//! sleeps. Three states make that safe: a wake-up that finds the lane awake is remembered, and keeps it from going to
//! sleep before it has looked.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering, fence},
    },
};

use rustix::event::{EventfdFlags, eventfd};

use super::Waker;

const AWAKE: u8 = 0;
const ASLEEP: u8 = 1;
/// A wake-up was given that the lane has not seen yet.
const RUNG: u8 = 2;

/// One lane's wake-up.
#[derive(Debug)]
pub(super) struct Bell {
    state: AtomicU8,
    event: OwnedFd,
}

impl Bell {
    /// The eventfd is in blocking mode: io_uring waits on it by a plain READ, and `poll` reads it only when readable.
    pub fn new() -> io::Result<Arc<Self>> {
        let event = eventfd(0, EventfdFlags::CLOEXEC)?;
        Ok(Arc::new(Self { state: AtomicU8::new(AWAKE), event }))
    }

    pub fn waker(self: &Arc<Self>) -> Waker {
        let bell = Arc::clone(self);
        Waker::new(move || bell.ring())
    }

    /// Wakes the lane, from any thread.
    pub fn ring(&self) {
        // Pairs with the fence in `rise`: either this load sees that the lane has begun to look anew, or the lane sees
        // what the caller wrote before ringing.
        fence(Ordering::SeqCst);
        if self.state.load(Ordering::Relaxed) == RUNG {
            return;
        }
        if self.state.swap(RUNG, Ordering::AcqRel) == ASLEEP {
            // The counter of an eventfd only overflows (and blocks) at 2^64 - 2, and no other error can occur on one
            // that is open; a lane that sleeps longer than needed is the worst that could follow.
            let _ = rustix::io::write(&self.event, &1u64.to_ne_bytes());
        }
    }

    /// About to sleep. False: a wake-up came in between, do not sleep.
    #[must_use]
    pub fn doze(&self) -> bool {
        self.state.compare_exchange(AWAKE, ASLEEP, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// Awake again: wake-ups so far are taken as seen, so the lane must look at its queues after this.
    pub fn rise(&self) {
        self.state.swap(AWAKE, Ordering::AcqRel);
        fence(Ordering::SeqCst);
    }
}

impl AsFd for Bell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wake_up_before_sleeping_keeps_awake_once() {
        let bell = Bell::new().unwrap();
        bell.ring();
        bell.ring();
        assert!(!bell.doze(), "rung while awake");
        bell.rise();
        assert!(bell.doze(), "and then forgotten");
    }

    #[test]
    fn only_a_sleeper_costs_a_system_call() {
        let bell = Bell::new().unwrap();
        bell.ring();
        bell.rise();
        assert!(bell.doze());
        bell.ring();
        bell.ring();
        let mut counter = [0; 8];
        rustix::io::read(&bell.event, &mut counter).unwrap();
        assert_eq!(u64::from_ne_bytes(counter), 1, "one write, for the sleeper");
    }
}
