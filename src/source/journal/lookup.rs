//! Whether a file can hold anything a source wants, asked of its tables before its entries are read.
//!
//! The table of fields leads to the list of all values a field has in the file. Where no value of a tested field
//! passes, no entry can: a file with a hundred thousand entries of others costs a few hundred small reads. Where some
//! value passes, its DATA object leads to the entries that have it (`index`).
//!
//! An answer that something is *not* there would hide entries if it were wrong, so it has to prove itself (`tables`):
//! a list of values ends at the value written together with its field, a field is missing only from a table that
//! holds as many as the header counts, and a value that was asked for by itself is missing from the table of values
//! too. Whatever does not, or is too much, means that all entries are read. What is left undetected is a list that
//! leads from one value to an older one of the same field, past one that only an instance (`name@…`) asks for.

use super::{
    JournalCursor,
    file::JournalFile,
    index::Index,
    select::Selectors,
    span::{Io, Stop},
    tables::{Bucket, Table},
};
use crate::{
    limits::{JOURNAL_DATA_READ_BYTES, JOURNAL_INDEX_LISTS_MAX, JOURNAL_LOOKUP_ENTRIES_MIN, JOURNAL_LOOKUP_VALUES_MAX},
    model::{JournalPosition, SourceMask},
    ring::Ring,
    wire::journal::{ALIGNMENT, Compression, DataHead, State, object::DATA_HEAD_BYTES},
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
    /// Payloads asked for by themselves that the list of the field did not have so far.
    sought: Vec<Vec<u8>>,
    /// The table of fields holds as many as the header counts.
    counted: bool,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    /// The bucket of the field's name.
    Name,
    /// A field in it.
    Field(Bucket),
    /// A value of the field at `field`.
    Value { at: u64, field: u64 },
    /// The bucket of what is sought and was not met yet.
    Rest,
    /// A value in it.
    Data(Bucket),
    /// The bucket of this number, and the fields in those before.
    Count(u64, u64),
    /// A field in it, and those before.
    Counted(Bucket, u64),
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
        let whole = file.next == 0;
        if let Some(lookup) = file.lookup.take().filter(|lookup| wanted && !lookup.unlisted && whole) {
            let (passing, seen) = (lookup.passing, file.seen);
            self.files[index].index = self.selectors.index(&passing, seen, self.position());
        }
        let file = &mut self.files[index];
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
            let (passing, sought) = (Vec::new(), selectors.sought(0));
            self.lookup = Some(Lookup {
                field: 0,
                step: Step::Name,
                values: 0,
                rounds,
                passing,
                unlisted,
                sought,
                counted: false,
            });
        }
        while let Some(mut lookup) = self.lookup.take() {
            let wanted = selectors.verdict(&lookup.rounds) != 0;
            let name = selectors.tested(lookup.field).map(<[u8]>::to_vec);
            let Some(name) = name.filter(|_| !wanted || !lookup.unlisted) else {
                self.lookup = Some(lookup);
                return Ok(wanted);
            };
            let answer = io.spend().and_then(|()| self.ask(io, selectors, &mut lookup, &name));
            match &answer {
                Ok(Answer::Step(step)) => lookup.step = *step,
                Ok(Answer::Field) => {
                    (lookup.field, lookup.step) = (lookup.field + 1, Step::Name);
                    lookup.sought = selectors.sought(lookup.field);
                }
                Ok(Answer::Unknown) | Err(Stop::End | Stop::Io(_)) => return Ok(true),
                Err(Stop::Pending | Stop::Yield | Stop::Failing) => {}
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
        match lookup.step {
            Step::Name => {
                let hash = self.header.hash(name);
                Ok(match self.bucket_of(io, Table::Fields, hash)? {
                    Some(bucket) if bucket.is_empty() => lookup.missed_field(),
                    Some(bucket) => Answer::Step(Step::Field(bucket)),
                    None => Answer::Unknown,
                })
            }
            Step::Field(bucket) => {
                let Some(field) = self.field_in(io, &bucket)? else { return Ok(Answer::Unknown) };
                if self.object.slice(field.payload_at, field.payload_bytes) != Some(name) {
                    return Ok(match bucket.after(field.next) {
                        Some(Some(bucket)) => Answer::Step(Step::Field(bucket)),
                        Some(None) => lookup.missed_field(),
                        None => Answer::Unknown,
                    });
                }
                // A field is made together with its first value.
                Ok(match field.head {
                    0 => Answer::Unknown,
                    at => Answer::Step(Step::Value { at, field: bucket.at }),
                })
            }
            Step::Value { at, field } => self.ask_value(io, selectors, lookup, name, (at, field)),
            Step::Rest => {
                let Some(sought) = lookup.sought.last() else { return Ok(Answer::Field) };
                let hash = self.header.hash(sought);
                Ok(match self.bucket_of(io, Table::Data, hash)? {
                    Some(bucket) if bucket.is_empty() => lookup.missed_value(),
                    Some(bucket) => Answer::Step(Step::Data(bucket)),
                    None => Answer::Unknown,
                })
            }
            Step::Data(bucket) => {
                let Some((hash, next)) = self.data_in(io, &bucket)? else { return Ok(Answer::Unknown) };
                let sought = lookup.sought.last().map(|sought| self.header.hash(sought));
                Ok(match bucket.after(next) {
                    // It is there, and the list of its field does not have it.
                    _ if sought == Some(hash) => Answer::Unknown,
                    Some(Some(bucket)) => Answer::Step(Step::Data(bucket)),
                    Some(None) => lookup.missed_value(),
                    None => Answer::Unknown,
                })
            }
            Step::Count(number, fields) => {
                let Some(bucket) = self.bucket_at(io, Table::Fields, number)? else {
                    let all =
                        Some(fields) == self.header.n_fields && Some(number) == self.buckets(io, Table::Fields)?;
                    lookup.counted = all;
                    return Ok(if all { Answer::Step(Step::Rest) } else { Answer::Unknown });
                };
                let next =
                    if bucket.is_empty() { Step::Count(number + 1, fields) } else { Step::Counted(bucket, fields) };
                Ok(Answer::Step(next))
            }
            Step::Counted(bucket, fields) => {
                let Some(field) = self.field_in(io, &bucket)? else { return Ok(Answer::Unknown) };
                Ok(match bucket.after(field.next) {
                    Some(Some(bucket)) => Answer::Step(Step::Counted(bucket, fields + 1)),
                    Some(None) => Answer::Step(Step::Count(bucket.number + 1, fields + 1)),
                    None => Answer::Unknown,
                })
            }
        }
    }

    /// Looks at one value of the field at `field`; the list leads from the newest to the oldest.
    fn ask_value<R: Ring>(
        &mut self,
        io: &mut Io<'_, R>,
        selectors: &mut Selectors,
        lookup: &mut Lookup,
        name: &[u8],
        (at, field): (u64, u64),
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
        lookup.sought.retain(|sought| sought != payload);
        let passes = selectors.judge(name, value, true);
        selectors.join(&mut lookup.rounds, passes);
        if passes != 0 {
            lookup.unlisted |= lookup.passing.len() >= JOURNAL_INDEX_LISTS_MAX;
            if !lookup.unlisted {
                lookup.passing.push((passes, (at, head)));
            }
        }
        // The first value of a field is written right before the field itself.
        let first = at.saturating_add(need as u64).checked_next_multiple_of(ALIGNMENT) == Some(field);
        Ok(match head.next_field_offset {
            0 if first => Answer::Step(Step::Rest),
            0 => Answer::Unknown,
            next if next >= at || first => Answer::Unknown,
            next => Answer::Step(Step::Value { at: next, field }),
        })
    }

    pub fn is_place(&self, at: u64) -> bool {
        at >= self.header.header_size && at.is_multiple_of(ALIGNMENT)
    }
}

impl Lookup {
    /// The bucket of the field's name does not have it.
    fn missed_field(&self) -> Answer {
        Answer::Step(if self.counted { Step::Rest } else { Step::Count(0, 0) })
    }

    /// The table of values does not have what is sought either.
    fn missed_value(&mut self) -> Answer {
        self.sought.pop();
        Answer::Step(Step::Rest)
    }
}

impl Selectors {
    /// Which entries of a file with `entries` entries have one of the DATA objects that pass.
    fn index(&self, passing: &[(u32, (u64, DataHead))], entries: u64, from: JournalPosition) -> Option<Index> {
        let known: Vec<(u32, u64)> = passing.iter().map(|(passes, (_, data))| (*passes, data.n_entries)).collect();
        let taken = self.cover(&known)?;
        let data: Vec<(u64, DataHead)> =
            passing.iter().zip(taken).filter(|(_, taken)| *taken).map(|((_, data), _)| *data).collect();
        Index::new(&data, entries, from)
    }
}
