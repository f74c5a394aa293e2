//! The threads of the lanes: each makes its ring, pins itself if a core is free for it, and turns until halted.

use std::{
    fs::DirBuilder,
    io,
    os::{fd::OwnedFd, unix::fs::DirBuilderExt},
    path::PathBuf,
    sync::Arc,
    thread::{self, JoinHandle},
};

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::{
    config::{self, NodeConfig},
    fault::{Fault, Kind},
    lane::{Lane, LaneConfig, LaneHandle, spool::Keep, stored},
    orders::{EgressPort, LaneOrder, handoff},
    os::cpu,
    ring::{self, Poll, Ring, Uring},
    stats::Board,
};

/// All lanes of the appliance.
pub struct Lanes {
    handles: Vec<LaneHandle>,
    threads: Vec<JoinHandle<()>>,
    /// A lane that ended without being told to says why.
    deaths: UnboundedReceiver<Fault>,
}

/// An open file the service manager has kept, with its name.
pub type Kept = (String, OwnedFd);

/// What a lane's thread sends back once it has read its checkpoint.
type Started = (LaneHandle, EgressPort);

impl Lanes {
    /// Starts as many lanes as the configuration says and waits until each has its ring.
    /// Of the descriptors in `kept` each lane gets those of its sources. A lane has read its state before the next one
    /// begins.
    pub fn start(
        config: &NodeConfig,
        board: &Arc<Board>,
        mut kept: Vec<Kept>,
    ) -> Result<(Self, Vec<EgressPort>), Fault> {
        let wanted = match config.backend {
            config::Backend::Auto => ring::Backend::Auto,
            config::Backend::Uring => ring::Backend::Uring,
            config::Backend::Poll => ring::Backend::Poll,
        };
        let (backend, reason) = ring::probe(wanted).map_err(|error| {
            Fault::new(Kind::Unavailable, "backend", error.to_string()).way_out("set backend to auto or poll")
        })?;
        tracing::info!("backend {backend}: {reason}");
        let [checkpoint, spool] = ["checkpoint", "spool"].map(|name| config.state_dir.join(name));
        for directory in [&checkpoint, &spool] {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(directory)
                .map_err(|error| Fault::io(directory.display().to_string(), &error))?;
        }
        let (tell, deaths) = unbounded_channel();
        let mut lanes = Self { handles: Vec::new(), threads: Vec::new(), deaths };
        let mut ports = Vec::new();
        for lane in 0..config.lanes {
            let lane = u16::try_from(lane).map_err(|_| Fault::invalid("lanes", "too many"))?;
            let core = cpu::choose(usize::from(lane)).inspect_err(|why| tracing::info!(lane, "{why}")).ok();
            let lane_config = LaneConfig {
                lane,
                lanes: u16::try_from(config.lanes).unwrap_or(u16::MAX),
                checkpoint: PathBuf::clone(&checkpoint),
                keep: Keep {
                    spool: PathBuf::clone(&spool),
                    spool_bytes: config.spool_max,
                    pinned_bytes: config.pinned_max,
                },
                backend_reason: reason.clone(),
                core,
                catch_up_percent: config.catch_up_percent,
            };
            let of_lane = kept.extract_if(.., |(name, _)| stored::lane_of(name, lane_config.lanes) == lane).collect();
            match lanes.spawn(lane_config, of_lane, backend, board, &tell) {
                Ok(port) => ports.push(port),
                Err(error) => {
                    lanes.stop();
                    return Err(Fault::io(format!("lane {lane}"), &error));
                }
            }
        }
        Ok((lanes, ports))
    }

    pub fn handles(&self) -> &[LaneHandle] {
        &self.handles
    }

    /// Waits for a lane to die; never returns while all are well.
    pub async fn died(&mut self) -> Fault {
        match self.deaths.recv().await {
            Some(fault) => fault,
            None => std::future::pending().await,
        }
    }

    /// Halts every lane and waits for its thread.
    pub fn stop(self) {
        self.handles.iter().for_each(|lane| lane.order(LaneOrder::Halt));
        for thread in self.threads {
            if thread.join().is_err() {
                tracing::error!("a lane has panicked");
            }
        }
    }

    fn spawn(
        &mut self,
        config: LaneConfig,
        kept: Vec<Kept>,
        backend: ring::Backend,
        board: &Arc<Board>,
        tell: &UnboundedSender<Fault>,
    ) -> io::Result<EgressPort> {
        let (send, started) = std::sync::mpsc::channel::<io::Result<Started>>();
        let (board, tell, number) = (Arc::clone(board), tell.clone(), config.lane);
        let thread = thread::Builder::new().name(format!("lane-{number}")).spawn(move || {
            let death = Death { tell, lane: number, why: None, ended: false };
            pin(&config);
            match backend {
                ring::Backend::Poll => turn(Poll::new().map(|ring| ring.inherit(kept)), config, board, &send, death),
                ring::Backend::Uring | ring::Backend::Auto => {
                    turn(confined().map(|ring| ring.inherit(kept)), config, board, &send, death);
                }
            }
        })?;
        self.threads.push(thread);
        let gone = || io::Error::other("the lane's thread ended at once");
        let (handle, port) = started.recv().map_err(|_| gone())??;
        self.handles.push(handle);
        Ok(port)
    }
}

/// A lane's whole life, on its own thread.
fn turn<R: Ring>(
    ring: io::Result<R>,
    config: LaneConfig,
    board: Arc<Board>,
    send: &std::sync::mpsc::Sender<io::Result<Started>>,
    mut death: Death,
) {
    let ring = match ring {
        Ok(ring) => ring,
        Err(error) => {
            death.why = Some("could not start".to_owned());
            // The one who started it waits for this and tells it; were it gone, nobody is left to be told.
            let _ = send.send(Err(error));
            return;
        }
    };
    let (port, egress) = handoff(ring.waker());
    let lane = Lane::new(config, ring, port, board);
    if send.send(Ok((lane.handle(), egress))).is_err() {
        return;
    }
    match lane.run() {
        Ok(()) => death.why = None,
        Err(error) => death.why = Some(error.to_string()),
    }
    death.ended = true;
}

/// Tells that a lane has ended, if it was not told to: also when it panics.
struct Death {
    tell: UnboundedSender<Fault>,
    lane: u16,
    why: Option<String>,
    ended: bool,
}

impl Drop for Death {
    fn drop(&mut self) {
        let why = match (self.ended, self.why.take()) {
            (true, None) => return,
            (_, Some(why)) => why,
            (false, None) => "panicked; positions are kept, a restart goes on from there".to_owned(),
        };
        // Nobody listens any more: the appliance is stopping.
        let _ = self.tell.send(Fault::new(Kind::Internal, format!("lane {}", self.lane), why));
    }
}

fn pin(config: &LaneConfig) {
    if let Some(core) = config.core
        && let Err(error) = cpu::pin(core)
    {
        tracing::warn!(lane = config.lane, "cannot pin to core {core}: {error}");
    }
}

/// A ring whose kernel workers stay where this process may run, off the cores set aside for others.
fn confined() -> io::Result<Uring> {
    let mut ring = Uring::new()?;
    let isolated = cpu::isolated();
    let cores: Vec<usize> = cpu::allowed().into_iter().filter(|core| !isolated.contains(core)).collect();
    if !cores.is_empty()
        && let Err(error) = ring.confine_workers(&cores)
    {
        tracing::debug!("io_uring workers are not confined: {error}");
    }
    Ok(ring)
}
