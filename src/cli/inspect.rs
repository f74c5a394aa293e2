//! `corelane inspect journal`: what a journal file holds, and what is wrong with it, in words.
//!
//! Looks at every object once, from the first to the last, then at what lists them. A file that is being written to may
//! be ahead of its own counters for a moment; that is said.

use std::{
    fs::{File, Metadata},
    io,
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::Path,
    process::ExitCode,
};

use jiff::Timestamp;
use rustix::fs::OFlags;
use serde_json::{Value, json};

use super::{grammar::Access, print, screen::Screen, table::Table};
use crate::{
    fault::Fault,
    limits::{JOURNAL_CHAIN_MAX, JOURNAL_FIELD_BYTES_MAX},
    wire::journal::{
        ALIGNMENT, ArrayHead, Compression, DataHead, Decompressor, EntryHead, Header, ObjectHead, ObjectKind, State,
        header::{self, HEADER_BYTES},
        object::{ARRAY_ITEMS_AT, ENTRY_ITEMS_AT, OBJECT_HEAD_BYTES},
    },
};

/// Problems told one by one.
const PROBLEMS_TOLD_MAX: usize = 20;
/// Bytes read at once.
const READ_BYTES: usize = 1024 * 1024;
/// Compressed bytes looked at of one payload.
const STORED_BYTES_MAX: usize = JOURNAL_FIELD_BYTES_MAX + 64 * 1024;
const KINDS: [(&str, ObjectKind); 7] = [
    ("data", ObjectKind::Data),
    ("field", ObjectKind::Field),
    ("entry", ObjectKind::Entry),
    ("data hash table", ObjectKind::DataHashTable),
    ("field hash table", ObjectKind::FieldHashTable),
    ("entry array", ObjectKind::EntryArray),
    ("tag", ObjectKind::Tag),
];

/// Tells what is in `path`; the code is 1 when anything is wrong with it.
///
/// # Errors
/// It cannot be read, or is no journal file.
pub fn journal(path: &Path, access: &Access) -> Result<ExitCode, Fault> {
    let place = path.display().to_string();
    let failed = |error: io::Error| Fault::io(place.clone(), &error);
    let file = open(path, &place)?;
    let size = file.metadata().map_err(failed)?.len();
    let mut bytes = Bytes { file, start: 0, buf: Vec::new() };
    let head = bytes.at(0, HEADER_BYTES).map_err(failed)?.to_vec();
    let header = Header::parse(&head).map_err(|fault| Fault::invalid(place.clone(), fault.to_string()))?;
    let mut inspection = Inspection::new(bytes, header, size);
    inspection.objects().and_then(|()| inspection.lists()).map_err(failed)?;
    inspection.counters();
    let sound = inspection.problems.is_empty();
    print::value(access, &inspection.told(&place), human)?;
    Ok(if sound { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Opens a regular file and nothing else: a FIFO would wait for its writer for ever.
fn open(path: &Path, place: &str) -> Result<File, Fault> {
    let failed = |error: io::Error| Fault::io(place, &error);
    let refused = |metadata: &Metadata| {
        let what = if metadata.is_dir() { "a directory" } else { "no regular file" };
        let hint = match metadata.is_dir() {
            true => "name one of the files in it; `--export` takes a directory",
            false => "name a file that journald wrote, or a copy of one",
        };
        Fault::invalid(place, format!("{what}, not a journal file")).way_out(hint)
    };
    // Opening a device may already do something; and what was looked at may be another file by now.
    let metadata = std::fs::metadata(path).map_err(failed)?;
    if !metadata.is_file() {
        return Err(refused(&metadata));
    }
    let flags = (OFlags::NONBLOCK | OFlags::NOCTTY).bits() as i32;
    let file = File::options().read(true).custom_flags(flags).open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    if metadata.is_file() { Ok(file) } else { Err(refused(&metadata)) }
}

/// A file read forward in large pieces.
#[derive(Debug)]
struct Bytes {
    file: File,
    start: u64,
    buf: Vec<u8>,
}

impl Bytes {
    /// `most` bytes from `offset` on, fewer at the end of the file.
    fn at(&mut self, offset: u64, most: usize) -> io::Result<&[u8]> {
        if i64::try_from(offset).is_err() {
            return Ok(&[]);
        }
        let here = offset.checked_sub(self.start).and_then(|from| usize::try_from(from).ok());
        if here.is_none_or(|from| from + most > self.buf.len()) {
            self.buf.resize(most.max(READ_BYTES), 0);
            let mut filled = 0;
            while filled < self.buf.len() {
                match self.file.read_at(&mut self.buf[filled..], offset + filled as u64) {
                    Ok(0) => break,
                    Ok(bytes) => filled += bytes,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(error),
                }
            }
            self.buf.truncate(filled);
            self.start = offset;
        }
        let from = (offset - self.start) as usize;
        Ok(&self.buf[from.min(self.buf.len())..(from + most).min(self.buf.len())])
    }
}

/// What was seen so far.
struct Inspection {
    bytes: Bytes,
    header: Header,
    size: u64,
    /// Objects and their bytes, by `KINDS`.
    kinds: [(u64, u64); KINDS.len()],
    compressed: u64,
    /// Offsets, ascending.
    data: Vec<u64>,
    entries: Vec<u64>,
    listed: u64,
    first: Option<EntryHead>,
    last: Option<EntryHead>,
    objects: u64,
    problems: Vec<String>,
    decompressor: Decompressor,
    plain: Vec<u8>,
}

impl Inspection {
    fn new(bytes: Bytes, header: Header, size: u64) -> Self {
        Self {
            bytes,
            header,
            size,
            kinds: Default::default(),
            compressed: 0,
            data: Vec::new(),
            entries: Vec::new(),
            listed: 0,
            first: None,
            last: None,
            objects: 0,
            problems: Vec::new(),
            decompressor: Decompressor::default(),
            plain: Vec::new(),
        }
    }

    fn wrong(&mut self, what: String) {
        self.problems.push(what);
    }

    /// Looks at all objects, in the order they lie in.
    fn objects(&mut self) -> io::Result<()> {
        let mut at = self.header.header_size;
        let tail = self.header.tail_object_offset;
        while at <= tail && tail > 0 {
            let Some(head) = ObjectHead::parse(self.bytes.at(at, OBJECT_HEAD_BYTES)?) else {
                let rest = tail.saturating_sub(at);
                let what = if at >= self.size { "the file ends here, it was cut" } else { "no object begins here" };
                self.wrong(format!("at {at}: {what}; the {rest} bytes up to the last object are not looked at"));
                return Ok(());
            };
            let end = at.saturating_add(head.size);
            if end > self.size {
                self.wrong(format!(
                    "at {at}: an object of {} bytes goes beyond the end of the file, it was cut",
                    head.size
                ));
                return Ok(());
            }
            self.objects += 1;
            match KINDS.iter().position(|(_, kind)| *kind == head.kind) {
                Some(kind) => {
                    self.kinds[kind].0 += 1;
                    self.kinds[kind].1 += head.size;
                }
                None => self.wrong(format!("at {at}: an object of a kind that is not known: {:?}", head.kind)),
            }
            match head.kind {
                ObjectKind::Data => self.data_object(at)?,
                ObjectKind::Entry => self.entry_object(at)?,
                _ => {}
            }
            at = end.next_multiple_of(ALIGNMENT);
        }
        Ok(())
    }

    fn data_object(&mut self, at: u64) -> io::Result<()> {
        self.data.push(at);
        let layout = self.header.layout();
        let Some(head) = DataHead::parse(self.bytes.at(at, layout.payload_at())?, layout) else {
            self.wrong(format!("at {at}: a field whose head contradicts itself"));
            return Ok(());
        };
        self.compressed += u64::from(head.compression != Compression::None);
        let most = head.payload_bytes.min(STORED_BYTES_MAX as u64) as usize;
        let stored = self.bytes.at(at + layout.payload_at() as u64, most)?;
        let cut = self.decompressor.decode(head.compression, stored, JOURNAL_FIELD_BYTES_MAX, &mut self.plain);
        match cut {
            Err(fault) => self.wrong(format!("at {at}: a field cannot be decompressed: {fault}")),
            Ok(false) if self.header.hash(&self.plain) != head.hash => {
                let name = self.plain.split(|byte| *byte == b'=').next().unwrap_or_default();
                let name = String::from_utf8_lossy(&name[..name.len().min(64)]).into_owned();
                self.wrong(format!("at {at}: the value of {name} is not the one that was written (its hash differs)"));
            }
            Ok(_) => {}
        }
        Ok(())
    }

    fn entry_object(&mut self, at: u64) -> io::Result<()> {
        let layout = self.header.layout();
        let Some(head) = EntryHead::parse(self.bytes.at(at, ENTRY_ITEMS_AT)?) else {
            self.wrong(format!("at {at}: an entry whose head contradicts itself"));
            return Ok(());
        };
        let items = self.bytes.at(at + ENTRY_ITEMS_AT as u64, head.size as usize - ENTRY_ITEMS_AT)?;
        let items = items.chunks_exact(layout.entry_item_bytes());
        let unknown = items.filter_map(|item| layout.offset(item)).find(|item| self.data.binary_search(item).is_err());
        if let Some(unknown) = unknown {
            self.wrong(format!("at {at}: entry {} refers to a field at {unknown}, where none is", head.seqnum));
        }
        if let Some(last) = self.last.filter(|last| last.seqnum >= head.seqnum) {
            self.wrong(format!("at {at}: entry {} comes after entry {}", head.seqnum, last.seqnum));
        }
        self.entries.push(at);
        self.first = self.first.or(Some(head));
        self.last = Some(head);
        Ok(())
    }

    /// Follows the chain that lists all entries.
    fn lists(&mut self) -> io::Result<()> {
        let layout = self.header.layout();
        let item_bytes = layout.array_item_bytes();
        let (mut at, mut links, mut astray) = (self.header.entry_array_offset, 0, 0u64);
        while at != 0 && self.listed < self.header.n_entries {
            links += 1;
            let Some(array) = ArrayHead::parse(self.bytes.at(at, ARRAY_ITEMS_AT)?, layout) else {
                self.wrong(format!("at {at}: the list of entries leads here, where no part of it is"));
                break;
            };
            let room = array.capacity.min(self.size / item_bytes as u64);
            let here = room.min(self.header.n_entries - self.listed);
            for index in 0..here {
                let item = self.bytes.at(at + ARRAY_ITEMS_AT as u64 + index * item_bytes as u64, item_bytes)?;
                let expected = self.entries.get((self.listed + index) as usize);
                astray += u64::from(layout.offset(item).as_ref() != expected);
            }
            self.listed += here;
            if array.next != 0 && array.next <= at || links > JOURNAL_CHAIN_MAX {
                self.wrong(format!("at {at}: the list of entries leads back to {}: a loop", array.next));
                break;
            }
            at = array.next;
        }
        if astray > 0 {
            self.wrong(format!("the list of entries names {astray} places that differ from where entries lie"));
        }
        if self.listed < self.header.n_entries {
            let (listed, count) = (self.listed, self.header.n_entries);
            self.wrong(format!("the list of entries ends after {listed} of the {count} that the header counts"));
        }
        Ok(())
    }

    /// Compares what was found with what the header says.
    fn counters(&mut self) {
        let Header { n_objects, n_entries, n_data, tail_entry_realtime, .. } = self.header;
        let (first, last) = (self.first, self.last);
        let seqnum = |entry: Option<EntryHead>| entry.map_or(0, |entry| entry.seqnum);
        let pairs = [
            ("objects", n_objects, self.objects),
            ("entries", n_entries, self.entries.len() as u64),
            ("distinct field values", n_data.unwrap_or(self.data.len() as u64), self.data.len() as u64),
            ("first seqnum", self.header.head_entry_seqnum, seqnum(first)),
            ("time of the last entry", tail_entry_realtime, last.map_or(0, |last| last.realtime)),
        ];
        for (what, says, found) in pairs {
            if says != found {
                self.wrong(format!("{what}: the header says {says}, the file holds {found}"));
            }
        }
        // A failed append uses a seqnum up.
        if self.header.tail_entry_seqnum < seqnum(last) {
            let (says, found) = (self.header.tail_entry_seqnum, seqnum(last));
            self.wrong(format!("last seqnum: the header says {says}, the file holds {found}"));
        }
    }

    fn told(&self, place: &str) -> Value {
        let Header { state, incompatible, compatible, .. } = self.header;
        let state = match state {
            State::Offline => "offline: closed by its writer".to_owned(),
            State::Online => "online: being written to, or its writer died".to_owned(),
            State::Archived => "archived: nothing more will be written".to_owned(),
            State::Unknown(other) => format!("unknown: {other}"),
        };
        let flags = [
            (incompatible & header::INCOMPATIBLE_COMPACT, "compact"),
            (incompatible & header::INCOMPATIBLE_KEYED_HASH, "keyed hash"),
            (incompatible & header::INCOMPATIBLE_ZSTD, "zstd"),
            (incompatible & header::INCOMPATIBLE_LZ4, "lz4"),
            (incompatible & header::INCOMPATIBLE_XZ, "xz"),
            (compatible & 1, "sealed"),
        ];
        let flags: Vec<&str> = flags.iter().filter(|(set, _)| *set != 0).map(|(_, name)| *name).collect();
        let time = |entry: &EntryHead| {
            Timestamp::from_microsecond(entry.realtime as i64).map_or(Value::Null, |time| json!(time.to_string()))
        };
        let ends = |entry: Option<EntryHead>| entry.map(|entry| json!({"seqnum": entry.seqnum, "time": time(&entry)}));
        let kinds = KINDS.iter().zip(self.kinds);
        json!({
            "file": place,
            "bytes": self.size,
            "state": state,
            "flags": flags,
            "fileId": hex(&self.header.file_id),
            "machineId": hex(&self.header.machine_id),
            "seqnumId": hex(&self.header.seqnum_id),
            "lastBootId": hex(&self.header.tail_entry_boot_id),
            "entries": self.entries.len(),
            "first": ends(self.first),
            "last": ends(self.last),
            "compressedValues": self.compressed,
            "objects": kinds.map(|((name, _), (count, bytes))| json!({"kind": name, "count": count, "bytes": bytes}))
                .collect::<Vec<_>>(),
            "problems": self.problems.iter().take(PROBLEMS_TOLD_MAX).collect::<Vec<_>>(),
            "problemsTotal": self.problems.len(),
        })
    }
}

fn hex(id: &[u8]) -> String {
    id.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn human(told: &Value, screen: &Screen) -> String {
    let flags = list(&told["flags"]).iter().map(text).collect::<Vec<_>>().join(", ");
    let mut out = format!("{}: journal file, {} bytes\n", text(&told["file"]), told["bytes"]);
    out.push_str(&format!("state      {}\nflags      {flags}\n", text(&told["state"])));
    for (name, key) in
        [("file", "fileId"), ("machine", "machineId"), ("seqnum id", "seqnumId"), ("last boot", "lastBootId")]
    {
        out.push_str(&format!("{name:10} {}\n", text(&told[key])));
    }
    out.push_str(&format!("entries    {}\n", told["entries"]));
    for (name, key) in [("first", "first"), ("last", "last")] {
        if !told[key].is_null() {
            out.push_str(&format!("{name:10} seqnum {}, {}\n", told[key]["seqnum"], text(&told[key]["time"])));
        }
    }
    let mut table = Table::new(&["OBJECTS", "COUNT", "BYTES"]);
    for kind in list(&told["objects"]) {
        table.row(vec![text(&kind["kind"]), kind["count"].to_string(), kind["bytes"].to_string()]);
    }
    let mut out = format!("{}\n{}", print::plain(&out), table.render(screen));
    out.push_str(&print::plain(&findings(told)));
    out
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// What is wrong with the file, in words.
fn findings(told: &Value) -> String {
    let mut out = format!("{} values are compressed\n", told["compressedValues"]);
    let total = told["problemsTotal"].as_u64().unwrap_or(0);
    if total == 0 {
        out.push_str("\nnothing is wrong with it\n");
        return out;
    }
    out.push_str(&format!("\n{total} thing(s) are wrong with it:\n"));
    list(&told["problems"]).iter().for_each(|problem| out.push_str(&format!("  {}\n", text(problem))));
    if total > PROBLEMS_TOLD_MAX as u64 {
        out.push_str(&format!("  and {} more\n", total - PROBLEMS_TOLD_MAX as u64));
    }
    if text(&told["state"]).starts_with("online") {
        out.push_str("It is marked as being written to: counters may lag behind for a moment; look again.\n");
    }
    out
}
