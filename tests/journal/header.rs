//! Every single bit of a header, flipped: no entry is hidden without a word.

use std::path::PathBuf;

use corelane::{
    model::Nanos,
    plan::{JournalInput, StartAt},
    source::journal::{JournalCursor, JournalStart},
};

use super::{
    forge::{HEADER_BYTES, Style},
    memory::{Memory, drain},
    mutate::Seeded,
    sample,
};

const ENTRIES: usize = 40;

#[test]
fn no_bit_of_the_header_hides_an_entry_in_silence() {
    let mut silent = Vec::new();
    // Regular with the old hash and offline; compact with the keyed one and archived.
    for number in [0, 7] {
        let sound = sample::journal(Style::numbered(number), ENTRIES as u64, &mut Seeded(number));
        for bit in 0..8 * HEADER_BYTES {
            let mut file = sound.clone();
            file[bit / 8] ^= 1 << (bit % 8);
            for name in ["system.journal", "system@a-b-c.journal"] {
                let mut memory = Memory::of(name, file.clone());
                let input = JournalInput::default();
                let start = JournalStart::At(StartAt::Beginning, Nanos(0));
                let mut cursor = JournalCursor::new(&[PathBuf::from("/j")], vec![input], start);
                let mut read = 0;
                for _ in 0..5 {
                    read += drain(&mut cursor, &mut memory).len();
                    cursor.changed();
                }
                assert!(read <= ENTRIES, "byte {} of {name}: {read} entries", bit / 8);
                let counts = cursor.counts();
                let told = counts.damaged > 0 || counts.spoiled > 0 || !cursor.take_troubles().is_empty();
                if read < ENTRIES && !told {
                    silent.push(format!(
                        "{:?} {name}: byte {} bit {}: {read}",
                        Style::numbered(number),
                        bit / 8,
                        bit % 8
                    ));
                }
            }
        }
    }
    assert!(silent.is_empty(), "{} flips are silent:\n{}", silent.len(), silent.join("\n"));
}
