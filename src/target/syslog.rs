//! What counts as delivered over plain syslog, and what is sent again when a session dies.
//!
//! RFC 5424 over TCP or TLS (RFC 6587, RFC 5425) has no answers. A batch settles only when the peer's TCP acknowledged
//! all of its bytes and the session then lived for `limits::SYSLOG_SETTLE` more: a receiver that dies takes with it
//! what lay in its socket buffer, and its death shows within that time. Until then a batch stays in the window, and a
//! lost session sends the whole window again, in order. Pure state: bytes and time are arguments.

use std::{collections::VecDeque, time::Duration};

use crate::limits::SYSLOG_SETTLE;

/// The batches of one target between hand-over and settlement, in order: written ones first, then those to be written.
#[derive(Debug)]
pub struct Window<T> {
    /// Bounded by the credit of those who push.
    items: VecDeque<Item<T>>,
    /// How many of `items`, from the front, are wholly written to this session.
    written: usize,
}

#[derive(Debug)]
struct Item<T> {
    load: T,
    /// Sessions on which at least one of its bytes was written.
    tries: u32,
    stage: Stage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Waiting,
    /// Its writing has begun.
    Begun,
    /// Its last byte is before this offset of the session's byte stream, as the socket counts it (ciphertext with TLS).
    Written {
        end: u64,
    },
    /// The peer's TCP had it all at this time.
    Acknowledged {
        at: Duration,
    },
}

impl<T> Default for Window<T> {
    fn default() -> Self {
        Self { items: VecDeque::new(), written: 0 }
    }
}

impl<T> Window<T> {
    /// Takes a batch into the window, behind all others.
    pub fn push(&mut self, load: T) {
        self.items.push_back(Item { load, tries: 0, stage: Stage::Waiting });
    }

    /// The batch whose bytes come next on this session.
    pub fn next(&self) -> Option<&T> {
        self.items.get(self.written).map(|item| &item.load)
    }

    /// The first bytes of `next` are about to be written. Says whether this batch was begun on an earlier session
    /// already: it is *sent again* and may arrive twice.
    pub fn begin(&mut self) -> bool {
        let Some(item) = self.items.get_mut(self.written) else { return false };
        if item.stage != Stage::Waiting {
            return false;
        }
        item.stage = Stage::Begun;
        item.tries += 1;
        item.tries > 1
    }

    /// The last byte of `next` was given to the socket, which has taken `end` bytes on this session so far.
    pub fn wrote(&mut self, end: u64) {
        let Some(item) = self.items.get_mut(self.written) else { return };
        item.stage = Stage::Written { end };
        self.written += 1;
    }

    /// `total` bytes were given to the socket on this session and the peer has not acknowledged `unacked` of them.
    /// Both must be read at the same moment, `now`.
    pub fn acked(&mut self, total: u64, unacked: u64, now: Duration) {
        let acknowledged = total.saturating_sub(unacked);
        for item in self.items.iter_mut().take(self.written) {
            match item.stage {
                Stage::Written { end } if end <= acknowledged => item.stage = Stage::Acknowledged { at: now },
                Stage::Written { .. } => break,
                Stage::Waiting | Stage::Begun | Stage::Acknowledged { .. } => {}
            }
        }
    }

    /// Takes out the oldest batch if it has settled. Call it only while the session is known to live at `now`.
    pub fn settled(&mut self, now: Duration) -> Option<T> {
        match self.items.front()?.stage {
            Stage::Acknowledged { at } if now >= at + SYSLOG_SETTLE => {}
            _ => return None,
        }
        self.written -= 1;
        self.items.pop_front().map(|item| item.load)
    }

    /// The session is over. Everything unsettled is to be written again, in order, on the next one. Gives the number
    /// of batches the lost session had begun to write.
    pub fn lost(&mut self) -> usize {
        let mut begun = 0;
        for item in &mut self.items {
            begun += usize::from(item.stage != Stage::Waiting);
            item.stage = Stage::Waiting;
        }
        self.written = 0;
        begun
    }

    /// Batches in the window.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Whether something was written on this session and has not settled.
    pub fn is_unsettled(&self) -> bool {
        self.written > 0
    }

    /// Whether `next` is partly written.
    pub fn is_midway(&self) -> bool {
        self.items.get(self.written).is_some_and(|item| item.stage == Stage::Begun)
    }
}

#[cfg(test)]
mod tests;
