//! Lives from a seed: whatever happens to the process, the machine, the peers and the plan, every line arrives or is
//! accounted for.
//!
//! `machine` is the surrounding world, `writer` the applications, `peer` the receivers, `story` what happens, `judge`
//! what must hold. One seed is one life, wholly.

mod dice;
mod judge;
mod kinds;

mod line;
mod machine;
mod peer;
mod rules;
mod story;
mod writer;

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use self::kinds::Table;

/// Lives that were lost once, each with the reason.
const FAILED_ONCE: [u64; 0] = [];

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

/// Fresh seeds: nobody has lived them.
fn fresh() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64) << 12
}

/// `CORELANE_SEED` replays one life; `CORELANE_SEEDS` says how many to try, from `CORELANE_FIRST_SEED` or a fresh one
/// on, `CORELANE_SECONDS` for how long. With `CORELANE_EVERY_KIND=N` each kind of trouble must take effect N times.
#[test]
fn nothing_is_lost_in_any_life() {
    if let Some(seed) = number("CORELANE_SEED") {
        return println!("{}", story::live(seed));
    }
    let mut table = Table::default();
    let first = number("CORELANE_FIRST_SEED").unwrap_or_else(fresh);
    let begun = Instant::now();
    let most = number("CORELANE_SECONDS").map(Duration::from_secs);
    let seeds = number("CORELANE_SEEDS").unwrap_or(if most.is_some() { u64::MAX - first } else { 40 });
    let fixed = if number("CORELANE_FIRST_SEED").is_some() { 0 } else { 20 };
    let mut lives = 0;
    for seed in (0..fixed).chain(FAILED_ONCE).chain(first..first + seeds) {
        if most.is_some_and(|most| begun.elapsed() >= most) {
            break;
        }
        println!("replay with: CORELANE_SEED={seed} cargo test --lib nothing_is_lost_in_any_life");
        table.add(&story::live(seed));
        lives += 1;
    }
    println!("{lives} lives from seed {first} on, in {:.1?}; took effect:\n{table}", begun.elapsed());
    let rare = number("CORELANE_EVERY_KIND").map(|times| table.rarer_than(times)).unwrap_or_default();
    assert!(rare.is_empty(), "these took effect too seldom: {rare:?}");
}
