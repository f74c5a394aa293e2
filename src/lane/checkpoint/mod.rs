//! What a lane remembers over restarts, in two tiers.
//!
//! ```text
//!   checkpoint/lane-0.live    slots, each overwritten in place by a plain write: survives SIGKILL
//!   checkpoint/lane-0.a, .b   all slots, written whole, fsynced, renamed, in turn: survives power loss
//! ```
//! A position is written to the live file at once; a synced generation follows at most each
//! `CHECKPOINT_SYNC_INTERVAL` and never on the lane's thread. On start the newest synced generation and every slot of
//! the live file that checks are read and the newest of each key counts, so any one file may be missing or torn. A
//! forgotten key leaves a tombstone in the live file until a generation without it is synced. A file that cannot be
//! written is reported and tried again with a new inode; the lane goes on, at the price of more duplicates after a
//! crash.

mod lanes;
mod load;
pub mod slot;

use std::{collections::HashMap, io, path::PathBuf, time::Duration};

pub use slot::{Content, Key, Slot};

use crate::{
    limits::{CHECKPOINT_HOLD, CHECKPOINT_SYNC_HOLD, CHECKPOINT_SYNC_INTERVAL, FLOWS_MAX, SLOT_BYTES},
    model::{ObjectId, ReaderKey},
    ring::{Handle, Op, Ring, Token},
};

/// The synced generation under way answers under this token.
pub const PERSIST_TOKEN: Token = Token(u64::MAX);
/// The ledger of readers that were let go is kept under this reader: no directory hashes to 0.
pub const CLOSED: ReaderKey = ReaderKey::Journal { directory: 0 };

/// All records of one lane.
#[derive(Debug)]
pub struct Checkpoint {
    directory: PathBuf,
    lane: u16,
    live: Option<Handle>,
    index: HashMap<Key, usize>,
    slots: Vec<Option<Slot>>,
    free: Vec<usize>,
    /// Tombstones, and whether the generation being synced was begun after them.
    gone: Vec<(usize, bool)>,
    /// Slots whose last write to the live file failed or has not been tried.
    unwritten: Vec<usize>,
    sequence: u64,
    /// Changed since the last synced generation was begun.
    changed: bool,
    syncing: bool,
    next_sync: Duration,
    second: bool,
    /// Synced generations begun, and the newest of them that is on disk.
    begun: u64,
    synced: u64,
    /// Since when changes could not be written, and since when no generation could be synced.
    failing_since: Option<Duration>,
    unsynced_since: Option<Duration>,
    /// Why the last write failed, until it succeeds.
    trouble: Option<String>,
}

impl Checkpoint {
    /// Every record, in no order.
    pub fn slots(&self) -> impl Iterator<Item = &Slot> {
        self.slots.iter().flatten().filter(|slot| slot.content != Content::Gone)
    }

    pub fn content(&self, key: &Key) -> Option<&Content> {
        let content = self.index.get(key).and_then(|at| self.slots[*at].as_ref()).map(|slot| &slot.content);
        content.filter(|content| **content != Content::Gone)
    }

    /// Whether anything is known of a reader.
    pub fn knows(&self, reader: &ReaderKey) -> bool {
        self.slots().any(|slot| slot.key.reader == *reader)
    }

    /// Whether a source ever had a flow to a target.
    pub fn has_flow(&self, source: ObjectId, target: ObjectId) -> bool {
        self.slots().any(|slot| slot.key.source == source && slot.key.target == target)
    }

    /// Remembers `content` under `key`; written by the next `write`. False: all slots are taken.
    pub fn put(&mut self, key: Key, content: Content) -> bool {
        self.sequence += 1;
        self.place(Slot { sequence: self.sequence, key, content })
    }

    fn place(&mut self, slot: Slot) -> bool {
        let at = match self.index.get(&slot.key) {
            Some(at) => *at,
            None => {
                let at = match self.free.pop() {
                    Some(at) => at,
                    None if self.slots.len() < FLOWS_MAX => {
                        self.slots.push(None);
                        self.slots.len() - 1
                    }
                    None => return false,
                };
                self.index.insert(slot.key, at);
                at
            }
        };
        self.slots[at] = Some(slot);
        self.mark(at);
        true
    }

    /// Forgets a record.
    pub fn forget(&mut self, key: &Key) {
        if let Some(at) = self.index.get(key).copied() {
            self.sequence += 1;
            self.slots[at] = Some(Slot { sequence: self.sequence, key: *key, content: Content::Gone });
            self.gone.push((at, false));
            self.mark(at);
        }
    }

    /// The same reader is known by another key from now on (its head has grown, or was cut). Each record gets it where
    /// it stands: a power loss leaves it under the one key or the other, and never under none.
    pub fn rename(&mut self, old: ReaderKey, new: ReaderKey) {
        let known: Vec<Slot> = self.slots().filter(|slot| slot.key.reader == old).cloned().collect();
        known.into_iter().for_each(|slot| self.move_in_place(slot, new));
    }

    /// One source of a reader is known by another key from now on. It may be known by both already: the renaming was
    /// written by half when the process died, or a generation has the one and the live file the other. Of each record
    /// the newest stays, and a power loss leaves it under the one key or the other.
    pub fn unite(&mut self, source: ObjectId, old: ReaderKey, new: ReaderKey) {
        let is_it = |slot: &&Slot| slot.key.reader == old && slot.key.source == source;
        let known: Vec<Slot> = self.slots().filter(is_it).cloned().collect();
        for slot in known {
            let key = Key { reader: new, ..slot.key };
            let other = self.index.get(&key).and_then(|at| self.slots[*at].as_ref());
            let other = other.filter(|other| other.content != Content::Gone && other.sequence >= slot.sequence);
            let content = other.map_or(slot.content, |other| other.content.clone());
            self.move_in_place(Slot { content, ..slot }, new);
        }
    }

    /// Without a tombstone: one that reached the disk alone would cost the position.
    fn move_in_place(&mut self, slot: Slot, new: ReaderKey) {
        let key = Key { reader: new, ..slot.key };
        let Some(at) = self.index.remove(&slot.key) else { return };
        if let Some(other) = self.index.insert(key, at) {
            self.slots[other] = None;
            self.gone.retain(|(gone, _)| *gone != other);
            self.free.push(other);
            self.mark(other);
        }
        self.put(key, slot.content);
    }

    /// Writes what changed to the live file, and begins a synced generation when one is due. Call before anything
    /// leaves that relies on it.
    pub fn write<R: Ring>(&mut self, ring: &mut R) {
        if !self.unwritten.is_empty() {
            match self.write_live(ring) {
                Ok(()) => {
                    self.trouble = None;
                    self.failing_since = None;
                }
                Err(error) => {
                    self.failing_since.get_or_insert(ring.now().mono);
                    self.trouble = Some(format!("{}: {error}; positions are not kept", self.path("live").display()));
                    if let Some(handle) = self.live.take() {
                        ring.close(handle);
                    }
                }
            }
        }
        if self.changed && !self.syncing && ring.now().mono >= self.next_sync {
            self.begin_sync(ring);
        }
    }

    /// Whether what relies on the last `write` may leave: it is written, or has been impossible to write for so long
    /// that lines matter more than that a resend after a crash is identical.
    pub fn lets_go(&self, now: Duration) -> bool {
        self.failing_since.is_none_or(|since| now >= since + CHECKPOINT_HOLD)
    }

    /// Takes the end of a synced generation.
    pub fn persisted(&mut self, result: &io::Result<usize>, now: Duration) {
        self.syncing = false;
        self.next_sync = now + CHECKPOINT_SYNC_INTERVAL;
        match result {
            Ok(_) => {
                self.second = !self.second;
                self.synced = self.begun;
                self.unsynced_since = None;
                self.bury();
            }
            Err(error) => {
                self.changed = true;
                self.unsynced_since.get_or_insert(now);
                self.trouble = Some(format!("{}: {error}; not safe from power loss", self.directory.display()));
            }
        }
    }

    /// Whether everything put here would survive a power loss.
    pub fn is_safe(&self) -> bool {
        self.unwritten.is_empty() && !self.changed && !self.syncing
    }

    /// The synced generation that will hold all that was put here until now.
    pub fn generation(&self) -> u64 {
        self.begun + u64::from(self.changed)
    }

    /// Whether that generation, or a later one, is on disk.
    pub fn is_synced(&self, generation: u64) -> bool {
        self.synced >= generation
    }

    /// Whether nothing can be synced, and that for so long that rotated files are not held open for it any more.
    pub fn is_overdue(&self, now: Duration) -> bool {
        self.unsynced_since.is_some_and(|since| now >= since + CHECKPOINT_SYNC_HOLD)
    }

    pub fn trouble(&self) -> Option<&str> {
        self.trouble.as_deref()
    }

    fn path(&self, ending: &str) -> PathBuf {
        lanes::path(&self.directory, self.lane, ending)
    }

    fn mark(&mut self, at: usize) {
        if self.unwritten.last() != Some(&at) && !self.unwritten.contains(&at) {
            self.unwritten.push(at);
        }
        self.changed = true;
    }

    /// Frees the slots of tombstones that the newest generation does not need.
    fn bury(&mut self) {
        for (at, _) in self.gone.extract_if(.., |(_, begun)| *begun).collect::<Vec<_>>() {
            let Some(slot) = self.slots[at].take_if(|slot| slot.content == Content::Gone) else { continue };
            self.index.remove(&slot.key);
            self.free.push(at);
            self.unwritten.push(at);
        }
    }

    fn write_live<R: Ring>(&mut self, ring: &mut R) -> io::Result<()> {
        let handle = match self.live {
            Some(handle) => handle,
            None => *self.live.insert(ring.create(&self.path("live"))?),
        };
        while let Some(at) = self.unwritten.last() {
            let bytes = self.slots[*at].as_ref().map_or([0; SLOT_BYTES], Slot::encode);
            ring.write(handle, (*at * SLOT_BYTES) as u64, &bytes)?;
            self.unwritten.pop();
        }
        Ok(())
    }

    fn begin_sync<R: Ring>(&mut self, ring: &mut R) {
        // With tombstones: so the youngest record in it tells how young the whole of it is.
        let data: Vec<u8> = self.slots.iter().flatten().flat_map(Slot::encode).collect();
        let path = self.path(if self.second { "b" } else { "a" });
        if ring.submit(Op::Persist { token: PERSIST_TOKEN, path, data }).is_ok() {
            self.syncing = true;
            self.changed = false;
            self.begun += 1;
            self.gone.iter_mut().for_each(|(_, begun)| *begun = true);
        }
    }
}
