//! Telling the other nodes how this one is: now and then, and as soon as its lanes obey a new revision.
//!
//! Who changes something on one node and waits for all of them waits for this. It is written no more often than the
//! store allows: of revisions that come faster the newest is told.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use super::api::{Shared, health};
use crate::limits;

/// How often it is looked whether the lanes obey a revision; they report as often.
const LOOK: Duration = limits::REPORT_INTERVAL;

/// Tells until dropped.
pub async fn run(shared: Arc<Shared>) {
    let mut beats = interval(limits::COLLECTOR_BEAT);
    beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut changes = shared.registry().store().watch();
    loop {
        tokio::select! {
            _ = beats.tick() => {}
            changed = changes.changed() => {
                if changed.is_err() {
                    return;
                }
                let revision = changes.borrow_and_update().revision;
                obeyed(&shared, revision).await;
            }
        }
        while let Some(wait) = shared.beat().await {
            sleep(wait).await;
        }
    }
}

/// Waits until all lanes obey a revision, or a newer one. A lane that never does is told of by the next beat.
async fn obeyed(shared: &Shared, revision: u64) {
    let end = Instant::now() + limits::COLLECTOR_BEAT;
    while health::applied(&shared.board) < revision && Instant::now() < end {
        sleep(LOOK / 2).await;
    }
}
