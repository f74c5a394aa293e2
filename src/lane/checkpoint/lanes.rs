//! Which lane keeps which record, and what is done at start when there are more or fewer lanes than before.
//!
//! A record belongs to the lane that carries its source and stands in no other lane's files: a copy that nobody looks
//! after would come back as a position long after the lane that owns it has forgotten it. So when the number of lanes
//! has changed, the first lane gives every record to its owner before anyone begins. Everything is in one file, synced,
//! before any other file changes; a crash in between is mended by doing it again.

use std::{
    collections::{BTreeSet, HashMap},
    io,
    path::{Path, PathBuf},
};

use super::{
    Content, Key, Slot,
    load::{Generation, STATE_BYTES_MAX},
};
use crate::{
    lane::at_start::{persist, read_patiently},
    limits::{CHECKPOINT_READ_TRIES, LANES_MAX, SLOT_BYTES},
    model::ReaderKey,
    ring::Ring,
};

const ENDINGS: [&str; 3] = ["live", "a", "b"];

/// Where one file of a lane lies.
pub fn path(directory: &Path, lane: u16, ending: &str) -> PathBuf {
    directory.join(format!("lane-{lane}.{ending}"))
}

/// Where all records stand while they are given to their owners.
pub fn all_path(directory: &Path) -> PathBuf {
    directory.join("lanes.all")
}

/// The lane that keeps a record: that of the file source, or of the journal.
pub fn owner(key: &Key, lanes: u16) -> u16 {
    let of = match key.reader {
        ReaderKey::Journal { directory } if key.reader != super::CLOSED => directory,
        ReaderKey::Journal { .. } | ReaderKey::File(_) => key.source.0,
    };
    (of % u64::from(lanes.max(1))) as u16
}

/// Gives every record to its owner if any stands elsewhere. For the first lane, before the others begin.
pub fn give_to_owners<R: Ring>(ring: &mut R, directory: &Path, lanes: u16) {
    let found = found(ring, directory);
    let mut newest: HashMap<Key, Slot> = HashMap::new();
    let mut misplaced = false;
    for lane in &found {
        for slot in of_lane(ring, directory, *lane) {
            misplaced |= *lane >= lanes || owner(&slot.key, lanes) != *lane;
            keep_newest(&mut newest, slot);
        }
    }
    let all = all_path(directory);
    let before = Generation::read(ring, &all).slots;
    misplaced |= !before.is_empty();
    before.into_iter().for_each(|slot| keep_newest(&mut newest, slot));
    if !misplaced {
        return;
    }
    let mut slots: Vec<Slot> = newest.into_values().filter(|slot| slot.content != Content::Gone).collect();
    slots.sort_by_key(|slot| slot.sequence);
    tracing::info!("the number of lanes has changed: {} positions are given to their lanes", slots.len());
    if let Err(error) = give(ring, directory, lanes, &found, &slots) {
        tracing::warn!("{}: {error}; positions are given to their lanes at the next start", all.display());
    }
}

fn give<R: Ring>(ring: &mut R, directory: &Path, lanes: u16, found: &BTreeSet<u16>, slots: &[Slot]) -> io::Result<()> {
    let all = all_path(directory);
    persist_patiently(ring, &all, &encode(slots.iter()))?;
    for lane in found.iter().copied().chain(0..lanes).collect::<BTreeSet<u16>>() {
        let own = encode(slots.iter().filter(|slot| owner(&slot.key, lanes) == lane));
        let keep = lane < lanes && !own.is_empty();
        if keep {
            persist_patiently(ring, &path(directory, lane, "a"), &own)?;
        }
        for ending in ENDINGS.iter().filter(|ending| !keep || **ending != "a") {
            remove(ring, &path(directory, lane, ending))?;
        }
    }
    remove(ring, &all)
}

/// Lanes of which there are files.
fn found<R: Ring>(ring: &mut R, directory: &Path) -> BTreeSet<u16> {
    let names = ring.list(directory, 8 * LANES_MAX).unwrap_or_default();
    let lane = |name: &str| name.strip_prefix("lane-")?.split('.').next()?.parse().ok();
    names.iter().filter_map(|entry| lane(entry.name.to_str()?)).collect()
}

/// What one lane would find at its start, tombstones included.
fn of_lane<R: Ring>(ring: &mut R, directory: &Path, lane: u16) -> Vec<Slot> {
    let live = read_patiently(ring, &path(directory, lane, "live"), STATE_BYTES_MAX);
    let generations = ["a", "b"].map(|ending| Generation::read(ring, &path(directory, lane, ending)));
    let synced = Generation::to_adopt(generations).into_iter().flat_map(|generation| generation.slots);
    live.chunks_exact(SLOT_BYTES).filter_map(Slot::decode).chain(synced).collect()
}

fn keep_newest(newest: &mut HashMap<Key, Slot>, slot: Slot) {
    match newest.get(&slot.key) {
        Some(known) if known.sequence >= slot.sequence => {}
        _ => _ = newest.insert(slot.key, slot),
    }
}

fn encode<'a>(slots: impl Iterator<Item = &'a Slot>) -> Vec<u8> {
    slots.flat_map(Slot::encode).collect()
}

/// A disk that fails once is asked again.
fn persist_patiently<R: Ring>(ring: &mut R, path: &Path, data: &[u8]) -> io::Result<()> {
    let mut result = Ok(());
    for _ in 0..CHECKPOINT_READ_TRIES {
        result = persist(ring, path, data.to_vec());
        if result.is_ok() {
            break;
        }
    }
    result
}

fn remove<R: Ring>(ring: &mut R, path: &Path) -> io::Result<()> {
    match ring.remove(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
