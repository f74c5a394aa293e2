//! Files that were kept over a restart, because they have no name any more: in the spool, or open with the service
//! manager. They go on where they were, before anything that has a name.

use std::{path::Path, sync::Arc, time::Duration};

use super::{
    Lane,
    discover::live_name,
    open::Begin,
    reader::{FileOrigin, Origin, Reader, Source, Tail},
    spool::{File, Spooled, is_spooled_key, key_of},
    stored::Inherited,
    vanish::Vanishing,
};
use crate::{
    model::{Nanos, ObjectId, Position, ReaderKey},
    orders::Port,
    plan::{FileInput, SourcePlan, StartAt},
    ring::{Handle, Ring},
};

enum Kept {
    Spooled(Handle),
    Held(Inherited),
}

impl<R: Ring, P: Port> Lane<R, P> {
    /// Opens what was kept of a source and is not open, the file written first coming first.
    pub(super) fn open_kept(&mut self, source: &Arc<SourcePlan>, input: &FileInput) {
        let held: Vec<Inherited> =
            self.keeping.inherited.extract_if(.., |inherited| inherited.stored.source == source.id).collect();
        let held: Vec<Inherited> = held.into_iter().filter_map(|inherited| self.unless_spooled(inherited)).collect();
        let mut kept: Vec<(Nanos, Kept)> = Vec::new();
        for (handle, file) in self.ring.spool.files().filter(|(_, file)| file.owner.source == source.id) {
            let is_read = self.readers.values().any(|reader| reader.file().is_some_and(|file| file.handle == handle));
            if !is_read && !self.is_being_spooled(handle) {
                kept.push((file.owner.modified, Kept::Spooled(handle)));
            }
        }
        for inherited in held {
            let modified = self.ring.stat(inherited.handle).map(|meta| meta.modified).unwrap_or_default();
            kept.push((modified, Kept::Held(inherited)));
        }
        kept.sort_by_key(|(modified, _)| *modified);
        for (_, kept) in kept {
            match kept {
                Kept::Spooled(handle) => self.open_spooled(source, input, handle),
                Kept::Held(inherited) => self.open_held(source, input, inherited),
            }
        }
    }

    /// Of a file that is both in the spool and held, what is whole in the spool counts; if it is not, the other does.
    fn unless_spooled(&mut self, inherited: Inherited) -> Option<Inherited> {
        let Inherited { stored, .. } = &inherited;
        let is_it = |file: &File| {
            let (own, other) = (&file.owner.identity, &stored.identity);
            file.owner.source == stored.source && own.same_inode(other)
        };
        let Some((handle, file)) = self.ring.spool.files().find(|(_, file)| is_it(file)) else {
            return Some(inherited);
        };
        if !file.whole {
            let Spooled { ring, spool, .. } = &mut self.ring;
            spool.remove(ring, handle, 0);
            return Some(inherited);
        }
        self.ring.close(inherited.handle);
        self.unstore(inherited.name);
        None
    }

    fn open_held(&mut self, source: &Arc<SourcePlan>, input: &FileInput, inherited: Inherited) {
        let meta = match self.ring.stat(inherited.handle) {
            Ok(meta) => meta,
            Err(error) => {
                // Looked at again next time; until then nothing of it counts as gone.
                self.discovery.failed(&error);
                return self.keeping.inherited.push(inherited);
            }
        };
        let Inherited { stored, name, handle } = inherited;
        let known = self.checkpoint.slots().any(|slot| match slot.key.reader {
            ReaderKey::File(identity) => slot.key.source == source.id && identity.same_inode(&stored.identity),
            ReaderKey::Journal { .. } => false,
        });
        let identity = stored.identity;
        let is_it =
            (meta.device, meta.inode, meta.generation) == (identity.device, identity.inode, identity.generation);
        if !(known && is_it) {
            // All of it was settled, and the manager was not told in time.
            self.ring.close(handle);
            return self.unstore(name);
        }
        let after = self.before(source.id, input, &stored.path);
        let (source, path) = (Arc::clone(source), stored.path);
        let begin = Begin { source, path, start: StartAt::Beginning, draining: true, after, stored: Some(name) };
        self.open_as(begin, handle, meta);
    }

    fn open_spooled(&mut self, source: &Arc<SourcePlan>, input: &FileInput, handle: Handle) {
        let Some(file) = self.ring.spool.file(handle) else { return };
        let (owner, key, end) = (file.owner.clone(), key_of(&file.owner), file.end());
        let is_of = |key: ReaderKey| {
            move |slot: &super::checkpoint::Slot| slot.key.source == source.id && slot.key.reader == key
        };
        // A power loss may have left the move to the spool half done.
        self.checkpoint.unite(source.id, ReaderKey::File(owner.identity), key);
        let known = self.checkpoint.slots().any(is_of(key));
        if !known && self.is_remembered(source.id) {
            // Everyone had passed it; only the removal was cut short.
            let Spooled { ring, spool, .. } = &mut self.ring;
            return spool.remove(ring, handle, self.checkpoint.generation());
        }
        let (marks, unattributed) = self.known_marks(key, source.id);
        let reached = self.known_size(key, source.id).max(end);
        self.ring.spool.reached(handle, reached);
        let after = self.before(source.id, input, &owner.path);
        self.next_reader += 1;
        let id = self.next_reader;
        let holes = self.ring.spool.changed_holes(handle).unwrap_or_default();
        let origin = FileOrigin {
            path: owner.path,
            handle,
            size: reached,
            tail: Tail::Hot { grew: self.now.mono },
            draining: true,
            after,
            head_short: false,
            next_head_check: Duration::ZERO,
            vanishing: Vanishing { gone: Some(reached), stored: None, holes },
        };
        let start = Position::file(self.ring.spool.file(handle).map_or(0, File::start));
        let sources = vec![Source::new(source, None)];
        let mut reader = Reader::new(id, key, Origin::File(origin), sources, start, marks);
        reader.unattributed = unattributed;
        self.readers.insert(id, Box::new(reader));
        self.update_flows(id);
    }

    /// Forgets files of a source that were in the spool and are not: what was not read of them is lost.
    pub(super) fn miss_spooled(&mut self, source: &Arc<SourcePlan>) {
        let is_open = |key: &ReaderKey| self.readers.values().any(|reader| reader.key == *key);
        let mut gone: Vec<ReaderKey> = (self.checkpoint.slots())
            .filter(|slot| slot.key.source == source.id && is_spooled_key(&slot.key.reader))
            .map(|slot| slot.key.reader)
            .filter(|key| !is_open(key))
            .collect();
        gone.dedup();
        let lost: u64 = gone.into_iter().map(|key| self.close_unread(key, source.id)).sum();
        if lost > 0 {
            let source = &source.name;
            self.trouble(format!("source {source}: files are missing in the spool; at most {lost} lines are lost"));
        }
    }

    /// Lets go of what is kept of sources that are not in the plan any more.
    pub(super) fn forget_kept(&mut self) {
        let gone = |source: ObjectId| self.plan.source(source).is_none();
        let spooled: Vec<Handle> = (self.ring.spool.files())
            .filter(|(handle, file)| gone(file.owner.source) && !self.is_being_spooled(*handle))
            .map(|(handle, _)| handle)
            .collect();
        let held: Vec<Inherited> = std::mem::take(&mut self.keeping.inherited);
        let (held, rest) = held.into_iter().partition(|inherited| gone(inherited.stored.source));
        self.keeping.inherited = rest;
        for handle in spooled {
            let Spooled { ring, spool, .. } = &mut self.ring;
            spool.remove(ring, handle, self.checkpoint.generation());
        }
        for Inherited { name, handle, .. } in held {
            self.ring.close(handle);
            self.unstore(name);
        }
    }

    /// The reader whose lines go before those of a file that was read under `path`.
    fn before(&self, source: ObjectId, input: &FileInput, path: &Path) -> Option<u32> {
        let live = if input.asks_for(path) { Some(path.to_owned()) } else { live_name(path, input) };
        self.latest_rotation_of(source, &live?)
    }
}
