//! Who gets what: applies plans to target tasks, and routes each lane's batches to them.
//!
//! Orders are applied under a lock that only this thread takes, once per order and once per batch; before a batch is
//! routed, all orders given earlier are applied, so that a lane never hands over to a target egress has yet to hear of.

use std::{
    collections::HashMap,
    io,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, TryRecvError},
    },
};

use tokio::{
    sync::{Notify, mpsc, watch},
    task::AbortHandle,
};

use super::{
    console,
    load::{Credit, Halted, Load},
    loki, relp,
    report::{Reporter, wall},
    syslog,
    task::{Task, supervise},
};
use crate::{
    model::ObjectId,
    orders::{Batch, EgressOrder, EgressPort, Wire},
    plan::{Plan, TargetKind, TargetPlan},
    stats::{Board, TargetState},
};

#[derive(Debug)]
pub(super) struct Hub {
    state: Mutex<State>,
    /// Orders have arrived.
    arrived: Arc<Notify>,
    halted: Halted,
    board: Arc<Board>,
    ports: usize,
}

#[derive(Debug)]
struct State {
    inbox: Receiver<EgressOrder>,
    /// One per enabled target; at most `limits::TARGETS_MAX`.
    routes: HashMap<ObjectId, Route>,
}

/// The way to one target's task. Dropping it ends the task, and with it everything it held is returned.
#[derive(Debug)]
struct Route {
    plan: watch::Sender<Arc<TargetPlan>>,
    queue: mpsc::UnboundedSender<Load>,
    /// One per port.
    credits: Vec<Credit>,
    task: AbortHandle,
}

impl Drop for Route {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Hub {
    pub(super) fn new(inbox: Receiver<EgressOrder>, arrived: Arc<Notify>, board: Arc<Board>, ports: usize) -> Self {
        let state = Mutex::new(State { inbox, routes: HashMap::new() });
        Self { state, arrived, halted: Arc::new(AtomicBool::new(false)), board, ports }
    }

    /// Dispatches until halted.
    pub(super) async fn run(self: Arc<Self>, ports: Vec<EgressPort>) {
        for (index, port) in ports.into_iter().enumerate() {
            let hub = Arc::clone(&self);
            tokio::spawn(async move {
                loop {
                    let (target, batch) = port.batch().await;
                    hub.dispatch(index, &port, target, batch);
                }
            });
        }
        while !self.halted.load(Ordering::Relaxed) {
            self.apply_orders(&mut self.state());
            if !self.halted.load(Ordering::Relaxed) {
                self.arrived.notified().await;
            }
        }
    }

    /// The state is only a table: after a panic elsewhere it is as good as before.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn dispatch(&self, port_index: usize, port: &EgressPort, target: ObjectId, batch: Arc<Batch>) {
        let mut state = self.state();
        self.apply_orders(&mut state);
        // A load that finds no way is dropped, and so returned.
        let mut load = Load::new(port, target, batch, &self.halted);
        let Some(route) = state.routes.get(&target) else { return };
        // Sealed under an older plan: its lane builds it anew.
        if Wire::of(&route.plan.borrow().kind) != load.batch().wire {
            return;
        }
        let Some(credit) = route.credits.get(port_index) else { return };
        if !load.count(credit) {
            tracing::error!(port_index, "defect: a lane has more batches in flight than its credit allows");
            return;
        }
        // Fails only while the task is being aborted; the load comes back in the error and is dropped.
        let _ = route.queue.send(load);
    }

    fn apply_orders(&self, state: &mut State) {
        loop {
            match state.inbox.try_recv() {
                Ok(EgressOrder::Plan(plan)) => self.reconcile(&mut state.routes, &plan),
                Ok(EgressOrder::Halt) | Err(TryRecvError::Disconnected) => {
                    self.halted.store(true, Ordering::Relaxed);
                    // If a dispatcher came here first, `run` must hear of it.
                    self.arrived.notify_one();
                    return;
                }
                Err(TryRecvError::Empty) => return,
            }
        }
    }

    /// Makes the tasks those of `plan`: ends what is gone or disabled, leaves alone what is unchanged, tells what has
    /// changed, starts what is new.
    fn reconcile(&self, routes: &mut HashMap<ObjectId, Route>, plan: &Plan) {
        routes.retain(|id, _| plan.target(*id).is_some_and(|target| target.enabled));
        self.board.retain_targets(|id| plan.target(id).is_some());
        for target in &plan.targets {
            if !target.enabled {
                self.show_disabled(target);
                continue;
            }
            match routes.get(&target.id) {
                // Of another format or kind: what its task holds goes back to the lanes, to be built anew.
                Some(route) if is_for(&route.plan.borrow().kind, &target.kind) => {
                    route.plan.send_if_modified(|old| {
                        let changed = old.kind != target.kind;
                        *old = Arc::clone(target);
                        changed
                    });
                }
                _ => {
                    routes.insert(target.id, self.start(target));
                }
            }
        }
    }

    fn show_disabled(&self, target: &TargetPlan) {
        self.board.update_target(target.id, |report| {
            target.name.clone_into(&mut report.name);
            if report.state != TargetState::Idle {
                report.state = TargetState::Idle;
                report.since = wall();
            }
            report.reason = None;
        });
    }

    fn start(&self, target: &Arc<TargetPlan>) -> Route {
        let (queue, loads) = mpsc::unbounded_channel();
        let (plan, plans) = watch::channel(Arc::clone(target));
        let report = Reporter::new(Arc::clone(&self.board), target.id, &target.name);
        let task = Task::new(loads, plans, report);
        let task = match &target.kind {
            TargetKind::Loki(_) => tokio::spawn(supervise(task, |task| Box::pin(loki::run(task)))),
            TargetKind::Syslog(syslog) if syslog.protocol.is_relp() => {
                tokio::spawn(supervise(task, |task| Box::pin(relp::run(task))))
            }
            TargetKind::Syslog(_) => tokio::spawn(supervise(task, |task| Box::pin(syslog::run(task)))),
            TargetKind::Console(_) => {
                let out = Arc::new(Mutex::new(io::stdout()));
                tokio::spawn(supervise(task, move |task| Box::pin(console::run(task, Arc::clone(&out)))))
            }
        };
        let credits = (0..self.ports).map(|_| Credit::default()).collect();
        Route { plan, queue, credits, task: task.abort_handle() }
    }
}

/// Whether the task of a target of one kind can go on with the other.
fn is_for(old: &TargetKind, new: &TargetKind) -> bool {
    let is_relp = |kind: &TargetKind| matches!(kind, TargetKind::Syslog(syslog) if syslog.protocol.is_relp());
    Wire::of(old) == Wire::of(new) && is_relp(old) == is_relp(new)
}
