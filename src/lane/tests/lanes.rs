//! More or fewer lanes than before: every position stays with exactly one of them.

use std::{path::Path, time::Duration};

use crate::{
    lane::checkpoint::{Checkpoint, Content, Key},
    model::{Nanos, ObjectId, Position, ReaderKey},
    ring::{
        Ring,
        sim::{Faults, Sim, SimWorld},
    },
    stats::Totals,
};

const PLACE: &str = "/state";

fn key(source: u64) -> Key {
    Key { reader: ReaderKey::Journal { directory: source }, source: ObjectId(source), target: ObjectId(2) }
}

fn content(offset: u64) -> Content {
    Content::Flow { position: Position::file(offset), totals: Totals::default(), newest: Nanos::default() }
}

fn load(ring: &mut Sim, lane: u16, lanes: u16) -> Checkpoint {
    Checkpoint::load(ring, Path::new(PLACE), lane, lanes)
}

/// A copy of a position in another lane's file would come back after the lane that owns it has forgotten it.
#[test]
fn changing_the_number_of_lanes_leaves_no_stale_copy_behind() {
    let disk = SimWorld::new(122);
    disk.make_directory(PLACE);
    let mut ring = disk.ring();
    let write = |ring: &mut Sim, lane: &mut Checkpoint| {
        lane.write(ring);
        ring.reap(Duration::from_millis(1), &mut Vec::new()).expect("the ring works");
    };
    let mut lanes = [0, 1].map(|lane| load(&mut ring, lane, 2));
    lanes[0].put(key(2), content(20));
    lanes[1].put(key(3), content(30));
    lanes.iter_mut().for_each(|lane| write(&mut ring, lane));
    // One lane from now on: it goes on with both, and forgets one.
    let mut only = load(&mut ring, 0, 1);
    assert_eq!((only.content(&key(2)), only.content(&key(3))), (Some(&content(20)), Some(&content(30))));
    only.forget(&key(3));
    write(&mut ring, &mut only);
    let names = ring.list(Path::new(PLACE), 99).expect("there").into_iter();
    let names: Vec<String> = names.map(|entry| entry.name.to_string_lossy().into_owned()).collect();
    assert!(names.iter().all(|name| name.starts_with("lane-0.")), "{names:?}");
    // Two again: what was forgotten stays so, the rest is with its owner alone.
    let again = [0, 1].map(|lane| load(&mut ring, lane, 2));
    assert_eq!((again[0].content(&key(2)), again[0].content(&key(3))), (Some(&content(20)), None));
    assert_eq!(again[1].slots().count(), 0);
}

/// Power may fail at any moment while records go to their new lanes.
#[test]
fn changing_the_number_of_lanes_survives_any_crash() {
    for seed in 0..60 {
        let disk = SimWorld::new(seed);
        disk.make_directory(PLACE);
        let mut ring = disk.ring();
        let mut lanes = [0, 1, 2].map(|lane| load(&mut ring, lane, 3));
        for source in 1..30u64 {
            lanes[(source % 3) as usize].put(key(source), content(source));
        }
        lanes.iter_mut().for_each(|lane| lane.write(&mut ring));
        disk.sync_all();
        disk.set_faults(Faults { persist_failure: 300, write_full: 50, ..Faults::default() });
        for count in [2, 5, 1, 4] {
            (0..count).for_each(|lane| load(&mut ring, lane, count).write(&mut ring));
            disk.power_loss();
            ring = disk.ring();
        }
        disk.set_faults(Faults::default());
        let found = [0, 1].map(|lane| load(&mut ring, lane, 2));
        for source in 1..30u64 {
            let known = found[(source % 2) as usize].content(&key(source)).cloned();
            assert_eq!(known, Some(content(source)), "seed {seed}, source {source}");
        }
    }
}
