//! The task of one target: what it works with, and what happens when it panics.
//!
//! A defect in the handling of one target must neither stop the others nor lose batches nor pass unseen: the loads it
//! held return to their lanes, the board says so, and after a pause the task begins anew.

use std::{
    future::{Future, pending, poll_fn},
    hash::{BuildHasher, Hasher, RandomState},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::{Pin, pin},
    sync::Arc,
    task::Poll,
    time::Duration,
};

use tokio::{
    sync::{mpsc, watch},
    time::sleep,
};

use super::{
    load::Load,
    report::{Reporter, wall},
};
use crate::{
    orders::{Fate, Outcome, Shortfall},
    plan::TargetPlan,
    stats::DropReason,
    target::Backoff,
};

/// What every target's task has.
#[derive(Debug)]
pub(super) struct Task {
    /// Unbounded by type; bounded by the credit of the lanes.
    pub(super) queue: mpsc::UnboundedReceiver<Load>,
    pub(super) report: Reporter,
    pub(super) backoff: Backoff,
    /// Spreads what this task does by chance apart from other members of the fleet.
    pub(super) seed: u64,
    pub(super) plans: Plans,
}

/// The target's plan as it changes.
#[derive(Debug)]
pub(super) struct Plans(watch::Receiver<Arc<TargetPlan>>);

impl Task {
    pub(super) fn new(
        queue: mpsc::UnboundedReceiver<Load>,
        plan: watch::Receiver<Arc<TargetPlan>>,
        report: Reporter,
    ) -> Self {
        // Members of a fleet must not retry in step.
        let seed = RandomState::new().build_hasher().finish();
        Self { queue, report, plans: Plans(plan), backoff: Backoff::new(seed), seed }
    }

    /// The next load whose lines are wanted, or `None` when the queue is closed. Whatever is older than the target's
    /// `maxAge` when its turn comes is dropped and counted, batch by batch.
    pub(super) async fn next(&mut self) -> Option<Load> {
        loop {
            let load = self.queue.recv().await?;
            if let Some(load) = self.wanted(load) {
                return Some(load);
            }
        }
    }

    /// Gives a load back unless all of it is older than `maxAge` by now.
    pub(super) fn wanted(&self, load: Load) -> Option<Load> {
        let most = self.plans.peek().max_age;
        let age =
            load.batch().newest.map(|newest| Duration::from_nanos(wall().0.saturating_sub(newest.0).max(0) as u64));
        if most.zip(age).is_none_or(|(most, age)| age <= most) {
            return Some(load);
        }
        let fate = Fate::Dropped(DropReason::MaxAge);
        let shortfall = Shortfall::whole(load.batch(), fate, "older than maxAge when its turn came".to_owned());
        load.settle(Outcome::Short(shortfall));
        None
    }

    /// Waits before the next try; a new plan ends the pause, and the next try uses it.
    pub(super) async fn pause(&mut self, least: Option<Duration>) {
        let pause = self.backoff.pause().max(least.unwrap_or_default());
        tokio::select! {
            () = sleep(pause) => {}
            () = self.plans.changed() => self.backoff.reset(),
        }
    }
}

impl Plans {
    /// The plan in force, from now on known.
    pub(super) fn take(&mut self) -> Arc<TargetPlan> {
        Arc::clone(&self.0.borrow_and_update())
    }

    /// The plan in force, without taking notice of it.
    pub(super) fn peek(&self) -> Arc<TargetPlan> {
        Arc::clone(&self.0.borrow())
    }

    /// Whether there is a plan that was not taken.
    pub(super) fn have_changed(&self) -> bool {
        self.0.has_changed().unwrap_or(false)
    }

    /// Waits for a plan that was not taken, and leaves it so. A removed target never gets one; its task is aborted.
    pub(super) async fn changed(&mut self) {
        if self.0.changed().await.is_err() {
            pending::<()>().await;
        }
        self.0.mark_changed();
    }
}

/// One run of a task, until its queue is closed.
pub(super) type Run<'a> = Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

/// Runs `run` until it ends by itself. After a panic, what was queued is returned with what was under way (a lane must
/// see a gap as a whole), and it is run again after a pause.
pub(super) async fn supervise(mut task: Task, mut run: impl for<'a> FnMut(&'a mut Task) -> Run<'a>) {
    while let Err(cause) = unwound(run(&mut task)).await {
        tracing::error!(cause, "defect: the task of a target panicked; its batches are returned");
        task.report.failed(&format!("defect: {cause}"));
        while task.queue.try_recv().is_ok() {}
        task.pause(None).await;
    }
}

/// Drives `run` to its end, or to the words of its panic.
async fn unwound(run: impl Future<Output = ()>) -> Result<(), String> {
    let mut run = pin!(run);
    poll_fn(|context| match catch_unwind(AssertUnwindSafe(|| run.as_mut().poll(context))) {
        Ok(poll) => poll.map(Ok),
        Err(panic) => {
            let words = panic.downcast_ref::<&str>().map(|words| (*words).to_owned());
            let words = words.or_else(|| panic.downcast_ref::<String>().cloned());
            Poll::Ready(Err(words.unwrap_or_else(|| "a panic without words".to_owned())))
        }
    })
    .await
}
