//! Where the planes meet: orders downward, batches across, verdicts back.
//!
//! Lanes, egress and control do not know each other. They share the plain values and bounded rings of this module.

pub mod batch;
pub mod handoff;

pub use batch::{Batch, Fate, Loss, Outcome, Part, Refusal, Run, Shortfall, StreamFact, Verdict, Wire};
pub use handoff::{EgressPort, LanePort, Port, handoff};

use std::sync::Arc;

use crate::plan::Plan;

/// What control tells a lane.
#[derive(Clone, Debug)]
pub enum LaneOrder {
    /// This plan is in force from the next record on.
    Plan(Arc<Plan>),
    /// Read nothing more, seal what is open, settle what is in flight, then report `drained`.
    Drain,
    /// Write the last checkpoint and end.
    Halt,
}

/// What control tells egress.
#[derive(Clone, Debug)]
pub enum EgressOrder {
    Plan(Arc<Plan>),
    /// End now; what is unsettled stays unsettled.
    Halt,
}
