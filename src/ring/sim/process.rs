//! A process of the simulated machine: what one ring has open, watches and waits for.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use crate::ring::{Completion, Handle, Token, Watch, WatchKind};

/// What one ring has open, watches and waits for.
#[derive(Debug, Default)]
pub(super) struct Process {
    pub handles: Vec<Option<Open>>,
    pub watches: BTreeMap<Watch, (u64, WatchKind)>,
    pub next_watch: u32,
    pub due: BTreeMap<(Duration, u64), Due>,
    /// When the latest watch event is due: they keep their order.
    pub last_event: Duration,
    /// When the latest persist is due: one thread carries them out, in order.
    pub last_persist: Duration,
    /// The youngest completion delivered.
    pub delivered: u64,
    pub reads: usize,
    pub persists: usize,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Open {
    pub inode: u64,
    pub reads: u32,
    pub closing: bool,
}

#[derive(Debug)]
pub(super) enum Due {
    /// `open` is false for a handle that was not open at submission.
    Read {
        token: Token,
        handle: Handle,
        offset: u64,
        buf: Vec<u8>,
        open: bool,
    },
    Persist {
        token: Token,
        path: PathBuf,
        data: Vec<u8>,
    },
    Event(Completion),
}

impl Process {
    /// Events already under way for it are not delivered any more.
    pub fn unwatch(&mut self, watch: Watch) {
        self.watches.remove(&watch);
        self.due.retain(|_, due| !matches!(due, Due::Event(Completion::Changed { watch: of, .. }) if *of == watch));
    }

    /// A read of what is open now: its handle is kept from being taken again.
    pub fn read(&mut self, token: Token, handle: Handle, offset: u64, buf: Vec<u8>) -> Due {
        let slot = self.handles.get_mut(handle.0 as usize).and_then(Option::as_mut).filter(|open| !open.closing);
        let open = slot.is_some();
        if let Some(slot) = slot {
            slot.reads += 1;
        }
        Due::Read { token, handle, offset, buf, open }
    }

    pub fn tell(&mut self, order: &mut u64, event: Completion) {
        *order += 1;
        self.due.insert((self.last_event, *order), Due::Event(event));
    }

    /// The kernel lost an event, so every one-shot watch is over (as `ring::watch` does it); `struck` already is.
    pub fn overflow(&mut self, order: &mut u64, struck: Option<Watch>) {
        self.tell(order, Completion::Overflow);
        let once = self.watches.iter().filter(|(_, (_, kind))| *kind == WatchKind::ContentOnce);
        let mut over: Vec<Watch> = once.map(|(watch, _)| *watch).chain(struck).collect();
        over.sort_unstable();
        for watch in over {
            self.watches.remove(&watch);
            self.tell(order, Completion::Changed { watch, name: None });
        }
    }
}
