//! Letting go of a reader: drained after rotation, truncated, or no longer asked for.

use std::mem;

use super::{
    Lane,
    checkpoint::{CLOSED, Content, Key},
    discover::LOOK_SLACK_NANOS,
    identity::marks_key,
    reader::{Cursor, Origin, PassState, Tail},
    spool::{Spool, Spooled},
};
use crate::{
    model::{Nanos, Position},
    orders::Port,
    ring::Ring,
    stats::Totals,
};

impl<R: Ring, P: Port> Lane<R, P> {
    /// A rotated file has been quiet: once all of it is settled it is let go. An unfinished last line is a record now.
    pub(super) fn finish(&mut self, id: u32) {
        let Some(reader) = self.readers.get_mut(&id) else { return };
        let Some(size) = reader.file().map(|file| file.size) else { return };
        if reader.regroup {
            return;
        }
        // One that is done does not wait for one that is not.
        for pass in reader.passes.iter_mut().filter(|pass| pass.at.offset() < size) {
            if let (Cursor::File(cursor), PassState::Idle { .. }) = (&mut pass.cursor, pass.state) {
                cursor.set_last();
                pass.state = PassState::Ready;
                self.ready.push_back((id, pass.id));
            }
        }
        let busy = reader.passes.iter().any(|pass| !matches!(pass.state, PassState::Idle { .. }));
        // What a disabled target did not get waits for it for as long as the file has a name; then it is counted.
        if busy || reader.flows.iter().any(|flow| !flow.is_settled()) || reader.has_parked_rest() {
            return;
        }
        // What lies in an open batch stands in no flow's window yet.
        if !self.batches.contributed_by(id).is_empty() {
            return;
        }
        // A restart must not take this file for one that was never seen: wait for a look that is younger than it and
        // outlives a power loss.
        let source = reader.sources.first().map(|source| source.plan.id);
        let handle = reader.file().map(|file| file.handle);
        let modified = handle.and_then(|handle| self.ring.stat(handle).ok()).map(|meta| meta.modified);
        let looked = source.and_then(|source| self.safe_look(source));
        if modified.zip(looked).is_none_or(|(modified, looked)| looked <= modified.plus(2 * LOOK_SLACK_NANOS)) {
            return;
        }
        self.drop_reader(id, true);
    }

    /// Closes a reader. With `forget` its positions go with it, otherwise they wait for its return.
    pub(super) fn drop_reader(&mut self, id: u32, forget: bool) {
        for open in self.batches.contributed_by(id) {
            self.seal(open);
        }
        let Some(mut reader) = self.readers.remove(&id) else { return };
        for pass in mem::take(&mut reader.passes) {
            self.end_pass(pass);
        }
        let key = reader.key;
        for flow in &reader.flows {
            let (position, totals, newest) = (flow.settled(), *flow.totals(), flow.newest());
            let key = Key { reader: key, source: flow.source, target: flow.target };
            if forget {
                self.checkpoint.forget(&key);
                self.close_ledger(&key, &totals, newest);
            } else {
                self.checkpoint.put(key, Content::Flow { position, totals, newest });
            }
        }
        if forget {
            for source in &reader.sources {
                self.checkpoint.forget(&marks_key(key, source.plan.id));
            }
            if let (Some(source), Origin::File(_)) = (reader.sources.first(), &reader.origin) {
                self.close_unattributed(source.plan.id, reader.unattributed);
            }
        }
        match reader.origin {
            Origin::File(file) => {
                if let Tail::Idle { watch: Some(watch) } = file.tail {
                    self.watching.remove(&watch);
                    self.ring.unwatch(watch);
                }
                if forget && Spool::is_spooled(file.handle) {
                    let Spooled { ring, spool, .. } = &mut self.ring;
                    spool.remove(ring, file.handle, self.checkpoint.generation());
                }
                self.ring.close(file.handle);
                if let Some(name) = file.vanishing.stored {
                    self.unstore(name);
                }
            }
            Origin::Journal(journal) => {
                for watch in journal.watches {
                    self.watching.remove(&watch);
                    self.ring.unwatch(watch);
                }
            }
        }
    }

    /// Adds the totals of a flow that ends to what its source and target have in common.
    pub(super) fn close_ledger(&mut self, ended: &Key, totals: &Totals, newest: Nanos) {
        let key = Key { reader: CLOSED, ..*ended };
        let mut sum = *totals;
        let mut last = newest;
        if let Some(Content::Flow { totals, newest, .. }) = self.checkpoint.content(&key) {
            sum.add(totals);
            last = last.max(*newest);
        }
        self.checkpoint.put(key, Content::Flow { position: Position::file(0), totals: sum, newest: last });
    }
}
