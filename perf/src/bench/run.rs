//! One run: a file appears in a directory that Corelane watches, and it is over when all of it has arrived.

use std::{
    fs, io,
    path::Path,
    time::{Duration, Instant},
};

pub use super::shipper::Setup;
use super::{
    Corpus,
    shipper::{Objects, Shipper},
};
use crate::{
    load::Format,
    loki::{LokiOptions, LokiSink},
    procfs::Usage,
};

/// Corelane must have shipped its first line after so long, and everything after so much longer.
const START_PATIENCE: Duration = Duration::from_secs(30);
const PATIENCE: Duration = Duration::from_secs(300);

/// What a run cost.
#[derive(Clone, Copy, Debug)]
pub struct Outcome {
    pub user_seconds: f64,
    pub system_seconds: f64,
    /// From the moment the file appeared until the last line arrived.
    pub wall_seconds: f64,
    pub peak_rss_bytes: u64,
    /// Bodies as sent.
    pub sent_bytes: u64,
    pub duplicates: u64,
}

impl Outcome {
    pub fn cpu_seconds(&self) -> f64 {
        self.user_seconds + self.system_seconds
    }
}

/// Ships `corpus` once.
///
/// # Errors
/// Corelane cannot be started, does not finish, or a line is missing, refused or came again changed.
pub fn once(setup: &Setup, corpus: &Corpus) -> io::Result<Outcome> {
    let directory = setup.work.join(format!("run-{}", setup.backend));
    let outcome = in_directory(&directory, setup, corpus);
    fs::remove_dir_all(&directory)?;
    outcome
}

fn in_directory(directory: &Path, setup: &Setup, corpus: &Corpus) -> io::Result<Outcome> {
    let logs = directory.join("logs");
    fs::create_dir_all(&logs)?;
    let sink = LokiSink::start(LokiOptions::verifying(Format::Zap.marker()))?;
    // The first line tells that Corelane runs; its number is none of the corpus's.
    fs::write(logs.join("first.log"), b"{\"level\":\"info\",\"ts\":\"2026-02-24T15:46:28Z\",\"msg\":\"begin\"}\n")?;
    let objects = Objects {
        glob: format!("{}/*.log", logs.display()),
        min_level: Some("info"),
        targets: vec![("receiver", sink.url())],
    };
    let shipper = Shipper::start(setup, directory, &objects)?;
    let (pid, failed) = (shipper.pid(), |what: &str| shipper.failed(what));
    if !sink.wait(START_PATIENCE, |counters| counters.entries >= 1) {
        return Err(failed("corelane did not ship its first line"));
    }

    let passing = corpus.passing();
    let before = Usage::of(pid)?;
    let start = Instant::now();
    fs::hard_link(&corpus.path, logs.join("load.log"))?;
    let whole = sink.wait(PATIENCE, |counters| counters.tally.seen >= passing);
    let wall_seconds = start.elapsed().as_secs_f64();
    let after = Usage::of(pid)?;
    let counters = sink.counters();
    if !whole {
        return Err(failed(&format!("{} of {passing} lines arrived", counters.tally.seen)));
    }
    let gaps = sink.missing_where(0..corpus.lines, |seq| corpus.passes(seq));
    if !gaps.is_empty() || counters.tally.seen != passing || counters.tally.differing != 0 || counters.refused != 0 {
        return Err(failed(&format!("not what was written: {:?}, missing {gaps:?}", counters.tally)));
    }
    Ok(Outcome {
        user_seconds: after.user_seconds - before.user_seconds,
        system_seconds: after.system_seconds - before.system_seconds,
        wall_seconds,
        peak_rss_bytes: after.peak_rss_bytes,
        sent_bytes: counters.body_bytes,
        duplicates: counters.tally.duplicates,
    })
}
