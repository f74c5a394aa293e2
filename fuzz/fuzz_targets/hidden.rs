//! Sound files damaged at random: no entry is lost in silence, and the tables of a file hide none from a source that asks
//! for something. The input is the seed of the damage.
#![no_main]

#[path = "../../tests/journal/forge.rs"]
mod forge;
#[allow(dead_code)]
#[path = "../../tests/journal/memory.rs"]
mod memory;
#[path = "../../tests/journal/mutate.rs"]
mod mutate;
#[path = "../../tests/journal/rounds.rs"]
mod rounds;
#[path = "../../tests/journal/sample.rs"]
mod sample;

use std::sync::LazyLock;

use corelane::limits::JOURNAL_LOOKUP_ENTRIES_MIN;
use libfuzzer_sys::fuzz_target;

use self::{
    forge::Style,
    mutate::Seeded,
    rounds::{Base, one_round},
};

/// Every style; so many entries that the index of an archived file is asked, or few.
static BASES: LazyLock<Vec<Base>> = LazyLock::new(|| {
    let journal = |style: u64, entries| Base::new(sample::journal(Style::numbered(style), entries, &mut Seeded(style)));
    let long = (0..8).map(|style| journal(style, JOURNAL_LOOKUP_ENTRIES_MIN + 76));
    long.chain((0..8).map(|style| journal(style, 60))).collect()
});

fuzz_target!(|seed: u64| {
    let base = Seeded(!seed).below(BASES.len());
    one_round(seed, &BASES[base]);
});
