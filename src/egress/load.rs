//! One batch on its way to one target, which answers its lane exactly once.
//!
//! The answer is given by consuming the load. A load that is dropped without one (its target was disabled, its task
//! died) answers `Returned`, so that no path through egress can lose a batch silently.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use bytes::Bytes;

use crate::{
    limits::BATCHES_IN_FLIGHT_MAX,
    model::ObjectId,
    orders::{Batch, EgressPort, Outcome, Refusal, Verdict},
};

/// Set once egress halts: from then on nothing is answered, and what is unsettled stays unsettled.
pub(super) type Halted = Arc<AtomicBool>;

/// How many batches of one lane are under way to one target.
#[derive(Clone, Debug, Default)]
pub(super) struct Credit(Arc<()>);

impl Credit {
    /// Another share, or `None` when `limits::BATCHES_IN_FLIGHT_MAX` are out, which no sound lane lets happen.
    fn take(&self) -> Option<Self> {
        // One count is the issuer's own.
        (Arc::strong_count(&self.0) <= BATCHES_IN_FLIGHT_MAX).then(|| self.clone())
    }
}

#[derive(Debug)]
pub(super) struct Load {
    batch: Arc<Batch>,
    target: ObjectId,
    port: EgressPort,
    halted: Halted,
    _credit: Option<Credit>,
    answered: bool,
}

impl Load {
    pub(super) fn new(port: &EgressPort, target: ObjectId, batch: Arc<Batch>, halted: &Halted) -> Self {
        Self { batch, target, port: port.clone(), halted: Arc::clone(halted), _credit: None, answered: false }
    }

    /// Counts this load against `credit`; false when there is none left.
    pub(super) fn count(&mut self, credit: &Credit) -> bool {
        self._credit = credit.take();
        self._credit.is_some()
    }

    pub(super) fn batch(&self) -> &Batch {
        &self.batch
    }

    /// The bytes for the wire; shared, not copied.
    pub(super) fn body(&self) -> Bytes {
        self.batch.body.clone()
    }

    pub(super) fn acked(mut self) {
        self.answer(Outcome::Acked);
    }

    pub(super) fn refused(mut self, refusal: Refusal) {
        self.answer(Outcome::Refused(refusal));
    }

    fn answer(&mut self, outcome: Outcome) {
        self.answered = true;
        if !self.halted.load(Ordering::Relaxed) {
            self.port.give(Verdict { batch: self.batch.id, target: self.target, outcome });
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        if !self.answered {
            self.answer(Outcome::Returned);
        }
    }
}
