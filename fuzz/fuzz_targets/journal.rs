//! A journal file of any content is read to its end: no panic, no hang, no unbounded memory, by every way of reading.
//!
//! Needs no seeds: what is no journal yet becomes a small sound one (`forge`), and the mutations know its objects. Some
//! are long enough for their index to be asked.
#![no_main]

#[allow(dead_code)]
#[path = "../../tests/journal/forge.rs"]
mod forge;
#[allow(dead_code)]
#[path = "../../tests/journal/memory.rs"]
mod memory;
#[path = "../../tests/journal/mutate.rs"]
mod mutate;
#[path = "../../tests/journal/sample.rs"]
mod sample;

use std::path::PathBuf;

use corelane::{
    limits::JOURNAL_LOOKUP_ENTRIES_MIN,
    model::Nanos,
    plan::{JournalInput, StartAt},
    source::journal::{JournalCursor, JournalStart},
};
use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};

use self::{forge::Style, memory::drain, mutate::Seeded};

fn input(identifier: Option<&str>, matches: &[(&str, &str)]) -> JournalInput {
    let matches = matches.iter().map(|(name, value)| ((*name).to_owned(), vec![(*value).to_owned()]));
    let identifier = identifier.map(str::to_owned);
    JournalInput { identifier, matches: matches.collect(), ..JournalInput::default() }
}

fn cursor(selectors: Vec<JournalInput>, start: JournalStart) -> JournalCursor {
    JournalCursor::new(&[PathBuf::from("/j")], selectors, start)
}

fuzz_target!(|data: &[u8]| {
    // What is not chosen by the file's own bytes is by its length.
    let cold = [None, None, Some(usize::MAX), Some(40)][data.len() / 8 % 4];
    let name = if data.len() % 3 == 0 { "system@a-b-c.journal" } else { "system.journal" };
    let mut memory = memory::Memory::of(name, data.to_vec());
    memory.cold = cold;
    let start = JournalStart::At(StartAt::Beginning, Nanos(0));
    let mut all = cursor(vec![input(None, &[]), input(Some("duroslight"), &[])], start);
    let mut records = drain(&mut all, &mut memory).len();
    all.changed();
    records += drain(&mut all, &mut memory).len();
    assert!(records <= 2 * data.len() / 64, "{records} records of {} bytes", data.len());
    let position = all.position();
    all.release(&mut memory);
    let mut resumed = cursor(vec![input(None, &[])], JournalStart::Resume(position));
    drain(&mut resumed, &mut memory);
    resumed.release(&mut memory);
    // Where everything has a condition, the tables are asked, and the index of an archived file.
    let mut asked = cursor(vec![input(Some("duroslight"), &[]), input(None, &[("PRIORITY", "3")])], start);
    drain(&mut asked, &mut memory);
    asked.changed();
    drain(&mut asked, &mut memory);
    asked.release(&mut memory);
});

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    let mut random = Seeded(seed.into());
    let objects = mutate::objects(&data[..size]);
    let fresh = objects.len() < 3 || random.below(256) == 0;
    if !fresh && random.below(3) == 0 {
        return fuzzer_mutate(data, size, max_size);
    }
    let file = if fresh {
        let many = random.below(4) == 0;
        let entries = if many { JOURNAL_LOOKUP_ENTRIES_MIN + 80 } else { 1 + random.below(30) as u64 };
        sample::journal(Style::numbered(random.next()), entries, &mut random)
    } else {
        let mut file = data[..size].to_vec();
        for _ in 0..1 + random.below(3) {
            mutate::mutate(&mut file, &objects, &mut random);
        }
        file
    };
    if file.len() > max_size {
        return fuzzer_mutate(data, size, max_size);
    }
    data[..file.len()].copy_from_slice(&file);
    file.len()
});
