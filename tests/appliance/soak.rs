//! The long tests: kill runs with fresh seeds and the receiver slow to the end, for as long as told.
//!
//! `CORELANE_SOAK_MINUTES` says how long. Without it one short run proves that the soak itself works.

use std::time::{Duration, Instant};

use crate::{kill, kill::Run, node::BACKENDS};

#[test]
fn soak_of_kills() {
    let minutes = std::env::var("CORELANE_SOAK_MINUTES").map(|text| text.parse::<u64>().expect("minutes"));
    let (lines, end) = match minutes {
        Ok(minutes) => (1_000_000, Duration::from_secs(60 * minutes)),
        Err(_) => (40_000, Duration::ZERO),
    };
    let started = Instant::now();
    for round in 1.. {
        let backend = BACKENDS[round % BACKENDS.len()];
        let run =
            Run { backend, lines, rate: 20_000, kills: 1, queue_mib: 2, slow_to_the_end: true, seed: kill::seed() };
        let kills = if lines == 1_000_000 { 5 } else { run.kills };
        Run { kills, ..run }.judge();
        println!("soak: round {round} of {lines} lines on {backend} passed, {:?} since the start", started.elapsed());
        if started.elapsed() >= end {
            break;
        }
    }
}
