//! The appliance: the only module that sees both planes. It starts them in the order in which they need each other,
//! lets plans through, and stops them so that nothing is in flight if that can be had in time.
//!
//! Control comes first, since it locks the state directory and has everything that can be refused. Then each lane makes
//! its ring on its own thread and reads its checkpoint; then egress; only then does a plan go out, to egress before the
//! lanes, so that no batch comes for a target that egress does not know.

mod fanout;
mod lanes;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::signal::unix::{Signal, SignalKind, signal};

use self::{fanout::Fanout, lanes::Lanes};
use crate::{
    config::NodeConfig,
    control,
    egress::{self, Egress},
    fault::{Fault, Kind},
    limits::{DRAIN_DEADLINE, READERS_MAX, REPORT_INTERVAL},
    orders::{EgressOrder, LaneOrder},
    os::{process, store},
    stats::Board,
};

/// Descriptors that suffice for all files that may be read, and besides for sockets, rings, watches and state.
pub const DESCRIPTORS_WANTED: usize = READERS_MAX + 1024;

/// Runs until SIGINT or SIGTERM, or until a part of it dies.
///
/// # Errors
/// Something could not start (nothing is left running), or a lane's ring failed.
pub fn run(config: NodeConfig) -> Result<(), Fault> {
    // Before anything else opens descriptors.
    let kept = store::take_passed();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Fault::io("appliance", &error))?;
    let _inside = runtime.enter();
    let mut signals = Signals::new()?;
    let allowed = process::raise_descriptor_limit(DESCRIPTORS_WANTED);
    if allowed < DESCRIPTORS_WANTED {
        tracing::warn!("only {allowed} descriptors are allowed; with many files some will not be read (LimitNOFILE)");
    }
    let board = Arc::new(Board::default());
    let fanout = Arc::new(Fanout::default());
    let on_plan = {
        let fanout = Arc::clone(&fanout);
        Box::new(move |plan| fanout.plan(plan))
    };
    let control = control::start(&config, Arc::clone(&board), on_plan)?;
    let (mut lanes, ports) = match Lanes::start(&config, &board, kept) {
        Ok(started) => started,
        Err(fault) => {
            control.stop();
            return Err(fault);
        }
    };
    let egress = match egress::start(ports, Arc::clone(&board), config.state_dir.clone()) {
        Ok(egress) => Arc::new(egress),
        Err(error) => {
            lanes.stop();
            control.stop();
            return Err(Fault::io("egress", &error));
        }
    };
    fanout.attach(lanes.handles().to_vec(), Arc::clone(&egress));
    tracing::info!("the API listens on https://{}", control.address());
    notify(sd_notify::NotifyState::Ready);

    let ended = runtime.block_on(async {
        tokio::select! {
            () = signals.stop() => Ok(()),
            fault = lanes.died() => Err(fault),
        }
    });
    notify(sd_notify::NotifyState::Stopping);
    if ended.is_ok() {
        runtime.block_on(drain(&mut signals, &lanes, &board));
    }
    fanout.detach();
    lanes.stop();
    halt(egress);
    control.stop();
    ended
}

/// Lets what is in flight arrive, at most for `DRAIN_DEADLINE`; a second signal ends it at once.
async fn drain(signals: &mut Signals, lanes: &Lanes, board: &Board) {
    tracing::info!("stopping: waiting at most {DRAIN_DEADLINE:?} for what is in flight");
    lanes.handles().iter().for_each(|lane| lane.order(LaneOrder::Drain));
    let deadline = Instant::now() + DRAIN_DEADLINE;
    let drained = async {
        while !board.lanes().iter().all(|lane| lane.drained) {
            if Instant::now() >= deadline {
                let waiting: u64 = board.lanes().iter().flat_map(|lane| &lane.flows).map(|flow| flow.in_flight).sum();
                tracing::warn!("{waiting} lines are still in flight; they are sent again at the next start");
                return;
            }
            tokio::time::sleep(REPORT_INTERVAL.min(Duration::from_millis(50))).await;
        }
    };
    tokio::select! {
        () = drained => {}
        () = signals.stop() => tracing::warn!("stopping at once; what is in flight is sent again at the next start"),
    }
}

fn halt(egress: Arc<Egress>) {
    egress.order(EgressOrder::Halt);
    match Arc::try_unwrap(egress) {
        Ok(egress) => egress.join(),
        // The fan-out has let go of it; were it not so, dropping the last one halts it as well.
        Err(shared) => drop(shared),
    }
}

/// Tells systemd, if it listens.
fn notify(state: sd_notify::NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::debug!("systemd could not be told: {error}");
    }
}

/// SIGINT and SIGTERM.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn new() -> Result<Self, Fault> {
        let listen = |kind| signal(kind).map_err(|error| Fault::new(Kind::Io, "signals", error.to_string()));
        Ok(Self { interrupt: listen(SignalKind::interrupt())?, terminate: listen(SignalKind::terminate())? })
    }

    async fn stop(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
