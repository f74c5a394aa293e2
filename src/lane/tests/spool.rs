//! What would vanish: deleted files are held, spooled, and given up within bounds; every line is delivered or counted.

use std::{collections::BTreeSet, time::Duration};

use super::{
    LONG, all,
    world::{self, LOG, Mood, SPOOL, STATE, World, line},
};
use crate::{
    lane::{
        checkpoint::{Checkpoint, Key, Slot},
        spool::is_spooled_key,
    },
    orders::LaneOrder,
    ring::Ring,
    stats::{DropReason, Kept, KeptReport},
};

/// More than a queue holds, so that a target that takes nothing lags.
const MANY: u64 = 8_000;
/// Bytes of one line, about.
const LINE_BYTES: u64 = 560;
const NEXT: &str = "/var/log/app/app.log.1";

/// A world in which `a` takes everything and `b` does as told, with so many bytes that may be held open.
fn world(seed: u64, mood: Mood, pinned_bytes: u64) -> World {
    let mut world = World::new(seed, &["a", "b"]);
    world.kill();
    world.keep.pinned_bytes = pinned_bytes;
    world.start();
    world.mood("b", mood);
    world
}

/// Long lines that do not compress to nothing.
fn write(world: &World, numbers: std::ops::Range<u64>) {
    for number in numbers {
        let noise: String =
            (0..30).map(|part| format!("{:016x}", xxhash_rust::xxh3::xxh3_64(&[number as u8, part]))).collect();
        let text = line(number, "info").replace("\"line\"", &format!("\"{noise}\""));
        world.disk.append(LOG, text.as_bytes()).expect("written");
    }
}

fn kept(world: &World) -> KeptReport {
    world.report().map(|report| report.kept).unwrap_or_default()
}

/// Writes many lines, waits until `a` has them, and deletes the file.
fn write_and_delete(world: &mut World) {
    write(world, 0..MANY);
    world.until(LONG, |world| world.stored("a").len() as u64 >= MANY);
    world.disk.remove(LOG).expect("removed");
}

fn segments(world: &World) -> Vec<String> {
    let mut ring = world.disk.ring();
    let entries = ring.list(SPOOL.as_ref(), 999).expect("the spool is there");
    entries.into_iter().map(|entry| entry.name.to_string_lossy().into_owned()).collect()
}

/// Everything has arrived, and nothing is kept any more.
fn until_done(world: &mut World, name: &str) {
    world.until(LONG, |world| {
        let arrived: BTreeSet<u64> = world.stored(name).into_iter().collect();
        arrived.len() as u64 == MANY && kept(world) == KeptReport::default() && world.is_quiet()
    });
    assert!(segments(world).is_empty());
    world.check_identity();
    assert_eq!(world.report().map(|report| report.imbalances), Some(0));
}

#[test]
fn a_deleted_file_is_held_for_a_target_that_lags() {
    let mut world = world(200, Mood::Down, 1 << 30);
    write_and_delete(&mut world);
    world.until(LONG, |world| kept(world).pinned_files == 1);
    assert!(kept(&world).pinned_bytes > MANY * LINE_BYTES / 2);
    assert_eq!(world.report().map(|report| report.readers[0].kept), Some(Kept::Pinned));
    world.mood("b", Mood::Acks);
    until_done(&mut world, "b");
    assert_eq!(world.stored("b"), all(0..MANY));
}

#[test]
fn past_the_cap_the_bytes_go_to_the_spool_and_are_sent_from_there() {
    let mut world = world(201, Mood::Down, 0);
    write_and_delete(&mut world);
    world.until(LONG, |world| kept(world).spooled_files == 1 && kept(world).pinned_files == 0);
    assert_eq!(world.report().map(|report| report.readers[0].kept), Some(Kept::Spooled));
    assert!(kept(&world).spooled_bytes < MANY * LINE_BYTES * 3 / 4, "compressed");
    write(&world, MANY..MANY + 10);
    world.mood("b", Mood::Acks);
    world.until(LONG, |world| world.stored("b").len() as u64 == MANY + 10);
    assert_eq!(world.stored("b"), all(0..MANY + 10), "in order, and before what came later");
    world.until(LONG, |world| kept(world) == KeptReport::default());
    assert!(segments(&world).is_empty());
    assert_eq!(world.totals("b").delivered, MANY + 10);
}

#[test]
fn what_is_sent_again_from_the_spool_after_a_power_loss_is_identical() {
    let mut world = world(202, Mood::Mute, 0);
    world.disk.set_faults(crate::ring::Faults { read_error: 2, ..crate::ring::Faults::rough() });
    // Lines without a time of their own, and equal neighbours: their times hang on what was read before.
    for number in 0..MANY / 100 {
        world.disk.append(LOG, format!("no time, \"seq\":{number}}}\n").as_bytes()).expect("written");
    }
    write(&world, MANY / 100..MANY);
    world.until(LONG, |world| world.stored("a").len() as u64 >= MANY && world.stored("b").len() > 1_000);
    world.disk.remove(LOG).expect("removed");
    world.until(LONG, |world| kept(world).spooled_files == 1 && kept(world).pinned_files == 0);
    world.until(LONG, |world| world.lane.as_ref().is_some_and(|lane| lane.checkpoint.is_safe()));
    world.disk.power_loss();
    world.kill();
    world.mood("b", Mood::Acks);
    world.start();
    until_done(&mut world, "b");
    world.until(LONG, |world| world.totals("b").delivered == MANY);
}

#[test]
fn a_file_half_moved_to_the_spool_keeps_its_other_positions() {
    let mut world = world(212, Mood::Down, 0);
    write(&world, 0..MANY);
    world.until(LONG, |world| world.stored("a").len() as u64 >= MANY && world.totals("a").delivered >= MANY);
    let before = world.lane.iter().flat_map(|lane| lane.readers.values()).map(|reader| reader.key).next();
    world.disk.remove(LOG).expect("removed");
    world.until(LONG, |world| kept(world).spooled_files == 1 && kept(world).pinned_files == 0);
    world.kill();
    // Of the record for `a` a power loss left the one from before.
    let mut ring = world.disk.ring();
    let mut checkpoint = Checkpoint::load(&mut ring, STATE.as_ref(), 0, 1);
    let is_of_a = |slot: &&Slot| is_spooled_key(&slot.key.reader) && slot.key.target == world::id("a");
    let moved = checkpoint.slots().find(is_of_a).expect("moved").clone();
    checkpoint.forget(&moved.key);
    checkpoint.put(Key { reader: before.expect("it was read"), ..moved.key }, moved.content);
    checkpoint.write(&mut ring);
    world.mood("b", Mood::Acks);
    world.start();
    until_done(&mut world, "b");
    assert_eq!(world.stored("a"), all(0..MANY), "nothing twice");
}

#[test]
fn without_room_the_lines_are_dropped_and_counted() {
    let mut world = world(203, Mood::Down, 0);
    write_and_delete(&mut world);
    // Nine tenths are taken: no segment may be written.
    world.disk.set_capacity(MANY * LINE_BYTES * 21 / 20);
    world.until(LONG, |world| kept(world).pinned_files == 0 && kept(world).spooled_files == 1);
    let told = world.report().is_some_and(|report| report.troubles.iter().any(|text| text.contains("are dropped")));
    assert!(told, "{:?}", world.report());
    world.mood("b", Mood::Acks);
    world.until(LONG, |world| world.totals("b").read == MANY && kept(world) == KeptReport::default());
    let totals = world.totals("b");
    assert_eq!(totals.delivered + totals.dropped[DropReason::Budget as usize], MANY);
    assert_eq!(totals.delivered, world.stored("b").len() as u64);
    assert!(totals.delivered > 0 && totals.delivered < MANY, "what was in flight arrives");
}

#[test]
fn what_fits_into_the_spool_is_kept_and_only_the_rest_dropped() {
    let mut world = world(204, Mood::Down, 0);
    world.kill();
    world.keep.spool_bytes = 1_000_000;
    world.start();
    write_and_delete(&mut world);
    world.until(LONG, |world| kept(world).pinned_files == 0 && kept(world).spooled_files == 1);
    assert!(kept(&world).spooled_bytes <= 1_000_000);
    world.kill();
    world.mood("b", Mood::Acks);
    world.start();
    world.until(LONG, |world| world.totals("b").read == MANY && kept(world) == KeptReport::default());
    let (totals, stored) = (world.totals("b"), world.stored("b"));
    assert_eq!(totals.delivered + totals.dropped[DropReason::Budget as usize], MANY);
    let arrived: BTreeSet<u64> = stored.into_iter().collect();
    assert_eq!(arrived.into_iter().collect::<Vec<_>>(), all(0..totals.delivered), "whole lines, from the first on");
    assert!(totals.delivered > 2_000, "{totals:?}");
}

#[test]
fn a_damaged_block_of_the_spool_is_counted_and_the_rest_arrives() {
    let mut world = world(205, Mood::Down, 0);
    write_and_delete(&mut world);
    world.until(LONG, |world| kept(world).pinned_files == 0 && kept(world).spooled_files == 1);
    let path = format!("{SPOOL}/{}", segments(&world)[0]);
    let size = world.disk.content(&path).expect("a segment").len() as u64;
    world.disk.write_at(&path, size / 2, b"rubbish").expect("written");
    world.mood("b", Mood::Acks);
    world.until(LONG, |world| world.totals("b").read == MANY && kept(world) == KeptReport::default());
    let totals = world.totals("b");
    let damaged = totals.dropped[DropReason::Damaged as usize];
    assert_eq!(totals.delivered + damaged, MANY);
    assert!((1..1_000).contains(&damaged), "one block: {damaged}");
    let arrived: BTreeSet<u64> = world.stored("b").into_iter().collect();
    assert_eq!(arrived.len() as u64, totals.delivered);
    assert!(!arrived.contains(&u64::MAX), "no torn line");
}

#[test]
fn a_lost_spool_is_counted_as_far_as_it_reached() {
    let mut world = world(206, Mood::Down, 0);
    write_and_delete(&mut world);
    world.until(LONG, |world| kept(world).pinned_files == 0 && kept(world).spooled_files == 1);
    world.kill();
    for name in segments(&world) {
        world.disk.remove(format!("{SPOOL}/{name}")).expect("removed");
    }
    world.mood("b", Mood::Acks);
    world.start();
    write(&world, 0..1);
    let lost = |world: &World| world.report().map_or(0, |report| report.lost.iter().map(|(_, lines)| lines).sum());
    world.until(LONG, |world| lost(world) >= MANY - world.totals("b").delivered);
}

#[test]
fn a_lane_that_stops_leaves_nothing_to_vanish() {
    let mut world = world(207, Mood::Down, 1 << 30);
    write_and_delete(&mut world);
    world.until(LONG, |world| kept(world).pinned_files == 1);
    if let Some(handle) = &world.handle {
        handle.order(LaneOrder::Drain);
    }
    world.until(Duration::from_secs(10), |world| kept(world).pinned_files == 0 && kept(world).spooled_files == 1);
    world.disk.power_loss();
    world.kill();
    world.mood("b", Mood::Acks);
    world.start();
    until_done(&mut world, "b");
}

#[test]
fn the_service_manager_keeps_a_deleted_file_over_a_kill() {
    let mut world = world(208, Mood::Down, 1 << 30);
    world.disk.set_descriptor_store(true);
    write(&world, 0..MANY / 2);
    world.until(LONG, |world| world.stored("a").len() as u64 == MANY / 2);
    world.disk.rename(LOG, NEXT).expect("renamed");
    write(&world, MANY / 2..MANY);
    world.until(LONG, |world| world.stored("a").len() as u64 == MANY);
    world.disk.remove(NEXT).expect("removed");
    world.disk.remove(LOG).expect("removed");
    world.until(LONG, |world| world.disk.stored().len() == 2);
    world.kill();
    world.mood("b", Mood::Acks);
    world.start();
    world.until(LONG, |world| world.stored("b").len() as u64 == MANY);
    assert_eq!(world.stored("b"), all(0..MANY), "the older file first");
    until_done(&mut world, "b");
    world.until(LONG, |world| world.disk.stored().is_empty());
}

#[test]
fn a_disabled_target_keeps_nothing_and_its_gap_is_counted() {
    let mut world = world(209, Mood::Acks, 1 << 30);
    write(&world, 0..100);
    world.until(LONG, |world| world.stored("b").len() == 100 && world.is_quiet());
    world.change_target("b", |target| target.enabled = false);
    write(&world, 100..1_000);
    world.until(LONG, |world| world.stored("a").len() == 1_000);
    world.disk.remove(LOG).expect("removed");
    world.until(LONG, |world| world.report().is_some_and(|report| report.readers.is_empty()));
    assert_eq!(kept(&world), KeptReport::default());
    world.change_target("b", |target| target.enabled = true);
    world.until(LONG, |world| world.totals("b").read == 1_000);
    let totals = world.totals("b");
    assert_eq!((totals.delivered, totals.dropped[DropReason::Disabled as usize]), (100, 900));
}

#[test]
fn a_disabled_target_resumes_in_a_rotated_file_that_is_still_there() {
    let mut world = world(210, Mood::Acks, 1 << 30);
    write(&world, 0..100);
    world.until(LONG, |world| world.stored("b").len() == 100 && world.is_quiet());
    world.change_target("b", |target| target.enabled = false);
    write(&world, 100..1_000);
    world.disk.rename(LOG, NEXT).expect("renamed");
    write(&world, 1_000..1_100);
    let since = world.disk.now().mono;
    world.until(LONG, |world| world.disk.now().mono > since + Duration::from_secs(60));
    world.kill();
    world.start();
    world.turns(50);
    world.change_target("b", |target| target.enabled = true);
    world.until(LONG, |world| world.stored("b").len() == 1_100 && world.is_quiet());
    assert_eq!(world.stored("b"), all(0..1_100));
    world.until(LONG, |world| world.totals("b").delivered == 1_100);
}

#[test]
fn a_deleted_target_takes_its_spool_with_it() {
    let mut world = world(211, Mood::Down, 0);
    write_and_delete(&mut world);
    world.until(LONG, |world| kept(world).pinned_files == 0 && kept(world).spooled_files == 1);
    world.plan.targets.retain(|target| target.name != "b");
    world.give_plan();
    world.until(LONG, |world| kept(world) == KeptReport::default() && segments(world).is_empty());
}

/// Killed at any moment, with faults, and the descriptors kept: nothing is lost, nothing is sent otherwise.
#[test]
fn a_kill_at_any_moment_loses_nothing_that_would_vanish() {
    for seed in seeds(320..330) {
        let mut world = world(seed, Mood::Down, if seed % 2 == 0 { 0 } else { 1 << 30 });
        world.disk.set_descriptor_store(true);
        world.disk.set_faults(crate::ring::Faults { read_error: 2, ..crate::ring::Faults::rough() });
        write_and_delete(&mut world);
        world.until(LONG, |world| world.disk.stored().len() == 1 || kept(world).spooled_files == 1);
        for step in 0..3 {
            world.turns(((seed * 7 + step * 31) % 90) as usize);
            world.kill();
            world.start();
        }
        world.mood("b", Mood::Acks);
        until_done(&mut world, "b");
        world.until(LONG, |world| world.totals("b").delivered == MANY);
        println!("seed {seed} lived");
    }
}

/// The file is cut and has outgrown its old size before anybody looked.
#[test]
fn a_file_truncated_and_regrown_between_two_looks_is_read_from_its_beginning() {
    let mut world = World::new(212, &["a"]);
    write(&world, 0..100);
    world.until(LONG, |world| world.stored("a").len() == 100 && world.is_quiet());
    world.turns(200);
    world.disk.truncate(LOG, 0).expect("truncated");
    write(&world, 1_000..1_200);
    world.until(LONG, |world| {
        let arrived: BTreeSet<u64> = world.stored("a").into_iter().collect();
        (1_000..1_200).all(|number| arrived.contains(&number)) && world.is_quiet()
    });
    world.until(LONG, |world| world.report().is_some_and(|report| report.readers[0].unattributed > 0));
}

#[test]
fn a_batch_returned_after_truncation_is_dropped_and_counted() {
    let mut world = World::new(213, &["a"]);
    world.mood("a", Mood::Down);
    write(&world, 0..100);
    world.until(LONG, |world| world.lane.as_ref().is_some_and(|lane| lane.carried_bytes() > 6_000));
    world.turns(200);
    world.disk.truncate(LOG, 0).expect("truncated");
    write(&world, 100..110);
    world.turns(200);
    world.mood("a", Mood::Returns);
    world.until(LONG, |world| world.totals("a").dropped[DropReason::SourceGone as usize] == 100);
    world.mood("a", Mood::Acks);
    world.until(LONG, |world| world.stored("a") == all(100..110) && world.is_quiet());
    world.until(LONG, |world| world.totals("a").read == 110 && world.totals("a").delivered == 10);
}

/// One flow took the end of the file for the end of the line; then the writer finished it.
#[test]
fn the_tail_of_a_line_written_after_its_end_was_taken_reaches_everyone() {
    let mut world = World::new(214, &["a", "b"]);
    world.mood("b", Mood::Returns);
    write(&world, 0..10);
    world.disk.append(LOG, b"begin").expect("written");
    world.until(LONG, |world| world.stored("a").len() == 10);
    world.disk.rename(LOG, NEXT).expect("renamed");
    world.until(LONG, |world| world.stored("a").len() == 11);
    world.disk.append(NEXT, b" and end\n").expect("written");
    // Both are grouped anew while one stands within the line.
    world.change_target("a", |target| target.queue_bytes += 1);
    world.mood("b", Mood::Acks);
    world.kill();
    world.start();
    world.until(LONG, |world| world.is_quiet() && world.stored("b").len() >= 11);
    let peers = world.peers.borrow();
    let text = |name: &str| -> String {
        peers.stored[&super::world::id(name)].iter().map(|(_, _, line)| line.as_str()).collect()
    };
    assert!(text("a").ends_with("begin and end"), "{}", text("a"));
    assert!(text("b").ends_with("begin and end"), "{}", text("b"));
}

#[test]
fn a_drained_lane_has_synced_its_checkpoint() {
    let mut world = World::new(215, &["a"]);
    write(&world, 0..100);
    world.disk.sync_all();
    world.until(LONG, |world| world.stored("a").len() == 100);
    if let Some(handle) = &world.handle {
        handle.order(LaneOrder::Drain);
    }
    world.until(LONG, |world| world.report().is_some_and(|report| report.drained));
    world.disk.power_loss();
    world.kill();
    world.start();
    world.turns(300);
    assert_eq!(world.stored("a"), all(0..100), "nothing twice");
    let _ = line(0, "info");
}

/// `CORELANE_SEED` runs one.
fn seeds(all: std::ops::Range<u64>) -> std::ops::Range<u64> {
    match std::env::var("CORELANE_SEED").ok().and_then(|text| text.parse::<u64>().ok()) {
        Some(seed) => seed..seed + 1,
        None => all,
    }
}
