//! The hand-off ring between one lane and one egress thread: batches over, verdicts back, by pointer, without locks.
//!
//! Capacity is credit. A lane never has more in flight than the verdict ring can hold, so egress never waits to give a
//! verdict. Whoever sleeps is woken: egress by a `tokio::sync::Notify`, the lane by its ring's waker.

use std::sync::Arc;

use crossbeam::queue::ArrayQueue;
use tokio::sync::Notify;

use super::{Batch, Verdict};
use crate::{limits, model::ObjectId, ring::Waker};

/// The second seam: where a lane hands over batches and takes verdicts. Implemented by the ring to egress and by the
/// simulated peers of the tests.
pub trait Port {
    /// Hands `batch` over for `target`. Gives it back when there is no room: try again next turn.
    fn submit(&mut self, target: ObjectId, batch: Arc<Batch>) -> Result<(), Arc<Batch>>;
    /// The next verdict, if there is one.
    fn verdict(&mut self) -> Option<Verdict>;
}

#[derive(Debug)]
struct Shared {
    batches: ArrayQueue<(ObjectId, Arc<Batch>)>,
    verdicts: ArrayQueue<Verdict>,
    arrived: Notify,
}

/// The lane's end.
#[derive(Debug)]
pub struct LanePort {
    shared: Arc<Shared>,
}

/// The egress thread's end.
#[derive(Debug, Clone)]
pub struct EgressPort {
    shared: Arc<Shared>,
    lane: Waker,
}

/// Makes both ends. `lane` wakes the lane when a verdict is there.
pub fn handoff(lane: Waker) -> (LanePort, EgressPort) {
    let shared = Arc::new(Shared {
        batches: ArrayQueue::new(limits::HANDOFF_SLOTS),
        verdicts: ArrayQueue::new(limits::VERDICT_SLOTS),
        arrived: Notify::new(),
    });
    (LanePort { shared: Arc::clone(&shared) }, EgressPort { shared, lane })
}

impl Port for LanePort {
    fn submit(&mut self, target: ObjectId, batch: Arc<Batch>) -> Result<(), Arc<Batch>> {
        self.shared.batches.push((target, batch)).map_err(|(_, batch)| batch)?;
        self.shared.arrived.notify_one();
        Ok(())
    }

    fn verdict(&mut self) -> Option<Verdict> {
        self.shared.verdicts.pop()
    }
}

impl EgressPort {
    /// The next batch; waits for one.
    pub async fn batch(&self) -> (ObjectId, Arc<Batch>) {
        loop {
            if let Some(next) = self.shared.batches.pop() {
                return next;
            }
            self.shared.arrived.notified().await;
        }
    }

    /// Tells the lane. There is always room: a lane has at most `VERDICT_SLOTS` batches in flight.
    pub fn give(&self, verdict: Verdict) {
        if let Err(verdict) = self.shared.verdicts.push(verdict) {
            unreachable!("a verdict without room: {verdict:?}");
        }
        self.lane.wake();
    }
}
