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

pub use kinds::Table;
pub use story::live;

/// Lived at every run: the first ones, and behind them what was lost once.
pub const FIXED: [u64; 20] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19];

/// Some of them, not optimised; `tests/lives` runs as many as there is time for.
#[test]
fn nothing_is_lost_in_any_life() {
    for seed in FIXED {
        println!("replay with: cargo run -p corelane-lives -- --seed {seed}");
        live(seed, false);
    }
}
