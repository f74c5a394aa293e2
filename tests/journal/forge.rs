//! A writer of small journal files, with what systemd's does not let one choose: tables of few buckets, payloads of
//! every compression, both layouts, any state. What it writes is a sound file; `journalctl` says so in the tests.

use std::collections::HashMap;

use corelane::wire::journal::{jenkins, keyed};

pub const HEADER_BYTES: usize = 272;
const FILE_ID: [u8; 16] = *b"file of the test";
const BOOT_ID: [u8; 16] = *b"boot of the test";
const FIRST_REALTIME: u64 = 1_700_000_000_000_000;
const FIELD_BUCKETS: usize = 7;
const DATA_BUCKETS: usize = 61;
const ARCHIVED: u8 = 2;

/// How a file is written.
#[derive(Clone, Copy, Debug)]
pub struct Style {
    pub compact: bool,
    pub keyed: bool,
    pub archived: bool,
}

impl Style {
    /// Every style there is, by its number.
    pub fn numbered(number: u64) -> Self {
        Self { compact: number & 1 != 0, keyed: number & 2 != 0, archived: number & 4 != 0 }
    }
}

/// A value and how it lies in the file.
#[derive(Clone, Copy, Debug)]
pub struct Value<'a> {
    /// `FIELD=value`.
    pub plain: &'a [u8],
    pub stored: &'a [u8],
    /// 0 none, 1 xz, 2 lz4, 4 zstd.
    pub flag: u8,
}

impl<'a> Value<'a> {
    pub fn plain(plain: &'a [u8]) -> Self {
        Self { plain, stored: plain, flag: 0 }
    }
}

/// A list of entries being written: of all of them, or of those with one value.
#[derive(Clone, Copy, Debug, Default)]
struct List {
    array: usize,
    used: usize,
    capacity: usize,
}

/// One value in the file.
#[derive(Debug)]
struct Data {
    at: usize,
    entries: u64,
    list: List,
}

/// A file being written.
pub struct Forge {
    style: Style,
    bytes: Vec<u8>,
    field_table: usize,
    data_table: usize,
    data: HashMap<Vec<u8>, Data>,
    fields: HashMap<Vec<u8>, usize>,
    all: List,
    tail: usize,
    objects: u64,
    entries: u64,
    arrays: u64,
    tail_entry: usize,
}

impl Forge {
    pub fn new(style: Style) -> Self {
        let mut forge = Self {
            style,
            bytes: vec![0; HEADER_BYTES],
            field_table: 0,
            data_table: 0,
            data: HashMap::new(),
            fields: HashMap::new(),
            all: List::default(),
            tail: 0,
            objects: 0,
            entries: 0,
            arrays: 0,
            tail_entry: 0,
        };
        forge.field_table = forge.object(5, 0, &[0; 16 * FIELD_BUCKETS]) + 16;
        forge.data_table = forge.object(4, 0, &[0; 16 * DATA_BUCKETS]) + 16;
        forge
    }

    /// Writes one entry.
    pub fn entry(&mut self, values: &[Value<'_>]) {
        let number = self.entries + 1;
        let mut offsets: Vec<(usize, u64)> = Vec::new();
        for value in values {
            let at = self.value(value);
            offsets.push((at, self.hash(value.plain)));
        }
        // Sorted, and equal ones once.
        offsets.sort_unstable();
        offsets.dedup();
        let mut body = Vec::new();
        let clock = number * 1000;
        [number, FIRST_REALTIME + clock, clock].iter().for_each(|word| body.extend_from_slice(&word.to_le_bytes()));
        body.extend_from_slice(&BOOT_ID);
        let xor = values.iter().fold(0, |xor, value| xor ^ jenkins(value.plain));
        body.extend_from_slice(&xor.to_le_bytes());
        for (at, hash) in &offsets {
            if self.style.compact {
                body.extend_from_slice(&(*at as u32).to_le_bytes());
            } else {
                body.extend_from_slice(&(*at as u64).to_le_bytes());
                body.extend_from_slice(&hash.to_le_bytes());
            }
        }
        let entry = self.object(3, 0, &body);
        (self.entries, self.tail_entry) = (number, entry);
        let mut all = self.all;
        if let Some(first) = self.listed(&mut all, entry) {
            self.put(176, first as u64);
        }
        self.all = all;
        for value in values {
            self.link(value.plain, entry);
        }
    }

    /// The file.
    pub fn finish(mut self) -> Vec<u8> {
        let arena = self.bytes.len() - HEADER_BYTES;
        self.bytes[..8].copy_from_slice(b"LPKSHHRH");
        let flags = if self.style.compact { 16 } else { 0 } | if self.style.keyed { 4 } else { 0 } | 1 | 2 | 8;
        self.bytes[12] = flags;
        self.bytes[16] = if self.style.archived { ARCHIVED } else { 0 };
        self.bytes[24..40].copy_from_slice(&FILE_ID);
        self.bytes[40..56].copy_from_slice(b"the test machine");
        self.bytes[56..72].copy_from_slice(&BOOT_ID);
        self.bytes[72..88].copy_from_slice(&FILE_ID);
        let clock = self.entries * 1000;
        let first = u64::from(self.entries > 0);
        for (at, value) in [
            (88, HEADER_BYTES as u64),
            (96, arena as u64),
            (104, self.data_table as u64),
            (112, 16 * DATA_BUCKETS as u64),
            (120, self.field_table as u64),
            (128, 16 * FIELD_BUCKETS as u64),
            (136, self.tail as u64),
            (144, self.objects),
            (152, self.entries),
            (160, self.entries),
            (168, first),
            (184, first * (FIRST_REALTIME + 1000)),
            (192, first * (FIRST_REALTIME + clock)),
            (200, clock),
            (208, self.data.len() as u64),
            (216, self.fields.len() as u64),
            (232, self.arrays),
            (264, self.tail_entry as u64),
        ] {
            self.put(at, value);
        }
        self.put_half(256, self.all.array);
        self.put_half(260, self.all.used);
        self.bytes
    }

    fn hash(&self, payload: &[u8]) -> u64 {
        if self.style.keyed { keyed(&FILE_ID, payload) } else { jenkins(payload) }
    }

    fn put(&mut self, at: usize, value: u64) {
        self.bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
    }

    fn put_half(&mut self, at: usize, value: usize) {
        self.bytes[at..at + 4].copy_from_slice(&(value as u32).to_le_bytes());
    }

    fn number(&self, at: usize) -> u64 {
        u64::from_le_bytes(self.bytes[at..at + 8].try_into().expect("eight bytes"))
    }

    /// Adds an object; its offset.
    fn object(&mut self, kind: u8, flags: u8, body: &[u8]) -> usize {
        let at = self.bytes.len();
        self.bytes.extend_from_slice(&[kind, flags, 0, 0, 0, 0, 0, 0]);
        self.bytes.extend_from_slice(&(16 + body.len() as u64).to_le_bytes());
        self.bytes.extend_from_slice(body);
        self.bytes.resize(self.bytes.len().next_multiple_of(8), 0);
        (self.tail, self.objects) = (at, self.objects + 1);
        at
    }

    /// The DATA of a value; a new one comes with its FIELD if that is new, as journald does it.
    fn value(&mut self, value: &Value<'_>) -> usize {
        if let Some(data) = self.data.get(value.plain) {
            return data.at;
        }
        let hash = self.hash(value.plain);
        let mut body = vec![0; if self.style.compact { 56 } else { 48 }];
        body[..8].copy_from_slice(&hash.to_le_bytes());
        body.extend_from_slice(value.stored);
        let at = self.object(1, value.flag, &body);
        self.hashed(self.data_table, DATA_BUCKETS, hash, at);
        self.data.insert(value.plain.to_vec(), Data { at, entries: 0, list: List::default() });
        let name = value.plain.split(|byte| *byte == b'=').next().unwrap_or_default();
        let field = self.fields.get(name).copied().unwrap_or_else(|| self.field(name));
        self.put(at + 32, self.number(field + 32));
        self.put(field + 32, at as u64);
        at
    }

    fn field(&mut self, name: &[u8]) -> usize {
        let hash = self.hash(name);
        let mut body = vec![0; 24];
        body[..8].copy_from_slice(&hash.to_le_bytes());
        body.extend_from_slice(name);
        let at = self.object(2, 0, &body);
        self.hashed(self.field_table, FIELD_BUCKETS, hash, at);
        self.fields.insert(name.to_vec(), at);
        at
    }

    /// Adds an object to the chain of its bucket.
    fn hashed(&mut self, table: usize, buckets: usize, hash: u64, at: usize) {
        let bucket = table + 16 * (hash as usize % buckets);
        match self.number(bucket + 8) {
            0 => self.put(bucket, at as u64),
            tail => self.put(tail as usize + 24, at as u64),
        }
        self.put(bucket + 8, at as u64);
    }

    /// Notes that `entry` has a value.
    fn link(&mut self, plain: &[u8], entry: usize) {
        let Some(mut data) = self.data.remove(plain) else { return };
        let again = data.entries > 0 && data.list.used == 0 && self.number(data.at + 40) == entry as u64;
        let again = again || (data.list.used > 0 && self.last(&data.list) == entry as u64);
        if !again {
            match data.entries {
                0 => self.put(data.at + 40, entry as u64),
                _ => {
                    if let Some(first) = self.listed(&mut data.list, entry) {
                        self.put(data.at + 48, first as u64);
                    }
                }
            }
            data.entries += 1;
            self.put(data.at + 56, data.entries);
            if self.style.compact {
                self.put_half(data.at + 64, data.list.array);
                self.put_half(data.at + 68, data.list.used);
            }
        }
        self.data.insert(plain.to_vec(), data);
    }

    fn item_bytes(&self) -> usize {
        if self.style.compact { 4 } else { 8 }
    }

    fn last(&self, list: &List) -> u64 {
        let at = list.array + 24 + (list.used - 1) * self.item_bytes();
        let word = self.number(at);
        if self.style.compact { word & u64::from(u32::MAX) } else { word }
    }

    /// Adds an entry to a list; the offset of its first array when that is new.
    fn listed(&mut self, list: &mut List, entry: usize) -> Option<usize> {
        let mut first = None;
        if list.used == list.capacity {
            let capacity = (2 * list.capacity).max(4);
            let array = self.object(6, 0, &vec![0; 8 + capacity * self.item_bytes()]);
            self.arrays += 1;
            match list.array {
                0 => first = Some(array),
                before => self.put(before + 16, array as u64),
            }
            *list = List { array, used: 0, capacity };
        }
        let at = list.array + 24 + list.used * self.item_bytes();
        match self.style.compact {
            true => self.put_half(at, entry),
            false => self.put(at, entry as u64),
        }
        list.used += 1;
        first
    }
}
