//! A file damaged at random, and what has to hold of every reading of it: it ends, nothing is lost in silence, and the
//! file's tables hide no entry from a source that asks for something.

use std::{collections::BTreeSet, path::PathBuf};

use corelane::{
    model::Nanos,
    plan::{JournalInput, StartAt},
    source::journal::{JournalCursor, JournalStart},
};

use super::{
    memory::{Brought, Memory, drain},
    mutate::{Seeded, mutate, number, objects},
};

/// A sound file.
pub struct Base {
    bytes: Vec<u8>,
    objects: Vec<(usize, usize)>,
    all: Vec<Brought>,
}

impl Base {
    pub fn new(bytes: Vec<u8>) -> Self {
        let objects = objects(&bytes);
        let mut memory = Memory::of("system.journal", bytes.clone());
        let all = drain(&mut cursor(selectors(), START), &mut memory);
        Self { bytes, objects, all }
    }
}

/// Of `selectors`, the one that takes instances: of its identifier it does not know all values it asks for.
const INSTANCES: usize = 1;
/// What the format's document says of FIELD and DATA objects: kind, name, newest value, and the value before one.
const FIELD: u8 = 2;
const FIELD_NAME_AT: usize = 40;
const HEAD_DATA_AT: usize = 32;
const NEXT_VALUE_AT: usize = 32;

const START: JournalStart = JournalStart::At(StartAt::Beginning, Nanos(0));

fn cursor(selectors: Vec<JournalInput>, start: JournalStart) -> JournalCursor {
    JournalCursor::new(&[PathBuf::from("/j")], selectors, start)
}

/// One that takes everything, then some that ask for something.
fn selectors() -> Vec<JournalInput> {
    let input = |identifier: Option<&str>, unit: Option<&str>, matches: &[(&str, &[&str])]| JournalInput {
        identifier: identifier.map(str::to_owned),
        unit: unit.map(str::to_owned),
        matches: matches
            .iter()
            .map(|(name, values)| ((*name).to_owned(), values.iter().map(|value| (*value).to_owned()).collect()))
            .collect(),
        ..JournalInput::default()
    };
    vec![
        input(None, None, &[]),
        input(Some("duroslight"), None, &[]),
        input(None, Some("etcd.service"), &[]),
        input(None, None, &[("PRIORITY", &["3", "17"])]),
        input(Some("kernel"), None, &[("NO_SUCH_FIELD", &["x"])]),
    ]
}

/// Changes a sound file in ways that follow from `seed`, and reads it by every way there is.
pub fn one_round(seed: u64, base: &Base) {
    let mut random = Seeded(seed);
    let mut file = base.bytes.clone();
    let changes = if random.below(2) == 0 { 1 } else { 1 + random.below(8) };
    let what: Vec<String> = (0..changes).map(|_| mutate(&mut file, &base.objects, &mut random)).collect();
    let bent = is_bent(&base.bytes, &base.objects, &file);
    let name = if random.below(2) == 0 { "system@a-b-c.journal" } else { "system.journal" };
    let what = format!("seed {seed}, {name}: {}", what.join("; "));
    // A file that is being written to may say less than it holds.
    let online = file.get(16) == Some(&1);
    let room = file.len() / 64;
    let mut memory = Memory::of(name, file);
    memory.cold = [None, None, Some(usize::MAX), Some(40)][random.below(4)];
    let asked = 1 + random.below(selectors().len() - 1);
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let mut all = cursor(selectors(), START);
        let records = read(&mut all, &mut memory);
        let silent = all.counts().damaged == 0 && all.take_troubles().is_empty();
        let position = all.position();
        all.release(&mut memory);
        // Whatever the position is worth, resuming from it ends too.
        let mut resumed = cursor(selectors(), JournalStart::Resume(position));
        drain(&mut resumed, &mut memory);
        resumed.release(&mut memory);
        let mut one = cursor(vec![selectors().swap_remove(asked)], START);
        let wanted = read(&mut one, &mut memory);
        one.release(&mut memory);
        (records, silent, wanted)
    }));
    let Ok((records, silent, wanted)) = outcome else { panic!("{what}") };
    assert!(records.len() <= room, "{} records of a file with room for {room}: {what}", records.len());
    let told = records.len() >= base.all.len() || !silent || online;
    assert!(told, "{} records of {} and no complaint: {what}", records.len(), base.all.len());
    if !(bent && asked == INSTANCES) {
        nothing_is_hidden(base, asked, &records, &wanted, &what);
    }
}

/// The one damage to its tables that a file cannot show (`source::journal::lookup` says so): the list of identifiers is
/// sound in itself, and leads past one that no source asks for by its whole name.
fn is_bent(sound: &[u8], objects: &[(usize, usize)], damaged: &[u8]) -> bool {
    let is_it = |at: usize| sound[at] == FIELD && sound[at + FIELD_NAME_AT..].starts_with(b"SYSLOG_IDENTIFIER\0");
    let Some(field) = objects.iter().map(|(at, _)| *at).find(|at| is_it(*at)) else { return false };
    let (before, _) = values(sound, field);
    let (now, ends) = values(damaged, field);
    let is_name = |at: &usize| sound[*at..].get(64..128).is_some_and(|payload| contains(payload, b"=duroslight\0"));
    ends && before.iter().any(|value| !now.contains(value) && !is_name(value))
}

/// Where the values of a field lie, by its list, from the newest on; and whether the list comes to an end.
fn values(file: &[u8], field: usize) -> (Vec<usize>, bool) {
    let (mut at, mut values) = (number(file, field + HEAD_DATA_AT) as usize, Vec::new());
    while at != 0 && at < file.len() && values.last().is_none_or(|last| at < *last) {
        values.push(at);
        at = number(file, at + NEXT_VALUE_AT) as usize;
    }
    (values, at == 0)
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

fn read(cursor: &mut JournalCursor, memory: &mut Memory) -> Vec<Brought> {
    let mut records = drain(cursor, memory);
    for _ in 0..3 {
        cursor.changed();
        records.extend(drain(cursor, memory));
    }
    records
}

/// Asked for alone, a source gets what reading everything brings it, but for entries it had no claim to before the
/// damage: the lists of its values do not name these.
fn nothing_is_hidden(base: &Base, asked: usize, all: &[Brought], got: &[Brought], what: &str) {
    let wanted = |records: &[Brought]| -> BTreeSet<u64> {
        records.iter().filter(|brought| brought.sources >> asked & 1 != 0).map(|brought| brought.offset).collect()
    };
    let (claimed, all) = (wanted(&base.all), wanted(all));
    let got: BTreeSet<u64> = got.iter().map(|brought| brought.offset).collect();
    let hidden = all.iter().filter(|offset| claimed.contains(offset) && !got.contains(offset)).count();
    assert!(hidden == 0, "{hidden} of {} entries are hidden from source {asked}: {what}", all.len());
    let odd = got.difference(&all).count();
    assert!(odd == 0, "source {asked} got {odd} entries that reading everything does not bring it: {what}");
}
