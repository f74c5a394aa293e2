//! Noticing growth: hot files are looked at on a short timer, idle ones wait on a one-shot watch.
//!
//! Polling every file costs a core at some thousand files, watching every write costs more at a few busy ones; so a
//! file that grows is polled, and one that has not grown for `TAIL_IDLE` is watched until it does. After a watch is
//! armed the file is looked at once more, since it may have grown in between.

use std::time::Duration;

use super::{
    Lane, Watching,
    reader::{Cursor, Origin, PassState, Tail},
};
use crate::{
    limits::{FINGERPRINT_BYTES, JOURNAL_POLL, JOURNAL_REST, ROTATED_QUIET, TAIL_IDLE, TAIL_POLL},
    model::ReaderKey,
    orders::Port,
    ring::{Meta, ReadNow, Ring, Watch, WatchKind},
    source::file::Head,
};

impl<R: Ring, P: Port> Lane<R, P> {
    /// Looks at hot files and journals when it is time to.
    pub(super) fn tail(&mut self) {
        if self.now.mono < self.next_tail {
            return;
        }
        self.next_tail = self.now.mono + TAIL_POLL;
        let readers: Vec<u32> = self.readers.keys().copied().collect();
        for id in readers {
            self.retry_failed(id);
            match self.readers.get(&id).map(|reader| &reader.origin) {
                Some(Origin::File(file)) => {
                    let hot = matches!(file.tail, Tail::Hot { .. });
                    if hot || file.draining {
                        self.look_closely(id);
                    }
                }
                Some(Origin::Journal(journal)) if self.now.mono >= journal.next_look => {
                    self.look_at_journal(id);
                    self.watch_journal_again(id);
                }
                _ => {}
            }
        }
    }

    /// Looks at one file now.
    pub(super) fn look_closely(&mut self, id: u32) {
        let Some((handle, size)) = self.readers.get(&id).and_then(|r| r.file()).map(|file| (file.handle, file.size))
        else {
            return;
        };
        let meta = match self.ring.stat(handle) {
            Ok(meta) => meta,
            Err(error) => return self.trouble(format!("stat: {error}")),
        };
        if meta.size != size {
            self.grown(id, &meta);
        } else {
            self.not_grown(id);
        }
    }

    fn grown(&mut self, id: u32, meta: &Meta) {
        let now = self.now.mono;
        let Some(reader) = self.readers.get_mut(&id) else { return };
        let Some(file) = reader.file_mut() else { return };
        let known = std::mem::replace(&mut file.size, meta.size);
        let hot = Tail::Hot { grew: now };
        if let Tail::Idle { watch: Some(watch) } = std::mem::replace(&mut file.tail, hot) {
            self.watching.remove(&watch);
            self.ring.unwatch(watch);
        }
        for pass in reader.passes.iter_mut() {
            if matches!(pass.state, PassState::Idle { size } if size != meta.size) {
                pass.wake(now);
                self.ready.push_back((id, pass.id));
            }
        }
        if meta.size < known || self.head_differs(id, meta) {
            self.mend_truncated(id, known);
        }
        if self.readers.get(&id).and_then(|reader| reader.file()).is_some_and(|file| file.head_short) {
            self.hash_head_anew(id, meta);
        }
    }

    fn not_grown(&mut self, id: u32) {
        let now = self.now.mono;
        let Some(file) = self.readers.get_mut(&id).and_then(|reader| reader.file_mut()) else { return };
        let grew = match file.tail {
            Tail::Hot { grew } => grew,
            Tail::Idle { .. } if !file.draining => return,
            // It was idle when it was rotated away: its quiet time begins now, or it would be held for ever.
            Tail::Idle { watch } => {
                file.tail = Tail::Hot { grew: now };
                if let Some(watch) = watch {
                    self.watching.remove(&watch);
                    self.ring.unwatch(watch);
                }
                return;
            }
        };
        if file.draining {
            if now >= grew + ROTATED_QUIET {
                self.finish(id);
            }
        } else if now >= grew + TAIL_IDLE {
            let (path, handle, size) = (file.path.clone(), file.handle, file.size);
            let Ok(watch) = self.ring.watch(&path, WatchKind::ContentOnce) else {
                // Without a watch (too many, no inotify) the file stays hot: costlier, never deaf. Asked again later.
                file.tail = Tail::Hot { grew: now };
                return;
            };
            self.watching.insert(watch, Watching::Reader(id));
            if let Some(reader) = self.readers.get_mut(&id) {
                reader.lie_down();
                if let Some(file) = reader.file_mut() {
                    file.tail = Tail::Idle { watch: Some(watch) };
                }
            }
            if let Ok(meta) = self.ring.stat(handle)
                && meta.size != size
            {
                self.grown(id, &meta);
            }
        }
    }

    /// The head was shorter than a fingerprint; now that the file has grown it tells more.
    fn hash_head_anew(&mut self, id: u32, meta: &Meta) {
        let Some(reader) = self.readers.get_mut(&id) else { return };
        let old = reader.key;
        let Some(file) = reader.file_mut() else { return };
        let mut head = [0; FINGERPRINT_BYTES];
        let Ok(ReadNow::Ready(bytes)) = self.ring.read_now(file.handle, 0, &mut head) else { return };
        if (bytes as u64) < meta.size.min(FINGERPRINT_BYTES as u64) {
            return;
        }
        let head = Head::new(&head[..bytes]);
        file.head_short = head.is_short();
        let new = ReaderKey::File(head.identity(meta));
        if new != old {
            reader.key = new;
            self.checkpoint.rename(old, new);
        }
    }

    fn look_at_journal(&mut self, id: u32) {
        let next = self.now.mono + JOURNAL_POLL;
        let Some(reader) = self.readers.get_mut(&id) else { return };
        let Origin::Journal(journal) = &mut reader.origin else { return };
        journal.next_look = next;
        reader.tally();
        for pass in reader.passes.iter_mut() {
            if let Cursor::Journal(cursor) = &mut pass.cursor {
                cursor.changed();
            }
            if matches!(pass.state, PassState::Idle { .. }) {
                pass.wake(next - JOURNAL_POLL);
                self.ready.push_back((id, pass.id));
            }
        }
        let troubles: Vec<String> = (reader.passes.iter_mut())
            .filter_map(|pass| match &mut pass.cursor {
                Cursor::Journal(cursor) => Some(cursor.take_troubles()),
                Cursor::File(_) => None,
            })
            .flatten()
            .collect();
        for trouble in troubles {
            self.trouble(trouble);
        }
    }

    /// Watches the directories of a journal that are not watched: new ones, and those whose watch has fired.
    fn watch_journal_again(&mut self, id: u32) {
        let Some(reader) = self.readers.get(&id) else { return };
        let paths = reader.passes.first().map_or(0, |pass| match &pass.cursor {
            Cursor::Journal(cursor) => cursor.watch_paths().count(),
            Cursor::File(_) => 0,
        });
        if matches!(&reader.origin, Origin::Journal(journal) if journal.watches.len() < paths) {
            self.watch_journal(id);
        }
    }

    /// A one-shot watch has seen something.
    pub(super) fn reader_changed(&mut self, id: u32, watch: Watch) {
        match self.readers.get_mut(&id).map(|reader| &mut reader.origin) {
            Some(Origin::File(file)) => {
                if file.tail == (Tail::Idle { watch: Some(watch) }) {
                    file.tail = Tail::Hot { grew: self.now.mono };
                }
                self.look_closely(id);
            }
            Some(Origin::Journal(journal)) => {
                journal.watches.retain(|known| *known != watch);
                self.look_at_journal(id);
                // A writer that never rests would have every line looked at by itself: what it writes meanwhile is seen
                // when it is watched again.
                let rested = self.now.mono + JOURNAL_REST;
                if let Some(Origin::Journal(journal)) = self.readers.get_mut(&id).map(|reader| &mut reader.origin) {
                    journal.next_look = rested;
                }
                self.next_tail = self.next_tail.min(rested);
            }
            None => {}
        }
    }

    /// Events were lost: look at everything.
    pub(super) fn look_at_all(&mut self) {
        let readers: Vec<u32> = self.readers.keys().copied().collect();
        for id in readers {
            match self.readers.get(&id).map(|reader| &reader.origin) {
                Some(Origin::File(_)) => self.look_closely(id),
                Some(Origin::Journal(_)) => {
                    self.look_at_journal(id);
                    self.watch_journal_again(id);
                }
                None => {}
            }
        }
    }

    fn retry_failed(&mut self, id: u32) {
        let now: Duration = self.now.mono;
        let Some(reader) = self.readers.get_mut(&id) else { return };
        for pass in reader.passes.iter_mut() {
            if matches!(pass.state, PassState::Failed { until } if now >= until) {
                pass.state = PassState::Ready;
                self.ready.push_back((id, pass.id));
            }
        }
    }
}
