//! Settling: completions from the kernel, verdicts from the targets, positions into the checkpoint.

use super::{
    Awaiting, Lane, Watching,
    checkpoint::{Content, Key, PERSIST_TOKEN},
    flow::FlowState,
    identity::marks_key,
    reader::{Cursor, PassState},
};
use crate::{
    limits::RETURN_PAUSE,
    model::ObjectId,
    orders::{Outcome, Port, Shortfall, Verdict},
    ring::{Completion, Ring, Token, Watch},
    stats::Totals,
};

impl<R: Ring, P: Port> Lane<R, P> {
    pub(super) fn settle_completions(&mut self) {
        let mut happened = std::mem::take(&mut self.happened);
        for completion in happened.drain(..) {
            match completion {
                Completion::Done { token: PERSIST_TOKEN, result, .. } => {
                    self.checkpoint.persisted(&result, self.now.mono);
                }
                Completion::Done { token, result, buf } => self.settle_read(token, result, buf),
                Completion::Changed { watch, .. } => self.settle_watch(watch),
                Completion::Overflow => {
                    self.discovery.soon();
                    self.look_at_all();
                }
            }
        }
        self.happened = happened;
    }

    fn settle_read(&mut self, token: Token, result: std::io::Result<usize>, buf: Vec<u8>) {
        match self.awaiting.get(&token).copied() {
            Some(Awaiting::Opening) => {
                self.awaiting.remove(&token);
                self.opening_read(token, result, buf);
            }
            Some(Awaiting::Job) => self.job_completed(result, buf),
            Some(Awaiting::Pass { reader, pass, pooled }) => {
                let found = self.readers.get_mut(&reader).and_then(|reader| reader.pass_mut(pass));
                match found {
                    Some(pass) => {
                        match &mut pass.cursor {
                            Cursor::File(cursor) => cursor.complete(result, buf),
                            Cursor::Journal(cursor) => cursor.complete(result, buf),
                        }
                        pass.state = PassState::Ready;
                        self.ready.push_back((reader, pass.id));
                    }
                    // The pass ended while its read was under way: only now is the buffer ours again.
                    None => {
                        self.awaiting.remove(&token);
                        if pooled {
                            self.pool.give_back(buf);
                        }
                    }
                }
            }
            None => {}
        }
    }

    fn settle_watch(&mut self, watch: Watch) {
        match self.watching.get(&watch).cloned() {
            Some(Watching::Names) => self.discovery.soon(),
            Some(Watching::Reader(reader)) => {
                self.watching.remove(&watch);
                self.reader_changed(reader, watch);
            }
            None => {}
        }
    }

    pub(super) fn settle_verdicts(&mut self) {
        while let Some(verdict) = self.port.verdict() {
            self.settle(&verdict);
        }
    }

    fn settle(&mut self, verdict: &Verdict) {
        let Some(bit) = self.targets.of(self.batches.outstanding(verdict.batch), verdict.target) else { return };
        let Some(batch) = self.batches.settle(verdict.batch, bit) else { return };
        self.targets.settled(bit, batch.raw_bytes);
        if verdict.outcome == Outcome::Returned
            && let Some(target) = self.targets.get_mut(bit)
        {
            target.rests_until = Some(self.now.mono + RETURN_PAUSE);
        }
        let shortfall = match &verdict.outcome {
            Outcome::Short(shortfall) => Some(shortfall.clone()),
            Outcome::Refused(refusal) => Some(Shortfall::somewhere(&batch, refusal)),
            Outcome::Acked | Outcome::Returned => None,
        };
        if let Some(shortfall) = &shortfall {
            let name = self.targets.get(bit).map_or_else(String::new, |target| target.plan.name.clone());
            self.trouble(format!("target {name} lacks {} lines: {}", shortfall.lines(), shortfall.reason));
        }
        for (index, part) in (0..).zip(&batch.parts) {
            let Some(reader) = self.readers.get_mut(&part.reader) else { continue };
            let Some(flow) = reader.flow_mut(part.source, verdict.target) else { continue };
            let lost = shortfall.as_ref().map_or_else(Totals::default, |shortfall| shortfall.of(index));
            flow.verdict(batch.id, &verdict.outcome, &lost, self.now.wall);
            let joins = flow.state == FlowState::Waiting && (flow.is_settled() || verdict.outcome == Outcome::Returned);
            reader.regroup |= joins;
        }
    }

    /// Puts what changed into the checkpoint.
    pub(super) fn remember(&mut self) {
        let mut full = false;
        for reader in self.readers.values_mut() {
            let settled = reader.flows.iter().map(|flow| flow.settled().offset()).min();
            if reader.file().is_some() && !reader.marks.as_slice().is_empty() {
                reader.marks_dirty |= settled.is_some_and(|settled| reader.marks.settle(settled));
                if reader.marks.are_crowded() {
                    reader.marks_dirty |= reader.marks.thin(&reader.sent());
                }
            }
            let key = reader.key;
            if std::mem::take(&mut reader.marks_dirty) {
                let source = reader.sources.first().map_or(ObjectId(0), |source| source.plan.id);
                let key = marks_key(key, source);
                let (marks, marked) = (reader.marks.as_slice().to_vec(), reader.marks.marked());
                let (unattributed, size) = (reader.unattributed, reader.vanished_bytes());
                full |= !self.checkpoint.put(key, Content::Reader { marks, marked, unattributed, size });
            }
            for flow in reader.flows.iter_mut().filter(|flow| flow.dirty) {
                flow.dirty = false;
                let key = Key { reader: key, source: flow.source, target: flow.target };
                let (position, totals, newest) = (flow.settled(), *flow.totals(), flow.newest());
                full |= !self.checkpoint.put(key, Content::Flow { position, totals, newest });
            }
        }
        if full {
            self.trouble("the checkpoint is full: some positions are not kept over a restart".to_owned());
        }
    }
}
