//! Orders while lines flow: what changes for others holds up nobody.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use super::{
    LONG,
    world::{self, LOG, Mood, World, number},
};
use crate::{
    limits::{BATCH_LINGER, TAIL_POLL},
    plan::{Input, Pick, Route, SourcePlan},
};

/// Longest time orders may hold up a source they do not touch, beyond what it waits for anyway.
const PAUSE_MAX: Duration = Duration::from_millis(100);
/// How often lines are written.
const TICK: Duration = Duration::from_millis(10);
/// How long it goes on.
const STORM: Duration = Duration::from_secs(40);
const OTHER: &str = "/var/log/app/other.txt";
const MIB: usize = 1 << 20;

/// A generator of its own, apart from the world's.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

/// The steady source `app` for the target `own`, which no order touches; `other`, which many do; and targets that are
/// dead for all lines.
fn prepare(seed: u64, dead: &[&str]) -> World {
    let mut world = World::new(seed, &[&["own", "all"], dead].concat());
    let mut other = SourcePlan::clone(&world.plan.sources[0]);
    (other.id, other.name) = (world::id("other"), "other".to_owned());
    if let Input::File(file) = &mut other.input {
        file.paths[0].pattern = OTHER.to_owned();
        file.paths[0].matcher = globset::Glob::new(OTHER).expect("a glob").compile_matcher();
    }
    world.plan.sources.push(Arc::new(other));
    world.change_target("own", |target| target.route = Route::Only(vec![Pick::Named("app".to_owned())]));
    world.disk.append(LOG, text(&world, 0, 100).as_bytes()).expect("written");
    world.disk.append(OTHER, text(&world, 0, 100).as_bytes()).expect("written");
    let came = |world: &World| {
        world.stored("own").len() == 1 && dead.iter().chain(&["all"]).all(|name| world.stored(name).len() == 2)
    };
    world.until(LONG, came);
    world
}

/// A line of now that is so long.
fn text(world: &World, number: u64, bytes: usize) -> String {
    let now = world.disk.now().wall.0;
    let (seconds, nanos) = (now / 1_000_000_000, now % 1_000_000_000);
    let fill = "x".repeat(bytes);
    format!("{{\"level\":\"info\",\"ts\":{seconds}.{nanos:09},\"msg\":\"{fill}\",\"seq\":{number}}}\n")
}

/// One random order that touches neither the source nor the target of which the lines are timed.
fn order(world: &mut World, dice: &mut Dice, dead: &[&str]) {
    let extra = ["x0", "x1", "x2"][dice.below(3) as usize];
    let known = world.plan.targets.iter().position(|target| target.name == extra);
    let one = dead[dice.below(dead.len() as u64) as usize];
    match (dice.below(8), known) {
        (0 | 1, None) => {
            world.plan.targets.push(Arc::new(world::target(extra)));
            world.give_plan();
        }
        (0, Some(at)) => {
            world.plan.targets.remove(at);
            world.give_plan();
        }
        (1, Some(_)) => world.change_target(extra, |target| target.enabled = !target.enabled),
        (2, _) => {
            let mut other = SourcePlan::clone(&world.plan.sources[1]);
            other.labels = vec![("round".to_owned(), dice.below(5).to_string())];
            world.plan.sources[1] = Arc::new(other);
            world.give_plan();
        }
        (3, _) => {
            let mut other = SourcePlan::clone(&world.plan.sources[1]);
            other.enabled = !other.enabled;
            world.plan.sources[1] = Arc::new(other);
            world.give_plan();
        }
        (4, _) => world.change_target("all", |target| target.enabled = !target.enabled),
        (5, _) => world.change_target(one, |target| target.queue_bytes = (2 + dice.below(4) as usize) * MIB),
        // Dead ones come back now and then, catch up, and meet the others.
        (6, _) if dice.below(4) == 0 => world.mood(one, [Mood::Acks, Mood::Returns][dice.below(2) as usize]),
        (6, _) => world.mood(one, Mood::Down),
        _ => world.give_plan(),
    }
}

/// The longest time a line of the source that nobody touches took to arrive at its own target, in a storm of orders.
fn longest(seed: u64, dead: &[&str]) -> Duration {
    let mut world = prepare(seed, dead);
    let mut dice = Dice(seed);
    dead.iter().for_each(|name| world.mood(name, Mood::Down));
    let (mut written, mut arrived, mut longest) = (vec![world.disk.now().mono], 1, Duration::ZERO);
    let (end, mut next) = (world.disk.now().mono + STORM, world.disk.now().mono);
    while world.disk.now().mono < end {
        if world.disk.now().mono >= next {
            next = world.disk.now().mono + TICK;
            for _ in 0..=dice.below(3) {
                let size = if dice.below(50) == 0 { 50_000 } else { 200 };
                let line = text(&world, written.len() as u64, size);
                world.disk.append(LOG, line.as_bytes()).expect("written");
                world.disk.append(OTHER, line.as_bytes()).expect("written");
                written.push(world.disk.now().mono);
            }
            if dice.below(3) == 0 {
                order(&mut world, &mut dice, dead);
            }
        }
        world.disk.alarm(Some(next));
        world.turn();
        let now = world.disk.now().mono;
        let seen = world.peers.borrow().stored.get(&world::id("own")).map_or(0, Vec::len);
        written[arrived..seen].iter().for_each(|at| longest = longest.max(now - *at));
        arrived = seen;
        // What is still under way counts too.
        longest = longest.max(written.get(arrived).map_or(Duration::ZERO, |at| now - *at));
    }
    world.disk.alarm(None);
    dead.iter().for_each(|name| world.mood(name, Mood::Acks));
    world.until(LONG, |world| world.stored("own").len() == written.len());
    let own: Vec<u64> = world.stored("own");
    assert_eq!(own, (0..written.len() as u64).collect::<Vec<_>>(), "once each and in order");
    for name in dead {
        world.until(LONG, |world| world.is_quiet() || world.stored(name).len() >= 2 * written.len());
        let stored = &world.peers.borrow().stored[&world::id(name)];
        let of_app = stored.iter().filter(|(labels, ..)| labels.contains("source=\"app\""));
        let numbers: BTreeSet<u64> = of_app.map(|(_, _, line)| number(line)).collect();
        assert_eq!(numbers.len(), written.len(), "{name} has all in the end");
    }
    longest
}

#[test]
fn orders_hold_up_nobody_they_do_not_touch() {
    for (seed, dead) in [(1, &["dead"][..]), (2, &["dead"]), (3, &["dead", "gone"])] {
        let longest = longest(seed, dead);
        println!("seed {seed}, {} dead: the longest wait of a line was {longest:?}", dead.len());
        let most = TAIL_POLL + BATCH_LINGER + PAUSE_MAX;
        assert!(
            longest <= most,
            "seed {seed}: a line took {longest:?}; without orders it may take {:?}",
            most - PAUSE_MAX
        );
    }
}
