//! The production lane in the simulated world: told lives first, then lives from a seed.

mod fair;
mod found;
mod gone;
mod lanes;
mod life;
mod orders;
mod review;
mod spool;
pub(super) mod world;

use std::time::Duration;

use self::world::{LOG, Mood, World, line};
use crate::{limits, model::Level, plan::StartAt};

const LONG: Duration = Duration::from_secs(600);

fn write(world: &World, numbers: std::ops::Range<u64>) {
    for number in numbers {
        world.disk.append(LOG, line(number, "info").as_bytes()).expect("written");
    }
}

fn all(numbers: std::ops::Range<u64>) -> Vec<u64> {
    numbers.collect()
}

#[test]
fn lines_flow_to_every_target() {
    let mut world = World::new(1, &["a", "b"]);
    write(&world, 0..1_000);
    world.until(LONG, |world| world.stored("a").len() == 1_000 && world.stored("b").len() == 1_000);
    assert_eq!(world.stored("a"), all(0..1_000));
    write(&world, 1_000..1_500);
    world.until(LONG, |world| world.stored("b").len() == 1_500 && world.is_quiet());
    assert_eq!(world.stored("a"), all(0..1_500));
    let labels = &world.peers.borrow().stored[&world::id("a")][0].0;
    assert_eq!(labels, r#"{cluster="c1", level="info", node="n1", service_name="app", source="app"}"#);
}

#[test]
fn a_restart_goes_on_where_it_was() {
    let mut world = World::new(2, &["a"]);
    write(&world, 0..5_000);
    world.until(LONG, |world| world.stored("a").len() == 5_000 && world.is_quiet());
    world.kill();
    write(&world, 5_000..6_000);
    world.start();
    world.until(LONG, |world| world.stored("a").len() >= 6_000 && world.is_quiet());
    assert_eq!(world.stored("a"), all(0..6_000), "nothing twice after a quiet moment");
}

#[test]
fn what_was_not_acked_is_sent_again_the_same() {
    let mut world = World::new(3, &["a"]);
    world.mood("a", Mood::Mute);
    write(&world, 0..5_000);
    world.until(LONG, |world| world.stored("a").len() == 5_000);
    world.kill();
    world.mood("a", Mood::Acks);
    world.start();
    world.until(LONG, |world| world.stored("a").len() == 10_000 && world.is_quiet());
    world.check_identity();
}

#[test]
fn filtered_lines_move_the_position_and_pin_nothing() {
    let mut world = World::new(4, &["a"]);
    world.mood("a", Mood::Down);
    world.change_source(|source| source.min_level = Level::Info);
    for number in 0..50_000 {
        world.disk.append(LOG, line(number, "debug").as_bytes()).expect("written");
    }
    world.until(LONG, |world| world.report().is_some() && world.totals("a").filtered == 50_000);
    assert!(world.is_quiet());
    world.kill();
    world.start();
    write(&world, 50_000..50_001);
    world.mood("a", Mood::Acks);
    world.until(LONG, |world| world.stored("a").len() == 1);
    assert_eq!(world.lane.as_ref().map(|lane| lane.carried_bytes() < 200_000), Some(true), "nothing is read again");
}

#[test]
fn rotations_while_nothing_runs_lose_nothing() {
    let mut world = World::new(5, &["a"]);
    write(&world, 0..100);
    world.until(LONG, |world| world.stored("a").len() == 100 && world.is_quiet());
    world.kill();
    write(&world, 100..200);
    world.disk.rename(LOG, format!("{LOG}.1")).expect("renamed");
    write(&world, 200..300);
    world.disk.rename(format!("{LOG}.1"), format!("{LOG}.2")).expect("renamed");
    world.disk.rename(LOG, format!("{LOG}.1")).expect("renamed");
    write(&world, 300..400);
    world.start();
    world.until(LONG, |world| world.stored("a").len() >= 400 && world.is_quiet());
    assert_eq!(world.stored("a"), all(0..400), "in order over all three files");
}

#[test]
fn a_rotation_while_running_keeps_order_and_lets_go() {
    let mut world = World::new(6, &["a"]);
    write(&world, 0..100);
    world.turns(5);
    write(&world, 100..200);
    world.disk.rename(LOG, format!("{LOG}.1")).expect("renamed");
    write(&world, 200..300);
    world.until(LONG, |world| world.stored("a").len() == 300);
    assert_eq!(world.stored("a"), all(0..300));
    world.until(LONG, |world| world.report().is_some_and(|report| report.readers.len() == 1));
    assert_eq!(world.totals("a").delivered, 300, "the ledger keeps what a reader that is gone has counted");
}

#[test]
fn a_file_that_was_idle_when_it_was_rotated_is_let_go() {
    let mut world = World::new(18, &["a"]);
    write(&world, 0..100);
    world.until(LONG, |world| world.stored("a").len() == 100 && world.is_quiet());
    let since = world.disk.now().mono;
    world.until(LONG, |world| world.disk.now().mono > since + 2 * limits::TAIL_IDLE);
    world.disk.rename(LOG, format!("{LOG}.1")).expect("renamed");
    write(&world, 100..200);
    world.until(LONG, |world| world.report().is_some_and(|report| report.readers.len() == 2));
    world.until(LONG, |world| world.report().is_some_and(|report| report.readers.len() == 1));
    assert_eq!(world.stored("a"), all(0..200));
}

#[test]
fn an_unfinished_last_line_of_a_rotated_file_is_shipped() {
    let mut world = World::new(7, &["a"]);
    world.disk.append(LOG, line(0, "info").trim_end().as_bytes()).expect("written");
    world.turns(20);
    assert_eq!(world.stored("a").len(), 0);
    world.disk.rename(LOG, format!("{LOG}.1")).expect("renamed");
    world.until(LONG, |world| world.stored("a") == [0]);
}

#[test]
fn a_dead_target_holds_up_nobody_and_catches_up() {
    let mut world = World::new(8, &["a", "b"]);
    world.mood("b", Mood::Down);
    for step in 0..60 {
        write(&world, step * 2_000..(step + 1) * 2_000);
        world.turns(50);
    }
    world.until(LONG, |world| world.stored("a").len() == 120_000);
    assert_eq!(world.stored("a"), all(0..120_000));
    let bound = limits::QUEUE_BYTES_MIN + 2 * limits::BATCH_BYTES;
    assert!(world.peers.borrow().most_waiting <= bound, "a dead target costs no growing memory");
    assert_eq!(world.stored("b").len(), 0);
    world.mood("b", Mood::Acks);
    world.until(LONG, |world| world.stored("b").len() == 120_000 && world.is_quiet());
    assert_eq!(world.stored("b"), all(0..120_000));
    write(&world, 120_000..120_100);
    world.until(LONG, |world| world.stored("b").len() == 120_100);
    assert_eq!(world.lane.as_ref().map(|lane| lane.passes()), Some(1), "they walk together again");
}

#[test]
fn a_disabled_target_resumes_where_it_was() {
    let mut world = World::new(9, &["a", "b"]);
    write(&world, 0..100);
    world.until(LONG, |world| world.stored("b").len() == 100 && world.is_quiet());
    world.change_target("b", |target| target.enabled = false);
    world.mood("b", Mood::Returns);
    write(&world, 100..200);
    world.until(LONG, |world| world.stored("a").len() == 200);
    world.turns(50);
    assert_eq!(world.stored("b").len(), 100);
    world.mood("b", Mood::Acks);
    world.change_target("b", |target| target.enabled = true);
    world.until(LONG, |world| world.stored("b").len() == 200 && world.is_quiet());
    assert_eq!(world.stored("b"), all(0..200));
}

#[test]
fn a_new_target_starts_now() {
    let mut world = World::new(10, &["a"]);
    write(&world, 0..100);
    world.until(LONG, |world| world.stored("a").len() == 100 && world.is_quiet());
    world.plan.targets.push(std::sync::Arc::new(world::target("b")));
    world.give_plan();
    world.turns(10);
    write(&world, 100..200);
    world.until(LONG, |world| world.stored("b").len() == 100 && world.is_quiet());
    assert_eq!(world.stored("b"), all(100..200));
}

#[test]
fn a_level_filter_changes_between_two_records() {
    let mut world = World::new(11, &["a", "b"]);
    for number in 0..100 {
        let level = if number % 2 == 0 { "debug" } else { "error" };
        world.disk.append(LOG, line(number, level).as_bytes()).expect("written");
    }
    world.change_target("b", |target| target.min_level = Level::Warn);
    world.until(LONG, |world| world.is_quiet() && world.stored("a").len() == 100);
    assert_eq!(world.stored("b"), (0..100).filter(|number| number % 2 == 1).collect::<Vec<_>>());
    world.until(LONG, |world| world.totals("b").read == 100);
    assert_eq!((world.totals("b").filtered, world.totals("b").delivered), (50, 50));
}

#[test]
fn a_truncated_file_is_read_from_its_beginning() {
    let mut world = World::new(12, &["a"]);
    write(&world, 0..100);
    world.until(LONG, |world| world.stored("a").len() == 100 && world.is_quiet());
    world.disk.truncate(LOG, 0).expect("truncated");
    write(&world, 100..110);
    world.until(LONG, |world| world.stored("a").len() == 110 && world.is_quiet());
    assert_eq!(world.stored("a"), all(0..110));
    assert_eq!(world.report().map(|report| report.readers[0].unattributed), Some(1));
}

#[test]
fn start_at_end_and_since() {
    for (start, expected) in [
        (StartAt::End, 0..0u64),
        (StartAt::Beginning, 0..3_000),
        // The world begins at the time of line 0.
        (StartAt::Since(Duration::from_secs(1)), 0..3_000),
    ] {
        let mut world = World::new(13, &["a"]);
        world.kill();
        write(&world, 0..3_000);
        world.change_source(|source| source.start_at = start);
        world.start();
        world.turns(50);
        write(&world, 3_000..3_010);
        let expected: Vec<u64> = expected.chain(3_000..3_010).collect();
        world.until(LONG, |world| world.is_quiet() && world.stored("a").len() >= expected.len());
        assert_eq!(world.stored("a"), expected, "{start:?}");
    }
}

#[test]
fn lines_that_do_not_parse_are_shipped_and_counted() {
    let mut world = World::new(14, &["a"]);
    world.change_source(|source| source.min_level = Level::Error);
    world.disk.append(LOG, b"panic: not json\n\xff\xfe\n\n").expect("written");
    world.until(LONG, |world| world.report().is_some() && world.totals("a").delivered == 3);
    assert_eq!(world.totals("a").unparsed, 3);
    let peers = world.peers.borrow();
    let lines: Vec<&str> = peers.stored[&world::id("a")].iter().map(|(_, _, line)| line.as_str()).collect();
    assert_eq!(lines, ["panic: not json", "\u{fffd}\u{fffd}", ""]);
}

#[test]
fn a_very_long_line_arrives_in_pieces() {
    let mut world = World::new(15, &["a"]);
    let long = "x".repeat(limits::FRAME_BYTES_MAX * 2 + 77);
    world.disk.append(LOG, format!("{long}\n{}", line(1, "info")).as_bytes()).expect("written");
    world.until(LONG, |world| world.stored("a").last() == Some(&1) && world.is_quiet());
    let peers = world.peers.borrow();
    let stored = &peers.stored[&world::id("a")];
    assert_eq!(stored.iter().map(|(_, _, line)| line.len()).sum::<usize>() - line(1, "info").trim().len(), long.len());
}
