//! Lives of the production lane in a simulated world, from seeds: many, fast, on every core.
//!
//! ```text
//!   corelane-lives --seed N                       one life, told as it happens
//!   corelane-lives [--first N] [--seeds N] [--minutes N] [--threads N] [--failures N] [--every-kind N]
//! ```
//! `--every-kind N` fails a run in which some kind of trouble took effect less than N times. `--failures N` goes on
//! until so many lives have failed. `--isolation N` lives each of N seeds twice, with and without a dead target, and
//! tells what the other one saw.
//!
//! The data plane is compiled here from its own sources, optimised and with its assertions, because what a thousand
//! lives take is what decides how many are lived. A life that breaks an invariant ends the run; its seed is printed as
//! one command.

// Half of the data plane is for callers that are not here.
#![allow(dead_code, unused_imports)]

#[path = "../../../src/batch/mod.rs"]
mod batch;
#[path = "../../../src/decode/mod.rs"]
mod decode;
#[path = "../../../src/fault.rs"]
mod fault;
#[path = "../../../src/lane/mod.rs"]
mod lane;
#[path = "../../../src/limits/mod.rs"]
mod limits;
#[path = "../../../src/model/mod.rs"]
mod model;
#[path = "../../../src/orders/mod.rs"]
mod orders;
#[path = "../../../src/os/mod.rs"]
mod os;
#[path = "../../../src/plan/mod.rs"]
mod plan;
#[path = "../../../src/ring/mod.rs"]
mod ring;
#[path = "../../../src/source/mod.rs"]
mod source;
#[path = "../../../src/stats/mod.rs"]
mod stats;
#[path = "../../../src/target/mod.rs"]
mod target;
#[path = "../../../src/wire/mod.rs"]
mod wire;

use std::{
    collections::BTreeMap,
    panic,
    process::ExitCode,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use lane::life::{FIXED, Table, compare, live};

const KNOWN: [&str; 9] = [
    "--seed",
    "--first",
    "--seeds",
    "--minutes",
    "--seconds",
    "--threads",
    "--failures",
    "--every-kind",
    "--isolation",
];

fn main() -> ExitCode {
    let Some(options) = options() else {
        eprintln!("usage: corelane-lives [{} N]", KNOWN.join(" N | "));
        return ExitCode::from(2);
    };
    if let Some(seed) = options.get("--seed") {
        println!("{}", live(*seed, true));
        return ExitCode::SUCCESS;
    }
    if let Some(seeds) = options.get("--isolation") {
        let first = options.get("--first").copied().unwrap_or_default();
        for seed in first..first + seeds {
            let (calm, dead) = compare(seed);
            println!("seed {seed}: the lag's median and p99 are {calm:?}, and {dead:?} while the other target is dead");
        }
        return ExitCode::SUCCESS;
    }
    let run = run(&options);
    println!("{} lives from seed {} on, in {:.1?}; took effect:\n{}", run.lives, run.first, run.took, run.table);
    for (seed, what) in &run.failed {
        println!("FAILED seed {seed}: {what}");
        println!("replay with: cargo run -p corelane-lives -- --seed {seed}");
    }
    if !run.failed.is_empty() {
        return ExitCode::FAILURE;
    }
    let rare = options.get("--every-kind").map(|times| run.table.rarer_than(*times)).unwrap_or_default();
    if !rare.is_empty() {
        println!("these took effect too seldom: {rare:?}");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// Every argument is a name and a number.
fn options() -> Option<BTreeMap<String, u64>> {
    let mut options = BTreeMap::new();
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        let value = arguments.next()?.parse().ok()?;
        if !KNOWN.contains(&name.as_str()) {
            return None;
        }
        options.insert(name, value);
    }
    Some(options)
}

struct Run {
    first: u64,
    lives: u64,
    took: Duration,
    table: Table,
    /// By seed: as many as were asked for.
    failed: BTreeMap<u64, String>,
}

/// Lives on every core until enough have failed, the seeds are used up or the time is over.
fn run(options: &BTreeMap<String, u64>) -> Run {
    // Nobody has lived these yet.
    let fresh = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64) << 12;
    let first = options.get("--first").copied().unwrap_or(fresh);
    let minutes = options.get("--minutes").map(|minutes| 60 * minutes);
    let most = minutes.or(options.get("--seconds").copied()).map(Duration::from_secs);
    let failures = options.get("--failures").copied().unwrap_or(1).max(1) as usize;
    let seeds = options.get("--seeds").copied().unwrap_or(if most.is_some() { u64::MAX } else { 100 });
    let cores = thread::available_parallelism().map_or(1, |cores| cores.get() as u64);
    let threads = options.get("--threads").copied().unwrap_or(cores);
    // What was lost once is lived first, unless told where to begin.
    let fixed: &[u64] = if options.contains_key("--first") { &[] } else { &FIXED };
    let (next, lives, stop) = (AtomicU64::new(0), AtomicU64::new(0), AtomicBool::new(false));
    let (table, failed, begun) = (Mutex::new(Table::default()), Mutex::new(BTreeMap::new()), Instant::now());
    panic::set_hook(Box::new(|_| {}));
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) && most.is_none_or(|most| begun.elapsed() < most) {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let seed = match fixed.get(number as usize) {
                        Some(seed) => *seed,
                        None if number - fixed.len() as u64 >= seeds => return,
                        None => first + (number - fixed.len() as u64),
                    };
                    lives.fetch_add(1, Ordering::Relaxed);
                    match panic::catch_unwind(|| live(seed, false)) {
                        Ok(took_effect) => table.lock().unwrap_or_else(PoisonError::into_inner).add(&took_effect),
                        Err(cause) => {
                            let text = cause.downcast_ref::<String>().cloned();
                            let text = text.or_else(|| cause.downcast_ref::<&str>().map(|text| (*text).to_owned()));
                            let text = text.unwrap_or_default();
                            eprintln!("seed {seed}: {}", text.chars().take(200).collect::<String>());
                            let mut failed = failed.lock().unwrap_or_else(PoisonError::into_inner);
                            failed.insert(seed, text);
                            stop.fetch_or(failed.len() >= failures, Ordering::Relaxed);
                        }
                    }
                }
            });
        }
    });
    // Seeds are given out in order and none is broken off: the lowest are the first.
    let failed = failed.into_inner().unwrap_or_else(PoisonError::into_inner);
    let failed = failed.into_iter().take(failures).collect();
    Run {
        first,
        lives: lives.into_inner(),
        took: begun.elapsed(),
        table: table.into_inner().unwrap_or_else(PoisonError::into_inner),
        failed,
    }
}
