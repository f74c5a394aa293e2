//! The ledger's figures and what the planes publish about themselves.
//!
//! A lane owns its totals as plain integers and publishes a copy every `limits::REPORT_INTERVAL`; readers never make a
//! lane wait.

pub mod report;
pub mod totals;

pub use report::{
    Board, FlowReport, JournalReport, Kept, KeptReport, LaneReport, ReaderReport, TargetReport, TargetState,
};
pub use totals::{DropReason, Totals};
