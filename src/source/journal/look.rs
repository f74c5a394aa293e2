//! Looking at the world: headers of live files, the directory, new files, where to begin in them.
//!
//! The order is what makes following lossless. Files of one seqnum id are merged by seqnum, and an entry may only be
//! handed out when no smaller one can still turn up. So: read the headers of the live files (`safe`), *then* list the
//! directory, open what is new, and read the live headers again (`seen`). Whatever has a smaller seqnum than a safe
//! entry was written before it, hence is among the seen ones.

use std::{
    collections::{BTreeSet, HashMap},
    io,
    path::{Path, PathBuf},
};

use super::{
    JournalCursor, Start,
    file::{JournalFile, Stage},
    patience::may_pass,
    seek::{Goal, Seek},
    span::{Io, Stop},
};
use crate::{
    limits::{JOURNAL_FILES_MAX, JOURNAL_MERGE_SLACK, JOURNAL_OPEN_FILES_MAX, JOURNAL_WARM_FILES_MAX},
    ring::Ring,
    wire::journal::{Header, HeaderFault, State},
};

/// Looks without growth after which a file nobody writes to any more is done with.
const QUIET_LOOKS: u32 = 2;

/// The next thing to look at; the number is an index into the files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// Nothing: entries are being read.
    Rest,
    Live(usize),
    List,
    Headers(usize),
    Seek(usize),
    LiveAgain(usize),
    Settle,
}

impl JournalCursor {
    /// Takes the look one step further.
    pub(super) fn look<R: Ring>(&mut self, io: &mut Io<'_, R>) -> Result<(), Stop> {
        match self.look {
            Look::Rest => {}
            Look::Live(index) => self.each_live(io, index, Look::Live, Look::List)?,
            Look::List => {
                self.files.iter_mut().for_each(|file| file.safe = file.seen);
                if !self.list(io) {
                    io.patience.names_heal();
                } else if io.patience.endures_names(io.ring.now().mono) {
                    return Err(Stop::Failing);
                } else {
                    let unopened = std::mem::take(&mut self.unopened);
                    unopened.iter().for_each(|path| self.count_unopened(io, path));
                }
                self.to(Look::Headers(0));
            }
            Look::Headers(index) if index < self.files.len() => {
                self.read_first_header(io, index)?;
                self.to(Look::Headers(index + 1));
            }
            Look::Headers(_) => {
                self.plan_seeks(io);
                self.to(Look::Seek(0));
            }
            Look::Seek(index) if index < self.files.len() => {
                let seeks = matches!(self.files[index].stage, Stage::Seeking(_));
                let before = self.files[index].seek(io)?;
                if seeks {
                    self.note_begin(index, before.as_ref());
                }
                if let Some(before) = before {
                    self.begin_after(before);
                }
                self.close_waiting(io.ring, index);
                self.to(Look::Seek(index + 1));
            }
            Look::Seek(_) => self.to(Look::LiveAgain(0)),
            Look::LiveAgain(index) => self.each_live(io, index, Look::LiveAgain, Look::Settle)?,
            Look::Settle => {
                self.settle(io);
                self.to(Look::Rest);
            }
        }
        Ok(())
    }

    fn to(&mut self, look: Look) {
        (self.look, self.forgotten) = (look, false);
    }

    /// Reads the header of the live file at `index` again, then goes on to the next one.
    fn each_live<R: Ring>(
        &mut self,
        io: &mut Io<'_, R>,
        index: usize,
        step: fn(usize) -> Look,
        after: Look,
    ) -> Result<(), Stop> {
        let Some(file) = self.files.get_mut(index) else {
            self.to(after);
            return Ok(());
        };
        if file.stage == Stage::Ready && file.handle.is_some() && file.header.state != State::Archived {
            if !self.forgotten {
                file.head.clear();
                self.forgotten = true;
            }
            let header = file.header_bytes(io).map(Header::parse);
            let is_it = matches!(&header, Ok(Ok(header)) if header.file_id == file.header.file_id);
            if !is_it && header.is_ok() && is_deleted(io, file) {
                self.let_go(io, index);
                self.to(step(index + 1));
                return Ok(());
            }
            match header {
                Ok(Ok(header)) if is_it => {
                    if header.n_entries != file.header.n_entries {
                        file.forget();
                    }
                    file.header = header;
                    file.seen = header.n_entries.max(file.next);
                }
                Ok(Ok(_)) => {
                    file.complain(io, "it became another journal file in place; the rest is not read");
                    self.count_unreadable(index);
                }
                Ok(Err(fault)) => {
                    file.complain(io, &fault.to_string());
                    self.count_unreadable(index);
                }
                Err(Stop::Io(error)) => file.complain(io, &error.to_string()),
                Err(stop) => return Err(stop),
            }
        }
        self.to(step(index + 1));
        Ok(())
    }

    /// The file at `index` was deleted, and emptied while it was held open: journald does so with what it vacuums.
    fn let_go<R: Ring>(&mut self, io: &mut Io<'_, R>, index: usize) {
        let file = &mut self.files[index];
        let unread = file.seen.saturating_sub(file.next);
        if unread > 0 {
            io.troubles.tell(format!("{}: {unread} entries were vacuumed before they were read", file.path.display()));
            self.counts.unattributed = self.counts.unattributed.saturating_add(unread);
        }
        file.next = file.seen;
        file.finish(io.ring);
    }

    /// Lists the directories and opens what is new; true when something could not be had that may be had again.
    fn list<R: Ring>(&mut self, io: &mut Io<'_, R>) -> bool {
        let mut found = Vec::new();
        let mut unlisted = Vec::new();
        let mut watched = Vec::new();
        self.unopened.clear();
        for directory in &self.directories {
            watched.push(directory.clone());
            for below in list_one(io, &mut self.refused, directory, &mut found, &mut unlisted) {
                list_one(io, &mut self.refused, &below, &mut found, &mut unlisted);
                watched.push(below);
            }
        }
        self.watched = watched;
        for (path, may_pass) in unlisted {
            self.miss(io, path, may_pass);
        }
        if found.len() > JOURNAL_FILES_MAX {
            if !self.too_many {
                let directory = self.directories.first().map(|path| path.display().to_string()).unwrap_or_default();
                io.troubles.tell(format!(
                    "{directory}: {} journal files, of which {JOURNAL_FILES_MAX} are read; vacuum the journal",
                    found.len()
                ));
            }
            let left_out = found.split_off(JOURNAL_FILES_MAX);
            if !std::mem::replace(&mut self.too_many, true) {
                left_out.iter().for_each(|path| self.count_unopened(io, path));
            }
        }
        let by_path: HashMap<&Path, usize> =
            self.files.iter().enumerate().map(|(index, file)| (file.path.as_path(), index)).collect();
        let mut listed = vec![false; self.files.len()];
        let mut new = Vec::new();
        for path in found {
            let known = by_path.get(path.as_path()).copied();
            // The name of a live file may belong to its successor by now.
            let same = known.is_some_and(|index| {
                let file = &self.files[index];
                file.has_archive_name()
                    || io.ring.stat_path(&path).is_ok_and(|meta| (meta.device, meta.inode) == file.inode)
            });
            match known {
                Some(index) if same => listed[index] = true,
                _ => new.push(path),
            }
        }
        drop(by_path);
        self.files.iter_mut().zip(listed).for_each(|(file, listed)| file.listed = listed);
        for path in new {
            self.open(io, path);
        }
        !self.unopened.is_empty()
    }

    fn open<R: Ring>(&mut self, io: &mut Io<'_, R>, path: PathBuf) {
        let opened = io.ring.open(&path).and_then(|handle| {
            io.ring.stat(handle).inspect_err(|_| io.ring.close(handle)).map(|meta| (handle, (meta.device, meta.inode)))
        });
        match opened {
            Ok((handle, inode)) => {
                self.files.push(JournalFile::new(self.next_id, path, inode, handle));
                self.next_id = self.next_id.wrapping_add(1);
            }
            // Gone or renamed since it was listed: the next look finds it under its new name. Not so a dangling link,
            // which is worth one more look only.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.stale |= self.refused.insert(path);
            }
            Err(error) => {
                if self.refused.insert(path.clone()) {
                    io.troubles.tell(format!("{}: cannot be read: {error}", path.display()));
                }
                self.miss(io, path, may_pass(&error));
            }
        }
    }

    /// A file or directory cannot be had: it counts as unreadable, at once or when its patience has ended.
    fn miss<R: Ring>(&mut self, io: &mut Io<'_, R>, path: PathBuf, may_pass: bool) {
        if may_pass {
            self.unopened.push(path);
        } else {
            self.count_unopened(io, &path);
        }
    }

    fn count_unopened<R: Ring>(&mut self, io: &mut Io<'_, R>, path: &Path) {
        let inode = io.ring.stat_path(path).map_or((0, 0), |meta| (meta.device, meta.inode));
        self.add_unreadable(inode);
    }

    fn count_unreadable(&mut self, index: usize) {
        self.add_unreadable(self.files[index].inode);
    }

    fn add_unreadable(&mut self, inode: (u64, u64)) {
        if self.unreadable.len() < JOURNAL_FILES_MAX {
            self.unreadable.insert(inode);
        }
    }

    /// Reads the header of a new file, and tells a new file from a known one under a new name.
    fn read_first_header<R: Ring>(&mut self, io: &mut Io<'_, R>, index: usize) -> Result<(), Stop> {
        if self.files[index].stage != Stage::Fresh {
            return Ok(());
        }
        if !self.forgotten {
            self.files[index].head.clear();
            self.forgotten = true;
        }
        let file = &mut self.files[index];
        let header = match file.header_bytes(io).map(Header::parse) {
            Ok(Ok(header)) => header,
            Ok(Err(HeaderFault::Short)) if !file.has_archive_name() => return Ok(()),
            Ok(Err(HeaderFault::Signature)) if !file.has_archive_name() && file.head.rest(0).starts_with(&[0; 8]) => {
                return Ok(());
            }
            Ok(Err(fault)) => {
                self.count_unreadable(index);
                return self.refuse(io, index, &fault.to_string());
            }
            Err(Stop::Io(error)) => {
                self.count_unreadable(index);
                return self.refuse(io, index, &error.to_string());
            }
            Err(stop) => return Err(stop),
        };
        let known = self.files.iter().position(|known| {
            known.stage != Stage::Fresh && known.header.file_id == header.file_id && header.file_id != [0; 16]
        });
        if let Some(known) = known {
            return self.merge(io, known, index);
        }
        let file = &mut self.files[index];
        file.layout = header.layout();
        (file.header, file.seen, file.safe) = (header, header.n_entries, header.n_entries);
        file.stage = Stage::Known;
        Ok(())
    }

    /// The file at `index` is the one at `known`: renamed, or a copy.
    fn merge<R: Ring>(&mut self, io: &mut Io<'_, R>, known: usize, index: usize) -> Result<(), Stop> {
        let path = self.files[index].path.clone();
        let inode = self.files[index].inode;
        let moved = self.files[known].inode == inode || !self.files[known].listed;
        if moved {
            let file = &mut self.files[known];
            (file.path, file.inode, file.listed) = (path, inode, true);
            let handle = self.files[index].handle.take();
            let file = &mut self.files[known];
            match handle {
                Some(handle) if file.handle.is_none() && file.stage == Stage::Ready => file.handle = Some(handle),
                Some(handle) => io.ring.close(handle),
                None => {}
            }
            // Removed when the look settles: nothing lists it.
            self.files[index].finish(io.ring);
            self.files[index].listed = false;
            return Ok(());
        }
        let original = self.files[known].path.display().to_string();
        self.refuse(io, index, &format!("a copy of {original}; it is left out"))
    }

    fn refuse<R: Ring>(&mut self, io: &mut Io<'_, R>, index: usize, why: &str) -> Result<(), Stop> {
        let file = &mut self.files[index];
        file.finish(io.ring);
        io.troubles.tell(format!("{}: not read: {why}", file.path.display()));
        Ok(())
    }

    /// Says for every file whose header is new where to begin in it.
    fn plan_seeks<R: Ring>(&mut self, io: &mut Io<'_, R>) {
        let first = self.first && self.files.iter().any(|file| file.stage == Stage::Known);
        let resumes = first && matches!(self.start, Start::Position(_));
        self.seqnums.rest(&mut self.files);
        if let (true, Start::Position(position)) = (first, &self.start) {
            let own =
                self.files.iter().find(|file| file.stage == Stage::Known && file.header.file_id == position.file_id);
            self.seqnum_trusted = own.is_none_or(|own| {
                (own.header.head_entry_seqnum..=own.header.tail_entry_seqnum).contains(&position.seqnum)
            });
            let related = self.files.iter().any(|file| file.header.seqnum_id == position.seqnum_id);
            if self.seqnum_trusted {
                self.seqnums.begin_after(position);
            }
            if own.is_none() && related {
                self.gap_after = Some((position.seqnum_id, position.seqnum));
            } else if own.is_none() {
                io.troubles.tell(
                    "the journal file of the last position and all its siblings are gone; how many entries were \
                     vacuumed unread cannot be told; reading goes on by the clocks"
                        .to_owned(),
                );
            }
        }
        for file in self.files.iter_mut().filter(|file| file.stage == Stage::Known) {
            let baseline = !resumes && !self.seqnums.knows(file.header.seqnum_id);
            self.seqnums.meet(file, baseline);
            let back = self.gone.take(&file.header.file_id).map(Goal::Again);
            let goal = back.unwrap_or_else(|| goal(&self.start, first, self.seqnum_trusted, &file.header));
            file.stage = Stage::Seeking(Seek::to(goal, file.seen));
        }
        self.first &= !first;
        self.tell_gaps(io.troubles);
    }

    /// More files than may be held open: those whose turn is far are opened again when it comes.
    fn close_waiting<R: Ring>(&mut self, ring: &mut R, index: usize) {
        let file = &self.files[index];
        let waiting = file.stage == Stage::Ready && file.header.state == State::Archived;
        let open = self.files.iter().filter(|file| file.handle.is_some()).count();
        if waiting
            && open > JOURNAL_OPEN_FILES_MAX
            && let Some(handle) = self.files[index].handle.take()
        {
            ring.close(handle);
        }
    }

    /// Ends the look: what is read to its end and not written to any more is closed; of what is gone is kept how far it
    /// was read.
    fn settle<R: Ring>(&mut self, io: &mut Io<'_, R>) {
        self.note_position();
        for file in &mut self.files {
            let drained = file.stage == Stage::Ready && file.next >= file.seen;
            file.quiet = if drained { file.quiet.saturating_add(1) } else { 0 };
            let left = file.has_archive_name() || !file.listed;
            // The words of a header that is being written to do not change all at once.
            let settled = file.header.state == State::Archived
                || (file.quiet >= QUIET_LOOKS && (left || file.header.state != State::Online));
            if drained && settled && file.doubt(io) {
                continue;
            }
            if drained && (file.header.state == State::Archived || (left && file.quiet >= QUIET_LOOKS)) {
                file.finish(io.ring);
            }
            if !file.listed && file.stage == Stage::Fresh {
                file.finish(io.ring);
            }
            self.stale |= file.seen > file.safe;
        }
        self.count_files();
        self.repeats.rest();
        let gone = |file: &JournalFile| !file.listed && file.stage == Stage::Done;
        let files = self.files.len();
        self.files.iter().filter(|file| gone(file)).for_each(|file| self.gone.note(file));
        self.files.retain(|file| !gone(file));
        if files != self.files.len() || self.refused.len() > JOURNAL_FILES_MAX {
            self.refused.clear();
        }
        self.current = None;
        if self.files.iter().filter(|file| file.window.is_warm()).count() > JOURNAL_WARM_FILES_MAX {
            self.files.iter_mut().filter(|file| file.next >= file.seen).for_each(JournalFile::cool);
        }
    }
}

/// Whether an open file has no name any more.
fn is_deleted<R: Ring>(io: &mut Io<'_, R>, file: &JournalFile) -> bool {
    file.handle.is_some_and(|handle| io.ring.stat(handle).is_ok_and(|meta| meta.links == 0))
}

/// Where to begin in a file. `first`: it was there when the reader was made.
fn goal(start: &Start, first: bool, seqnum_trusted: bool, header: &Header) -> Goal {
    match start {
        Start::End if first => Goal::End,
        Start::Since(realtime) if first => Goal::FromRealtime(*realtime),
        Start::Position(position) if header.file_id == position.file_id => Goal::After(*position),
        Start::Position(position) if header.seqnum_id == position.seqnum_id && seqnum_trusted => {
            Goal::AfterSeqnum(position.seqnum)
        }
        // Only the clocks relate journals of different seqnum ids; clocks and merging are not exact.
        Start::Position(position) if first => Goal::near(position, JOURNAL_MERGE_SLACK.as_micros() as u64),
        _ => Goal::Beginning,
    }
}

/// Adds the journal files of one directory to `found`; gives the directories of machines and namespaces below it. One
/// that cannot be listed is added to `unlisted`, and whether that may pass.
fn list_one<R: Ring>(
    io: &mut Io<'_, R>,
    refused: &mut BTreeSet<PathBuf>,
    directory: &Path,
    found: &mut Vec<PathBuf>,
    unlisted: &mut Vec<(PathBuf, bool)>,
) -> Vec<PathBuf> {
    let entries = match io.ring.list(directory, JOURNAL_FILES_MAX + 1) {
        Ok(entries) => entries,
        // Directories come and go: /run/log/journal is away after the flush to /var.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        // A journal file given by itself.
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
            found.push(directory.to_owned());
            Vec::new()
        }
        Err(error) => {
            if refused.insert(directory.to_owned()) {
                io.troubles.tell(format!("{}: cannot be listed: {error}", directory.display()));
            }
            unlisted.push((directory.to_owned(), may_pass(&error)));
            Vec::new()
        }
    };
    let mut below = Vec::new();
    for entry in entries {
        let name = entry.name.as_encoded_bytes();
        if entry.directory && is_machine(name) {
            below.push(directory.join(&entry.name));
        } else if !entry.directory && (name.ends_with(b".journal") || name.ends_with(b".journal~")) {
            found.push(directory.join(&entry.name));
        }
    }
    below
}

/// `<machine-id>` or `<machine-id>.<namespace>`.
fn is_machine(name: &[u8]) -> bool {
    let (id, rest) = name.split_at(name.len().min(32));
    id.len() == 32 && id.iter().all(u8::is_ascii_hexdigit) && (rest.is_empty() || (rest[0] == b'.' && rest.len() > 1))
}
