//! Benchmarks of a whole shipper from outside: what it costs, next to what the work itself costs.
//!
//! A run counts only if it is whole: every number the filter lets pass arrived, once, unchanged. Cost is CPU time of
//! the shipper's process, read from /proc between two moments; its start is not part of it. Beside the runs stands the
//! [`floor`]: one thread that does the bare work with the same bytes in the same minutes, since on a shared machine a
//! second of CPU time is not always worth the same.

pub mod fanout;
pub mod floor;
mod growth;
pub mod outage;
pub mod run;
mod shipper;

use std::{
    io,
    path::{Path, PathBuf},
};

use crate::load::{Clock, Format, Level, Load, Spec, Writer};

/// The lines' times begin here, 2026-02-24T15:46:29Z, and are one millisecond apart.
const START_NS: i64 = 1_771_947_989_000_000_000;

/// The file that is shipped.
pub struct Corpus {
    pub path: PathBuf,
    pub lines: u64,
    pub bytes: u64,
    load: Load,
}

impl Corpus {
    /// Writes `lines` lines of zap JSON, 30 % of them debug, into `path`. The bytes depend on the seed alone.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(path: &Path, lines: u64, seed: u64) -> io::Result<Self> {
        let clock = Clock::Counted { start_ns: START_NS, step_ns: 1_000_000 };
        let load = Load::new(Spec { seed, format: Format::Zap, debug_percent: 30, clock });
        let mut writer = Writer::open(path, load.clone())?;
        writer.write_lines(lines)?;
        Ok(Self { path: path.to_owned(), lines, bytes: writer.bytes(), load })
    }

    /// Whether the level filter `info` lets line `seq` pass.
    pub fn passes(&self, seq: u64) -> bool {
        self.load.level(seq) != Level::Debug
    }

    /// Lines that pass.
    pub fn passing(&self) -> u64 {
        (0..self.lines).filter(|seq| self.passes(*seq)).count() as u64
    }

    /// Seconds of work on the whole file as seconds per GB (10⁹ bytes).
    pub fn per_gb(&self, seconds: f64) -> f64 {
        seconds / (self.bytes as f64 / 1e9)
    }
}

/// Least, median and greatest of some measurements.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    pub min: f64,
    pub median: f64,
    pub max: f64,
}

impl Spread {
    /// `None` without any.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let (min, max) = (*values.first()?, *values.last()?);
        let (low, high) = (values[(values.len() - 1) / 2], values[values.len() / 2]);
        Some(Self { min, median: f64::midpoint(low, high), max })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_has_its_median_in_the_middle() {
        assert_eq!(Spread::of([]), None);
        assert_eq!(Spread::of([3.0, 1.0, 2.0]), Some(Spread { min: 1.0, median: 2.0, max: 3.0 }));
        assert_eq!(Spread::of([4.0, 1.0, 2.0, 3.0]).map(|spread| spread.median), Some(2.5));
    }

    #[test]
    fn a_corpus_knows_its_size_and_what_passes() {
        let directory = tempfile::tempdir().unwrap();
        let corpus = Corpus::write(&directory.path().join("load.log"), 2_000, 1).unwrap();
        let text = std::fs::read_to_string(&corpus.path).unwrap();
        assert_eq!(text.len() as u64, corpus.bytes);
        let passing = text.lines().filter(|line| !line.contains("\"level\":\"debug\"")).count() as u64;
        assert_eq!((text.lines().count() as u64, passing), (corpus.lines, corpus.passing()));
    }
}
