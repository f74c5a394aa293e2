//! What simulated lives found, told as short stories.

use std::{path::Path, time::Duration};

use super::{
    LONG, all,
    world::{self, LOG, Mood, World, line},
    write,
};
use crate::{
    lane::checkpoint::{CLOSED, Checkpoint, Content, Key, Slot},
    limits,
    model::{FileIdentity, Level, Nanos, ObjectId, Position, ReaderKey},
    ring::{
        Ring,
        sim::{Faults, SimWorld},
    },
    stats::Totals,
};

const STATE: &str = "/state";

fn reader(inode: u64, head_bytes: u32) -> ReaderKey {
    ReaderKey::File(FileIdentity { device: 1, inode, generation: 1, head_bytes, head_hash: u64::from(head_bytes) })
}

fn key(reader: ReaderKey, target: u64) -> Key {
    Key { reader, source: ObjectId(1), target: ObjectId(target) }
}

fn at(offset: u64) -> Content {
    Content::Flow { position: Position::file(offset), totals: Totals::default(), newest: Nanos::default() }
}

#[test]
fn a_file_whose_growth_nobody_told_is_read_all_the_same() {
    let mut world = World::new(201, &["a"]);
    write(&world, 0..10);
    world.until(LONG, |world| world.stored("a").len() == 10 && world.is_quiet());
    let since = world.disk.now().mono;
    world.until(LONG, |world| world.disk.now().mono > since + 2 * limits::TAIL_IDLE);
    world.disk.set_faults(Faults { watch_lost: 1_000, ..Faults::default() });
    write(&world, 10..20);
    world.until(3 * limits::DISCOVERY_INTERVAL, |world| world.stored("a").len() == 20);
    assert_eq!(world.stored("a"), all(0..20));
}

#[test]
fn a_file_that_waited_to_be_opened_is_read_under_the_newest_plan() {
    let mut world = World::new(202, &["a"]);
    write(&world, 0..10);
    world.until(LONG, |world| world.stored("a").len() == 10 && world.is_quiet());
    let late = "/var/log/app/late.log";
    for number in 10..20 {
        world.disk.append(late, line(number, "debug").as_bytes()).expect("written");
    }
    world.disk.fail_reads(late, true);
    let since = world.disk.now().mono;
    world.until(LONG, |world| world.disk.now().mono > since + Duration::from_millis(500));
    world.change_source(|source| source.min_level = Level::Info);
    world.until(LONG, |world| world.disk.now().mono > since + 2 * limits::READ_RETRY);
    world.disk.fail_reads(late, false);
    world.until(LONG, |world| world.totals("a").filtered == 10);
    assert_eq!(world.stored("a"), all(0..10));
}

#[test]
fn a_look_that_fails_forgets_no_rotated_file() {
    let mut world = World::new(203, &["a"]);
    write(&world, 0..100);
    world.until(LONG, |world| world.stored("a").len() == 100 && world.is_quiet());
    world.kill();
    write(&world, 100..200);
    world.disk.rename(LOG, format!("{LOG}.1")).expect("renamed");
    write(&world, 200..300);
    world.disk.set_faults(Faults { stat_error: 1_000, list_error: 1_000, ..Faults::default() });
    world.start();
    world.turns(100);
    world.disk.set_faults(Faults::default());
    world.until(LONG, |world| world.stored("a").len() >= 300 && world.is_quiet());
    assert_eq!(world.stored("a"), all(0..300));
}

#[test]
fn a_renaming_that_was_written_by_half_costs_nobody_a_position() {
    let disk = SimWorld::new(204);
    disk.make_directory(STATE);
    let mut ring = disk.ring();
    let mut checkpoint = Checkpoint::load(&mut ring, Path::new(STATE), 0, 1);
    let (old, new) = (reader(7, 100), reader(7, 256));
    for (reader, target, offset) in [(old, 2, 10), (old, 3, 20), (new, 2, 30)] {
        checkpoint.put(key(reader, target), at(offset));
    }
    checkpoint.unite(ObjectId(1), old, new);
    assert_eq!(checkpoint.content(&key(new, 2)), Some(&at(30)), "the newer record stays");
    assert_eq!(checkpoint.content(&key(new, 3)), Some(&at(20)), "the other one comes along");
    assert!(!checkpoint.knows(&old));
}

#[test]
fn a_young_file_known_for_one_target_begins_anew_for_the_other() {
    let disk = SimWorld::new(205);
    disk.make_directory(STATE);
    let mut ring = disk.ring();
    let mut checkpoint = Checkpoint::load(&mut ring, Path::new(STATE), 0, 1);
    for target in [2, 3] {
        checkpoint.put(key(reader(7, 256), target), at(10));
    }
    checkpoint.write(&mut ring);
    ring.reap(Duration::from_millis(1), &mut Vec::new()).expect("the ring works");
    // Only in the live file, and only for one of them, as a power loss may leave it.
    checkpoint.put(key(reader(8, 256), 2), at(50));
    checkpoint.write(&mut ring);
    let again = Checkpoint::load(&mut ring, Path::new(STATE), 0, 1);
    assert_eq!(again.content(&key(reader(8, 256), 2)), Some(&at(50)));
    assert_eq!(again.content(&key(reader(8, 256), 3)), Some(&at(0)));
}

#[test]
fn a_renaming_that_reached_the_disk_for_one_target_costs_the_other_no_position() {
    let disk = SimWorld::new(206);
    disk.make_directory(STATE);
    let mut ring = disk.ring();
    let mut checkpoint = Checkpoint::load(&mut ring, Path::new(STATE), 0, 1);
    let (old, new) = (reader(7, 220), reader(7, 256));
    for target in [2, 3] {
        checkpoint.put(key(old, target), at(104_472));
    }
    checkpoint.write(&mut ring);
    ring.reap(Duration::from_millis(1), &mut Vec::new()).expect("the ring works");
    // What the power loss left of the renaming.
    checkpoint.forget(&key(old, 2));
    checkpoint.put(key(new, 2), at(104_472));
    checkpoint.write(&mut ring);
    let mut again = Checkpoint::load(&mut ring, Path::new(STATE), 0, 1);
    again.unite(ObjectId(1), old, new);
    assert_eq!(again.content(&key(new, 3)), Some(&at(104_472)));
}

#[test]
fn a_renaming_of_which_the_disk_has_any_half_costs_nobody_a_position() {
    for (kept, grew) in (0..4).flat_map(|kept| [(kept, true), (kept, false)]) {
        let disk = SimWorld::new(207);
        disk.make_directory(STATE);
        let mut ring = disk.ring();
        let mut checkpoint = Checkpoint::load(&mut ring, Path::new(STATE), 0, 1);
        let (old, new) = (reader(7, 177), reader(7, 256));
        checkpoint.put(key(old, 2), at(62_039));
        checkpoint.write(&mut ring);
        ring.reap(Duration::from_millis(1), &mut Vec::new()).expect("the ring works");
        let live = format!("{STATE}/lane-0.live");
        let before = disk.content(&live).expect("written");
        match grew {
            true => checkpoint.rename(old, new),
            false => checkpoint.unite(ObjectId(1), old, new),
        }
        checkpoint.write(&mut ring);
        let mut torn = disk.content(&live).expect("written");
        let half = before.len().min(torn.len());
        if kept & 1 == 0 {
            torn[..half].copy_from_slice(&before[..half]);
        }
        if kept & 2 == 0 {
            torn.truncate(half);
        }
        disk.truncate(&live, 0).expect("emptied");
        disk.append(&live, &torn).expect("written");
        let mut again = Checkpoint::load(&mut ring, Path::new(STATE), 0, 1);
        again.unite(ObjectId(1), old, new);
        assert_eq!(again.content(&key(new, 2)), Some(&at(62_039)), "kept: {kept}, grew: {grew}");
    }
}

#[test]
fn a_renaming_that_only_the_live_file_knew_costs_nobody_a_position() {
    let [old, new] = [reader(7, 256), reader(9, 256)];
    for kept in 0..8 {
        let disk = SimWorld::new(209);
        disk.make_directory(STATE);
        let mut ring = disk.ring();
        let mut checkpoint = Checkpoint::load(&mut ring, Path::new(STATE), 0, 1);
        checkpoint.put(key(old, 2), at(66_811));
        checkpoint.write(&mut ring);
        ring.reap(Duration::from_millis(1), &mut Vec::new()).expect("the ring works");
        let live = format!("{STATE}/lane-0.live");
        let synced = disk.content(&live).expect("written");
        checkpoint.rename(old, new);
        checkpoint.write(&mut ring);
        // Killed: the generation has the old key and the live file the new one.
        let mut again = Checkpoint::load(&mut ring, Path::new(STATE), 0, 1);
        again.unite(ObjectId(1), old, new);
        again.write(&mut ring);
        let written = disk.content(&live).expect("written");
        // Of what was written since, the power loss leaves some slots: zeros where there was nothing.
        let slots = written.chunks_exact(limits::SLOT_BYTES).enumerate();
        let left = slots.flat_map(|(number, slot)| match kept >> number & 1 {
            0 => synced.chunks_exact(limits::SLOT_BYTES).nth(number).unwrap_or(&[0; limits::SLOT_BYTES]).to_vec(),
            _ => slot.to_vec(),
        });
        let left: Vec<u8> = left.collect();
        disk.truncate(&live, 0).expect("emptied");
        disk.append(&live, &left).expect("written");
        let mut last = Checkpoint::load(&mut ring, Path::new(STATE), 0, 1);
        last.unite(ObjectId(1), old, new);
        assert_eq!(last.content(&key(new, 2)), Some(&at(66_811)), "kept: {kept}");
    }
}

#[test]
fn a_file_forgotten_by_half_goes_back_for_nobody() {
    let disk = SimWorld::new(210);
    disk.make_directory(STATE);
    let mut ring = disk.ring();
    let mut checkpoint = Checkpoint::load(&mut ring, Path::new(STATE), 0, 1);
    checkpoint.put(key(reader(7, 256), 2), at(276_694));
    checkpoint.put(key(reader(7, 256), 3), at(170_985));
    checkpoint.write(&mut ring);
    ring.reap(Duration::from_millis(1), &mut Vec::new()).expect("the ring works");
    // The other target has come to the end as well, and the file was let go: of its tombstones one reached the disk.
    checkpoint.forget(&key(reader(7, 256), 2));
    checkpoint.write(&mut ring);
    let again = Checkpoint::load(&mut ring, Path::new(STATE), 0, 1);
    assert_eq!(again.content(&key(reader(7, 256), 2)), Some(&at(276_694)));
    assert_eq!(again.content(&key(reader(7, 256), 3)), Some(&at(170_985)));
}

#[test]
fn a_file_let_go_is_not_known_by_its_marks_alone() {
    let disk = SimWorld::new(208);
    disk.make_directory(STATE);
    let mut ring = disk.ring();
    let mut checkpoint = Checkpoint::load(&mut ring, Path::new(STATE), 0, 1);
    let (done, alive) = (reader(7, 256), reader(8, 256));
    let marks = Content::Reader { marks: vec![(0, Nanos(1))], marked: 5, unattributed: 0, size: 0 };
    for reader in [done, alive] {
        checkpoint.put(key(reader, 0), marks.clone());
        checkpoint.put(key(reader, 2), at(13_338));
    }
    checkpoint.write(&mut ring);
    ring.reap(Duration::from_millis(1), &mut Vec::new()).expect("the ring works");
    // Of its two tombstones the power loss left one.
    checkpoint.forget(&key(done, 2));
    checkpoint.write(&mut ring);
    let again = Checkpoint::load(&mut ring, Path::new(STATE), 0, 1);
    assert!(!again.knows(&done));
    assert_eq!(again.content(&key(alive, 0)), Some(&marks));
}

#[test]
fn a_rotated_file_is_let_go_only_after_a_look_that_outlives_a_power_loss() {
    let mut world = World::new(209, &["a"]);
    write(&world, 0..10);
    world.until(LONG, |world| world.stored("a").len() == 10 && world.is_quiet());
    let modified = world.disk.now().wall;
    world.disk.rename(LOG, format!("{LOG}.1")).expect("renamed");
    write(&world, 10..20);
    let is_known = |checkpoint: &Checkpoint, inode| {
        let is_it = |reader| matches!(reader, ReaderKey::File(file) if file.inode == inode);
        checkpoint.slots().any(|slot| is_it(slot.key.reader))
    };
    let inode = world.disk.meta(format!("{LOG}.1")).expect("there").inode;
    let lane = |world: &World| world.lane.as_ref().is_some_and(|lane| is_known(&lane.checkpoint, inode));
    // Positions move all the time, so that a generation is under way or just done at any moment.
    for number in 20..20_000 {
        if !lane(&world) {
            break;
        }
        write(&world, number..number + 1);
        world.turns(1);
    }
    assert!(!lane(&world), "let go");
    // What was never synced is gone.
    world.kill();
    let state = Path::new("/var/lib/corelane/checkpoint");
    world.disk.remove(state.join("lane-0.live")).expect("removed");
    let checkpoint = Checkpoint::load(&mut world.disk.ring(), state, 0, 1);
    assert!(looks_are_younger(&checkpoint, modified.plus(1_000_000_000)));
}

#[test]
fn a_target_that_a_torn_file_is_known_for_by_a_longer_head_is_no_new_one() {
    let mut world = World::new(212, &["a", "b"]);
    world.mood("b", Mood::Down);
    write(&world, 0..10);
    world.until(LONG, |world| world.stored("a").len() == 10);
    world.turns(100);
    world.kill();
    let mut ring = world.disk.ring();
    let mut checkpoint = Checkpoint::load(&mut ring, Path::new(world::STATE), 0, 1);
    let of_b = |slot: &&Slot| slot.key.target == world::id("b") && matches!(slot.key.reader, ReaderKey::File(_));
    let slot = checkpoint.slots().find(of_b).expect("known").clone();
    assert_eq!(slot.content, at(0));
    // The power went after the head of the file had been found to be longer, and that is not there any more.
    let ReaderKey::File(file) = slot.key.reader else { panic!("{slot:?}") };
    let longer = ReaderKey::File(FileIdentity { head_bytes: file.head_bytes + 1, head_hash: 7, ..file });
    checkpoint.forget(&slot.key);
    checkpoint.put(Key { reader: longer, ..slot.key }, at(0));
    checkpoint.write(&mut ring);
    ring.reap(Duration::from_millis(1), &mut Vec::new()).expect("the ring works");
    world.mood("b", Mood::Acks);
    world.start();
    world.until(LONG, |world| world.stored("b").len() == 10);
}

#[test]
fn a_file_whose_head_could_not_be_read_is_read_after_a_kill() {
    let mut world = World::new(211, &["a"]);
    write(&world, 0..10);
    world.until(LONG, |world| world.stored("a").len() == 10 && world.is_quiet());
    let old = format!("{LOG}.1");
    world.disk.rename(LOG, format!("{LOG}.2")).expect("renamed");
    world.disk.append(LOG, b"").expect("made");
    world.disk.fail_reads(LOG, true);
    write(&world, 10..20);
    // It is found, and looked at again and again; then it is rotated, and there are more looks.
    let since = world.disk.now().mono;
    world.until(LONG, |world| world.disk.now().mono > since + 2 * limits::DISCOVERY_INTERVAL);
    world.disk.rename(LOG, &old).expect("renamed");
    world.until(LONG, |world| world.disk.now().mono > since + 4 * limits::DISCOVERY_INTERVAL);
    world.kill();
    world.disk.fail_reads(&old, false);
    write(&world, 20..30);
    world.start();
    world.until(LONG, |world| world.stored("a").len() >= 30 && world.is_quiet());
    assert_eq!(world.stored("a"), all(0..30));
}

#[test]
fn while_nothing_can_be_synced_a_rotated_file_is_let_go_only_after_a_minute() {
    let mut world = World::new(210, &["a"]);
    write(&world, 0..10);
    world.until(LONG, |world| world.stored("a").len() == 10 && world.is_quiet());
    world.disk.set_faults(Faults { persist_failure: 1_000, ..Faults::default() });
    world.disk.rename(LOG, format!("{LOG}.1")).expect("renamed");
    write(&world, 10..20);
    let readers = |world: &World| world.lane.as_ref().map_or(0, |lane| lane.readers.len());
    world.until(LONG, |world| world.stored("a").len() == 20 && readers(world) == 2);
    let failing = world.disk.now().mono;
    world.until(LONG, |world| readers(world) == 1);
    let held = world.disk.now().mono - failing;
    let least = limits::CHECKPOINT_SYNC_HOLD - 2 * limits::CHECKPOINT_SYNC_INTERVAL;
    assert!(held > least && held < 2 * limits::CHECKPOINT_SYNC_HOLD, "held for {held:?}");
}

fn looks_are_younger(checkpoint: &Checkpoint, modified: Nanos) -> bool {
    let mut looks = checkpoint.slots().filter(|slot| slot.key.reader == CLOSED);
    looks.any(|slot| match &slot.content {
        Content::Reader { marks, .. } => marks.iter().any(|(_, look)| *look > modified),
        _ => false,
    })
}
