//! Lets plans through from control to the data plane: to egress first, then to the lanes.
//!
//! The first plan is there before the data plane is; it waits here.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::{
    egress::Egress,
    lane::LaneHandle,
    orders::{EgressOrder, LaneOrder},
    plan::Plan,
};

#[derive(Default)]
pub struct Fanout {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    latest: Option<Arc<Plan>>,
    planes: Option<(Vec<LaneHandle>, Arc<Egress>)>,
}

impl Fanout {
    /// A new plan is in force.
    pub fn plan(&self, plan: Arc<Plan>) {
        let mut state = self.state();
        state.latest = Some(plan);
        state.give();
    }

    /// The data plane is there: give it what it missed, and everything from now on.
    pub fn attach(&self, lanes: Vec<LaneHandle>, egress: Arc<Egress>) {
        let mut state = self.state();
        state.planes = Some((lanes, egress));
        state.give();
    }

    /// Plans go nowhere from now on.
    pub fn detach(&self) {
        self.state().planes = None;
    }

    /// Held for a few pushes only; control is the one who waits.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn give(&self) {
        let (Some(plan), Some((lanes, egress))) = (&self.latest, &self.planes) else { return };
        egress.order(EgressOrder::Plan(Arc::clone(plan)));
        for lane in lanes {
            lane.order(LaneOrder::Plan(Arc::clone(plan)));
        }
    }
}
