//! Who goes first: sources by turns, files by event time, rates and catching up within theirs.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use super::{
    LONG,
    world::{self, LOG, Mood, World},
};
use crate::{
    limits,
    plan::{Input, SourcePlan},
    ring::sim::Faults,
};

/// When the simulated world begins, in seconds.
const BEGINNING: u64 = 1_767_225_600;
const HOUR: i64 = 3_600_000_000_000;

/// A line of second `second` of the world's life.
fn line(second: u64, number: u64) -> String {
    format!("{{\"level\":\"info\",\"ts\":{},\"msg\":\"line\",\"seq\":{number}}}\n", BEGINNING + second)
}

/// A second source on other files of the same directory.
fn other_source(world: &mut World, name: &str, pattern: &str) {
    let mut source = SourcePlan::clone(&world.plan.sources[0]);
    source.id = world::id(name);
    source.name = name.to_owned();
    if let Input::File(file) = &mut source.input {
        file.paths[0].pattern = pattern.to_owned();
        file.paths[0].matcher = globset::Glob::new(pattern).expect("a glob").compile_matcher();
    }
    world.plan.sources.push(Arc::new(source));
    world.give_plan();
}

/// What Loki refuses: entries more than an hour behind the newest of their stream that came before.
fn too_far_behind(world: &World, target: &str) -> (usize, i64) {
    let mut newest: BTreeMap<String, i64> = BTreeMap::new();
    let (mut refused, mut worst) = (0, 0);
    for (labels, time, _) in world.peers.borrow().stored.get(&world::id(target)).into_iter().flatten() {
        let newest = newest.entry(labels.clone()).or_insert(*time);
        refused += usize::from(*newest - time > HOUR);
        worst = worst.max(*newest - time);
        *newest = (*newest).max(*time);
    }
    (refused, worst)
}

/// Fifty files at uneven rates: the first ten have a line a second, the others one each `file` minutes. Written in
/// steps as time passes, which `pass` sees to; says how many lines that was.
fn grow_for_three_hours(world: &mut World, mut pass: impl FnMut(&mut World, Duration)) -> u64 {
    const STEP: u64 = 300;
    let mut number = 0;
    for begin in (0..3 * 3600).step_by(STEP as usize) {
        pass(world, Duration::from_secs(begin + STEP));
        for file in 0..50u64 {
            let every = if file < 10 { 1 } else { 60 * file };
            let seconds = (begin..begin + STEP).filter(|second| second % every == file % every);
            let mut text = String::new();
            for second in seconds {
                text.push_str(&line(second, number));
                number += 1;
            }
            world.disk.append(format!("/var/log/app/f{file}.log"), text.as_bytes()).expect("written");
        }
    }
    number
}

#[test]
fn three_hours_of_fifty_files_are_not_refused() {
    for seed in 0..2 {
        let mut world = World::new(200 + seed, &["a"]);
        world.disk.set_faults(Faults { would_block: 200, short_read: 100, ..Faults::default() });
        world.mood("a", Mood::Down);
        world.turns(5);
        let lines = grow_for_three_hours(&mut world, |world, end| {
            world.turns(20);
            world.disk.pass(end.saturating_sub(world.disk.now().mono));
            world.turns(20);
        });
        assert_eq!(world.stored("a").len(), 0);
        world.mood("a", Mood::Acks);
        world.until(LONG, |world| world.stored("a").len() as u64 == lines && world.is_quiet());
        let (refused, worst) = too_far_behind(&world, "a");
        assert_eq!(refused, 0, "seed {seed}: one was {} s behind its stream", worst / 1_000_000_000);
    }
}

/// The same after the appliance itself was away: nothing may be read before all files are known.
#[test]
fn three_hours_without_the_appliance_are_not_refused() {
    for seed in 0..2 {
        let mut world = World::new(210 + seed, &["a"]);
        world.disk.set_faults(Faults { would_block: 200, short_read: 100, ..Faults::default() });
        for file in 0..50 {
            world
                .disk
                .append(format!("/var/log/app/f{file}.log"), line(0, 1_000_000 + file).as_bytes())
                .expect("written");
        }
        world.until(LONG, |world| world.stored("a").len() == 50 && world.is_quiet());
        world.kill();
        let lines = 50
            + grow_for_three_hours(&mut world, |world, end| {
                world.disk.pass(end.saturating_sub(world.disk.now().mono));
            });
        world.start();
        world.until(LONG, |world| world.stored("a").len() as u64 >= lines && world.is_quiet());
        assert_eq!(world.stored("a").into_iter().collect::<BTreeSet<_>>().len() as u64, lines);
        assert_eq!(too_far_behind(&world, "a").0, 0, "seed {seed}");
    }
}

/// A file whose clock is wrong must not stop the others, nor they it.
#[test]
fn a_line_from_the_future_holds_up_nobody() {
    let mut world = World::new(220, &["a"]);
    for number in 0..100 {
        world.disk.append("/var/log/app/wrong.log", line(1_000_000_000, number).as_bytes()).expect("written");
        world.disk.append("/var/log/app/right.log", line(0, 100 + number).as_bytes()).expect("written");
    }
    world.until(Duration::from_secs(5), |world| world.stored("a").len() == 200);
}

/// One target that catches up on one file must not hold another target's lines of another file.
#[test]
fn the_order_of_one_target_is_not_waited_for_by_another() {
    let mut world = World::new(230, &["a", "b"]);
    world.disk.append("/var/log/app/quiet.log", line(0, 0).as_bytes()).expect("written");
    world.until(LONG, |world| world.stored("b").len() == 1 && world.is_quiet());
    world.mood("b", Mood::Down);
    for number in 1..150_000 {
        world.disk.append(LOG, line(number / 20, number).as_bytes()).expect("written");
    }
    world.until(LONG, |world| world.stored("a").len() == 150_000);
    world.disk.pass(Duration::from_secs(2 * 3600));
    // `b` is back, hours behind in one file and not at all in the other.
    world.mood("b", Mood::Acks);
    world.turns(3);
    world.disk.append("/var/log/app/quiet.log", line(2 * 3600, 150_000).as_bytes()).expect("written");
    let since = world.disk.now().mono;
    world.until(LONG, |world| world.stored("a").contains(&150_000));
    assert!(world.disk.now().mono < since + Duration::from_millis(400), "it waited for the other target");
    world.until(LONG, |world| world.stored("b").len() >= 150_001 && world.is_quiet());
    assert_eq!(too_far_behind(&world, "b").0, 0);
}

/// Two sources, one of which floods: in every stretch both are given the same.
#[test]
fn a_flooding_source_does_not_go_before_a_quiet_one() {
    let mut world = World::new(240, &["a"]);
    other_source(&mut world, "quiet", "/var/log/app/*.txt");
    for file in 0..10u64 {
        let text: String = (0..30_000).map(|number| line(0, file * 100_000 + number)).collect();
        world.disk.append(format!("/var/log/app/f{file}.log"), text.as_bytes()).expect("written");
    }
    world.turns(2);
    let text: String = (0..2_000).map(|number| line(0, 9_000_000 + number)).collect();
    world.disk.append("/var/log/app/q.txt", text.as_bytes()).expect("written");
    let before = world.lane.as_ref().map_or(0, |lane| lane.carried_bytes());
    world.until(LONG, |world| world.stored("a").contains(&9_001_999));
    let between = world.lane.as_ref().map_or(0, |lane| lane.carried_bytes()) - before;
    // Until it was noticed, a turn; then one round of the others, and what was on its way already.
    let bound = limits::TURN_BYTES + 2 * (limits::ROUND_BYTES + limits::QUEUE_BYTES_MIN) as u64;
    assert!(between < bound, "{between} bytes went first");
}

#[test]
fn a_rate_delays_and_drops_nothing() {
    let mut world = World::new(250, &["a"]);
    world.change_source(|source| source.rate_bytes = Some(10_000));
    let text: String = (0..2_000).map(|number| line(0, number)).collect();
    world.disk.append(LOG, text.as_bytes()).expect("written");
    let since = world.disk.now().mono;
    let held = |world: &World| {
        let report = world.report();
        report.is_some_and(|report| {
            report.flows.iter().any(|flow| flow.waiting.as_deref().is_some_and(|why| why.contains("limit")))
        })
    };
    world.until(LONG, held);
    world.until(LONG, |world| world.stored("a").len() == 2_000 && world.is_quiet());
    let (took, bytes) = ((world.disk.now().mono - since).as_secs(), text.len() as u64);
    // A second's worth may go at once, and one record or the like at the end.
    let least = bytes / 10_000 - 2;
    assert!((least..least + 4).contains(&took), "{bytes} bytes took {took} s at 10,000 a second");
    world.change_source(|source| source.rate_bytes = None);
    let since = world.disk.now().mono;
    world.disk.append(LOG, text.as_bytes()).expect("written");
    world.until(LONG, |world| world.stored("a").len() == 4_000);
    assert!(world.disk.now().mono < since + Duration::from_secs(2));
}

/// Old lines take their share of the core; what is live does not wait for them.
#[test]
fn catching_up_leaves_the_core_to_what_is_live() {
    let mut world = World::new(260, &["a"]);
    world.kill();
    world.catch_up_percent = 25;
    other_source(&mut world, "live", "/var/log/app/*.txt");
    let text: String = (0..100_000).map(|number| line(0, number)).collect();
    world.disk.append(LOG, text.as_bytes()).expect("written");
    world.disk.append("/var/log/app/q.txt", b"begin\n").expect("written");
    world.disk.pass(Duration::from_secs(600));
    world.start();
    let since = world.disk.now().mono;
    world.turns(10);
    world.disk.append("/var/log/app/q.txt", line(600, 9_000_000).as_bytes()).expect("written");
    world.until(LONG, |world| world.stored("a").contains(&9_000_000));
    assert!(world.disk.now().mono < since + Duration::from_secs(1), "a live line waited for old ones");
    world.until(LONG, |world| world.stored("a").len() >= 100_001 && world.is_quiet());
    // Reading costs the simulated core 100 ns a byte: a quarter of it is 2.5 MB a second.
    let (took, least) = (world.disk.now().mono - since, Duration::from_nanos(text.len() as u64 * 400));
    assert!(took >= least * 8 / 10, "{} bytes took {took:?}, at least {least:?} at a quarter of a core", text.len());
}
