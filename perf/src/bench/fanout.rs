//! What a second target costs that takes only half as much, or nothing.

use std::{
    fs, io,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use super::{
    growth::Growth,
    shipper::{Objects, Setup, Shipper},
};
use crate::{
    load::Format,
    loki::{Fault, LokiOptions, LokiSink, Share},
    procfs::Usage,
};

/// Bytes of one full batch, as Corelane counts them: a receiver that answers after the time these take at half the rate
/// takes half the rate.
const BATCH_BYTES: f64 = 1_048_576.0;
/// Everything must have arrived so long after it was written, and once more for each target that is slow.
const PATIENCE: Duration = Duration::from_secs(120);

/// What stands beside the one target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beside {
    Nothing,
    /// A target that takes half of what is written, until it has all of it.
    HalfSpeed,
    /// A target that cannot be reached.
    Dead,
}

impl Beside {
    pub const ALL: [Self; 3] = [Self::Nothing, Self::HalfSpeed, Self::Dead];

    pub fn name(self) -> &'static str {
        match self {
            Self::Nothing => "one target",
            Self::HalfSpeed => "and one at half speed",
            Self::Dead => "and a dead one",
        }
    }

    /// What it may cost at most, in times of one target alone.
    pub fn promised(self) -> f64 {
        match self {
            Self::Nothing => 1.0,
            Self::HalfSpeed => 2.1,
            Self::Dead => 1.05,
        }
    }
}

/// What a run cost.
#[derive(Clone, Copy, Debug)]
pub struct Outcome {
    pub cpu_seconds: f64,
    pub lines: u64,
    pub wall_seconds: f64,
    /// Lines the slow target had when the fast one had all.
    pub slow_had: u64,
}

/// Writes at a rate for a time and waits until all that can arrive has.
///
/// # Errors
/// Corelane cannot be started, or a line is missing or came changed.
pub fn once(setup: &Setup, beside: Beside, bytes_per_second: f64, time: Duration) -> io::Result<Outcome> {
    let directory = setup.work.join("fanout");
    let outcome = in_directory(&directory, setup, beside, bytes_per_second, time);
    fs::remove_dir_all(&directory)?;
    outcome
}

fn in_directory(
    directory: &Path,
    setup: &Setup,
    beside: Beside,
    bytes_per_second: f64,
    time: Duration,
) -> io::Result<Outcome> {
    let logs = directory.join("logs");
    fs::create_dir_all(&logs)?;
    let sink = || LokiSink::start(LokiOptions::verifying(Format::Zap.marker()));
    let (fast, other) = (sink()?, sink()?);
    let mut targets = vec![("fast", fast.url())];
    match beside {
        Beside::Nothing => {}
        Beside::HalfSpeed => {
            let pause = Duration::from_secs_f64(BATCH_BYTES / (bytes_per_second / 2.0));
            other.inject(Share::UntilHealed, Fault::Delay(pause));
            targets.push(("other", other.url()));
        }
        Beside::Dead => {
            other.down();
            targets.push(("other", other.url()));
        }
    }
    let objects = Objects { glob: format!("{}/*.log*", logs.display()), min_level: None, targets };
    // Its number is none of those that follow.
    fs::write(logs.join("first.log"), b"{\"level\":\"info\",\"ts\":\"2026-02-24T15:46:28Z\",\"msg\":\"begin\"}\n")?;
    let shipper = Shipper::start(setup, directory, &objects)?;
    if !fast.wait(PATIENCE, |counters| counters.entries >= 1) {
        return Err(shipper.failed("corelane did not ship its first line"));
    }
    let (start, before) = (Instant::now(), Usage::of(shipper.pid())?);
    let growth = Growth::start(&logs.join("load.log"), bytes_per_second)?;
    thread::sleep(time);
    let lines = growth.stop()?;
    let mut whole = fast.wait(PATIENCE, |counters| counters.tally.seen >= lines);
    let slow_had = other.counters().tally.seen;
    if beside == Beside::HalfSpeed {
        whole &= other.wait(PATIENCE + 2 * time, |counters| counters.tally.seen >= lines);
    }
    let (wall_seconds, after) = (start.elapsed().as_secs_f64(), Usage::of(shipper.pid())?);
    let (tally, other_tally) = (fast.counters().tally, other.counters().tally);
    if !whole || tally.differing + other_tally.differing > 0 {
        return Err(shipper.failed(&format!("of {lines} lines: {tally:?}, {other_tally:?}")));
    }
    Ok(Outcome { cpu_seconds: after.cpu_seconds() - before.cpu_seconds(), lines, wall_seconds, slow_had })
}
