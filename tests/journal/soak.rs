//! Mutated journals, one after the other: no panic, no hang, no silence, no growth. A few hundred by default, and with
//! `CORELANE_SOAK_MINUTES` for so long.

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use corelane::{
    model::Nanos,
    os::process,
    plan::{JournalInput, StartAt},
    source::journal::{JournalCursor, JournalStart},
};

use super::{
    journal,
    memory::{Memory, drain},
    mutate::{Seeded, mutate, objects},
};

const ROUNDS: u64 = 400;
const ENTRIES: u64 = 150;
/// So many that the index of an archived file is asked.
const MANY_ENTRIES: u64 = 1100;
const ARCHIVED: u8 = 2;
/// Far above what a reader and the files it is given here need.
const PEAK_RSS_BYTES_MAX: u64 = 300 * 1024 * 1024;

fn input(identifier: Option<&str>) -> JournalInput {
    let identifier = identifier.map(str::to_owned);
    JournalInput { directories: Vec::new(), identifier, unit: None, matches: Vec::new() }
}

fn selectors() -> Vec<JournalInput> {
    vec![input(None), input(Some("duroslight"))]
}

#[test]
fn soak_mutated_journals_are_read_to_their_end() {
    let minutes = std::env::var("CORELANE_SOAK_MINUTES").ok().and_then(|minutes| minutes.parse::<u64>().ok());
    let seed = std::process::id().into();
    println!("seed {seed}");
    let mut bases: Vec<(Vec<u8>, u64)> = [(true, true), (false, true), (true, false)]
        .iter()
        .map(|&(compact, compress)| (journal(seed, compact, compress, ENTRIES), ENTRIES))
        .collect();
    for compact in [true, false] {
        let mut archived = journal(seed, compact, true, MANY_ENTRIES);
        archived[16] = ARCHIVED;
        bases.push((archived, MANY_ENTRIES));
    }
    let started = Instant::now();
    let mut round = 0;
    while minutes.map_or(round < ROUNDS, |minutes| started.elapsed() < Duration::from_secs(60 * minutes)) {
        let (base, entries) = &bases[round as usize % bases.len()];
        one_round(seed.wrapping_mul(1 << 32) + round, base, *entries);
        round += 1;
    }
    let peak = process::peak_rss_bytes().expect("/proc");
    println!("{round} files in {:?}, peak {} KiB", started.elapsed(), peak / 1024);
    assert!(peak < PEAK_RSS_BYTES_MAX, "{peak} bytes");
}

fn one_round(seed: u64, base: &[u8], entries: u64) {
    let mut random = Seeded(seed);
    let objects = objects(base);
    let mut file = base.to_vec();
    let changes = if random.below(2) == 0 { 1 } else { 1 + random.below(8) };
    let what: Vec<String> = (0..changes).map(|_| mutate(&mut file, &objects, &mut random)).collect();
    let what = format!("seed {seed}: {}", what.join("; "));
    let room = file.len() / 64;
    let name = if random.below(2) == 0 { "system@a-b-c.journal" } else { "system.journal" };
    let mut memory = Memory::of(name, file.clone());
    memory.cold = [None, None, Some(usize::MAX), Some(40)][random.below(4)];
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let start = JournalStart::At(StartAt::Beginning, Nanos(0));
        let mut cursor = JournalCursor::new(&[PathBuf::from("/j")], selectors(), start);
        let mut records = drain(&mut cursor, &mut memory);
        for _ in 0..3 {
            cursor.changed();
            records.extend(drain(&mut cursor, &mut memory));
        }
        let silent = cursor.counts().damaged == 0 && cursor.take_troubles().is_empty();
        let position = cursor.position();
        cursor.release(&mut memory);
        // Whatever the position is worth, resuming from it ends too.
        let mut resumed = JournalCursor::new(&[PathBuf::from("/j")], selectors(), JournalStart::Resume(position));
        drain(&mut resumed, &mut memory);
        resumed.release(&mut memory);
        let mut asked = JournalCursor::new(&[PathBuf::from("/j")], vec![input(Some("duroslight"))], start);
        drain(&mut asked, &mut memory);
        asked.release(&mut memory);
        (records.len(), silent)
    }));
    let Ok((records, silent)) = outcome else { panic!("{what}") };
    assert!(records <= room, "{records} records of a file with room for {room}: {what}");
    // A file that is being written to may say less than it holds.
    let online = file.get(16) == Some(&1);
    assert!(records as u64 > entries || !silent || online, "{records} records and no complaint: {what}");
}
