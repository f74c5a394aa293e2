//! A journal in a life: written, rotated and vacuumed as journald does, into files of the simulated disk.
//!
//! As little of the format as a reader needs that asks for nothing in particular: the header, a DATA object for each
//! field, ENTRY objects and the chain of arrays that lists them. In the judge's books the whole journal is one file,
//! and a seqnum is what an offset is elsewhere.

use std::collections::VecDeque;

use super::{
    judge::{File, Marks, TARGETS},
    kinds::Trouble,
    line::{self, Line, Name},
    machine::Life,
    writer::EVERY_TARGET,
};
use crate::{
    model::Level,
    wire::journal::{ALIGNMENT, header::HEADER_BYTES_MIN, jenkins},
};

pub const DIRECTORY: &str = "/var/log/journal/0123456789abcdef0123456789abcdef";
/// The source that is a journal, in a life that has one.
pub const SOURCE: usize = 0;
/// Vacuuming leaves so many archived files.
const ARCHIVES: usize = 1;
/// Items of the first array; the next ones are twice as long.
const FIRST_ARRAY: u64 = 16;
const SEQNUM_ID: [u8; 16] = [0x5e; 16];
const BOOT_ID: [u8; 16] = [0xb0; 16];
const ONLINE: u8 = 1;
const ARCHIVED: u8 = 2;

#[derive(Debug)]
pub struct Journal {
    /// In the judge's books.
    pub file: usize,
    seqnum: u64,
    realtime: u64,
    files: u8,
    live: Image,
    /// Names of the archived files and the last seqnum of each, the oldest first.
    archives: VecDeque<(String, u64)>,
}

/// A journal file as it is to be.
#[derive(Debug)]
struct Image {
    bytes: Vec<u8>,
    /// As much of it as lies on the disk.
    written: usize,
    file_id: u8,
    /// Offset, items and capacity of the last array.
    array: (u64, u64, u64),
    /// Bytes before the end that have changed.
    changed: Vec<(usize, usize)>,
    common: Vec<(u64, u64)>,
    objects: u64,
    /// Offset of the last object.
    last: u64,
    entries: u64,
    /// Seqnum and time of the first entry.
    head: (u64, u64),
}

impl Journal {
    pub fn files_there(&self) -> usize {
        1 + self.archives.len()
    }
}

impl Life {
    pub fn make_journal(&mut self) {
        self.disk.make_directory(DIRECTORY);
        let file = {
            let judge = &mut self.net.borrow_mut().judge;
            judge.files.push(File::default());
            *judge.journal.insert(judge.files.len() - 1)
        };
        let live = Image::new(1);
        self.journal = Some(Journal { file, seqnum: 0, realtime: 0, files: 1, live, archives: VecDeque::new() });
        self.put_journal(false);
    }

    /// Entries; at times somebody reads while they are being written.
    pub fn log_to_journal(&mut self, entries: u64) {
        for _ in 0..entries {
            let level = if self.dice.one_in(4) { Level::Debug } else { Level::Info };
            let pad = self.dice.below(200) as usize;
            let Some(journal) = &mut self.journal else { return };
            let wall = self.disk.now().wall;
            journal.seqnum += 1;
            journal.realtime = (wall.0 as u64 / 1_000).max(journal.realtime + 1);
            let net = &mut *self.net.borrow_mut();
            let id = net.judge.lines.len() as u32;
            let format = self.plan.sources[SOURCE].format;
            let text = line::text(format, Name::Line(id), level, wall, pad);
            let mut marks = Marks::default();
            for target in 0..TARGETS {
                self.rules.mark(SOURCE, target, level, &mut marks);
            }
            let (start, end, hash) = (journal.seqnum - 1, journal.seqnum, line::hash(&text));
            let line = Line { source: SOURCE, file: journal.file, level, start, end, twin: None, hash };
            net.judge.written(line, marks);
            journal.live.entry(journal.seqnum, journal.realtime, text.trim_end());
        }
        let slowly = self.dice.one_in(8);
        self.put_journal(slowly);
    }

    /// Brings the live file to the disk, its header last.
    fn put_journal(&mut self, slowly: bool) {
        let Some(journal) = &mut self.journal else { return };
        let live = format!("{DIRECTORY}/system.journal");
        let image = &mut journal.live;
        let header = image.header(ONLINE, journal.seqnum, journal.realtime);
        let from = image.written;
        image.written = image.bytes.len();
        let tail = image.bytes[from..].to_vec();
        let changed = std::mem::take(&mut image.changed);
        let changed: Vec<(usize, Vec<u8>)> =
            changed.into_iter().map(|(at, bytes)| (at, image.bytes[at..at + bytes].to_vec())).collect();
        let _ = self.disk.write_at(&live, from as u64, &tail);
        for (at, bytes) in changed {
            let _ = self.disk.write_at(&live, at as u64, &bytes);
        }
        if slowly {
            self.turns(2);
        }
        let _ = self.disk.write_at(&live, 0, &header);
    }

    /// Begins a new live file; the old one gets the name of an archived one, or that of one whose writer has crashed.
    pub fn rotate_journal(&mut self, crashed: bool) {
        let Some(journal) = self.journal.as_mut().filter(|journal| journal.live.entries > 0) else { return };
        journal.files = journal.files.wrapping_add(1);
        let old = std::mem::replace(&mut journal.live, Image::new(journal.files));
        let (seqnum, realtime) = old.head;
        let name = if crashed {
            format!("{DIRECTORY}/system@{realtime:016x}-{seqnum:016x}.journal~")
        } else {
            let id: String = SEQNUM_ID.iter().map(|byte| format!("{byte:02x}")).collect();
            format!("{DIRECTORY}/system@{id}-{seqnum:016x}-{realtime:016x}.journal")
        };
        let live = format!("{DIRECTORY}/system.journal");
        if !crashed {
            let _ = self.disk.write_at(&live, 16, &[ARCHIVED]);
        }
        let _ = self.disk.rename(&live, &name);
        let (first, last) = (seqnum, journal.seqnum);
        let inode = self.disk.meta(&name).map(|meta| meta.inode);
        self.net.borrow().table.tell(|| format!("{name} holds {first} to {last}, inode {inode:?}"));
        journal.archives.push_back((name, last));
        self.note(Trouble::JournalRotated);
        self.put_journal(false);
    }

    /// The oldest files go, whether they were read or not.
    pub fn vacuum_journal(&mut self) {
        let Some(journal) = &mut self.journal else { return };
        let Some((name, last)) = (journal.archives.len() > ARCHIVES).then(|| journal.archives.pop_front()).flatten()
        else {
            return;
        };
        let file = journal.file;
        let _ = self.disk.remove(&name);
        self.net.borrow().table.tell(|| format!("{name} is removed"));
        self.note(Trouble::JournalVacuumed);
        let judge = &mut self.net.borrow_mut().judge;
        judge.files[file].vacuumed = last;
        let (lines, marks) = (&judge.lines, &mut judge.marks);
        let gone = lines.iter().zip(marks).filter(|(line, _)| line.file == file && line.end <= last);
        gone.for_each(|(_, marks)| marks.gone |= EVERY_TARGET & !marks.arrived);
        self.inexact_sources |= 1 << SOURCE;
    }
}

impl Image {
    fn new(file_id: u8) -> Self {
        let mut image = Self {
            bytes: vec![0; HEADER_BYTES_MIN],
            written: 0,
            file_id,
            array: (0, 0, 0),
            changed: Vec::new(),
            common: Vec::new(),
            objects: 0,
            last: 0,
            entries: 0,
            head: (0, 0),
        };
        image.add_array(FIRST_ARRAY);
        image.common = ["PRIORITY=6", "SYSLOG_IDENTIFIER=app", "_HOSTNAME=n1"].map(|field| image.data(field)).to_vec();
        image
    }

    /// An object of these words and bytes; its offset.
    fn object(&mut self, kind: u8, words: &[u64], rest: &[u8]) -> u64 {
        self.bytes.resize(self.bytes.len().next_multiple_of(ALIGNMENT as usize), 0);
        let at = self.bytes.len() as u64;
        let size = 16 + 8 * words.len() + rest.len();
        self.bytes.extend_from_slice(&[kind, 0, 0, 0, 0, 0, 0, 0]);
        self.bytes.extend_from_slice(&(size as u64).to_le_bytes());
        words.iter().for_each(|word| self.bytes.extend_from_slice(&word.to_le_bytes()));
        self.bytes.extend_from_slice(rest);
        self.objects += 1;
        self.last = at;
        at
    }

    /// Changes a word that may lie on the disk already.
    fn set(&mut self, at: u64, word: u64) {
        let at = at as usize;
        self.bytes[at..at + 8].copy_from_slice(&word.to_le_bytes());
        if at < self.written {
            self.changed.push((at, 8));
        }
    }

    fn add_array(&mut self, capacity: u64) {
        let new = self.object(6, &[0], &vec![0; 8 * capacity as usize]);
        if self.array.0 > 0 {
            self.set(self.array.0 + 16, new);
        }
        self.array = (new, 0, capacity);
    }

    /// A DATA object; its offset and hash.
    fn data(&mut self, field: &str) -> (u64, u64) {
        let hash = jenkins(field.as_bytes());
        (self.object(1, &[hash, 0, 0, 0, 0, 1], field.as_bytes()), hash)
    }

    fn entry(&mut self, seqnum: u64, realtime: u64, message: &str) {
        let own = self.data(&format!("MESSAGE={message}"));
        let fields: Vec<(u64, u64)> = self.common.iter().copied().chain([own]).collect();
        let hash = fields.iter().fold(0, |sum, (_, hash)| sum ^ hash);
        let [boot_low, boot_high] = [0, 8].map(|at| u64::from_le_bytes(*BOOT_ID[at..].first_chunk().expect("half")));
        let items: Vec<u64> = fields.iter().flat_map(|(offset, hash)| [*offset, *hash]).collect();
        let words =
            [&[seqnum, realtime, realtime % 1_000_000_000, boot_low, boot_high, hash], items.as_slice()].concat();
        let at = self.object(3, &words, &[]);
        if self.array.1 == self.array.2 {
            self.add_array(2 * self.array.2);
        }
        let (array, used, _) = self.array;
        self.set(array + 24 + 8 * used, at);
        self.array.1 += 1;
        self.entries += 1;
        if self.entries == 1 {
            self.head = (seqnum, realtime);
        }
    }

    fn header(&self, state: u8, seqnum: u64, realtime: u64) -> Vec<u8> {
        let mut header = vec![0; HEADER_BYTES_MIN];
        header[..8].copy_from_slice(b"LPKSHHRH");
        header[16] = state;
        header[24..40].fill(self.file_id);
        header[40..56].fill(0xac);
        header[56..72].copy_from_slice(&BOOT_ID);
        header[72..88].copy_from_slice(&SEQNUM_ID);
        let is_empty = self.entries == 0;
        let tail = if is_empty { (0, 0) } else { (seqnum, realtime) };
        let first_array = HEADER_BYTES_MIN.next_multiple_of(ALIGNMENT as usize) as u64;
        let words = [
            (88, HEADER_BYTES_MIN as u64),
            (96, (self.bytes.len() - HEADER_BYTES_MIN) as u64),
            (136, self.last),
            (144, self.objects),
            (152, self.entries),
            (160, tail.0),
            (168, self.head.0),
            (176, first_array),
            (184, self.head.1),
            (192, tail.1),
            (200, tail.1 % 1_000_000_000),
        ];
        for (at, word) in words {
            header[at..at + 8].copy_from_slice(&u64::to_le_bytes(word));
        }
        header
    }
}
