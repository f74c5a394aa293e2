//! The hash tables of a file: buckets of fields and of values, and the chains behind them.
//!
//! A bucket names the first and the last object of its chain, and each object the next one. Nothing found here is taken
//! for granted: a chain must come to the object the bucket names as its last, every object must hash to the bucket it
//! hangs in, and a table must be where the header says.

use super::{
    file::JournalFile,
    span::{Io, Stop},
};
use crate::{
    limits::{JOURNAL_ARRAY_READ_BYTES, JOURNAL_DATA_READ_BYTES},
    ring::Ring,
    wire::journal::{
        DataHead, FieldHead, ObjectHead, ObjectKind,
        object::{DATA_HEAD_BYTES, FIELD_HEAD_BYTES, HASH_ITEM_BYTES, OBJECT_HEAD_BYTES},
        u64_at,
    },
};

/// No name of a field is longer; journald takes 64 bytes.
const NAME_BYTES_MAX: u64 = 256;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Table {
    Fields,
    Data,
}

/// A place in the chain of one bucket.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bucket {
    pub number: u64,
    buckets: u64,
    /// The object at hand; 0 in an empty bucket.
    pub at: u64,
    tail: u64,
}

impl Bucket {
    pub fn is_empty(&self) -> bool {
        self.at == 0
    }

    /// Goes to the `next` object; `Some(None)` at the end of the chain, `None` where it is broken.
    pub fn after(&self, next: u64) -> Option<Option<Self>> {
        match next {
            0 => (self.at == self.tail).then_some(None),
            next => (next > self.at && next <= self.tail).then_some(Some(Self { at: next, ..*self })),
        }
    }

    fn holds(&self, hash: u64) -> bool {
        hash % self.buckets == self.number
    }
}

/// A FIELD in a chain. Its name lies in the object span.
#[derive(Clone, Copy, Debug)]
pub(super) struct FieldLink {
    pub payload_at: u64,
    pub payload_bytes: usize,
    /// The newest of its values.
    pub head: u64,
    pub next: u64,
}

impl JournalFile {
    /// How many buckets a table has; `None` when it is not where the header says.
    pub fn buckets<R: Ring>(&mut self, io: &mut Io<'_, R>, table: Table) -> Result<Option<u64>, Stop> {
        let owner = self.owner()?;
        let (offset, size, kind) = self.table(table);
        let at = offset.saturating_sub(OBJECT_HEAD_BYTES as u64);
        self.object.fill(io, owner, at, OBJECT_HEAD_BYTES, JOURNAL_DATA_READ_BYTES)?;
        let head = ObjectHead::parse(self.object.rest(at));
        let whole = size.checked_add(OBJECT_HEAD_BYTES as u64);
        let there = head.is_some_and(|head| head.kind == kind && Some(head.size) == whole);
        let buckets = size / HASH_ITEM_BYTES;
        Ok((there && buckets > 0).then_some(buckets))
    }

    /// The bucket for a hash; `None` when it contradicts itself.
    pub fn bucket_of<R: Ring>(&mut self, io: &mut Io<'_, R>, table: Table, hash: u64) -> Result<Option<Bucket>, Stop> {
        match self.buckets(io, table)? {
            Some(buckets) => self.bucket(io, table, hash % buckets, HASH_ITEM_BYTES as usize),
            None => Ok(None),
        }
    }

    /// The bucket of this number; `None` when there is none, or it contradicts itself.
    pub fn bucket_at<R: Ring>(
        &mut self,
        io: &mut Io<'_, R>,
        table: Table,
        number: u64,
    ) -> Result<Option<Bucket>, Stop> {
        let (_, size, _) = self.table(table);
        if number >= size / HASH_ITEM_BYTES {
            return Ok(None);
        }
        let rest = size.saturating_sub(number * HASH_ITEM_BYTES).min(JOURNAL_ARRAY_READ_BYTES as u64);
        self.bucket(io, table, number, rest as usize)
    }

    fn table(&self, table: Table) -> (u64, u64, ObjectKind) {
        let header = &self.header;
        match table {
            Table::Fields => (header.field_hash_table_offset, header.field_hash_table_size, ObjectKind::FieldHashTable),
            Table::Data => (header.data_hash_table_offset, header.data_hash_table_size, ObjectKind::DataHashTable),
        }
    }

    fn bucket<R: Ring>(
        &mut self,
        io: &mut Io<'_, R>,
        table: Table,
        number: u64,
        want: usize,
    ) -> Result<Option<Bucket>, Stop> {
        let owner = self.owner()?;
        let (offset, size, _) = self.table(table);
        let at = offset.saturating_add(number.saturating_mul(HASH_ITEM_BYTES));
        self.array.fill(io, owner, at, HASH_ITEM_BYTES as usize, want)?;
        let item = self.array.rest(at);
        let (Some(first), Some(tail)) = (u64_at(item, 0), u64_at(item, 8)) else { return Ok(None) };
        let sound = first <= tail && (first == 0) == (tail == 0);
        Ok(sound.then_some(Bucket { number, buckets: size / HASH_ITEM_BYTES, at: first, tail }))
    }

    /// The FIELD a bucket stands at; `None` when there is none, or its name is not what its hash says.
    pub fn field_in<R: Ring>(&mut self, io: &mut Io<'_, R>, bucket: &Bucket) -> Result<Option<FieldLink>, Stop> {
        let owner = self.owner()?;
        if !self.is_place(bucket.at) {
            return Ok(None);
        }
        self.object.fill(io, owner, bucket.at, FIELD_HEAD_BYTES, JOURNAL_DATA_READ_BYTES)?;
        let head = FieldHead::parse(self.object.rest(bucket.at)).filter(|head| head.payload_bytes <= NAME_BYTES_MAX);
        let Some(head) = head else { return Ok(None) };
        let payload_bytes = head.payload_bytes as usize;
        self.object.fill(io, owner, bucket.at, FIELD_HEAD_BYTES + payload_bytes, JOURNAL_DATA_READ_BYTES)?;
        let payload_at = bucket.at + FIELD_HEAD_BYTES as u64;
        let name = self.object.slice(payload_at, payload_bytes).unwrap_or_default();
        let sound = self.header.hash(name) == head.hash && bucket.holds(head.hash);
        let link = FieldLink { payload_at, payload_bytes, head: head.head_data_offset, next: head.next_hash_offset };
        Ok(sound.then_some(link))
    }

    /// Hash of the DATA a bucket stands at, and the object after it; `None` when there is none.
    pub fn data_in<R: Ring>(&mut self, io: &mut Io<'_, R>, bucket: &Bucket) -> Result<Option<(u64, u64)>, Stop> {
        let owner = self.owner()?;
        if !self.is_place(bucket.at) {
            return Ok(None);
        }
        self.object.fill(io, owner, bucket.at, DATA_HEAD_BYTES, DATA_HEAD_BYTES)?;
        let head = DataHead::parse(self.object.rest(bucket.at), self.layout).filter(|head| bucket.holds(head.hash));
        Ok(head.map(|head| (head.hash, head.next_hash_offset)))
    }
}
