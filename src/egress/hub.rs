//! Who gets what: applies plans to target tasks, and routes each lane's batches to them.
//!
//! A Loki target has a task for each tenant, so that one tenant that is refused, throttled or slow holds up no other.
//!
//! Orders are applied under a lock that only this thread takes, once per order and once per batch; before a batch is
//! routed, all orders given earlier are applied, so that a lane never hands over to a target egress has yet to hear of.

use std::{
    collections::HashMap,
    io,
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, TryRecvError},
    },
};

use tokio::{
    sync::{Notify, mpsc, oneshot, watch},
    task::AbortHandle,
};

use super::{
    console,
    load::{Credit, Halted, Load},
    loki,
    quarantine::Quarantine,
    relp, replay,
    report::{Reporter, wall},
    syslog,
    task::{Task, supervise},
};
use crate::{
    limits::TENANT_TASKS_MAX,
    model::ObjectId,
    orders::{Batch, EgressOrder, EgressPort, Outcome, Wire},
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
    /// Where quarantines are kept.
    state_dir: PathBuf,
}

#[derive(Debug)]
struct State {
    inbox: Receiver<EgressOrder>,
    /// One per enabled target; at most `limits::TARGETS_MAX`.
    routes: HashMap<ObjectId, Route>,
}

/// The way to one target. Dropping it ends its tasks, and with it everything they held is returned.
#[derive(Debug)]
struct Route {
    plan: watch::Sender<Arc<TargetPlan>>,
    /// By tenant; a target that is no Loki has one, for none. At most `limits::TENANT_TASKS_MAX` and that for none.
    outlets: HashMap<Option<String>, Outlet>,
    /// Of a Loki.
    quarantine: Option<Arc<Quarantine>>,
    replay: Option<AbortHandle>,
}

/// The way to one task.
#[derive(Debug)]
struct Outlet {
    queue: mpsc::UnboundedSender<Load>,
    /// One per port; none where several tenants share a task, each with a credit of its own.
    credits: Vec<Credit>,
    task: AbortHandle,
}

impl Drop for Outlet {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Drop for Route {
    fn drop(&mut self) {
        if let Some(replay) = &self.replay {
            replay.abort();
        }
    }
}

impl Hub {
    pub(super) fn new(
        inbox: Receiver<EgressOrder>,
        arrived: Arc<Notify>,
        board: Arc<Board>,
        ports: usize,
        state_dir: PathBuf,
    ) -> Self {
        let state = Mutex::new(State { inbox, routes: HashMap::new() });
        Self { state, arrived, halted: Arc::new(AtomicBool::new(false)), board, ports, state_dir }
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

    /// Sends again what lay in quarantine; `None` when the target is gone. What became of it comes by the receiver.
    pub(super) fn send_again(
        self: &Arc<Self>,
        target: ObjectId,
        batch: Arc<Batch>,
    ) -> Option<oneshot::Receiver<Outcome>> {
        let mut state = self.state();
        let route = state.routes.get_mut(&target)?;
        let (load, told) = Load::replay(target, batch, &self.halted);
        // Fails only while the task is being aborted; the load comes back in the error and is dropped.
        let _ = self.outlet(route, load.batch().tenant.clone()).queue.send(load);
        Some(told)
    }

    pub(super) fn board(&self) -> &Board {
        &self.board
    }

    fn dispatch(self: &Arc<Self>, port_index: usize, port: &EgressPort, target: ObjectId, batch: Arc<Batch>) {
        let mut state = self.state();
        self.apply_orders(&mut state);
        // A load that finds no way is dropped, and so returned.
        let mut load = Load::new(port, target, batch, &self.halted);
        let Some(route) = state.routes.get_mut(&target) else { return };
        // Sealed under an older plan: its lane builds it anew.
        if Wire::of(&route.plan.borrow().kind) != load.batch().wire {
            return;
        }
        let outlet = self.outlet(route, load.batch().tenant.clone());
        if outlet.credits.get(port_index).is_some_and(|credit| !load.count(credit)) {
            tracing::error!(port_index, "defect: a lane has more batches in flight than its credit allows");
            return;
        }
        // Fails only while the task is being aborted; the load comes back in the error and is dropped.
        let _ = outlet.queue.send(load);
    }

    fn apply_orders(self: &Arc<Self>, state: &mut State) {
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
    fn reconcile(self: &Arc<Self>, routes: &mut HashMap<ObjectId, Route>, plan: &Plan) {
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

    fn start(self: &Arc<Self>, target: &Arc<TargetPlan>) -> Route {
        let (plan, _) = watch::channel(Arc::clone(target));
        self.board.update_target(target.id, |report| report.begin(&target.name, wall()));
        let mut route = Route { plan, outlets: HashMap::new(), quarantine: None, replay: None };
        if let TargetKind::Loki(_) = &target.kind {
            let quarantine = Arc::new(Quarantine::new(&self.state_dir, &target.name));
            let replay = replay::run(Arc::downgrade(self), target.id, target.name.clone(), Arc::clone(&quarantine));
            route.replay = Some(tokio::spawn(replay).abort_handle());
            route.quarantine = Some(quarantine);
        } else {
            self.outlet(&mut route, None);
        }
        route
    }

    /// The way to the task of a tenant, which is started at its first batch.
    fn outlet<'a>(&self, route: &'a mut Route, tenant: Option<String>) -> &'a Outlet {
        let is_own = route.outlets.contains_key(&tenant) || route.outlets.len() < TENANT_TASKS_MAX;
        let tenant = tenant.filter(|_| is_own);
        let credits = if is_own { self.ports } else { 0 };
        let Route { plan, outlets, quarantine, .. } = route;
        outlets.entry(tenant).or_insert_with_key(|tenant| {
            let (queue, loads) = mpsc::unbounded_channel();
            let target = Arc::clone(&plan.borrow());
            let report = Reporter::new(Arc::clone(&self.board), target.id, &target.name, tenant.clone());
            let task = Task::new(loads, plan.subscribe(), report);
            let task = match (&target.kind, quarantine) {
                (TargetKind::Loki(_), Some(quarantine)) => {
                    let quarantine = Arc::clone(quarantine);
                    tokio::spawn(supervise(task, move |task| Box::pin(loki::run(task, Arc::clone(&quarantine)))))
                }
                (TargetKind::Syslog(syslog), _) if syslog.protocol.is_relp() => {
                    tokio::spawn(supervise(task, |task| Box::pin(relp::run(task))))
                }
                (TargetKind::Syslog(_) | TargetKind::Loki(_), _) => {
                    tokio::spawn(supervise(task, |task| Box::pin(syslog::run(task))))
                }
                (TargetKind::Console(_), _) => {
                    let out = Arc::new(Mutex::new(io::stdout()));
                    tokio::spawn(supervise(task, move |task| Box::pin(console::run(task, Arc::clone(&out)))))
                }
            };
            Outlet { queue, credits: (0..credits).map(|_| Credit::default()).collect(), task: task.abort_handle() }
        })
    }
}

/// Whether the task of a target of one kind can go on with the other.
fn is_for(old: &TargetKind, new: &TargetKind) -> bool {
    let is_relp = |kind: &TargetKind| matches!(kind, TargetKind::Syslog(syslog) if syslog.protocol.is_relp());
    Wire::of(old) == Wire::of(new) && is_relp(old) == is_relp(new)
}
