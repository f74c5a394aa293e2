//! Every object of a journal file once, from the first to the last: is it what it says, and is it where the header and
//! the objects before it lead one to expect it.
//!
//! What is kept of each is little: 32 bytes of a DATA or FIELD, eight of an ENTRY or ENTRY_ARRAY. Which entries have a
//! value is kept as their number and a sum over their mixed offsets, to be compared with the list that the value has.
//! Of a file that is being written to, what lies behind its last entry is not judged: it is about to change.

use std::{collections::HashMap, io, mem};

use super::inspect_bytes::{Blocks, Bytes, Findings};
use crate::{
    limits::JOURNAL_FIELD_BYTES_MAX,
    wire::journal::{
        ALIGNMENT, Compression, DataHead, Decompressor, EntryHead, FieldHead, Header, ObjectHead, ObjectKind, State,
        header,
        object::{ARRAY_ITEMS_AT, ENTRY_ITEMS_AT, FIELD_HEAD_BYTES, HASH_ITEM_BYTES, OBJECT_HEAD_BYTES},
        u64_at,
    },
};

/// Compressed bytes looked at of one payload.
const STORED_BYTES_MAX: usize = JOURNAL_FIELD_BYTES_MAX + 64 * 1024;
/// Bytes of an array looked at at once.
const PIECE_BYTES: u64 = 64 * 1024;
/// Where DATA lie that were looked for last.
const RECENT: usize = 4096;
/// Times are below this (`VALID_REALTIME` and `VALID_MONOTONIC` of systemd).
const TIME_MAX: u64 = 1 << 55;
pub(super) const KINDS: [(&str, ObjectKind); 7] = [
    ("data", ObjectKind::Data),
    ("field", ObjectKind::Field),
    ("entry", ObjectKind::Entry),
    ("data hash table", ObjectKind::DataHashTable),
    ("field hash table", ObjectKind::FieldHashTable),
    ("entry array", ObjectKind::EntryArray),
    ("tag", ObjectKind::Tag),
];
/// What findings have in common.
pub(super) const HEADS: &str = "objects that contradict themselves";
const VALUES: &str = "values that are not what was written";
const REFERENCES: &str = "entries that refer to nothing";
const ORDER: &str = "entries out of order";
pub(super) const FIELD_LISTS: &str = "lists of the values of a field";

/// Index of what there is one of for DATA and one for FIELDs.
pub(super) const OF_DATA: usize = 0;
pub(super) const OF_FIELDS: usize = 1;

/// A DATA or a FIELD.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row {
    pub at: u64,
    /// The next one in its bucket.
    pub next: u64,
    /// Sum over the offsets of the entries that have it, mixed.
    pub sum: u64,
    /// How many have it.
    pub entries: u32,
    pub bucket: u32,
}

/// A hash table as it lies in the file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Table {
    pub items_at: u64,
    pub bytes: u64,
}

/// The values of one field.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Values {
    /// The FIELD; 0 while none was seen.
    pub field: u64,
    /// The value that was new last.
    pub newest: u64,
    /// There were values since that no entry has: a failed append leaves such, linked or not.
    pub unused: bool,
}

/// What was seen so far.
pub(super) struct Inspection {
    pub bytes: Bytes,
    pub blocks: Blocks,
    pub header: Header,
    /// The bytes of the header.
    pub head: Vec<u8>,
    pub size: u64,
    /// Objects and their bytes, by `KINDS`.
    pub kinds: [(u64, u64); KINDS.len()],
    pub compressed: u64,
    /// DATA and FIELDs, ascending.
    pub rows: [Vec<Row>; 2],
    pub tables: [Option<Table>; 2],
    /// Offsets, ascending.
    pub entries: Vec<u64>,
    pub arrays: Vec<u64>,
    /// By the hash of the field's name.
    pub values: HashMap<u64, Values>,
    /// DATA whose payload is not what was written.
    pub unsound: Vec<u64>,
    pub first: Option<EntryHead>,
    pub last: Option<EntryHead>,
    pub before_last: Option<EntryHead>,
    /// What the last entry refers to.
    pub last_items: Vec<u64>,
    pub objects: u64,
    pub last_object: u64,
    /// Not all objects could be looked at.
    pub cut: bool,
    pub findings: Findings,
    /// Found since the last entry.
    pending: Findings,
    recent: Vec<(u64, u32)>,
    decompressor: Decompressor,
    plain: Vec<u8>,
}

/// An offset as a part of a sum that tells one set of offsets from another.
pub(super) fn mixed(offset: u64) -> u64 {
    let mixed = (offset ^ (offset >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

impl Inspection {
    pub fn new(bytes: Bytes, blocks: Blocks, header: Header, head: Vec<u8>, size: u64) -> Self {
        Self {
            bytes,
            blocks,
            header,
            head,
            size,
            kinds: Default::default(),
            compressed: 0,
            rows: Default::default(),
            tables: [None; 2],
            entries: Vec::new(),
            arrays: Vec::new(),
            values: HashMap::new(),
            unsound: Vec::new(),
            first: None,
            last: None,
            before_last: None,
            last_items: Vec::new(),
            objects: 0,
            last_object: 0,
            cut: false,
            findings: Findings::default(),
            pending: Findings::default(),
            recent: vec![(0, 0); RECENT],
            decompressor: Decompressor::default(),
            plain: Vec::new(),
        }
    }

    /// Somebody writes to it, or died while at it.
    pub fn is_online(&self) -> bool {
        self.header.state == State::Online
    }

    /// Looks at all objects, in the order they lie in.
    pub fn objects(&mut self) -> io::Result<()> {
        let mut at = self.header.header_size;
        let tail = self.header.tail_object_offset;
        while at <= tail && tail > 0 {
            let Some(head) = ObjectHead::parse(self.bytes.at(at, OBJECT_HEAD_BYTES)?) else {
                let rest = tail.saturating_sub(at);
                let what = if at >= self.size { "the file ends here, it was cut" } else { "no object begins here" };
                self.stop(format!("at {at}: {what}; the {rest} bytes up to the last object are not looked at"));
                return Ok(());
            };
            let end = at.saturating_add(head.size);
            if end > self.size {
                let bytes = head.size;
                self.stop(format!("at {at}: an object of {bytes} bytes goes beyond the end of the file, it was cut"));
                return Ok(());
            }
            self.objects += 1;
            self.last_object = at;
            self.object(at, &head)?;
            at = end.next_multiple_of(ALIGNMENT);
        }
        if self.is_online() {
            self.pending = Findings::default();
        }
        // A failed append leaves values that are in no list.
        self.pending.forget(FIELD_LISTS);
        self.findings.take(&mut self.pending);
        Ok(())
    }

    fn stop(&mut self, what: String) {
        self.cut = true;
        self.findings.take(&mut self.pending);
        self.findings.add("places where no object is", || what);
    }

    fn object(&mut self, at: u64, head: &ObjectHead) -> io::Result<()> {
        match KINDS.iter().position(|(_, kind)| *kind == head.kind) {
            Some(kind) => {
                self.kinds[kind].0 += 1;
                self.kinds[kind].1 += head.size;
            }
            None => {
                let what = || format!("at {at}: an object of a kind that is not known: {:?}", head.kind);
                self.pending.add("objects of kinds that are not known", what);
            }
        }
        if head.flags != 0 && head.kind != ObjectKind::Data {
            self.pending.add(HEADS, || format!("at {at}: {:?} is marked as compressed, only values can be", head.kind));
        }
        match head.kind {
            ObjectKind::Data => self.data_object(at),
            ObjectKind::Field => self.field_object(at),
            ObjectKind::Entry => self.entry_object(at),
            ObjectKind::EntryArray => self.array_object(at, head.size),
            ObjectKind::DataHashTable => {
                self.table_object(OF_DATA, at, head.size);
                Ok(())
            }
            ObjectKind::FieldHashTable => {
                self.table_object(OF_FIELDS, at, head.size);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn table_object(&mut self, of: usize, at: u64, size: u64) {
        let table = Table { items_at: at + OBJECT_HEAD_BYTES as u64, bytes: size - OBJECT_HEAD_BYTES as u64 };
        if self.tables[of].is_some() {
            self.pending.add(HEADS, || format!("at {at}: a second hash table of the same kind"));
        } else {
            self.tables[of] = Some(table);
        }
        if table.bytes == 0 || !table.bytes.is_multiple_of(HASH_ITEM_BYTES) {
            let bytes = table.bytes;
            self.pending.add(HEADS, || format!("at {at}: {bytes} bytes are no whole number of buckets"));
        }
    }

    fn data_object(&mut self, at: u64) -> io::Result<()> {
        let layout = self.header.layout();
        let Some(head) = DataHead::parse(self.bytes.at(at, layout.payload_at())?, layout) else {
            self.pending.add(HEADS, || format!("at {at}: a value whose head contradicts itself"));
            self.unsound.push(at);
            self.rows[OF_DATA].push(Row { at, next: 0, sum: 0, entries: 0, bucket: u32::MAX });
            return Ok(());
        };
        let bucket = bucket_of(self.tables[OF_DATA], self.header.data_hash_table_size, head.hash);
        self.rows[OF_DATA].push(Row { at, next: head.next_hash_offset, sum: 0, entries: 0, bucket });
        let flag = match head.compression {
            Compression::None => 0,
            Compression::Xz => header::INCOMPATIBLE_XZ,
            Compression::Lz4 => header::INCOMPATIBLE_LZ4,
            Compression::Zstd => header::INCOMPATIBLE_ZSTD,
        };
        if flag & !self.header.incompatible != 0 {
            let compression = head.compression;
            self.pending.add(HEADS, || format!("at {at}: compressed with {compression:?}, which the header denies"));
        }
        if head.payload_bytes == 0 {
            self.pending.add(HEADS, || format!("at {at}: a value of no bytes, not even its name"));
        }
        if (head.entry == 0) != (head.n_entries == 0) {
            let (first, count) = (head.entry, head.n_entries);
            let what = || format!("at {at}: a value in {count} entries, the first at {first}, contradicts itself");
            self.pending.add(HEADS, what);
        }
        self.compressed += u64::from(head.compression != Compression::None);
        let most = head.payload_bytes.min(STORED_BYTES_MAX as u64) as usize;
        let stored = self.bytes.at(at + layout.payload_at() as u64, most)?;
        let cut = self.decompressor.decode(head.compression, stored, JOURNAL_FIELD_BYTES_MAX, &mut self.plain);
        let name = self.plain.split(|byte| *byte == b'=').next().unwrap_or_default();
        match cut {
            Err(fault) => {
                self.pending.add(VALUES, || format!("at {at}: a value cannot be decompressed: {fault}"));
                self.unsound.push(at);
            }
            Ok(false) if self.header.hash(&self.plain) != head.hash => {
                let name = String::from_utf8_lossy(&name[..name.len().min(64)]).into_owned();
                let what = format!("the value of {name} is not the one that was written (its hash differs)");
                self.pending.add(VALUES, || format!("at {at}: {what}"));
                self.unsound.push(at);
            }
            Ok(_) if !name.is_empty() && name.len() < self.plain.len() => {
                let values = self.header.hash(name);
                self.newest(values, at, &head);
            }
            Ok(_) => {}
        }
        Ok(())
    }

    /// Each value of a field refers to the one that was new before it.
    fn newest(&mut self, values: u64, at: u64, head: &DataHead) {
        let values = self.values.entry(values).or_default();
        if head.n_entries == 0 {
            values.unused = true;
            return;
        }
        let Values { newest, unused, .. } = mem::replace(values, Values { newest: at, unused: false, ..*values });
        let next = head.next_field_offset;
        let expected = next == newest || unused && next > newest && next < at;
        if !expected && self.unsound.binary_search(&next).is_err() {
            let what =
                || format!("at {at}: a value refers to {next} as the value before it of its field, not {newest}");
            self.pending.add(FIELD_LISTS, what);
        }
    }

    fn field_object(&mut self, at: u64) -> io::Result<()> {
        let head = FieldHead::parse(self.bytes.at(at, FIELD_HEAD_BYTES)?);
        let head = head.filter(|head| head.payload_bytes > 0 && head.payload_bytes <= STORED_BYTES_MAX as u64);
        let Some(head) = head else {
            self.pending.add(HEADS, || format!("at {at}: the name of a field whose head contradicts itself"));
            self.rows[OF_FIELDS].push(Row { at, next: 0, sum: 0, entries: 0, bucket: u32::MAX });
            return Ok(());
        };
        let bucket = bucket_of(self.tables[OF_FIELDS], self.header.field_hash_table_size, head.hash);
        self.rows[OF_FIELDS].push(Row { at, next: head.next_hash_offset, sum: 0, entries: 0, bucket });
        let name = self.bytes.at(at + FIELD_HEAD_BYTES as u64, head.payload_bytes as usize)?;
        let hash = self.header.hash(name);
        if hash != head.hash {
            let name = String::from_utf8_lossy(&name[..name.len().min(64)]).into_owned();
            let what = || format!("at {at}: the name of a field, {name}, is not the one that was written");
            self.pending.add("names of fields that are not what was written", what);
        }
        // Either may be the damaged one.
        for hash in [hash, head.hash] {
            let values = self.values.entry(hash).or_default();
            values.field = if values.field == 0 { at } else { values.field };
        }
        Ok(())
    }

    /// Offsets are multiples of eight, used or not.
    fn array_object(&mut self, at: u64, size: u64) -> io::Result<()> {
        self.arrays.push(at);
        let layout = self.header.layout();
        let item_bytes = layout.array_item_bytes();
        let bytes = size.saturating_sub(ARRAY_ITEMS_AT as u64);
        if bytes == 0 || !bytes.is_multiple_of(item_bytes as u64) {
            self.pending.add(HEADS, || format!("at {at}: an array of entries of {size} bytes, which none can have"));
        }
        let mut odd = !u64_at(self.bytes.at(at, ARRAY_ITEMS_AT)?, 16).unwrap_or(1).is_multiple_of(ALIGNMENT);
        let mut from = 0;
        while from < bytes {
            let piece = (bytes - from).min(PIECE_BYTES) as usize;
            let items = self.bytes.at(at + ARRAY_ITEMS_AT as u64 + from, piece)?.chunks_exact(item_bytes);
            odd |= items.filter_map(|item| layout.offset(item)).any(|item| !item.is_multiple_of(ALIGNMENT));
            from += piece as u64;
        }
        if odd {
            let what = || format!("at {at}: an array of entries leads to where nothing can begin");
            self.pending.add("arrays of entries that lead astray", what);
        }
        Ok(())
    }

    fn entry_object(&mut self, at: u64) -> io::Result<()> {
        self.findings.take(&mut self.pending);
        let layout = self.header.layout();
        let Some(head) = EntryHead::parse(self.bytes.at(at, ENTRY_ITEMS_AT)?) else {
            self.pending.add(HEADS, || format!("at {at}: an entry whose head contradicts itself"));
            return Ok(());
        };
        let seqnum = head.seqnum;
        let item_bytes = layout.entry_item_bytes();
        let bytes = head.size as usize - ENTRY_ITEMS_AT;
        if bytes == 0 || !bytes.is_multiple_of(item_bytes) || seqnum == 0 {
            self.pending.add(HEADS, || format!("at {at}: entry {seqnum} of {bytes} bytes of items contradicts itself"));
        }
        if head.realtime >= TIME_MAX || head.monotonic >= TIME_MAX {
            self.pending.add(HEADS, || format!("at {at}: the time of entry {seqnum} is none"));
        }
        let mut items = mem::take(&mut self.last_items);
        items.clear();
        let (table, header_bytes) = (self.tables[OF_DATA], self.header.data_hash_table_size);
        let mut astray = None;
        for item in self.bytes.at(at + ENTRY_ITEMS_AT as u64, bytes)?.chunks_exact(item_bytes) {
            let offset = layout.offset(item).unwrap_or_default();
            // A regular one says the hash as well.
            let bucket = u64_at(item, 8).map(|hash| bucket_of(table, header_bytes, hash));
            // Older writers refer to one value twice.
            if items.last() == Some(&offset) {
                continue;
            }
            items.push(offset);
            let index = found(&mut self.recent, &self.rows[OF_DATA], offset);
            match index.and_then(|index| self.rows[OF_DATA].get_mut(index)) {
                Some(row) => {
                    row.sum = row.sum.wrapping_add(mixed(at));
                    row.entries = row.entries.saturating_add(1);
                    if bucket.is_some_and(|bucket| bucket != row.bucket) {
                        astray = astray.or(Some((offset, "with another hash than it has")));
                    }
                }
                None => astray = astray.or(Some((offset, "where none is"))),
            }
        }
        self.last_items = items;
        if let Some((offset, why)) = astray {
            let what = || format!("at {at}: entry {seqnum} refers to a value at {offset}, {why}");
            self.pending.add(REFERENCES, what);
        }
        if let Some(last) = self.last {
            if last.seqnum >= seqnum {
                let what = || format!("at {at}: entry {seqnum} comes after entry {}", last.seqnum);
                self.pending.add(ORDER, what);
            }
            if last.boot_id == head.boot_id && last.monotonic > head.monotonic {
                let back = last.monotonic - head.monotonic;
                let what =
                    || format!("at {at}: entry {seqnum} is {back} \u{b5}s before the one before it, in one boot");
                self.pending.add("entries that go back in time", what);
            }
        }
        self.entries.push(at);
        self.first = self.first.or(Some(head));
        self.before_last = self.last;
        self.last = Some(head);
        Ok(())
    }
}

/// The bucket of a hash, in the table as it lies in the file or else as the header says.
fn bucket_of(table: Option<Table>, header_bytes: u64, hash: u64) -> u32 {
    let bytes = table.map_or(header_bytes, |table| table.bytes);
    u32::try_from(hash.checked_rem(bytes / HASH_ITEM_BYTES).unwrap_or_default()).unwrap_or(u32::MAX)
}

/// Where the row of `offset` is. Entries have most values in common with those just before them.
fn found(recent: &mut [(u64, u32)], rows: &[Row], offset: u64) -> Option<usize> {
    let place = &mut recent[(offset >> 3) as usize % RECENT];
    if place.0 == offset && offset != 0 {
        return Some(place.1 as usize);
    }
    let index = rows.binary_search_by_key(&offset, |row| row.at).ok()?;
    *place = (offset, u32::try_from(index).ok()?);
    Some(index)
}
