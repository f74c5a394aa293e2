//! Looking for files: what the globs match now, what was rotated away, what a restart left behind.
//!
//! A file is known by its inode while it is open and by its whole identity over a restart. What no longer stands at a
//! path of its source is drained to its end under the name it was given. What was made and rotated away unseen (between
//! two looks, or while nothing was running) stands beside it, younger than the last file known: it is read as well.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    io,
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
    limits::{DISCOVERY_INTERVAL, READERS_MAX, TAIL_POLL, UNSURE_LOOKS_MAX},
    model::{Nanos, ObjectId, ReaderKey},
    orders::Port,
    plan::{FileInput, Input, SourcePlan, StartAt},
    ring::{Meta, Ring, Watch, WatchKind},
    source::file::{
        Found, Walk, discover,
        discovery::{is_compressed, is_rotation_of, may_pass},
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
    /// Something could not be looked at in the look under way, and in how many looks of a source in a row.
    unsure: bool,
    unsure_looks: BTreeMap<ObjectId, u32>,
    /// When each source was last looked for with nothing left to open.
    looked: BTreeMap<ObjectId, Nanos>,
    /// A look whose findings are safe from a power loss as soon as this generation is synced.
    found: BTreeMap<ObjectId, (Nanos, u64)>,
    /// A look of each source that is kept, and the synced generation that holds it.
    kept: BTreeMap<ObjectId, (Nanos, u64)>,
}

/// A file's own clock ticks coarsely and may lie behind ours by so much.
pub(super) const LOOK_SLACK_NANOS: u64 = 1_000_000_000;

impl Discovery {
    /// Something changed: look at the next turn that may.
    pub fn soon(&mut self) {
        self.soon = true;
    }

    /// A file could not be looked at: no conclusions from what was not found.
    pub fn failed(&mut self, error: &io::Error) {
        self.unsure |= may_pass(error);
    }

    /// Whether what a look of `source` did not find is not there. A place that stays unreadable does not keep the rest
    /// waiting for ever.
    fn is_sure(&mut self, source: ObjectId) -> bool {
        let looks = self.unsure_looks.entry(source).or_default();
        *looks = if self.unsure { *looks + 1 } else { 0 };
        *looks == 0 || *looks > UNSURE_LOOKS_MAX
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
        let mut walk = discover(&mut self.ring, input);
        for trouble in std::mem::take(&mut walk.troubles) {
            if self.discovery.told.insert(trouble.clone()) {
                self.trouble(format!("source {}: {trouble}", source.name));
            }
        }
        self.discovery.unsure = walk.unsure;
        let first_look = !self.discovery.seen.contains(&source.id);
        let start = if first_look && !self.is_remembered(source.id) { source.start_at } else { StartAt::Beginning };
        self.note_moves(source.id, input, &walk);
        self.open_kept(source, input);
        self.open_rotated(source, input, &walk.directories, &walk.found);
        for Found { path, meta } in &walk.found {
            if !self.is_open(source.id, meta) {
                let (path, after) = (path.clone(), self.latest_rotation_of(source.id, path));
                let source = Arc::clone(source);
                self.open(Begin { source, path, start, draining: false, after, stored: None });
            }
        }
        if self.discovery.is_sure(source.id) {
            self.discovery.seen.insert(source.id);
            if first_look {
                self.miss(source, &walk.directories, &walk.found);
                self.miss_spooled(source);
            }
            self.remember_look(source.id);
        }
        walk.directories
    }

    /// Notes which readers of a source stand at which path now. What stands at none is draining from now on; what the
    /// source no longer asks for is let go.
    fn note_moves(&mut self, source: ObjectId, input: &FileInput, walk: &Walk) {
        let (mut left, mut unasked) = (Vec::new(), Vec::new());
        for reader in self.readers.values_mut().filter(|reader| is_of(reader, source)) {
            let (id, inode) = (reader.id, inode_of(reader));
            let Some(file) = reader.file_mut() else { continue };
            match walk.found.iter().find(|found| Some((found.meta.device, found.meta.inode)) == inode) {
                Some(found) => {
                    file.draining = false;
                    file.path.clone_from(&found.path);
                    // An event was lost, or there was none: a change through a memory mapping is not told.
                    if found.meta.size != file.size {
                        left.push(id);
                    }
                }
                None if !file.draining && !input.asks_for(&file.path) => unasked.push(id),
                None if !file.draining && !walk.unsure => {
                    file.draining = true;
                    left.push(id);
                }
                None => {}
            }
        }
        for reader in left {
            self.look_closely(reader);
        }
        for reader in unasked {
            self.drop_reader(reader, true);
        }
    }

    /// Opens what was rotated away and is not open: files the checkpoint knows (rotated while nothing ran), and files
    /// made and rotated away unseen, which are younger than the last look. Oldest first, each after the one before.
    fn open_rotated(&mut self, source: &Arc<SourcePlan>, input: &FileInput, directories: &[PathBuf], found: &[Found]) {
        // Killed before a first look was kept, what is known is all there is to go by.
        let last_look = self.last_look(source.id);
        let known = self.known_inodes(source.id);
        if last_look.is_none() && known.is_empty() {
            return;
        }
        let mut left = Vec::new();
        for directory in directories {
            let entries = self.ring.list(directory, READERS_MAX).unwrap_or_else(|error| {
                self.discovery.failed(&error);
                Vec::new()
            });
            for entry in entries {
                let path = directory.join(&entry.name);
                let Some(live) = live_name(&path, input).filter(|_| !is_compressed(&path)) else { continue };
                let meta = match self.ring.stat_path(&path) {
                    Ok(meta) => meta,
                    Err(error) => {
                        self.discovery.failed(&error);
                        continue;
                    }
                };
                let unseen = last_look.is_some_and(|look| meta.modified.plus(LOOK_SLACK_NANOS) >= look);
                let stands =
                    found.iter().any(|found| found.meta.inode == meta.inode && found.meta.device == meta.device);
                let worth = unseen || known.contains(&(meta.device, meta.inode));
                if meta.regular && worth && !stands && !self.is_open(source.id, &meta) {
                    left.push((live, meta.modified, path));
                }
            }
        }
        left.sort_by(|(_, a_modified, a), (_, b_modified, b)| {
            a_modified.cmp(b_modified).then_with(|| rotation_order(a).cmp(&rotation_order(b)))
        });
        for (live, _, path) in left {
            let after = self.latest_rotation_of(source.id, &live);
            self.open(Begin {
                source: Arc::clone(source),
                path,
                start: StartAt::Beginning,
                draining: true,
                after,
                stored: None,
            });
        }
    }

    /// Tells of files that were being read and are nowhere any more, and forgets them: once, with what they had
    /// counted. A file on a device that is not there now (not mounted yet) is waited for.
    fn miss(&mut self, source: &Arc<SourcePlan>, directories: &[PathBuf], found: &[Found]) {
        let devices: BTreeSet<u64> =
            directories.iter().filter_map(|path| self.ring.stat_path(path).ok()).map(|meta| meta.device).collect();
        let mut missing = self.known_inodes(source.id);
        missing.retain(|(device, inode)| {
            let meta = Meta { device: *device, inode: *inode, ..Meta::default() };
            let stands = found.iter().any(|found| (found.meta.device, found.meta.inode) == (*device, *inode));
            devices.contains(device) && !stands && !self.is_open(source.id, &meta)
        });
        if missing.is_empty() {
            return;
        }
        let is_missing = |reader: &ReaderKey| match reader {
            ReaderKey::File(identity) => missing.contains(&(identity.device, identity.inode)),
            ReaderKey::Journal { .. } => false,
        };
        let gone: Vec<ReaderKey> = (self.checkpoint.slots())
            .filter(|slot| slot.key.source == source.id && is_missing(&slot.key.reader))
            .map(|slot| slot.key.reader)
            .collect();
        let lost: u64 = gone.into_iter().map(|key| self.close_unread(key, source.id)).sum();
        self.trouble(format!(
            "source {}: {} files that were being read are gone; if anything was written to them after the last \
             position, it is lost (at most {lost} lines as far as known)",
            source.name,
            missing.len()
        ));
    }

    /// Inodes (by device) of the files the checkpoint knows of a source.
    fn known_inodes(&self, source: ObjectId) -> BTreeSet<(u64, u64)> {
        let slots = self.checkpoint.slots().filter(|slot| slot.key.source == source);
        let inodes = slots.filter_map(|slot| match slot.key.reader {
            ReaderKey::File(identity) => Some((identity.device, identity.inode)),
            ReaderKey::Journal { .. } => None,
        });
        inodes.collect()
    }

    /// When every file of a source that was there was known for certain; kept in the checkpoint.
    pub(super) fn last_look(&self, source: ObjectId) -> Option<Nanos> {
        match self.checkpoint.content(&look_key(source)) {
            Some(Content::Reader { marks, .. }) => marks.first().map(|(_, time)| *time),
            _ => None,
        }
    }

    /// Remembers a look before this one: what it found is in the checkpoint by now, and synced. Otherwise a power loss
    /// could leave the look alone, and what was found in it and rotated away would be nobody's.
    fn remember_look(&mut self, source: ObjectId) {
        let now = self.now.mono;
        if self.openings().any(|opening| opening.source() == source && opening.is_unsettled(now)) {
            return;
        }
        let before = self.discovery.looked.insert(source, self.now.wall);
        let before = before.and_then(|look| self.found_for_good(source, look));
        // The very first look may count at once: what was rotated away before it is not meant by `startAt`.
        let first = self.last_look(source).is_none().then_some(self.now.wall);
        if let Some(look) = before.or(first) {
            let unattributed = self.closed_unattributed(source);
            let content = Content::Reader { marks: vec![(0, look)], marked: 0, unattributed, size: 0 };
            self.checkpoint.put(look_key(source), content);
            let generation = self.checkpoint.generation();
            let kept = self.discovery.kept.entry(source).or_insert((look, generation));
            if self.checkpoint.is_synced(kept.1) {
                *kept = (look, generation);
            }
        }
    }

    /// The youngest look before this one, which came after `look`, whose findings are synced; or any if nothing can be.
    fn found_for_good(&mut self, source: ObjectId, look: Nanos) -> Option<Nanos> {
        let new = (look, self.checkpoint.generation());
        let found = self.discovery.found.entry(source).or_insert(new);
        let is_safe = self.checkpoint.is_synced(found.1) || self.checkpoint.is_overdue(self.now.mono);
        is_safe.then(|| std::mem::replace(found, new).0)
    }

    /// A last look that a power loss would leave, or any if nothing can be synced for long.
    pub(super) fn safe_look(&self, source: ObjectId) -> Option<Nanos> {
        if self.checkpoint.is_overdue(self.now.mono) {
            return self.last_look(source);
        }
        let (look, generation) = self.discovery.kept.get(&source).copied()?;
        self.checkpoint.is_synced(generation).then_some(look)
    }

    /// Lines lost unseen in files of a source that were let go, as an upper bound.
    pub(super) fn closed_unattributed(&self, source: ObjectId) -> u64 {
        match self.checkpoint.content(&look_key(source)) {
            Some(Content::Reader { unattributed, .. }) => *unattributed,
            _ => 0,
        }
    }

    /// Keeps what was lost unseen in a file that is let go.
    pub(super) fn close_unattributed(&mut self, source: ObjectId, lines: u64) {
        if lines > 0 {
            let marks = self.last_look(source).map(|look| (0, look)).into_iter().collect();
            let unattributed = self.closed_unattributed(source).saturating_add(lines);
            self.checkpoint.put(look_key(source), Content::Reader { marks, marked: 0, unattributed, size: 0 });
        }
    }

    /// Whether the checkpoint knows anything of a source.
    pub(super) fn is_remembered(&self, source: ObjectId) -> bool {
        let is_flow = |slot: &Slot| matches!(slot.content, Content::Flow { .. });
        self.checkpoint.slots().any(|slot| slot.key.source == source && is_flow(slot))
    }

    fn is_open(&self, source: ObjectId, meta: &Meta) -> bool {
        let inode = Some((meta.device, meta.inode));
        self.readers.values().any(|reader| is_of(reader, source) && inode_of(reader) == inode)
            || self.openings().any(|opening| opening.is(source, meta))
    }

    /// The last draining reader (or file being opened) that was rotated away from this path.
    pub(super) fn latest_rotation_of(&self, source: ObjectId, live: &Path) -> Option<u32> {
        // One that is still known by its old path was rotated away while it was being read.
        let is_rotation = |path: &Path| {
            let names = path.file_name().zip(live.file_name());
            path == live
                || path.parent() == live.parent() && names.is_some_and(|(name, live)| is_rotation_of(name, live))
        };
        let open = self.readers.values().filter(|reader| is_of(reader, source));
        let open = open.filter(|reader| reader.file().is_some_and(|file| file.draining && is_rotation(&file.path)));
        let opening = self.openings().filter(|opening| opening.rotated_from(source, is_rotation));
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

/// Which of two rotated files that were written last in the same moment is the older: of `log.1` and `log.2` the higher
/// number, of `log-20260224` and `log-20260225` the earlier date.
fn rotation_order(path: &Path) -> (Reverse<u32>, &Path) {
    let number = path.extension().and_then(|ending| ending.to_str()).filter(|ending| ending.len() <= 5);
    (Reverse(number.and_then(|number| number.parse().ok()).unwrap_or_default()), path)
}

/// The path a rotated file had when a glob matched it: its name without the marks behind it.
pub(super) fn live_name(rotated: &Path, input: &FileInput) -> Option<PathBuf> {
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
