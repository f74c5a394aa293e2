//! Mutated journals, one after the other: no panic, no hang, no silence, no growth, and no entry that a source asks for
//! hidden by the file's tables. A few hundred by default, and with `CORELANE_SOAK_MINUTES` for so long; `fuzz/run --of
//! hidden` does the same faster.

use std::time::{Duration, Instant};

use corelane::{limits::JOURNAL_LOOKUP_ENTRIES_MIN, os::process};

use super::{
    forge::Style,
    journal,
    mutate::Seeded,
    rounds::{Base, one_round},
    sample,
};

const ROUNDS: u64 = 400;
const ENTRIES: u64 = 150;
/// So many that the index of an archived file is asked.
const MANY_ENTRIES: u64 = JOURNAL_LOOKUP_ENTRIES_MIN + 76;
const ARCHIVED: u8 = 2;
/// So many of the files come from systemd's writer.
const SYSTEMD: usize = 5;
/// Far above what a reader and the files it is given here need.
const PEAK_RSS_BYTES_MAX: u64 = 300 * 1024 * 1024;

#[test]
fn soak_mutated_journals_are_read_to_their_end() {
    let minutes = std::env::var("CORELANE_SOAK_MINUTES").ok().and_then(|minutes| minutes.parse::<u64>().ok());
    let seed = std::env::var("CORELANE_SOAK_SEED").ok().and_then(|seed| seed.parse::<u64>().ok());
    let seed = seed.unwrap_or_else(|| std::process::id().into());
    println!("seed {seed}");
    let mut bases = Vec::new();
    for (compact, compress) in [(true, true), (false, true), (true, false)] {
        bases.push(Base::new(journal(seed, compact, compress, ENTRIES)));
    }
    for compact in [true, false] {
        let mut archived = journal(seed, compact, true, MANY_ENTRIES);
        archived[16] = ARCHIVED;
        bases.push(Base::new(archived));
    }
    let mut random = Seeded(seed);
    bases.extend((0..8).map(|style| Base::new(sample::journal(Style::numbered(style), MANY_ENTRIES, &mut random))));
    assert_eq!(bases.len(), SYSTEMD + 8);
    let started = Instant::now();
    let mut round = 0;
    while minutes.map_or(round < ROUNDS, |minutes| started.elapsed() < Duration::from_secs(60 * minutes)) {
        // Those of systemd's writer are mostly empty tables, and slow: one in eight.
        let (written, forged) = bases.split_at(SYSTEMD);
        let of = if round % 8 == 0 { written } else { forged };
        one_round(seed.wrapping_mul(1 << 32) + round, &of[(round / 8 + round % 8) as usize % of.len()]);
        round += 1;
    }
    let peak = process::peak_rss_bytes().expect("/proc");
    println!("{round} files in {:?}, peak {} KiB", started.elapsed(), peak / 1024);
    assert!(peak < PEAK_RSS_BYTES_MAX, "{peak} bytes");
}
