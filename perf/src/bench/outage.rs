//! One of two targets is down for minutes: what that does to the other one's lag and to memory.

use std::{
    fs, io,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use super::{
    growth::{Growth, lock, watch_lag},
    shipper::{Objects, Setup, Shipper},
};
use crate::{
    load::Format,
    loki::{LokiOptions, LokiSink},
    procfs::Usage,
};

/// How often memory is looked at.
const LOOK: Duration = Duration::from_secs(1);
/// What is still under way must have arrived after so long.
const PATIENCE: Duration = Duration::from_secs(120);

/// A target that is no further behind has caught up.
const NEAR_SECONDS: f64 = 3.0;
/// About the length of a line.
const LINE_BYTES: f64 = 300.0;

/// What the other's lag may change by, and how well it is known: lines are looked for at this pace.
const LAG_SHARE: f64 = 0.1;
const LAG_RESOLUTION_SECONDS: f64 = 0.01;
/// What may wait for a target: twice `queueBytes` as it is by default, for what is on its way into the queue and out.
const QUEUE_BYTES: u64 = 2 * (8 << 20);

/// What is to be done.
pub struct Plan {
    pub bytes_per_second: f64,
    /// Both targets up, before the outage and again once the one that was down has caught up.
    pub around: Duration,
    pub outage: Duration,
}

/// What was seen in one part of a run.
#[derive(Clone, Debug)]
pub struct Phase {
    pub name: &'static str,
    pub seconds: f64,
    /// From the writing of a line until the target that stays up has it, in seconds.
    pub lag_p50: f64,
    pub lag_p99: f64,
    pub lag_max: f64,
    pub rss_min_bytes: u64,
    pub rss_max_bytes: u64,
    pub cpu_seconds: f64,
}

/// What the phases show of a promise that is not kept: a target that is down changes the other's lag by no more than a
/// tenth, and takes no memory but what may wait for it.
pub fn broken_promises(phases: &[Phase]) -> Vec<String> {
    let Some((before, rest)) = phases.split_first() else { return vec!["nothing was measured".to_owned()] };
    let most_lag = before.lag_p99 * (1.0 + LAG_SHARE) + LAG_RESOLUTION_SECONDS;
    let most_memory = before.rss_max_bytes + QUEUE_BYTES;
    let mut broken = Vec::new();
    for phase in rest {
        if !phase.lag_p99.is_finite() || phase.lag_p99 > most_lag {
            broken.push(format!("{}: p99 lag of {:.3} s, at most {most_lag:.3} s", phase.name, phase.lag_p99));
        }
        if phase.rss_max_bytes > most_memory {
            broken.push(format!("{}: {} bytes resident, at most {most_memory}", phase.name, phase.rss_max_bytes));
        }
    }
    broken
}

/// Runs it once.
///
/// # Errors
/// Corelane cannot be started, or a line is missing or came changed at either target.
pub fn once(setup: &Setup, plan: &Plan) -> io::Result<Vec<Phase>> {
    let directory = setup.work.join("outage");
    let phases = in_directory(&directory, setup, plan);
    fs::remove_dir_all(&directory)?;
    phases
}

fn in_directory(directory: &Path, setup: &Setup, plan: &Plan) -> io::Result<Vec<Phase>> {
    let logs = directory.join("logs");
    fs::create_dir_all(&logs)?;
    let sinks = [(); 2].map(|()| LokiSink::start(LokiOptions::verifying(Format::Zap.marker())).map(Arc::new));
    let [steady, failing] = sinks;
    let (steady, failing) = (steady?, failing?);
    let objects = Objects {
        // Rotated files as well.
        glob: format!("{}/load.log*", logs.display()),
        min_level: None,
        targets: vec![("steady", steady.url()), ("failing", failing.url())],
    };
    let shipper = Shipper::start(setup, directory, &objects)?;
    let growth = Growth::start(&logs.join("load.log"), plan.bytes_per_second)?;
    let (lags, end) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
    let (watched, marks, noted, told) = (Arc::clone(&steady), growth.marks(), Arc::clone(&lags), Arc::clone(&end));
    let watcher = thread::spawn(move || watch_lag(&watched, &marks, &noted, &told));
    let newest = |sink: &LokiSink| sink.counters().tally.highest.unwrap_or(0);
    if !failing.wait(PATIENCE, |counters| counters.tally.seen > 0) || !steady.wait(PATIENCE, |now| now.tally.seen > 0) {
        return Err(shipper.failed("no line arrived"));
    }
    // The first seconds are not a state that lasts.
    thread::sleep(LOOK * 5);
    let mut phases = Vec::new();
    let mut watch = |name, over: &mut dyn FnMut(Duration) -> bool| -> io::Result<()> {
        phases.push(phase(name, shipper.pid(), &lags, over)?);
        Ok(())
    };
    watch("before", &mut |elapsed| elapsed >= plan.around)?;
    failing.down();
    watch("outage", &mut |elapsed| elapsed >= plan.outage)?;
    failing.up()?;
    // Caught up: it has all that the steady one has but some seconds' worth.
    let near = (plan.bytes_per_second * NEAR_SECONDS / LINE_BYTES) as u64;
    watch("catching up", &mut |elapsed| newest(&failing) + near >= newest(&steady) || elapsed > plan.outage * 4)?;
    watch("after", &mut |elapsed| elapsed >= plan.around)?;
    let lines = growth.stop()?;
    let whole = [&steady, &failing].map(|sink| sink.wait(PATIENCE, |counters| counters.tally.seen >= lines));
    end.store(true, Ordering::Relaxed);
    drop(watcher.join());
    for (name, sink, whole) in [("steady", &steady, whole[0]), ("failing", &failing, whole[1])] {
        let tally = sink.counters().tally;
        if !whole || tally.differing != 0 {
            return Err(shipper.failed(&format!("{name}: {tally:?}, missing {:?}", sink.missing(0..lines))));
        }
    }
    Ok(phases)
}

/// Looks on until `over` says so.
fn phase(
    name: &'static str,
    pid: u32,
    lags: &Mutex<Vec<f64>>,
    over: &mut dyn FnMut(Duration) -> bool,
) -> io::Result<Phase> {
    lock(lags).clear();
    let (start, before) = (Instant::now(), Usage::of(pid)?);
    let (mut rss_min_bytes, mut rss_max_bytes) = (before.rss_bytes, before.rss_bytes);
    while !over(start.elapsed()) {
        thread::sleep(LOOK);
        let now = Usage::of(pid)?.rss_bytes;
        (rss_min_bytes, rss_max_bytes) = (rss_min_bytes.min(now), rss_max_bytes.max(now));
    }
    let mut seen = std::mem::take(&mut *lock(lags));
    seen.sort_by(f64::total_cmp);
    let at = |share: f64| seen.get(((seen.len() as f64 * share) as usize).min(seen.len().max(1) - 1)).copied();
    Ok(Phase {
        name,
        seconds: start.elapsed().as_secs_f64(),
        lag_p50: at(0.5).unwrap_or(f64::NAN),
        lag_p99: at(0.99).unwrap_or(f64::NAN),
        lag_max: at(1.0).unwrap_or(f64::NAN),
        rss_min_bytes,
        rss_max_bytes,
        cpu_seconds: Usage::of(pid)?.cpu_seconds() - before.cpu_seconds(),
    })
}
