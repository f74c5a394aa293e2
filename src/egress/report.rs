//! What one target's task tells the board and the log: per batch, never per line.
//!
//! The board always has the newest state; the log hears only of changes, since a target that is down for a day would
//! otherwise fill it with its retries.

use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use crate::{
    model::{Nanos, ObjectId},
    stats::{Board, TargetState},
};

/// One target's way to the board.
#[derive(Debug)]
pub(super) struct Reporter {
    board: Arc<Board>,
    id: ObjectId,
    name: String,
    /// Empty where there is only one.
    tenant: String,
    state: TargetState,
    /// The last batch was refused; said once.
    refusing: bool,
}

impl Reporter {
    /// Of what is delivered for `tenant`; `None` where there is only one.
    pub(super) fn new(board: Arc<Board>, id: ObjectId, name: &str, tenant: Option<String>) -> Self {
        let tenant = tenant.unwrap_or_default();
        Self { board, id, name: name.to_owned(), tenant, state: TargetState::Idle, refusing: false }
    }

    /// So many batches were acknowledged.
    pub(super) fn acked(&mut self, batches: u64) {
        self.refusing = false;
        self.up(batches);
    }

    /// The target took a batch and refused some or all of it: it is up.
    pub(super) fn refused(&mut self, reason: &str) {
        if !self.refusing {
            tracing::warn!(target_name = self.name, tenant = self.tenant, reason, "target refuses lines");
        }
        self.refusing = true;
        self.up(0);
        self.board.update_target(self.id, |report| report.reason = Some(reason.to_owned()));
    }

    fn up(&mut self, acked: u64) {
        if self.state == TargetState::Failing {
            tracing::info!(target_name = self.name, tenant = self.tenant, "target is up again");
        }
        self.state = TargetState::Up;
        let now = wall();
        self.board.update_target(self.id, |report| {
            report.acked += acked;
            if acked > 0 {
                report.last_acked = Some(now);
            }
            report.up(&self.tenant, acked > 0, now);
        });
    }

    /// A try failed; there will be another.
    pub(super) fn failed(&mut self, reason: &str) {
        if self.state != TargetState::Failing {
            tracing::warn!(target_name = self.name, tenant = self.tenant, reason, "target fails, its lines are held");
        } else {
            tracing::debug!(target_name = self.name, tenant = self.tenant, reason, "target fails still");
        }
        self.state = TargetState::Failing;
        let now = wall();
        self.board.update_target(self.id, |report| {
            report.failed_tries += 1;
            report.failing(&self.tenant, reason, now);
        });
    }

    /// A batch went out again that may have arrived before.
    pub(super) fn resent(&self) {
        self.board.update_target(self.id, |report| report.resent += 1);
    }

    pub(super) fn sent(&self, bytes: usize) {
        self.board.update_target(self.id, |report| report.sent_bytes += bytes as u64);
    }
}

/// Wall time; what lies before 1970 or after 2262 is 0.
pub(super) fn wall() -> Nanos {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Nanos(i64::try_from(since.as_nanos()).unwrap_or_default())
}
