//! What a lane finds of its checkpoint at its start: of each record the newest, out of files any of which may be
//! missing or torn.

use std::{
    collections::{HashMap, HashSet},
    path::Path,
    time::Duration,
};

use super::{CLOSED, Checkpoint, Content, Key, Slot, lanes};
use crate::{
    lane::at_start::read_patiently,
    limits::{FLOWS_MAX, SLOT_BYTES},
    model::{FileIdentity, JournalPosition, Nanos, ObjectId, Position, ReaderKey},
    ring::Ring,
    stats::Totals,
};

/// More than this no file of a checkpoint holds.
pub(super) const STATE_BYTES_MAX: usize = FLOWS_MAX * SLOT_BYTES;

impl Checkpoint {
    /// Reads all that is there of this lane, the first of which begins before the others. Never fails for what the
    /// files hold: only the directory itself must be usable, and even if it is not the lane starts, with the trouble
    /// told.
    pub fn load<R: Ring>(ring: &mut R, directory: &Path, lane: u16, lanes: u16) -> Self {
        if lane == 0 {
            lanes::give_to_owners(ring, directory, lanes);
        }
        let mut checkpoint = Self {
            directory: directory.to_owned(),
            lane,
            live: None,
            index: HashMap::new(),
            slots: Vec::new(),
            free: Vec::new(),
            gone: Vec::new(),
            unwritten: Vec::new(),
            sequence: ring.now().wall.0.max(0) as u64,
            changed: false,
            syncing: false,
            next_sync: Duration::ZERO,
            second: false,
            begun: 0,
            synced: 0,
            failing_since: None,
            unsynced_since: None,
            trouble: None,
        };
        let live = checkpoint.path("live");
        let own = read_patiently(ring, &live, STATE_BYTES_MAX);
        checkpoint.slots = own.chunks_exact(SLOT_BYTES).map(Slot::decode).collect();
        checkpoint.index_live();
        let own = [checkpoint.path("a"), checkpoint.path("b")];
        let generations = own.each_ref().map(|path| Generation::read(ring, path));
        checkpoint.second = generations[0].newest >= generations[1].newest;
        let generations = Generation::to_adopt(generations);
        if let [whole] = generations.as_slice() {
            checkpoint.leave_out_forgotten(whole);
        }
        checkpoint.bring_back_half_forgotten();
        let mut young: HashSet<ReaderKey> = checkpoint.slots().map(|slot| slot.key.reader).collect();
        let heads = checkpoint.heads();
        for generation in generations {
            for slot in generation.slots.into_iter().filter(|slot| !is_renamed(&heads, slot)) {
                young.remove(&slot.key.reader);
                checkpoint.adopt(slot);
            }
        }
        // There only if giving the records to their lanes was cut short.
        let all = Generation::read(ring, &lanes::all_path(directory)).slots;
        all.into_iter().filter(|slot| lanes::owner(&slot.key, lanes) == lane).for_each(|slot| checkpoint.adopt(slot));
        checkpoint.leave_out_orphans();
        young.remove(&CLOSED);
        checkpoint.complete(&young);
        // What only the live file knows is not safe from a power loss yet.
        checkpoint.changed = !checkpoint.index.is_empty();
        checkpoint
    }

    fn index_live(&mut self) {
        for at in 0..self.slots.len() {
            let Some((key, sequence)) = self.slots[at].as_ref().map(|slot| (slot.key, slot.sequence)) else {
                self.free.push(at);
                continue;
            };
            self.sequence = self.sequence.max(sequence);
            let older = match self.index.insert(key, at) {
                Some(other) if self.slots[other].as_ref().is_some_and(|slot| slot.sequence > sequence) => {
                    self.index.insert(key, other);
                    Some(at)
                }
                other => other,
            };
            if let Some(older) = older {
                self.slots[older] = None;
                self.free.push(older);
                self.mark(older);
            }
        }
        let gone = |slot: &Option<Slot>| slot.as_ref().is_some_and(|slot| slot.content == Content::Gone);
        self.gone = (0..self.slots.len()).filter(|at| gone(&self.slots[*at])).map(|at| (at, false)).collect();
    }

    /// Of a reader that no synced generation knows, a power loss may have left what it remembers for some targets only.
    /// The others begin at its start; as new ones they would begin where those are. What is known of them by an older
    /// key of the reader, whose renaming was written by half, counts more: so these are older than anything.
    fn complete(&mut self, young: &HashSet<ReaderKey>) {
        let flows = self.slots().filter(|slot| matches!(slot.content, Content::Flow { .. }));
        let flows: HashSet<(ObjectId, ObjectId)> = flows.map(|slot| (slot.key.source, slot.key.target)).collect();
        let readers = self.slots().filter(|slot| young.contains(&slot.key.reader));
        let readers: HashSet<(ReaderKey, ObjectId)> = readers.map(|slot| (slot.key.reader, slot.key.source)).collect();
        for (reader, source) in readers {
            let position = match reader {
                ReaderKey::File(_) => Position::file(0),
                ReaderKey::Journal { .. } => Position::Journal(JournalPosition::default()),
            };
            for (_, target) in flows.iter().filter(|(of, _)| *of == source) {
                let key = Key { reader, source, target: *target };
                if !self.index.contains_key(&key) {
                    let content = Content::Flow { position, totals: Totals::default(), newest: Nanos::default() };
                    self.place(Slot { sequence: 0, key, content });
                }
            }
        }
    }

    /// What the live file knows of heads, by all else of a key.
    fn heads(&self) -> HashMap<Key, Heads> {
        let mut heads: HashMap<Key, Heads> = HashMap::new();
        for slot in self.slots.iter().flatten() {
            let (key, bytes) = apart(&slot.key);
            let known = heads.entry(key).or_default();
            known.most = known.most.max((bytes, slot.sequence));
            if bytes == 0 {
                known.none = known.none.max(slot.sequence);
            }
        }
        heads
    }

    /// The live file is not synced: a power loss may bring back a record that was forgotten long ago. What a whole
    /// generation does not know although it is as young was forgotten.
    fn leave_out_forgotten(&mut self, whole: &Generation) {
        let known: HashSet<&Key> = whole.slots.iter().map(|slot| &slot.key).collect();
        for at in 0..self.slots.len() {
            self.leave_out(at, |slot| slot.sequence <= whole.newest && !known.contains(&slot.key));
        }
    }

    /// A reader is forgotten for all its targets at once. Where a power loss left only some of the tombstones it goes
    /// on from what was synced, for all of them: by itself the record that is left would be where the others begin.
    fn bring_back_half_forgotten(&mut self) {
        let is_flow = |slot: &&Slot| slot.key.target != ObjectId(0) && slot.key.reader != CLOSED;
        let of = |slot: &Slot| (slot.key.reader, slot.key.source);
        let alive: HashSet<(ReaderKey, ObjectId)> = self.slots().filter(is_flow).map(of).collect();
        for at in 0..self.slots.len() {
            let is_half = |slot: &Slot| slot.content == Content::Gone && is_flow(&slot) && alive.contains(&of(slot));
            self.leave_out(at, is_half);
        }
    }

    /// Takes a record of the live file as if it had not been there.
    fn leave_out(&mut self, at: usize, which: impl Fn(&Slot) -> bool) {
        if let Some(slot) = self.slots[at].take_if(|slot| which(slot)) {
            self.index.remove(&slot.key);
            self.gone.retain(|(gone, _)| *gone != at);
            self.free.push(at);
            self.mark(at);
        }
    }

    /// Of a reader that was let go a power loss may bring back its time marks, but not its flows: left alone they would
    /// make it a known one that has settled nothing.
    fn leave_out_orphans(&mut self) {
        let of = |slot: &Slot| (slot.key.reader, slot.key.source);
        let (mut flows, mut gone) = (HashSet::new(), HashSet::new());
        for slot in self.slots.iter().flatten().filter(|slot| slot.key.target != ObjectId(0)) {
            if slot.content == Content::Gone {
                gone.insert(of(slot))
            } else {
                flows.insert(of(slot))
            };
        }
        let is_orphan = |slot: &&Slot| slot.key.target == ObjectId(0) && slot.key.reader != CLOSED;
        let orphans =
            self.slots().filter(is_orphan).filter(|slot| gone.contains(&of(slot)) && !flows.contains(&of(slot)));
        let orphans: Vec<Key> = orphans.map(|slot| slot.key).collect();
        orphans.iter().for_each(|key| self.forget(key));
    }

    /// Takes a record of another file if it is newer than what is known. It stays as old as it is: a lane that holds a
    /// copy must not outbid the one that goes on with it.
    fn adopt(&mut self, slot: Slot) {
        let known = self.index.get(&slot.key).and_then(|at| self.slots[*at].as_ref()).map(|slot| slot.sequence);
        self.sequence = self.sequence.max(slot.sequence);
        if known.is_none_or(|known| known < slot.sequence) {
            self.place(slot);
        }
    }
}

/// How young the records of a reader are, by how much of its head they know.
#[derive(Clone, Copy, Debug, Default)]
struct Heads {
    /// Of the most bytes of it: how many, and the youngest record by them.
    most: (u32, u64),
    /// The youngest record by nothing of it; 0 without one.
    none: u64,
}

/// Whether the live file has a record by a younger name: one of more of the head, or of none since the file was cut.
fn is_renamed(heads: &HashMap<Key, Heads>, slot: &Slot) -> bool {
    let (key, bytes) = apart(&slot.key);
    heads.get(&key).is_some_and(|known| {
        let (more, sequence) = known.most;
        (more > bytes && sequence > slot.sequence) || (bytes > 0 && known.none > slot.sequence)
    })
}

/// A key without the head of its file, and of how many bytes that is.
fn apart(key: &Key) -> (Key, u32) {
    match key.reader {
        ReaderKey::File(file) => {
            let reader = ReaderKey::File(FileIdentity { head_bytes: 0, head_hash: 0, ..file });
            (Key { reader, ..*key }, file.head_bytes)
        }
        ReaderKey::Journal { .. } => (*key, 0),
    }
}

/// A synced generation as it was found.
#[derive(Debug, Default)]
pub(super) struct Generation {
    pub slots: Vec<Slot>,
    newest: u64,
    whole: bool,
}

impl Generation {
    pub fn read<R: Ring>(ring: &mut R, path: &Path) -> Self {
        let content = read_patiently(ring, path, STATE_BYTES_MAX);
        let mut slots: Vec<Slot> = content.chunks_exact(SLOT_BYTES).filter_map(Slot::decode).collect();
        let newest = slots.iter().map(|slot| slot.sequence).max().unwrap_or_default();
        let whole = slots.len() * SLOT_BYTES == content.len();
        slots.retain(|slot| slot.content != Content::Gone);
        Self { slots, newest, whole }
    }

    /// The newest alone when it is whole: what only the older one knows was forgotten since.
    pub fn to_adopt(generations: [Self; 2]) -> Vec<Self> {
        let [a, b] = generations;
        let (newer, older) = if a.newest >= b.newest { (a, b) } else { (b, a) };
        if newer.whole && !newer.slots.is_empty() { vec![newer] } else { vec![newer, older] }
    }
}
