//! What a hostile reader of the lane thought of: each test is named after what would go wrong.

use std::{ops::Range, sync::Arc, time::Duration};

use super::world::{self, LOG, Mood, World, line};
use crate::{
    limits,
    model::Level,
    plan::{Format, StartAt, TargetKind},
    ring::sim::Faults,
};

const LONG: Duration = Duration::from_secs(600);

fn lines(numbers: Range<u64>) -> String {
    numbers.map(|number| line(number, "info")).collect()
}

fn append(world: &World, path: &str, numbers: Range<u64>) {
    world.disk.append(path, lines(numbers).as_bytes()).expect("written");
}

fn sorted(world: &World, target: &str) -> Vec<u64> {
    let mut numbers = world.stored(target);
    numbers.sort_unstable();
    numbers.dedup();
    numbers
}

fn all(numbers: Range<u64>) -> Vec<u64> {
    numbers.collect()
}

/// Lines read behind a returned batch and not sealed yet must not move the position over it.
#[test]
fn what_was_being_filled_while_a_batch_came_back_does_not_hide_it() {
    let mut world = World::new(101, &["a"]);
    world.mood("a", Mood::Down);
    append(&world, LOG, 0..10);
    world.until(LONG, |world| world.peers.borrow().most_waiting > 0);
    append(&world, LOG, 10..20);
    let read = world.lane.as_ref().map_or(0, |lane| lane.carried_bytes());
    world.until(LONG, |world| world.lane.as_ref().is_some_and(|lane| lane.carried_bytes() > read));
    world.mood("a", Mood::Returns);
    world.peers.borrow_mut().answer();
    world.mood("a", Mood::Acks);
    world.turns(3);
    world.until(LONG, World::is_quiet);
    assert_eq!(sorted(&world, "a"), all(0..20));
    world.until(LONG, |world| world.totals("a").delivered == 20);
}

/// There are fewer chunks than files with a backlog.
#[test]
fn more_files_than_chunks_are_all_read() {
    let mut world = World::new(102, &["a"]);
    world.change_target("a", |target| target.queue_bytes = limits::QUEUE_BYTES_MAX);
    let files = 3 * limits::CHUNKS_MAX as u64;
    for file in 0..files {
        append(&world, &format!("/var/log/app/f{file}.log"), file * 10_000..(file + 1) * 10_000);
    }
    world.until(LONG, |world| sorted(world, "a").len() as u64 == files * 10_000);
}

/// A dead target must not hold the chunks that the others read with.
#[test]
fn a_dead_target_with_many_files_leaves_chunks_to_the_others() {
    let mut world = World::new(103, &["a", "b"]);
    world.mood("b", Mood::Down);
    world.change_target("a", |target| target.queue_bytes = limits::QUEUE_BYTES_MAX);
    let files = 2 * limits::CHUNKS_MAX as u64;
    for file in 0..files {
        append(&world, &format!("/var/log/app/f{file}.log"), file * 10_000..(file + 1) * 10_000);
    }
    world.until(LONG, |world| sorted(world, "a").len() as u64 == files * 10_000);
    world.mood("b", Mood::Acks);
    world.until(LONG, |world| sorted(world, "b").len() as u64 == files * 10_000);
}

/// `startAt: since` looks for the first line that is young enough; lines written after the file was found are.
#[test]
fn new_lines_without_a_time_flow_under_start_at_since() {
    let mut world = World::new(104, &["a"]);
    world.kill();
    world.disk.append(LOG, b"plain text\nmore of it\n").expect("written");
    world.change_source(|source| source.start_at = StartAt::Since(Duration::from_secs(3600)));
    world.start();
    world.turns(50);
    for number in 0..10 {
        world.disk.append(LOG, format!("plain \"seq\":{number}\n").as_bytes()).expect("written");
    }
    world.until(LONG, |world| (0..10).all(|number| world.stored("a").contains(&number)));
}

/// The clock of whoever writes may be wrong by any amount; what is new is new.
#[test]
fn new_lines_with_an_old_time_flow_under_start_at_since() {
    let mut world = World::new(105, &["a"]);
    world.kill();
    world.disk.append(LOG, b"{\"ts\":12.5,\"msg\":\"old\",\"seq\":7777}\n").expect("written");
    world.change_source(|source| source.start_at = StartAt::Since(Duration::from_secs(3600)));
    world.start();
    world.turns(50);
    for number in 0..10 {
        let text = format!("{{\"ts\":{number}.5,\"msg\":\"uptime\",\"seq\":{number}}}\n");
        world.disk.append(LOG, text.as_bytes()).expect("written");
    }
    world.until(LONG, |world| (0..10).all(|number| world.stored("a").contains(&number)));
    assert!(!world.stored("a").contains(&7777), "what was there before is older than asked for");
}

/// A file shorter than at the last look was truncated, however far it had been read.
#[test]
fn a_file_truncated_ahead_of_a_slow_target_is_read_from_its_beginning() {
    let mut world = World::new(106, &["a"]);
    world.mood("a", Mood::Down);
    append(&world, LOG, 0..100_000);
    world.turns(200);
    world.disk.truncate(LOG, 0).expect("truncated");
    append(&world, LOG, 100_000..160_000);
    world.turns(200);
    world.mood("a", Mood::Acks);
    world.until(LONG, World::is_quiet);
    let stored = sorted(&world, "a");
    let new: Vec<u64> = stored.into_iter().filter(|number| (100_000..160_000).contains(number)).collect();
    assert_eq!(new.len(), 60_000, "from {:?} on", new.first());
}

/// After a truncation the file has another head; a restart must know it by that.
#[test]
fn a_truncated_file_is_known_again_after_a_restart() {
    let mut world = World::new(107, &["a"]);
    append(&world, LOG, 0..1_000);
    world.until(LONG, |world| world.stored("a").len() == 1_000 && world.is_quiet());
    world.disk.truncate(LOG, 0).expect("truncated");
    append(&world, LOG, 1_000..1_500);
    world.until(LONG, |world| world.stored("a").len() == 1_500 && world.is_quiet());
    append(&world, LOG, 1_500..1_600);
    world.until(LONG, |world| world.stored("a").len() == 1_600 && world.is_quiet());
    world.kill();
    append(&world, LOG, 1_600..1_700);
    world.start();
    world.until(LONG, |world| world.stored("a").len() >= 1_700 && world.is_quiet());
    assert_eq!(world.stored("a"), all(0..1_700), "nothing twice after a quiet moment");
}

/// A new target may take the place (the bit) of one that was removed, and nothing else of it.
#[test]
fn a_new_target_inherits_nothing_from_a_removed_one() {
    let mut world = World::new(108, &["a", "b"]);
    append(&world, LOG, 0..100);
    world.until(LONG, |world| world.stored("b").len() == 100 && world.is_quiet());
    world.plan.targets.pop();
    world.give_plan();
    world.turns(5);
    append(&world, LOG, 100..200);
    world.until(LONG, |world| world.stored("a").len() == 200 && world.is_quiet());
    world.plan.targets.push(Arc::new(world::target("c")));
    world.give_plan();
    world.turns(5);
    append(&world, LOG, 200..300);
    world.until(LONG, |world| world.stored("c").len() >= 100 && world.is_quiet());
    assert_eq!(world.stored("c"), all(200..300), "a new target starts now");
    world.until(LONG, |world| world.totals("c").delivered == 100);
    world.kill();
    append(&world, LOG, 300..310);
    world.start();
    world.until(LONG, |world| world.stored("c").len() >= 110 && world.is_quiet());
    assert_eq!(world.stored("c"), all(200..310), "and it keeps its own position");
}

/// A target that is gone for a moment (its document was broken) comes back under its old identity.
#[test]
fn a_target_that_comes_back_with_batches_in_flight_goes_on() {
    let mut world = World::new(109, &["a", "b"]);
    world.mood("b", Mood::Down);
    append(&world, LOG, 0..1_000);
    world.until(LONG, |world| world.stored("a").len() == 1_000 && world.peers.borrow().most_waiting > 0);
    let with = world.plan.clone();
    world.plan.targets.pop();
    world.plan.complaints.push(crate::plan::Complaint {
        kind: "target".to_owned(),
        name: "b".to_owned(),
        text: "broken".to_owned(),
    });
    world.give_plan();
    world.turns(3);
    world.plan.targets = with.targets;
    world.plan.complaints.clear();
    world.give_plan();
    world.turns(3);
    world.mood("b", Mood::Acks);
    append(&world, LOG, 1_000..2_000);
    world.until(LONG, |world| sorted(world, "b") == all(0..2_000) && world.is_quiet());
    world.until(LONG, |world| world.totals("b").delivered == 2_000);
}

/// Two sources may read one file; each has its own lines, times and places.
#[test]
fn two_sources_on_one_file_keep_their_own_times() {
    let mut world = World::new(110, &["a"]);
    world.change_source(|source| source.format = Format::Unstructured);
    let mut second = crate::plan::SourcePlan::clone(&world.plan.sources[0]);
    second.id = world::id("second");
    second.name = "second".to_owned();
    world.mood("a", Mood::Mute);
    append(&world, LOG, 0..10);
    world.until(LONG, |world| world.stored("a").len() == 10);
    // The second source reads the same lines later: at another time.
    world.turns(200);
    world.plan.sources.push(Arc::new(second));
    world.give_plan();
    world.until(LONG, |world| world.stored("a").len() == 20);
    world.kill();
    world.mood("a", Mood::Acks);
    world.start();
    world.until(LONG, |world| world.stored("a").len() >= 40 && world.is_quiet());
    let peers = world.peers.borrow();
    let mut distinct = peers.stored[&world::id("a")].clone();
    distinct.sort();
    distinct.dedup();
    assert_eq!(distinct.len(), 20, "each resent entry is identical to its first sending");
}

/// More open batches for one target than it may have in flight: each tenant has its own, and those beyond the credits
/// there are share one.
#[test]
fn a_target_of_many_tenants_never_gets_more_than_it_may_have_in_flight() {
    let mut world = World::new(111, &["a"]);
    let first = crate::plan::SourcePlan::clone(&world.plan.sources[0]);
    for number in 0..2 * limits::BATCHES_IN_FLIGHT_MAX {
        let mut source = first.clone();
        source.id = world::id(&format!("s{number}"));
        source.name = format!("s{number}");
        source.tenant = crate::plan::Tenant::Is(format!("t{number}"));
        world.plan.sources.push(Arc::new(source));
    }
    world.mood("a", Mood::Down);
    world.give_plan();
    append(&world, LOG, 0..1);
    world.turns(500);
    let waiting = world.peers.borrow().most_batches;
    assert!(waiting <= limits::OUTLETS_MAX, "{waiting} batches with one target");
    world.mood("a", Mood::Acks);
    world.until(LONG, |world| world.stored("a").len() == 2 * limits::BATCHES_IN_FLIGHT_MAX + 1 && world.is_quiet());
}

/// Many shapes fill at the same record; none may grow past what Loki takes (the world's decoder asserts it).
#[test]
fn batches_that_fill_together_are_sealed_together() {
    let names: Vec<String> = (0..24).map(|number| format!("t{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut world = World::new(112, &names);
    for name in &names {
        world.change_target(name, |target| {
            target.queue_bytes = limits::QUEUE_BYTES_MAX;
            if let TargetKind::Loki(loki) = &mut target.kind {
                loki.tenant = Some((*name).to_owned());
            }
        });
    }
    let long = "x".repeat(250_000);
    for number in 0..60 {
        let text = format!("{{\"level\":\"info\",\"msg\":\"{long}\",\"seq\":{number}}}\n");
        world.disk.append(LOG, text.as_bytes()).expect("written");
    }
    world.until(LONG, |world| names.iter().all(|name| sorted(world, name).len() == 60));
}

/// More cold files than may be opened at once: all of them begin where `startAt` says.
#[test]
fn start_at_holds_for_all_files_of_the_first_look() {
    let mut world = World::new(113, &["a"]);
    world.kill();
    let files = 3 * limits::OPENING_MAX as u64;
    let path = |file: u64| format!("/var/log/app/f{file}.log");
    for file in 0..files {
        append(&world, &path(file), file * 10..file * 10 + 10);
    }
    world.change_source(|source| source.start_at = StartAt::End);
    world.disk.set_faults(Faults { would_block: 1_000, ..Faults::default() });
    world.start();
    world.turns(300);
    for file in 0..files {
        append(&world, &path(file), 1_000_000 + file..1_000_001 + file);
    }
    world.until(LONG, |world| sorted(world, "a").iter().filter(|number| **number >= 1_000_000).count() as u64 == files);
    assert_eq!(sorted(&world, "a").len() as u64, files, "nothing of what was there before");
}

/// A rotated file that cannot be read must not stop the one that followed it.
#[test]
fn a_file_that_fails_does_not_stop_its_successor() {
    let mut world = World::new(114, &["a"]);
    append(&world, LOG, 0..10);
    world.until(LONG, |world| world.stored("a").len() == 10 && world.is_quiet());
    world.disk.fail_reads(LOG, true);
    append(&world, LOG, 10..20);
    world.turns(20);
    world.disk.rename(LOG, format!("{LOG}.1")).expect("renamed");
    append(&world, LOG, 20..30);
    world.until(LONG, |world| world.stored("a").contains(&29));
    world.disk.fail_reads(format!("{LOG}.1"), false);
    world.until(LONG, |world| sorted(world, "a") == all(0..30));
}

/// What a source no longer asks for is no longer shipped, even if it goes on growing.
#[test]
fn an_excluded_file_is_let_go_though_it_grows() {
    let mut world = World::new(115, &["a"]);
    append(&world, LOG, 0..10);
    world.until(LONG, |world| world.stored("a").len() == 10 && world.is_quiet());
    world.change_source(|source| {
        if let crate::plan::Input::File(input) = &mut source.input {
            let glob = globset::Glob::new("/var/log/app/app.log").expect("a glob");
            input.exclude = globset::GlobSetBuilder::new().add(glob).build().expect("a set");
        }
    });
    world.turns(100);
    append(&world, LOG, 10..20);
    let end = world.disk.now().mono + Duration::from_secs(30);
    while world.disk.now().mono < end {
        world.turn();
    }
    assert_eq!(world.stored("a"), all(0..10));
    assert_eq!(world.report().map(|report| report.readers.len()), Some(0));
}

/// A quiet file that gets a line after a day is not a day behind.
#[test]
fn lag_is_not_the_time_since_the_last_line() {
    let mut world = World::new(116, &["a"]);
    append(&world, LOG, 0..10);
    world.until(LONG, |world| world.stored("a").len() == 10 && world.is_quiet());
    let end = world.disk.now().mono + Duration::from_secs(3_000);
    while world.disk.now().mono < end {
        world.turn();
    }
    world.mood("a", Mood::Mute);
    let now = world.disk.now().wall.0 as f64 / 1e9;
    let text = format!("{{\"level\":\"info\",\"ts\":{now:.3},\"msg\":\"fresh\",\"seq\":10}}\n");
    world.disk.append(LOG, text.as_bytes()).expect("written");
    world.until(LONG, |world| world.stored("a").len() == 11);
    world.turns(20);
    let lag = world.report().map_or(0.0, |report| report.flows[0].lag_seconds);
    assert!(lag < 60.0, "{lag} s");
}

/// A target that never took anything is behind from the first line on.
#[test]
fn a_target_that_never_took_a_line_lags() {
    let mut world = World::new(117, &["a"]);
    world.mood("a", Mood::Down);
    append(&world, LOG, 0..10);
    let end = world.disk.now().mono + Duration::from_secs(300);
    while world.disk.now().mono < end {
        world.turn();
    }
    let lag = world.report().map_or(0.0, |report| report.flows[0].lag_seconds);
    assert!(lag > 250.0, "{lag} s");
}

/// The times of an untimed source go on for a live target while a dead one pins old marks.
#[test]
fn a_dead_target_does_not_stop_the_clock_of_untimed_lines() {
    let mut world = World::new(118, &["a", "b"]);
    world.change_source(|source| source.format = Format::Unstructured);
    world.mood("b", Mood::Down);
    for number in 0..300 {
        append(&world, LOG, number..number + 1);
        let end = world.disk.now().mono + Duration::from_secs(1);
        while world.disk.now().mono < end {
            world.turn();
        }
    }
    world.until(LONG, |world| world.stored("a").len() == 300);
    let late = world.peers.borrow().stored[&world::id("a")].last().map_or(0, |(_, time, _)| *time);
    let behind = (world.disk.now().wall.0 - late) / 1_000_000_000;
    assert!(behind < 30, "the last line has a time of {behind} s ago");
    world.mood("b", Mood::Acks);
    world.until(LONG, |world| world.stored("b").len() == 300 && world.is_quiet());
}

/// A level filter at one target and none at another: both ledgers balance over a returned batch.
#[test]
fn a_returned_batch_leaves_the_ledgers_whole() {
    let mut world = World::new(119, &["a", "b"]);
    world.change_target("b", |target| target.min_level = Level::Warn);
    for step in 0..20u64 {
        world.mood("b", if step % 3 == 0 { Mood::Returns } else { Mood::Acks });
        for number in step * 100..(step + 1) * 100 {
            let level = if number % 4 == 0 { "error" } else { "info" };
            world.disk.append(LOG, line(number, level).as_bytes()).expect("written");
        }
        world.turns(30);
    }
    world.mood("b", Mood::Acks);
    world.until(LONG, |world| world.totals("b").read == 2_000 && world.is_quiet());
    assert_eq!(sorted(&world, "b").len(), 500);
    assert_eq!((world.totals("b").filtered, world.totals("b").delivered), (1_500, 500));
    assert_eq!(world.report().map(|report| report.imbalances), Some(0));
}

/// What credit a slow target has must not go to the same few files each turn.
#[test]
fn a_quiet_file_gets_its_turn_at_a_slow_target_beside_flooding_ones() {
    let mut world = World::new(120, &["a"]);
    let path = |file: u64| format!("/var/log/app/f{file}.log");
    for file in 0..20 {
        append(&world, &path(file), file * 100_000..file * 100_000 + 50_000);
    }
    world.disk.append("/var/log/app/quiet.log", b"").expect("written");
    world.turns(3);
    append(&world, "/var/log/app/quiet.log", 9_000_000..9_000_001);
    let before = world.lane.as_ref().map_or(0, |lane| lane.carried_bytes());
    world.until(LONG, |world| world.stored("a").contains(&9_000_000));
    let between = world.lane.as_ref().map_or(0, |lane| lane.carried_bytes()) - before;
    // One share for each of the others, and what was on its way already.
    let bound = 2 * (21 * limits::PASS_BYTES + limits::QUEUE_BYTES_MIN) as u64;
    assert!(between < bound, "{between} bytes went first");
}

/// Thousands of quiet files must not remember their last lines; what comes next is told apart from them all the same.
#[test]
fn a_quiet_file_remembers_nothing_and_still_tells_equal_lines_apart() {
    let mut world = World::new(121, &["a"]);
    append(&world, LOG, 0..500);
    world.until(LONG, |world| world.stored("a").len() == 500 && world.is_quiet());
    let remembered = |world: &World| -> usize {
        let readers = world.lane.iter().flat_map(|lane| lane.readers.values());
        let passes = readers.flat_map(|reader| &reader.passes);
        passes.flat_map(|pass| &pass.identities).map(|identity| identity.remembered()).sum()
    };
    assert!(remembered(&world) >= 500);
    world.until(LONG, |world| remembered(world) == 0);
    append(&world, LOG, 499..500);
    world.until(LONG, |world| world.stored("a").len() == 501 && world.is_quiet());
    let peers = world.peers.borrow();
    let times: Vec<i64> = peers.stored[&world::id("a")].iter().map(|(_, time, _)| *time).collect();
    assert_ne!(times[499], times[500]);
}
