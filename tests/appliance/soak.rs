//! The long tests: kill runs with fresh seeds and the receiver slow to the end, for as long as told.
//!
//! `CORELANE_SOAK_MINUTES` says how long. Without it one short run proves that the soak itself works. `CORELANE_KILLS`
//! asks for runs of so many kills instead, with a rotation at every second one.

use std::time::{Duration, Instant};

use crate::{kill, kill::Run, node::BACKENDS};

#[test]
fn soak_of_kills() {
    let number = |name| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    let least = number("CORELANE_SOAK_MINUTES").map(|minutes| Duration::from_secs(60 * minutes));
    let kills = number("CORELANE_KILLS");
    let started = Instant::now();
    for round in 0.. {
        let backend = BACKENDS[round % BACKENDS.len()];
        let long =
            Run { backend, lines: 1_000_000, rate: 8_000, kills: 5, queue_mib: 8, slow_to_the_end: true, seed: 0 };
        let (run, end) = match (least, kills) {
            // Lines for all of them: each takes a few seconds.
            (least, Some(kills)) => {
                let run = Run { kills, lines: 40_000 * kills, rate: 3_000, slow_to_the_end: false, ..long };
                (run, least.unwrap_or_default())
            }
            (Some(least), None) => (long, least),
            (None, None) => (Run { lines: 30_000, rate: 1_000, kills: 2, ..long }, Duration::ZERO),
        };
        Run { seed: kill::seed(), ..run }.judge();
        println!("soak: round {round}, {} lines on {backend}: {:?} since the start", run.lines, started.elapsed());
        if started.elapsed() >= end {
            break;
        }
    }
}
