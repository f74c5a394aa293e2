//! Whether a file can hold anything a source wants, asked of its tables before its entries are read.
//!
//! The table of fields leads to the list of all values a field has in the file. Where no value of a tested field
//! passes, no entry can: a file with a hundred thousand entries of others costs a few hundred small reads. Whatever
//! looks damaged on the way, or is too much, means that the entries are read. Where some value passes, its DATA object
//! leads to the entries that have it (`index`).

use super::{
    JournalCursor,
    file::JournalFile,
    index::Index,
    select::Selectors,
    span::{Io, Stop},
};
use crate::{
    limits::{JOURNAL_DATA_READ_BYTES, JOURNAL_INDEX_LISTS_MAX, JOURNAL_LOOKUP_ENTRIES_MIN, JOURNAL_LOOKUP_VALUES_MAX},
    model::SourceMask,
    ring::Ring,
    wire::journal::{
        ALIGNMENT, Compression, DataHead, FieldHead, ObjectHead, ObjectKind, State,
        object::{DATA_HEAD_BYTES, FIELD_HEAD_BYTES, HASH_ITEM_BYTES, OBJECT_HEAD_BYTES},
        u64_at,
    },
};

/// A question under way.
#[derive(Debug)]
pub(super) struct Lookup {
    /// Of the fields the selectors test.
    field: usize,
    step: Step,
    values: u32,
    rounds: Vec<SourceMask>,
    /// Values that pass some test: what they pass, and their DATA with its offset.
    passing: Vec<(u32, (u64, DataHead))>,
    /// There may be more of them, or the file's index is of no use.
    unlisted: bool,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Bucket,
    Field(u64),
    Value(u64),
}

/// What one step came to.
enum Answer {
    Step(Step),
    /// All values of the field were seen.
    Field,
    /// The tables do not say.
    Unknown,
}

impl JournalCursor {
    /// Passes over all entries of the file at `index` that are known of, if none of them can match.
    pub(super) fn skips<R: Ring>(&mut self, io: &mut Io<'_, R>, index: usize) -> Result<bool, Stop> {
        let file = &mut self.files[index];
        let many = file.seen.saturating_sub(file.next) >= JOURNAL_LOOKUP_ENTRIES_MIN;
        let news = file.asked != Some(file.header.n_data.unwrap_or_default());
        if !many || !news || self.gap_after.is_some() || file.next < file.look_back_until || file.walk.is_some() {
            return Ok(false);
        }
        let wanted = file.can_match(io, &mut self.selectors)?;
        if let Some(lookup) = file.lookup.take().filter(|lookup| wanted && !lookup.unlisted) {
            file.index = self.selectors.index(&lookup.passing, file.seen, (file.next, file.group));
        }
        file.asked = Some(file.header.n_data.unwrap_or_default());
        if !wanted {
            file.next = file.seen;
        }
        Ok(!wanted)
    }
}

impl JournalFile {
    /// False only when the tables say that no entry can pass the tests.
    fn can_match<R: Ring>(&mut self, io: &mut Io<'_, R>, selectors: &mut Selectors) -> Result<bool, Stop> {
        if self.lookup.is_none() {
            let mut rounds = Vec::new();
            selectors.begin(&mut rounds);
            let unlisted = self.header.state != State::Archived || rounds[0] != 0;
            let (field, step, values, passing) = (0, Step::Bucket, 0, Vec::new());
            self.lookup = Some(Lookup { field, step, values, rounds, passing, unlisted });
        }
        while let Some(mut lookup) = self.lookup.take() {
            let wanted = selectors.verdict(&lookup.rounds) != 0;
            let name = selectors.tested(lookup.field).map(<[u8]>::to_vec);
            let Some(name) = name.filter(|_| !wanted || !lookup.unlisted) else {
                self.lookup = Some(lookup);
                return Ok(wanted);
            };
            let answer = self.ask(io, selectors, &mut lookup, &name);
            match &answer {
                Ok(Answer::Step(step)) => lookup.step = *step,
                Ok(Answer::Field) => (lookup.field, lookup.step) = (lookup.field + 1, Step::Bucket),
                Ok(Answer::Unknown) | Err(Stop::End | Stop::Io(_)) => return Ok(true),
                Err(Stop::Pending | Stop::Yield) => {}
            }
            self.lookup = Some(lookup);
            answer?;
        }
        Ok(true)
    }

    /// Takes one step of a question.
    fn ask<R: Ring>(
        &mut self,
        io: &mut Io<'_, R>,
        selectors: &mut Selectors,
        lookup: &mut Lookup,
        name: &[u8],
    ) -> Result<Answer, Stop> {
        let owner = self.owner()?;
        match lookup.step {
            Step::Bucket => {
                let buckets = self.header.field_hash_table_size / HASH_ITEM_BYTES;
                if buckets == 0 {
                    return Ok(Answer::Unknown);
                }
                // A table that is not where the header says would answer that nothing is there.
                let table = self.header.field_hash_table_offset.saturating_sub(OBJECT_HEAD_BYTES as u64);
                self.object.fill(io, owner, table, OBJECT_HEAD_BYTES, JOURNAL_DATA_READ_BYTES)?;
                let size = self.header.field_hash_table_size.saturating_add(OBJECT_HEAD_BYTES as u64);
                let head = ObjectHead::parse(self.object.rest(table));
                if head.is_none_or(|head| head.kind != ObjectKind::FieldHashTable || head.size != size) {
                    return Ok(Answer::Unknown);
                }
                let bucket = self.header.hash(name) % buckets;
                let at = self.header.field_hash_table_offset.saturating_add(bucket * HASH_ITEM_BYTES);
                self.array.fill(io, owner, at, HASH_ITEM_BYTES as usize, HASH_ITEM_BYTES as usize)?;
                Ok(match u64_at(self.array.rest(at), 0) {
                    Some(0) => Answer::Field,
                    Some(field) => Answer::Step(Step::Field(field)),
                    None => Answer::Unknown,
                })
            }
            Step::Field(at) => {
                if !self.is_place(at) {
                    return Ok(Answer::Unknown);
                }
                let need = FIELD_HEAD_BYTES + name.len();
                self.object.fill(io, owner, at, need, JOURNAL_DATA_READ_BYTES)?;
                let bytes = self.object.rest(at);
                let Some(field) = FieldHead::parse(bytes) else { return Ok(Answer::Unknown) };
                let own = field.payload_bytes == name.len() as u64 && bytes[FIELD_HEAD_BYTES..].starts_with(name);
                Ok(match (own, field.next_hash_offset) {
                    (true, _) if field.head_data_offset == 0 => Answer::Field,
                    (true, _) => Answer::Step(Step::Value(field.head_data_offset)),
                    (false, 0) => Answer::Field,
                    (false, next) if next <= at => Answer::Unknown,
                    (false, next) => Answer::Step(Step::Field(next)),
                })
            }
            Step::Value(at) => self.ask_value(io, selectors, lookup, name, at),
        }
    }

    /// Looks at one value; the list leads from the newest to the oldest.
    fn ask_value<R: Ring>(
        &mut self,
        io: &mut Io<'_, R>,
        selectors: &mut Selectors,
        lookup: &mut Lookup,
        name: &[u8],
        at: u64,
    ) -> Result<Answer, Stop> {
        let owner = self.owner()?;
        let payload_at = self.layout.payload_at();
        if !self.is_place(at) || lookup.values >= JOURNAL_LOOKUP_VALUES_MAX {
            return Ok(Answer::Unknown);
        }
        self.object.fill(io, owner, at, DATA_HEAD_BYTES, JOURNAL_DATA_READ_BYTES)?;
        let Some(head) = DataHead::parse(self.object.rest(at), self.layout) else { return Ok(Answer::Unknown) };
        if head.compression != Compression::None || head.payload_bytes > JOURNAL_DATA_READ_BYTES as u64 {
            return Ok(Answer::Unknown);
        }
        let need = payload_at + head.payload_bytes as usize;
        self.object.fill(io, owner, at, need, need)?;
        let payload = self.object.slice(at, need).and_then(|object| object.get(payload_at..)).unwrap_or_default();
        let value = payload.strip_prefix(name).and_then(|rest| rest.strip_prefix(b"="));
        let Some(value) = value.filter(|_| self.header.hash(payload) == head.hash) else { return Ok(Answer::Unknown) };
        lookup.values += 1;
        let passes = selectors.judge(name, value, true);
        selectors.join(&mut lookup.rounds, passes);
        if passes != 0 {
            lookup.unlisted |= lookup.passing.len() >= JOURNAL_INDEX_LISTS_MAX;
            if !lookup.unlisted {
                lookup.passing.push((passes, (at, head)));
            }
        }
        io.spend()?;
        Ok(match head.next_field_offset {
            0 => Answer::Field,
            next if next >= at => Answer::Unknown,
            next => Answer::Step(Step::Value(next)),
        })
    }

    fn is_place(&self, at: u64) -> bool {
        at >= self.header.header_size && at.is_multiple_of(ALIGNMENT)
    }
}

impl Selectors {
    /// Which entries of a file with `entries` entries have one of the DATA objects that pass.
    fn index(&self, passing: &[(u32, (u64, DataHead))], entries: u64, base: (u64, u64)) -> Option<Index> {
        let known: Vec<(u32, u64)> = passing.iter().map(|(passes, (_, data))| (*passes, data.n_entries)).collect();
        let taken = self.cover(&known)?;
        let data: Vec<(u64, DataHead)> =
            passing.iter().zip(taken).filter(|(_, taken)| *taken).map(|((_, data), _)| *data).collect();
        Index::new(&data, entries, base)
    }
}
