//! One batch on its way to one target, which answers its lane exactly once.
//!
//! The answer is given by consuming the load. A load that is dropped without one (its target was disabled, its task
//! died) answers `Returned`, so that no path through egress can lose a batch silently.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use bytes::Bytes;
use tokio::sync::oneshot;

use crate::{
    limits::BATCHES_IN_FLIGHT_MAX,
    model::ObjectId,
    orders::{Batch, EgressPort, Outcome, Verdict},
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

/// Who waits for the answer.
#[derive(Debug)]
enum Answerer {
    Lane(EgressPort),
    /// Somebody in egress itself, who sends again what lay in quarantine.
    Replay(Option<oneshot::Sender<Outcome>>),
}

#[derive(Debug)]
pub(super) struct Load {
    batch: Arc<Batch>,
    target: ObjectId,
    answerer: Answerer,
    halted: Halted,
    _credit: Option<Credit>,
    answered: bool,
}

impl Load {
    pub(super) fn new(port: &EgressPort, target: ObjectId, batch: Arc<Batch>, halted: &Halted) -> Self {
        let answerer = Answerer::Lane(port.clone());
        Self { batch, target, answerer, halted: Arc::clone(halted), _credit: None, answered: false }
    }

    /// One that no lane gave. The other end hears what became of it.
    pub(super) fn replay(target: ObjectId, batch: Arc<Batch>, halted: &Halted) -> (Self, oneshot::Receiver<Outcome>) {
        let (tell, told) = oneshot::channel();
        let answerer = Answerer::Replay(Some(tell));
        (Self { batch, target, answerer, halted: Arc::clone(halted), _credit: None, answered: false }, told)
    }

    /// Counts this load against `credit`; false when there is none left.
    pub(super) fn count(&mut self, credit: &Credit) -> bool {
        self._credit = credit.take();
        self._credit.is_some()
    }

    pub(super) fn batch(&self) -> &Batch {
        &self.batch
    }

    pub(super) fn shared(&self) -> Arc<Batch> {
        Arc::clone(&self.batch)
    }

    /// The bytes for the wire; shared, not copied.
    pub(super) fn body(&self) -> Bytes {
        self.batch.body.clone()
    }

    pub(super) fn acked(mut self) {
        self.answer(Outcome::Acked);
    }

    pub(super) fn settle(mut self, outcome: Outcome) {
        self.answer(outcome);
    }

    fn answer(&mut self, outcome: Outcome) {
        self.answered = true;
        if self.halted.load(Ordering::Relaxed) {
            return;
        }
        match &mut self.answerer {
            Answerer::Lane(port) => port.give(Verdict { batch: self.batch.id, target: self.target, outcome }),
            Answerer::Replay(tell) => {
                if let Some(tell) = tell.take() {
                    // Nobody listens any more: what was replayed is replayed again at the next start.
                    let _ = tell.send(outcome);
                }
            }
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
