//! A flow: one reader's lines of one source on their way to one target, with its own position, window and ledger.
//!
//! The window lists what was read and is not settled, in order. A verdict marks its entry; the position moves over the
//! settled ones at the front and never over one that is not. Totals move together with the position.

use std::collections::VecDeque;

use crate::{
    model::{Nanos, ObjectId, Position},
    orders::Outcome,
    stats::{DropReason, Totals},
};

/// Whether a flow is being read for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlowState {
    /// A member of this pass of its reader.
    Reading { pass: u32 },
    /// Wanted by the plan; joins a pass at its settled position once nothing of it is in flight.
    Waiting,
    /// Source or target disabled: keeps its position.
    Parked,
}

#[derive(Debug)]
struct Entry {
    /// `None`: nothing of it was sent (all filtered), settled by nature.
    batch: Option<u64>,
    end: Position,
    counts: Totals,
    /// Lines of it that are in the batch.
    inside: u64,
    newest: Nanos,
    settled: bool,
    /// What it was read from is gone: should its batch come back, its lines are dropped.
    gone: bool,
}

#[derive(Debug)]
pub struct Flow {
    pub source: ObjectId,
    pub target: ObjectId,
    pub bit: u8,
    pub state: FlowState,
    settled: Position,
    totals: Totals,
    /// Time of the newest line settled.
    newest: Nanos,
    window: VecDeque<Entry>,
    /// Lines handed to this flow since its life began, settled or not.
    read: u64,
    in_flight: u64,
    /// Position or totals changed since they were last written to the checkpoint.
    pub dirty: bool,
    pub last_delivered: Option<Nanos>,
    pub imbalances: u64,
}

impl Flow {
    pub fn new(source: ObjectId, target: ObjectId, bit: u8, settled: Position, totals: Totals, newest: Nanos) -> Self {
        Self {
            source,
            target,
            bit,
            state: FlowState::Waiting,
            settled,
            totals,
            newest,
            window: VecDeque::new(),
            read: totals.read,
            in_flight: 0,
            dirty: true,
            last_delivered: None,
            imbalances: 0,
        }
    }

    pub fn settled(&self) -> Position {
        self.settled
    }

    /// Up to where it was read and handed over.
    pub fn head(&self) -> Position {
        self.window.back().map_or(self.settled, |entry| entry.end)
    }

    /// Time of the newest line of the oldest batch that waits for a verdict.
    pub fn waits_since(&self) -> Option<Nanos> {
        self.window.iter().find(|entry| !entry.settled).map(|entry| entry.newest)
    }

    pub fn totals(&self) -> &Totals {
        &self.totals
    }

    pub fn newest(&self) -> Nanos {
        self.newest
    }

    /// Lines in the window that wait for a verdict.
    pub fn in_flight(&self) -> u64 {
        self.in_flight
    }

    pub fn is_settled(&self) -> bool {
        self.window.is_empty()
    }

    /// Everything up to `end` has been read; `counts` says what, `batch` carries what was not filtered.
    pub fn read_to(&mut self, batch: Option<u64>, end: Position, counts: &Totals, newest: Nanos) {
        if batch.is_none() && counts.read == 0 && end == self.head() {
            return;
        }
        let inside = counts.unsettled();
        self.read += counts.read;
        self.in_flight += inside;
        debug_assert!(batch.is_some() || inside == 0);
        match self.window.back_mut() {
            Some(last) if last.batch.is_none() && batch.is_none() => {
                last.counts.add(counts);
                last.end = end;
                last.newest = last.newest.max(newest);
            }
            _ => {
                let settled = batch.is_none();
                self.window.push_back(Entry { batch, end, counts: *counts, inside, newest, settled, gone: false });
            }
        }
        self.move_up();
    }

    /// All up to `end` that is not read yet will never be: at most `lines` lines, dropped for `reason` once everything
    /// before them is settled.
    pub fn lose(&mut self, end: Position, lines: u64, reason: DropReason) {
        let mut counts = Totals { read: lines, ..Totals::default() };
        counts.dropped[reason as usize] = lines;
        self.read += lines;
        let newest = Nanos::default();
        self.window.push_back(Entry { batch: None, end, counts, inside: 0, newest, settled: true, gone: false });
        self.move_up();
    }

    /// Takes the verdict on `batch`, of whose lines in this flow `lost` did not arrive. `now` is the wall time.
    pub fn verdict(&mut self, batch: u64, outcome: &Outcome, lost: &Totals, now: Nanos) {
        let Some(at) = self.window.iter().position(|entry| entry.batch == Some(batch)) else { return };
        let returned = *outcome == Outcome::Returned;
        let entry = &mut self.window[at];
        if returned && entry.gone {
            entry.counts.dropped[DropReason::SourceGone as usize] += entry.inside;
            entry.settled = true;
            return self.move_up();
        }
        if returned {
            return self.rewind_to(at);
        }
        debug_assert!(lost.settled() <= entry.inside, "more lost than there was: {lost:?} of {entry:?}");
        if lost.settled() <= entry.inside {
            entry.counts.add(lost);
        }
        entry.counts.delivered = entry.counts.unsettled();
        entry.settled = true;
        if entry.counts.delivered > 0 {
            self.last_delivered = Some(now);
        }
        self.move_up();
    }

    /// Forgets what is not settled: it will be read again from the settled position.
    pub fn rewind(&mut self) {
        self.rewind_to(0);
    }

    fn rewind_to(&mut self, at: usize) {
        for entry in self.window.drain(at..) {
            self.read -= entry.counts.read;
            self.in_flight -= entry.inside;
        }
        self.state = FlowState::Waiting;
        self.move_up();
    }

    /// Moves the position and totals over everything settled at the front.
    fn move_up(&mut self) {
        while let Some(entry) = self.window.pop_front_if(|entry| entry.settled) {
            self.totals.add(&entry.counts);
            self.in_flight -= entry.inside;
            // `in_flight` counts until the position moves: only then is the line out of our hands.
            self.settled = entry.end;
            self.newest = self.newest.max(entry.newest);
            self.dirty = true;
        }
        let in_window: u64 = self.window.iter().map(|entry| entry.counts.read - entry.inside).sum();
        let balanced = self.totals.balances(0) && self.read == self.totals.read + self.in_flight + in_window;
        debug_assert!(balanced, "the ledger does not balance: {self:?}");
        self.imbalances += u64::from(!balanced);
    }

    /// A file was truncated: reading begins anew at `position` once what was read of the old content is settled. The
    /// position moves at once, since the old one means nothing in the new content.
    pub fn restart_at(&mut self, position: Position) {
        for entry in &mut self.window {
            entry.end = position;
            entry.gone = true;
        }
        self.settled = position;
        self.state = FlowState::Waiting;
        self.dirty = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{orders::Shortfall, stats::DropReason};

    const NOW: Nanos = Nanos(7);
    const NONE: Totals = Totals {
        read: 0,
        read_bytes: 0,
        filtered: 0,
        delivered: 0,
        refused: 0,
        quarantined: 0,
        dropped: [0; DropReason::COUNT],
        unparsed: 0,
    };

    fn dropped(reason: DropReason, lines: u64) -> [u64; DropReason::COUNT] {
        let mut dropped = [0; DropReason::COUNT];
        dropped[reason as usize] = lines;
        dropped
    }

    fn flow() -> Flow {
        Flow::new(ObjectId(1), ObjectId(2), 0, Position::file(0), Totals::default(), Nanos(0))
    }

    fn counts(read: u64, filtered: u64) -> Totals {
        Totals { read, filtered, ..Totals::default() }
    }

    #[test]
    fn a_later_ack_does_not_move_the_position_past_an_earlier_batch() {
        let mut flow = flow();
        flow.read_to(Some(1), Position::file(10), &counts(3, 1), NOW);
        flow.read_to(Some(2), Position::file(20), &counts(2, 0), NOW);
        flow.verdict(2, &Outcome::Acked, &NONE, NOW);
        assert_eq!(flow.settled(), Position::file(0));
        assert_eq!(flow.in_flight(), 4);
        flow.verdict(1, &Outcome::Acked, &NONE, NOW);
        assert_eq!(flow.settled(), Position::file(20));
        assert_eq!(*flow.totals(), Totals { read: 5, filtered: 1, delivered: 4, ..Totals::default() });
    }

    #[test]
    fn filtered_lines_move_the_position_and_hold_nothing() {
        let mut flow = flow();
        for step in 1..1_000 {
            flow.read_to(None, Position::file(step * 100), &counts(10, 10), NOW);
            assert_eq!(flow.settled(), Position::file(step * 100));
            assert!(flow.is_settled());
        }
    }

    #[test]
    fn filtered_lines_behind_a_batch_wait_in_one_entry() {
        let mut flow = flow();
        flow.read_to(Some(1), Position::file(10), &counts(1, 0), NOW);
        for step in 2..100 {
            flow.read_to(None, Position::file(step * 10), &counts(1, 1), NOW);
        }
        assert_eq!(flow.window.len(), 2);
        assert_eq!(flow.settled(), Position::file(0));
        flow.verdict(1, &Outcome::Acked, &NONE, NOW);
        assert_eq!(flow.settled(), Position::file(990));
    }

    #[test]
    fn a_returned_batch_rewinds_all_behind_it() {
        let mut flow = flow();
        flow.read_to(Some(1), Position::file(10), &counts(1, 0), NOW);
        flow.read_to(Some(2), Position::file(20), &counts(1, 0), NOW);
        flow.read_to(Some(3), Position::file(30), &counts(1, 0), NOW);
        flow.verdict(2, &Outcome::Returned, &NONE, NOW);
        assert_eq!((flow.in_flight(), flow.settled()), (1, Position::file(0)));
        flow.verdict(3, &Outcome::Acked, &NONE, NOW);
        flow.verdict(1, &Outcome::Acked, &NONE, NOW);
        assert_eq!(flow.settled(), Position::file(10), "3 was delivered, and will be again");
        assert_eq!(flow.totals().delivered, 1);
    }

    #[test]
    fn lost_lines_are_counted_by_what_became_of_them() {
        let mut flow = flow();
        let mut read = counts(9, 2);
        read.dropped[DropReason::MaxAge as usize] = 1;
        flow.read_to(Some(1), Position::file(10), &read, NOW);
        flow.read_to(Some(2), Position::file(20), &counts(1, 0), NOW);
        assert_eq!(flow.in_flight(), 7);
        let lost = Totals { refused: 1, quarantined: 2, dropped: dropped(DropReason::TooOld, 1), ..Totals::default() };
        flow.verdict(1, &Outcome::Short(Shortfall::default()), &lost, NOW);
        let mut dropped = dropped(DropReason::TooOld, 1);
        dropped[DropReason::MaxAge as usize] = 1;
        let known = Totals { read: 9, filtered: 2, delivered: 2, refused: 1, quarantined: 2, dropped, ..NONE };
        assert_eq!(*flow.totals(), known);
        assert_eq!((flow.settled(), flow.in_flight()), (Position::file(10), 1));
    }

    #[test]
    fn lines_dropped_before_they_were_sent_settle_by_themselves() {
        let mut flow = flow();
        let mut read = counts(3, 1);
        read.dropped[DropReason::MaxAge as usize] = 2;
        flow.read_to(None, Position::file(10), &read, NOW);
        assert_eq!((flow.settled(), flow.in_flight(), flow.imbalances), (Position::file(10), 0, 0));
    }

    #[test]
    fn what_comes_back_after_its_file_was_truncated_is_dropped_and_counted() {
        let mut flow = flow();
        flow.read_to(Some(1), Position::file(10), &counts(2, 0), NOW);
        flow.read_to(Some(2), Position::file(20), &counts(5, 1), NOW);
        flow.restart_at(Position::file(0));
        flow.verdict(1, &Outcome::Returned, &NONE, NOW);
        flow.verdict(2, &Outcome::Acked, &NONE, NOW);
        assert!(flow.is_settled());
        let totals = flow.totals();
        assert_eq!((totals.read, totals.delivered, totals.filtered), (7, 4, 1));
        assert_eq!(totals.dropped[DropReason::SourceGone as usize], 2);
        assert_eq!((flow.settled(), flow.imbalances), (Position::file(0), 0));
    }

    #[test]
    fn what_is_lost_is_counted_in_its_place() {
        let mut flow = flow();
        flow.read_to(Some(1), Position::file(10), &counts(2, 0), NOW);
        flow.lose(Position::file(30), 7, DropReason::Budget);
        flow.read_to(None, Position::file(40), &counts(1, 1), NOW);
        assert_eq!((flow.settled(), flow.totals().read, flow.head()), (Position::file(0), 0, Position::file(40)));
        flow.verdict(1, &Outcome::Acked, &NONE, NOW);
        assert_eq!((flow.settled(), flow.totals().read, flow.in_flight()), (Position::file(40), 10, 0));
        assert_eq!(flow.totals().dropped[DropReason::Budget as usize], 7);
    }
}
