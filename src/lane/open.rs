//! Opening a file: who is it, is it known, where does reading begin.
//!
//! The head must be read before a file can be told from another, and finding `startAt` takes a few reads more. None of
//! them may stall the lane, so an opening is a small state that waits for its reads like a pass does.

use std::{cmp::Reverse, collections::BTreeMap, io, path::PathBuf, sync::Arc, time::Duration};

use super::{
    Awaiting, Lane,
    checkpoint::{Content, Key, Slot},
    identity::{Marks, marks_key},
    reader::{FileOrigin, Limit, Origin, Reader, Source, Tail},
    vanish::Vanishing,
};
use crate::{
    decode::Decoder,
    limits::{
        DRAINING_READERS_MAX, FINGERPRINT_BYTES, OPENING_MAX, OPENING_PATIENCE, READ_RETRY, READERS_MAX, SEEK_BYTES,
    },
    model::{FileIdentity, Hint, Nanos, ObjectId, Position, ReaderKey},
    orders::Port,
    plan::{Format, Input, SourcePlan, StartAt},
    ring::{Handle, Meta, Op, ReadNow, Ring, Token},
    source::file::{Head, Seek, Want},
    stats::Totals,
};

/// A file to be opened.
#[derive(Debug)]
pub struct Begin {
    pub source: Arc<SourcePlan>,
    pub path: PathBuf,
    pub start: StartAt,
    pub draining: bool,
    /// The reader whose lines go first.
    pub after: Option<u32>,
    /// Its name with the service manager, if that has kept it.
    pub stored: Option<String>,
}

/// A file whose head or start is still being looked for.
#[derive(Debug)]
pub struct Opening {
    reader: u32,
    begin: Begin,
    handle: Handle,
    meta: Meta,
    /// The head as far as it was read: a read may bring less than there is.
    partial: Vec<u8>,
    head: Option<Head>,
    seek: Option<Seek>,
    /// It could not be read: tried again then, and nobody waits for it any more.
    postponed: Option<Duration>,
    begun: Duration,
}

impl Opening {
    pub fn is(&self, source: ObjectId, meta: &Meta) -> bool {
        self.begin.source.id == source && self.meta.device == meta.device && self.meta.inode == meta.inode
    }

    /// What it holds is not known yet, and will be soon.
    pub fn is_awaited(&self) -> bool {
        self.postponed.is_none()
    }

    /// Nothing of it is in the checkpoint yet, and may soon be.
    pub fn is_unsettled(&self, now: Duration) -> bool {
        self.is_awaited() || now < self.begun + OPENING_PATIENCE
    }

    pub fn source(&self) -> ObjectId {
        self.begin.source.id
    }

    pub fn reader(&self) -> u32 {
        self.reader
    }

    pub fn rotated_from(&self, source: ObjectId, is_rotation: impl Fn(&std::path::Path) -> bool) -> bool {
        self.begin.source.id == source && self.begin.draining && is_rotation(&self.begin.path)
    }

    /// Offset and length of the next read; `None` when all is known.
    fn wants(&self) -> Option<(u64, usize)> {
        match (&self.head, self.seek.as_ref().map(Seek::want)) {
            (None, _) => Some((self.partial.len() as u64, FINGERPRINT_BYTES - self.partial.len())),
            (Some(_), Some(Want::Bytes { offset })) => Some((offset, SEEK_BYTES)),
            (Some(_), Some(Want::Found { .. }) | None) => None,
        }
    }

    fn start(&self) -> u64 {
        match self.seek.as_ref().map(Seek::want) {
            Some(Want::Found { offset }) => offset,
            Some(Want::Bytes { .. }) | None => 0,
        }
    }
}

impl<R: Ring, P: Port> Lane<R, P> {
    /// Begins to open a file; the number its reader will have, or `None` if it cannot be opened now.
    pub(super) fn open(&mut self, begin: Begin) -> Option<u32> {
        let is_draining = |reader: &Reader| reader.file().is_some_and(|file| file.draining);
        let is_crowded = |all: &BTreeMap<u32, Box<Reader>>| {
            all.values().filter(|reader| is_draining(reader)).count() >= DRAINING_READERS_MAX
        };
        if self.readers.len() + self.opening.len() + self.unopened.len() >= READERS_MAX
            || (begin.draining && is_crowded(&self.readers))
        {
            let source = &begin.source.name;
            self.trouble(format!("source {source}: some files wait: {READERS_MAX} are being read already"));
            return None;
        }
        let opened = self.ring.open(&begin.path).and_then(|handle| match self.ring.stat(handle) {
            Ok(meta) => Ok((handle, meta)),
            Err(error) => {
                self.ring.close(handle);
                Err(error)
            }
        });
        let (handle, meta) = match opened {
            Ok(opened) => opened,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => {
                self.discovery.failed(&error);
                self.trouble(format!("{}: {error}", begin.path.display()));
                return None;
            }
        };
        Some(self.open_as(begin, handle, meta))
    }

    /// The same for a file that is open already.
    pub(super) fn open_as(&mut self, begin: Begin, handle: Handle, meta: Meta) -> u32 {
        self.next_reader += 1;
        let reader = self.next_reader;
        // In the order in which they were found: what is to be read first is opened first.
        let opening = Opening {
            reader,
            begin,
            handle,
            meta,
            partial: Vec::new(),
            head: None,
            seek: None,
            postponed: None,
            begun: self.now.mono,
        };
        self.unopened.push_back(opening);
        self.open_more();
        reader
    }

    /// Goes on with files whose turn to be opened has come.
    pub(super) fn open_more(&mut self) {
        let now = self.now.mono;
        let is_due = |opening: &Opening| opening.postponed.is_none_or(|until| until <= now);
        while self.opening.len() < OPENING_MAX
            && let Some(at) = self.unopened.iter().position(is_due)
            && let Some(opening) = self.unopened.remove(at)
        {
            self.advance(opening);
        }
    }

    /// A file that could not be read keeps its place and its orders.
    fn postpone(&mut self, mut opening: Opening) {
        opening.postponed = Some(self.now.mono + READ_RETRY);
        self.unopened.push_back(opening);
    }

    /// Files found and not known well enough yet to be readers.
    pub(super) fn openings(&self) -> impl Iterator<Item = &Opening> {
        self.opening.values().chain(&self.unopened)
    }

    /// Takes the read an opening waited for.
    pub(super) fn opening_read(&mut self, token: Token, result: io::Result<usize>, buf: Vec<u8>) {
        let Some(mut opening) = self.opening.remove(&token) else { return };
        match (result, opening.wants()) {
            (Ok(bytes), Some((offset, _))) => {
                self.learn(&mut opening, offset, &buf[..bytes]);
                self.advance(opening);
            }
            (Err(error), _) => {
                self.trouble(format!("{}: {error}; trying again", opening.begin.path.display()));
                self.postpone(opening);
            }
            (Ok(_), None) => self.advance(opening),
        }
    }

    /// Whether a reader is still being opened, and worth waiting for.
    pub(super) fn is_opening(&self, reader: u32) -> bool {
        self.openings().any(|opening| opening.reader == reader && opening.is_awaited())
    }

    /// Reads what is in memory, waits for what is not, and makes the reader when all is known.
    fn advance(&mut self, mut opening: Opening) {
        while let Some((offset, length)) = opening.wants() {
            let mut buf = vec![0; length];
            match self.ring.read_now(opening.handle, offset, &mut buf) {
                Ok(ReadNow::Ready(bytes)) => self.learn(&mut opening, offset, &buf[..bytes]),
                Ok(ReadNow::WouldBlock) => {
                    let token = self.token(Awaiting::Opening);
                    let op = Op::Read { token, handle: opening.handle, offset, buf };
                    if self.ring.submit(op).is_ok() {
                        self.opening.insert(token, opening);
                        return;
                    }
                    self.awaiting.remove(&token);
                    return self.postpone(opening);
                }
                Err(error) => {
                    self.trouble(format!("{}: {error}; trying again", opening.begin.path.display()));
                    return self.postpone(opening);
                }
            }
        }
        self.opened(opening);
    }

    fn learn(&mut self, opening: &mut Opening, offset: u64, bytes: &[u8]) {
        if opening.head.is_none() {
            opening.partial.extend_from_slice(bytes);
            if !bytes.is_empty() && opening.partial.len() < FINGERPRINT_BYTES {
                return;
            }
            let head = Head::new(&opening.partial);
            let size = opening.meta.size;
            let known = !self.known_as(opening.begin.source.id, &head, &opening.meta).is_empty();
            let timed = opening.begin.source.format != Format::Unstructured;
            opening.seek =
                match (known, opening.begin.start, self.oldest_wanted(&opening.begin.source, opening.begin.start)) {
                    (true, _, _) | (false, StartAt::Beginning, _) => None,
                    (false, StartAt::End, _) => Some(Seek::end(size)),
                    (false, StartAt::Since(_), Some(oldest)) if opening.meta.modified < oldest => Some(Seek::end(size)),
                    (false, StartAt::Since(_), Some(oldest)) if timed => Some(Seek::since(oldest, size)),
                    (false, StartAt::Since(_), _) => Some(Seek::backlog(size)),
                };
            opening.head = Some(head);
        } else if let Some(seek) = &mut opening.seek {
            let mut decoder = Decoder::new(opening.begin.source.format);
            seek.take(offset, bytes, |line| decoder.decode(line, &Hint::default()).time);
        }
    }

    /// The identities under which the checkpoint knows this file, the best one first: a single one, unless the process
    /// died while it was renamed.
    fn known_as(&self, source: ObjectId, head: &Head, meta: &Meta) -> Vec<FileIdentity> {
        let known = self.checkpoint.slots().filter(|slot| slot.key.source == source);
        let known = known.filter_map(|slot| match slot.key.reader {
            ReaderKey::File(identity) if head.continues(&identity, meta) => Some(identity),
            _ => None,
        });
        let mut known: Vec<FileIdentity> = known.collect();
        known.sort_by_key(|identity| Reverse(identity.head_bytes));
        known.dedup();
        known
    }

    fn opened(&mut self, opening: Opening) {
        let start = opening.start();
        let Opening { reader: id, mut begin, handle, meta, head, .. } = opening;
        // The plan may have changed since the file was found: no line is handled under an older one.
        match self.plan.source(begin.source.id).filter(|source| matches!(source.input, Input::File(_))) {
            Some(source) => begin.source = Arc::clone(source),
            None => return self.ring.close(handle),
        }
        let head = head.unwrap_or_default();
        let identity = head.identity(&meta);
        let key = ReaderKey::File(identity);
        for known in self.known_as(begin.source.id, &head, &meta) {
            if known != identity {
                self.checkpoint.unite(begin.source.id, ReaderKey::File(known), key);
            }
        }
        self.bring_along(begin.source.id, identity);
        let (marks, unattributed) = self.known_marks(key, begin.source.id);
        let seen = self.checkpoint.knows(&key);
        let limit = match begin.source.format {
            Format::Unstructured => None,
            Format::ZapJson | Format::Logfmt if seen || start == meta.size => None,
            Format::ZapJson | Format::Logfmt => self.oldest_wanted(&begin.source, begin.start),
        };
        let limit = limit.filter(|_| matches!(begin.start, StartAt::Since(_)));
        let origin = FileOrigin {
            path: begin.path,
            handle,
            size: meta.size,
            tail: Tail::Hot { grew: self.now.mono },
            draining: begin.draining,
            after: begin.after,
            head_short: head.is_short(),
            next_head_check: Duration::ZERO,
            vanishing: Vanishing { stored: begin.stored, ..Vanishing::default() },
        };
        let limit = limit.map(|time| Limit { time, end: meta.size });
        let sources = vec![Source::new(&begin.source, limit)];
        let mut reader = Reader::new(id, key, Origin::File(origin), sources, Position::file(start), marks);
        reader.unattributed = unattributed;
        self.readers.insert(id, Box::new(reader));
        self.update_flows(id);
        self.close_overwritten(id, &head, &meta);
        let furthest = self.readers.get(&id).and_then(|reader| reader.flows.iter().map(|f| f.settled().offset()).max());
        if furthest.is_some_and(|furthest| furthest > meta.size) {
            self.mend_truncated(id, furthest.unwrap_or_default());
        }
    }

    /// A power loss may have left the file with less of a head than some of its records know, and these of other
    /// targets than those that still fit: as new ones they would begin where those are. They begin where they were, or
    /// there if that is earlier.
    fn bring_along(&mut self, source: ObjectId, own: FileIdentity) {
        let of = |slot: &&Slot| slot.key.source == source && slot.key.target != ObjectId(0);
        let offset = |slot: &Slot| match &slot.content {
            Content::Flow { position, .. } => Some(position.offset()),
            _ => None,
        };
        let here = self.checkpoint.slots().filter(of).filter(|slot| slot.key.reader == ReaderKey::File(own));
        let Some(furthest) = here.filter_map(offset).max() else { return };
        let is_it = |slot: &&Slot| match slot.key.reader {
            ReaderKey::File(other) => {
                (other.device, other.inode, other.generation) == (own.device, own.inode, own.generation) && other != own
            }
            ReaderKey::Journal { .. } => false,
        };
        let others = self.checkpoint.slots().filter(of).filter(is_it);
        let others: Vec<(Key, u64)> = others.filter_map(|slot| Some((slot.key, offset(slot)?))).collect();
        for (other, offset) in others {
            let key = Key { reader: ReaderKey::File(own), ..other };
            if self.checkpoint.content(&key).is_none() {
                let position = Position::file(offset.min(furthest));
                let content = Content::Flow { position, totals: Totals::default(), newest: Nanos::default() };
                self.checkpoint.put(key, content);
            }
        }
    }

    /// The size of a file without a name, as the checkpoint knows it; 0 for others.
    pub(super) fn known_size(&self, key: ReaderKey, source: ObjectId) -> u64 {
        match self.checkpoint.content(&marks_key(key, source)) {
            Some(Content::Reader { size, .. }) => *size,
            _ => 0,
        }
    }

    /// The time marks of a reader, and what was lost of it unseen, as the checkpoint knows them.
    pub(super) fn known_marks(&self, key: ReaderKey, source: ObjectId) -> (Marks, u64) {
        match self.checkpoint.content(&marks_key(key, source)) {
            Some(Content::Reader { marks, marked, unattributed, .. }) => {
                (Marks::new(marks.clone(), *marked), *unattributed)
            }
            _ => Default::default(),
        }
    }
}
