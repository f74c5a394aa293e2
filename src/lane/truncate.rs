//! Files that were cut or overwritten under our hands: seen by their size or their head, begun anew, what is lost of
//! them counted.
//!
//! A file that is shorter than it was is plain. One that was cut and has grown beyond its old size between two looks is
//! told by its head, which is compared when it grows, at most each `HEAD_CHECK_INTERVAL`: until then its new content is
//! taken for a continuation, and comes again from the beginning afterwards. A file whose first bytes never change
//! cannot be told so.

use std::mem;

use super::{
    Lane,
    checkpoint::{Content, Key, Slot},
    flow::FlowState,
    identity::Marks,
    reader::Reader,
};
use crate::{
    limits::{FINGERPRINT_BYTES, HEAD_CHECK_INTERVAL},
    model::{FileIdentity, ObjectId, Position, ReaderKey},
    orders::Port,
    ring::{Meta, ReadNow, Ring},
    source::file::Head,
};

impl<R: Ring, P: Port> Lane<R, P> {
    /// Whether a file that has grown begins otherwise than it did: it was cut and written anew between two looks.
    pub(super) fn head_differs(&mut self, id: u32, meta: &Meta) -> bool {
        let now = self.now.mono;
        let Some(reader) = self.readers.get_mut(&id) else { return false };
        let ReaderKey::File(known) = reader.key else { return false };
        let Some(file) = reader.file_mut() else { return false };
        if known.head_bytes == 0 || now < file.next_head_check {
            return false;
        }
        file.next_head_check = now + HEAD_CHECK_INTERVAL;
        let mut head = [0; FINGERPRINT_BYTES];
        let bytes = known.head_bytes as usize;
        let Ok(ReadNow::Ready(read)) = self.ring.read_now(file.handle, 0, &mut head[..bytes]) else { return false };
        read == bytes && !Head::new(&head[..bytes]).continues(&known, meta)
    }

    /// A file that was truncated (it had `known` bytes): what it holds now is read from its beginning.
    pub(super) fn mend_truncated(&mut self, id: u32, known: u64) {
        let Some(reader) = self.readers.get_mut(&id) else { return };
        let path = reader.path();
        // A line has one byte at least; and something may have come and gone that nobody saw.
        let unread = reader.read_to().map_or(0, |at| known.saturating_sub(at)).max(1);
        let Some(file) = reader.file_mut() else { return };
        file.head_short = true;
        let size = file.size;
        // It has another head now, and is to be known by that; until it is read, by its inode alone.
        let old = reader.key;
        if let ReaderKey::File(identity) = old {
            let none = Head::default().identity(&Meta::default());
            let (head_bytes, head_hash) = (none.head_bytes, none.head_hash);
            reader.key = ReaderKey::File(FileIdentity { head_bytes, head_hash, ..identity });
            self.checkpoint.rename(old, reader.key);
        }
        reader.unattributed = reader.unattributed.saturating_add(unread);
        reader.start = Position::file(0);
        reader.marks = Marks::default();
        reader.marks_dirty = true;
        reader.regroup = true;
        self.restart_flows(id);
        self.trouble(format!("{path}: truncated from {known} to {size} bytes; read again from its beginning"));
    }

    /// Reads a truncated file from its beginning for every flow.
    fn restart_flows(&mut self, id: u32) {
        for open in self.batches.contributed_by(id) {
            self.seal(open);
        }
        let Some(reader) = self.readers.get_mut(&id) else { return };
        let passes = mem::take(&mut reader.passes);
        for flow in &mut reader.flows {
            flow.restart_at(Position::file(0));
        }
        for pass in passes {
            self.end_pass(pass);
        }
    }

    /// Closes what is known of other content in the same place as a reader's: its inode is taken again, or it was
    /// overwritten while nothing ran. What was not read of that is lost.
    pub(super) fn close_overwritten(&mut self, id: u32, head: &Head, meta: &Meta) {
        let Some(reader) = self.readers.get(&id) else { return };
        let (ReaderKey::File(own), Some(source)) = (reader.key, reader.sources.first()) else { return };
        let (source, path) = (source.plan.id, reader.path());
        let is_old = |key: &ReaderKey| match key {
            ReaderKey::File(other) => {
                (other.device, other.inode) == (own.device, own.inode) && *key != ReaderKey::File(own)
            }
            ReaderKey::Journal { .. } => false,
        };
        let mut old: Vec<ReaderKey> = (self.checkpoint.slots())
            .filter(|slot| slot.key.source == source && is_old(&slot.key.reader))
            .map(|slot| slot.key.reader)
            .collect();
        old.dedup();
        // The same file under a key it had before: giving it the new one was cut short.
        for same in old.extract_if(.., |key| matches!(key, ReaderKey::File(other) if head.continues(other, meta))) {
            let slots = self.checkpoint.slots().filter(|slot| slot.key.source == source && slot.key.reader == same);
            let keys: Vec<Key> = slots.map(|slot| slot.key).collect();
            keys.iter().for_each(|key| self.checkpoint.forget(key));
        }
        if old.is_empty() {
            return;
        }
        let mut lost = 0;
        for key in old {
            lost += self.close_unread(key, source);
        }
        self.trouble(format!("{path}: what was here before is gone; at most {lost} lines of it were not read"));
    }

    /// Forgets a file that is gone, with what it had counted. Returns how many lines of it were lost unseen at most,
    /// which are counted; 0 if it is not known any more.
    pub(super) fn close_unread(&mut self, key: ReaderKey, source: ObjectId) -> u64 {
        let slots: Vec<Slot> = (self.checkpoint.slots())
            .filter(|slot| slot.key.source == source && slot.key.reader == key)
            .cloned()
            .collect();
        if slots.is_empty() {
            return 0;
        }
        let size = self.known_size(key, source);
        let (mut lost, mut before) = (1, 0);
        for slot in slots {
            self.checkpoint.forget(&slot.key);
            match &slot.content {
                Content::Flow { position, totals, newest } => {
                    // How much was written after the last look nobody knows.
                    lost = lost.max(size.saturating_sub(position.offset()));
                    self.close_ledger(&slot.key, totals, *newest);
                }
                Content::Reader { unattributed, .. } => before = *unattributed,
                Content::Gone => {}
            }
        }
        self.close_unattributed(source, lost.saturating_add(before));
        lost
    }
}

impl Reader {
    /// Up to where every flow has read it; `None` without flows.
    fn read_to(&self) -> Option<u64> {
        let at = |pass: u32| self.passes.iter().find(|other| other.id == pass).map(|pass| pass.at.offset());
        let read = self.flows.iter().map(|flow| match flow.state {
            FlowState::Reading { pass } => at(pass).unwrap_or_else(|| flow.head().offset()),
            FlowState::Waiting | FlowState::Parked => flow.head().offset(),
        });
        read.min()
    }
}
