//! `corelane-perf journal`.

use std::{
    io::{self, Write},
    process::ExitCode,
    thread,
    time::{Duration, Instant},
};

use clap::Args;
use corelane_perf::load::Journal;

/// Entries written at once without a rate.
const CHUNK_ENTRIES: u64 = 512;

#[derive(Args)]
pub struct Arguments {
    /// How many entries.
    #[arg(long)]
    entries: u64,
    /// The same seed gives the same entries.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Number of the first entry.
    #[arg(long, default_value_t = 0, value_name = "SEQ")]
    first: u64,
    /// Entries per second; without it as fast as they are taken.
    #[arg(long)]
    rate: Option<u32>,
}

/// # Errors
/// Standard output cannot be written.
pub fn run(arguments: &Arguments) -> Result<ExitCode, String> {
    let journal = Journal::new(arguments.seed);
    let mut out = io::stdout().lock();
    let mut bytes = Vec::new();
    let started = Instant::now();
    let end = arguments.first.saturating_add(arguments.entries);
    let mut seq = arguments.first;
    while seq < end {
        let chunk = arguments.rate.map_or(CHUNK_ENTRIES, |rate| u64::from(rate / 1000).max(1)).min(end - seq);
        bytes.clear();
        (seq..seq + chunk).for_each(|seq| journal.push_entry(seq, &mut bytes));
        seq += chunk;
        if let Some(rate) = arguments.rate.filter(|rate| *rate > 0) {
            let due = Duration::from_secs_f64((seq - arguments.first) as f64 / f64::from(rate));
            thread::sleep(due.saturating_sub(started.elapsed()));
        }
        out.write_all(&bytes).map_err(|error| format!("standard output: {error}"))?;
    }
    out.flush().map_err(|error| format!("standard output: {error}"))?;
    Ok(ExitCode::SUCCESS)
}
