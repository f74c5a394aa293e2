//! Looking for files: what the globs match now, what was rotated away, what a restart left behind.
//!
//! A file is known by its inode while it is open and by its whole identity over a restart. What no longer stands at a
//! path of its source is drained to its end under the name it was given. What was made and rotated away unseen (between
//! two looks, or while nothing was running) stands beside it, younger than the last file known: it is read as well.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use super::{
    Lane, Watching,
    checkpoint::{CLOSED, Content, Key, Slot},
    open::Begin,
    plan::not_before,
    reader::Reader,
};
use crate::{
    limits::{DISCOVERY_INTERVAL, READERS_MAX, TAIL_POLL},
    model::{Nanos, ObjectId, ReaderKey},
    orders::Port,
    plan::{FileInput, Input, SourcePlan, StartAt},
    ring::{Meta, Ring, Watch, WatchKind},
    source::file::{
        Found, discover,
        discovery::{is_compressed, is_rotation_of},
        rotated_siblings,
    },
};

/// When to look, and at which directories.
#[derive(Debug, Default)]
pub struct Discovery {
    soon: bool,
    last: Duration,
    directories: BTreeMap<PathBuf, Watch>,
    /// Sources this lane has looked for before.
    seen: BTreeSet<ObjectId>,
    told: BTreeSet<String>,
    /// When each source was last looked for with nothing left to open.
    looked: BTreeMap<ObjectId, Nanos>,
}

/// A file's own clock ticks coarsely and may lie behind ours by so much.
pub(super) const LOOK_SLACK_NANOS: u64 = 1_000_000_000;

impl Discovery {
    /// Something changed: look at the next turn that may.
    pub fn soon(&mut self) {
        self.soon = true;
    }

    /// When the next look is due.
    pub fn next(&self, draining: bool) -> Option<Duration> {
        if draining {
            return None;
        }
        Some(self.last + if self.soon { TAIL_POLL } else { DISCOVERY_INTERVAL })
    }
}

impl<R: Ring, P: Port> Lane<R, P> {
    /// Looks for files when it is time to.
    pub(super) fn discover(&mut self) {
        let first = self.discovery.seen.is_empty() && self.discovery.soon;
        let due = self.discovery.next(self.draining).is_some_and(|next| self.now.mono >= next);
        if self.draining || !(due || first) {
            return;
        }
        self.discovery.soon = false;
        self.discovery.last = self.now.mono;
        let mut directories = BTreeSet::new();
        for source in Arc::clone(&self.plan).sources.iter() {
            if let Input::File(input) = &source.input
                && self.is_mine(source)
                && self.is_wanted(source)
            {
                directories.extend(self.discover_source(source, input));
            }
        }
        self.watch_names(directories);
    }

    /// Looks for the files of one source; returns the directories to watch.
    fn discover_source(&mut self, source: &Arc<SourcePlan>, input: &FileInput) -> Vec<PathBuf> {
        let walk = discover(&mut self.ring, input);
        for trouble in walk.troubles {
            if self.discovery.told.insert(trouble.clone()) {
                self.trouble(format!("source {}: {trouble}", source.name));
            }
        }
        let first_look = self.discovery.seen.insert(source.id);
        let start = if first_look && !self.is_remembered(source.id) { source.start_at } else { StartAt::Beginning };
        let at_path = self.note_moves(source.id, &walk.found);
        if first_look {
            self.open_left_behind(source, input, &walk.directories, &walk.found);
        }
        for found in walk.found {
            if !self.is_open(source.id, &found.meta) {
                let after = at_path.get(&found.path).copied();
                let after = after.or_else(|| self.latest_rotation_of(source.id, &found.path));
                self.open(Begin { source: Arc::clone(source), path: found.path, start, draining: false, after });
            }
        }
        self.remember_look(source.id);
        walk.directories
    }

    /// Notes which readers of a source stand at which path now. What stands at none is draining from now on, and what
    /// was rotated away after it is opened. Returns, by path, the reader that stood there before.
    fn note_moves(&mut self, source: ObjectId, found: &[Found]) -> BTreeMap<PathBuf, u32> {
        let mut before = BTreeMap::new();
        let mut left = Vec::new();
        for reader in self.readers.values_mut().filter(|reader| is_of(reader, source)) {
            let (id, inode) = (reader.id, inode_of(reader));
            let Some(file) = reader.file_mut() else { continue };
            match found.iter().find(|found| Some((found.meta.device, found.meta.inode)) == inode) {
                Some(found) => {
                    file.draining = false;
                    file.path.clone_from(&found.path);
                }
                None if !file.draining => {
                    file.draining = true;
                    before.insert(file.path.clone(), id);
                    left.push((id, file.path.clone(), file.handle));
                }
                None => {}
            }
        }
        for (reader, path, handle) in left {
            self.look_closely(reader);
            let Ok(meta) = self.ring.stat(handle) else { continue };
            let Some(plan) = self.plan.source(source).cloned() else { continue };
            if let Some(last) = self.open_younger(&plan, &path, &meta, reader) {
                before.insert(path, last);
            }
        }
        before
    }

    /// Opens files rotated away from `live` that are younger than `known` and not open yet, oldest first, each after
    /// the one before. Returns the last.
    fn open_younger(&mut self, source: &Arc<SourcePlan>, live: &Path, known: &Meta, after: u32) -> Option<u32> {
        let mut last = None;
        for sibling in rotated_siblings(&mut self.ring, live) {
            let younger = sibling.meta.modified >= known.modified && sibling.meta.inode != known.inode;
            if younger && !self.is_open(source.id, &sibling.meta) {
                let begin = Begin {
                    source: Arc::clone(source),
                    path: sibling.path,
                    start: StartAt::Beginning,
                    draining: true,
                    after: last.or(Some(after)),
                };
                last = self.open(begin).or(last);
            }
        }
        last
    }

    /// Opens what was rotated away while nothing ran: files the checkpoint knows that no glob matches any more, and
    /// files made and rotated away unseen, which are younger than the last look.
    fn open_left_behind(
        &mut self,
        source: &Arc<SourcePlan>,
        input: &FileInput,
        directories: &[PathBuf],
        found: &[Found],
    ) {
        let Some(last_look) = self.last_look(source.id) else { return };
        let is_found = |inode: (u64, u64)| found.iter().any(|found| (found.meta.device, found.meta.inode) == inode);
        let mut missing: BTreeSet<(u64, u64)> = (self.checkpoint.slots())
            .filter(|slot| slot.key.source == source.id)
            .filter_map(|slot| match slot.key.reader {
                ReaderKey::File(identity) => Some((identity.device, identity.inode)),
                ReaderKey::Journal { .. } => None,
            })
            .filter(|inode| !is_found(*inode))
            .collect();
        let mut left = Vec::new();
        for directory in directories {
            for entry in self.ring.list(directory, READERS_MAX).unwrap_or_default() {
                let path = directory.join(&entry.name);
                let Some(live) = live_name(&path, input) else { continue };
                let Ok(meta) = self.ring.stat_path(&path) else { continue };
                let known = missing.remove(&(meta.device, meta.inode));
                let unseen = meta.modified.plus(LOOK_SLACK_NANOS) >= last_look && !is_compressed(&path);
                if meta.regular && !is_found((meta.device, meta.inode)) && (known || unseen) {
                    left.push((live, meta.modified, path));
                }
            }
        }
        left.sort();
        let mut before: Option<(PathBuf, u32)> = None;
        for (live, _, path) in left {
            let after = before.as_ref().filter(|(same, _)| *same == live).map(|(_, reader)| *reader);
            let begin = Begin { source: Arc::clone(source), path, start: StartAt::Beginning, draining: true, after };
            if let Some(reader) = self.open(begin) {
                before = Some((live, reader));
            }
        }
        if !missing.is_empty() {
            self.trouble(format!(
                "source {}: {} files that were being read are gone; what was written to them after the last position \
                 is lost",
                source.name,
                missing.len()
            ));
        }
    }

    /// When every file of a source that was there was known for certain; kept in the checkpoint.
    pub(super) fn last_look(&self, source: ObjectId) -> Option<Nanos> {
        match self.checkpoint.content(&look_key(source)) {
            Some(Content::Reader { marks }) => marks.first().map(|(_, time)| *time),
            _ => None,
        }
    }

    /// Remembers the look before this one: what it found is in the checkpoint by now.
    fn remember_look(&mut self, source: ObjectId) {
        if !self.opening.is_empty() {
            return;
        }
        let before = self.discovery.looked.insert(source, self.now.wall);
        // The very first look may count at once: what was rotated away before it is not meant by `startAt`.
        let first = self.last_look(source).is_none().then_some(self.now.wall);
        if let Some(look) = before.or(first) {
            self.checkpoint.put(look_key(source), Content::Reader { marks: vec![(0, look)] });
        }
    }

    /// Whether the checkpoint knows anything of a source.
    fn is_remembered(&self, source: ObjectId) -> bool {
        let is_flow = |slot: &Slot| matches!(slot.content, Content::Flow { .. });
        self.checkpoint.slots().any(|slot| slot.key.source == source && is_flow(slot))
    }

    fn is_open(&self, source: ObjectId, meta: &Meta) -> bool {
        let inode = Some((meta.device, meta.inode));
        self.readers.values().any(|reader| is_of(reader, source) && inode_of(reader) == inode)
            || self.opening.values().any(|opening| opening.is(source, meta))
    }

    /// The last draining reader (or file being opened) that was rotated away from this path.
    fn latest_rotation_of(&self, source: ObjectId, live: &Path) -> Option<u32> {
        let is_rotation = |path: &Path| {
            let names = path.file_name().zip(live.file_name());
            path.parent() == live.parent() && names.is_some_and(|(name, live)| is_rotation_of(name, live))
        };
        let open = self.readers.values().filter(|reader| is_of(reader, source));
        let open = open.filter(|reader| reader.file().is_some_and(|file| file.draining && is_rotation(&file.path)));
        let opening = self.opening.values().filter(|opening| opening.rotated_from(source, is_rotation));
        open.map(|reader| reader.id).chain(opening.map(|opening| opening.reader())).max()
    }

    fn watch_names(&mut self, wanted: BTreeSet<PathBuf>) {
        let gone: Vec<PathBuf> =
            self.discovery.directories.keys().filter(|path| !wanted.contains(*path)).cloned().collect();
        for path in gone {
            if let Some(watch) = self.discovery.directories.remove(&path) {
                self.watching.remove(&watch);
                self.ring.unwatch(watch);
            }
        }
        for path in wanted {
            if self.discovery.directories.contains_key(&path) {
                continue;
            }
            match self.ring.watch(&path, WatchKind::Names) {
                Ok(watch) => {
                    self.watching.insert(watch, Watching::Names);
                    self.discovery.directories.insert(path, watch);
                    // What came between the look and the watch is seen by one more look.
                    self.discovery.soon = true;
                }
                Err(error) => {
                    let text = format!("{}: {error}; looked at every {DISCOVERY_INTERVAL:?} only", path.display());
                    if self.discovery.told.insert(text.clone()) {
                        self.trouble(text);
                    }
                }
            }
        }
    }

    /// Where a source begins in a file that was never seen before.
    pub(super) fn oldest_wanted(&self, source: &SourcePlan, start: StartAt) -> Option<Nanos> {
        (start == source.start_at).then(|| not_before(source, self.now.wall)).flatten()
    }
}

fn look_key(source: ObjectId) -> Key {
    Key { reader: CLOSED, source, target: ObjectId(0) }
}

fn is_of(reader: &Reader, source: ObjectId) -> bool {
    reader.sources.iter().any(|candidate| candidate.plan.id == source)
}

fn inode_of(reader: &Reader) -> Option<(u64, u64)> {
    match reader.key {
        ReaderKey::File(identity) => Some((identity.device, identity.inode)),
        ReaderKey::Journal { .. } => None,
    }
}

/// The path a rotated file had when a glob matched it: its name without the marks behind it.
fn live_name(rotated: &Path, input: &FileInput) -> Option<PathBuf> {
    let mut name = rotated.file_name()?.to_str()?.to_owned();
    while let Some(cut) = name.rfind(['.', '-', '_', '~']) {
        name.truncate(cut);
        let path = rotated.with_file_name(&name);
        if input.paths.iter().any(|glob| glob.matcher.is_match(&path)) {
            return Some(path);
        }
    }
    None
}
