//! A journal file of any content is read to its end: no panic, no hang, no unbounded memory.
//!
//! Seed the corpus with journal files (`fuzz/corpus/journal/`); half of the mutations know the format.
#![no_main]

#[allow(dead_code)]
#[path = "../../tests/journal/memory.rs"]
mod memory;
#[path = "../../tests/journal/mutate.rs"]
mod mutate;

use std::path::PathBuf;

use corelane::{
    model::Nanos,
    plan::{JournalInput, StartAt},
    source::journal::{JournalCursor, JournalStart},
};
use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};

fn input(identifier: Option<&str>) -> JournalInput {
    let identifier = identifier.map(str::to_owned);
    JournalInput { directories: Vec::new(), identifier, unit: None, matches: Vec::new() }
}

fn selectors() -> Vec<JournalInput> {
    vec![input(None), input(Some("duroslight"))]
}

fuzz_target!(|data: &[u8]| {
    let mut memory = memory::Memory::of("system.journal", data.to_vec());
    let start = JournalStart::At(StartAt::Beginning, Nanos(0));
    let mut cursor = JournalCursor::new(&[PathBuf::from("/j")], selectors(), start);
    let records = memory::drain(&mut cursor, &mut memory);
    assert!(records.len() <= data.len() / 64);
    cursor.changed();
    memory::drain(&mut cursor, &mut memory);
    let mut resumed =
        JournalCursor::new(&[PathBuf::from("/j")], selectors(), JournalStart::Resume(cursor.position()));
    memory::drain(&mut resumed, &mut memory);
    // Where everything has a condition, the index of an archived file is asked.
    let mut asked = JournalCursor::new(&[PathBuf::from("/j")], vec![input(Some("duroslight"))], start);
    memory::drain(&mut asked, &mut memory);
});

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    let objects = mutate::objects(&data[..size]);
    if seed.is_multiple_of(2) || objects.is_empty() {
        return fuzzer_mutate(data, size, max_size);
    }
    let mut file = data[..size].to_vec();
    mutate::mutate(&mut file, &objects, &mut mutate::Seeded(seed.into()));
    let size = file.len().min(max_size);
    data[..size].copy_from_slice(&file[..size]);
    size
});
