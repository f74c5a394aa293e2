//! What a lane tells about itself: ledgers, readers, troubles. Built from the checkpoint's own records, so that what
//! people are shown is what a restart would know.

use std::collections::BTreeMap;

use super::{
    Lane,
    checkpoint::Content,
    flow::{Flow, FlowState},
    reader::{Cursor, Origin, Pass, PassState, Reader},
};
use crate::{
    limits::REPORT_INTERVAL,
    model::{JournalPosition, Nanos, ObjectId},
    orders::Port,
    ring::Ring,
    source::journal::JournalCounts,
    stats::{FlowReport, JournalReport, Kept, LaneReport, ReaderReport, Totals},
};

/// What is being summed for one (source, target).
#[derive(Default)]
struct Sum {
    totals: Totals,
    in_flight: u64,
    newest: Nanos,
    last_delivered: Option<Nanos>,
    /// Nanoseconds the flow that is furthest behind is behind.
    behind: i64,
    waiting: Option<String>,
}

impl<R: Ring, P: Port> Lane<R, P> {
    pub(super) fn report(&mut self) {
        if self.now.mono < self.next_report {
            return;
        }
        self.next_report = self.now.mono + REPORT_INTERVAL;
        self.readers.values_mut().for_each(|reader| reader.tally());
        let imbalances = self.imbalances();
        let mut troubles: Vec<String> = self.troubles.iter().cloned().collect();
        troubles.extend(self.checkpoint.trouble().map(str::to_owned));
        troubles.extend(self.streams.trouble());
        self.board.publish_lane(LaneReport {
            lane: self.config.lane,
            backend: self.ring.backend(),
            backend_reason: self.config.backend_reason.clone(),
            core: self.config.core,
            revision: self.plan.revision,
            at: self.now.wall,
            cpu_micros: self.ring.cpu().as_micros() as u64,
            readers: self.readers.values().map(|reader| reader_report(reader)).collect(),
            flows: self.flow_reports(),
            troubles,
            drained: self.is_drained(),
            imbalances,
            kept: self.kept_report(),
            lost: self.lost_reports(),
        });
    }

    /// Times a ledger did not balance, which must never happen: each flow it happened to is told of.
    fn imbalances(&mut self) -> u64 {
        let uneven = self.readers.values().flat_map(|reader| reader.flows.iter().map(move |flow| (reader, flow)));
        let uneven = uneven.filter(|(_, flow)| flow.imbalances > 0);
        let (mut sum, mut texts) = (0, Vec::new());
        for (reader, flow) in uneven {
            sum += flow.imbalances;
            let target = self.targets.get(flow.bit).map_or("?", |target| target.plan.name.as_str());
            texts.push(format!("{}: the ledger for target {target} does not balance; this is a defect", reader.path()));
        }
        texts.into_iter().for_each(|text| self.trouble(text));
        sum
    }

    /// Ordered to drain, and nothing is in flight, unsynced or about to vanish any more.
    pub fn is_drained(&self) -> bool {
        self.draining && self.batches.is_idle() && self.checkpoint.is_safe() && self.is_kept()
    }

    /// What is lost of files that are gone; what is lost of the others stands with their readers.
    fn lost_reports(&self) -> Vec<(String, u64)> {
        let sources = self.plan.sources.iter().filter(|source| self.is_mine(source));
        let lost = sources.map(|source| (source.name.clone(), self.closed_unattributed(source.id)));
        lost.filter(|(_, lines)| *lines > 0).collect()
    }

    fn flow_reports(&self) -> Vec<FlowReport> {
        let mut sums: BTreeMap<(ObjectId, ObjectId), Sum> = BTreeMap::new();
        for slot in self.checkpoint.slots() {
            if let Content::Flow { totals, newest, .. } = &slot.content {
                let sum = sums.entry((slot.key.source, slot.key.target)).or_default();
                sum.totals.add(totals);
                sum.newest = sum.newest.max(*newest);
            }
        }
        for reader in self.readers.values() {
            for flow in &reader.flows {
                let sum = sums.entry((flow.source, flow.target)).or_default();
                sum.in_flight += flow.in_flight();
                sum.last_delivered = sum.last_delivered.max(flow.last_delivered);
                sum.behind = sum.behind.max(self.behind(reader, flow));
                if let Some(starved) = self.targets.get(flow.bit).and_then(|target| target.starved_since) {
                    let waited = self.now.mono.saturating_sub(starved).as_secs();
                    sum.waiting = Some(format!("no credit since {waited} s"));
                } else if self.rota.is_limited(flow.source, flow.bit) {
                    sum.waiting = Some("held by limit (rateBytes)".to_owned());
                }
            }
        }
        sums.into_iter().filter_map(|((source, target), sum)| self.flow_report(source, target, sum)).collect()
    }

    /// How many nanoseconds a flow is behind: the age of the oldest line under way, else for how long there has been
    /// something to read. Never the time since the last line: who has been quiet for a day is not a day behind.
    fn behind(&self, reader: &Reader, flow: &Flow) -> i64 {
        if let Some(since) = flow.waits_since() {
            return self.now.wall.0.saturating_sub(since.0).max(0);
        }
        let FlowState::Reading { pass } = flow.state else { return 0 };
        let busy = |pass: &&Pass| !matches!(pass.state, PassState::Idle { .. });
        let pass = reader.passes.iter().find(|other| other.id == pass).filter(busy);
        pass.map_or(0, |pass| self.now.mono.saturating_sub(pass.busy_since).as_nanos() as i64)
    }

    fn flow_report(&self, source: ObjectId, target: ObjectId, sum: Sum) -> Option<FlowReport> {
        // What other lanes carry stands in our checkpoint as well, as it was when we started.
        let plan = self.plan.source(source).filter(|plan| self.is_mine(plan))?;
        Some(FlowReport {
            source,
            source_name: plan.name.clone(),
            target,
            target_name: self.plan.target(target)?.name.clone(),
            totals: sum.totals,
            in_flight: sum.in_flight,
            lag_seconds: sum.behind as f64 / 1e9,
            last_delivered: sum.last_delivered,
            waiting: sum.waiting,
        })
    }
}

fn reader_report(reader: &Reader) -> ReaderReport {
    let source = reader.sources.iter().map(|source| source.plan.name.as_str()).collect::<Vec<_>>().join(", ");
    let (behind_bytes, draining) = match &reader.origin {
        Origin::File(file) => {
            let slowest = reader.passes.iter().map(|pass| pass.at.offset()).min();
            (slowest.map_or(0, |at| file.size.saturating_sub(at)), file.draining)
        }
        Origin::Journal(_) => (0, false),
    };
    let unattributed = reader.unattributed.saturating_add(reader.entries.unattributed);
    let kept = match reader.vanished_bytes() {
        0 => Kept::Named,
        _ if reader.is_spooled() => Kept::Spooled,
        _ => Kept::Pinned,
    };
    let (path, journal) = (reader.path(), journal_report(reader));
    ReaderReport { source, path, behind_bytes, draining, kept, unattributed, journal }
}

fn journal_report(reader: &Reader) -> Option<JournalReport> {
    let place = |at: &JournalPosition| (at.seqnum, Nanos::from_micros(at.realtime).unwrap_or_default());
    // Of several walks the slowest counts: everything up to it was read by all.
    let positions = reader.passes.iter().filter_map(|pass| match &pass.cursor {
        Cursor::Journal(cursor) => Some(cursor.position()),
        Cursor::File(_) => None,
    });
    let to = positions.min_by_key(|at| at.realtime)?;
    let JournalCounts { read, damaged, spoiled, cut, own, repeated, .. } = reader.entries;
    let unreadable = reader.unreadable.len() as u64;
    let from = place(&reader.began.unwrap_or(to));
    Some(JournalReport { from, to: place(&to), read, damaged, spoiled, cut, own, repeated, unreadable })
}
