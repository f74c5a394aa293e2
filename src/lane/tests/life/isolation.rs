//! The same life twice: once with a target that is dead for a while, once without. The other target must not notice.
//!
//! Lines come at a fixed rate, such that the dead target's credit is used up early in its outage. What is
//! compared is the time from the write of a line to its first arrival at the other target; and what the lane holds must
//! not grow while the outage lasts.

use std::time::Duration;

use super::{
    judge::{Invariant, demand},
    machine::{Life, TargetSort, directory},
    peer::Manners,
    story::{end, reckon},
    writer::Chain,
};
use crate::limits;

const OUTAGE: [Duration; 2] = [Duration::from_secs(5), Duration::from_secs(35)];
/// The dead one catches up in the rest of it.
const WHOLE: Duration = Duration::from_secs(50);
/// How lines come: so many of so many bytes each time. Some 400 KB/s fill the least queue in five seconds; single
/// lines, each of which is a batch, use up the batches that may be in flight.
#[derive(Clone, Copy, Debug)]
struct Pace {
    every: Duration,
    lines: u64,
    bytes: usize,
}

const FLOOD: Pace = Pace { every: Duration::from_millis(10), lines: 4, bytes: 900 };
const TRICKLE: Pace = Pace { every: Duration::from_millis(150), lines: 1, bytes: 0 };
/// By how much the lag may be worse at the 99th percentile: a part of it, and the grain of the simulated peers.
const WORSE: f64 = 1.1;
const GRAIN: Duration = Duration::from_millis(1);

/// Lags of the target that stays alive, in order, and the most bytes the lane held in each half of the outage.
#[derive(Debug)]
struct Course {
    lags: Vec<Duration>,
    held: [usize; 2],
}

impl Course {
    fn percentile(&self, of_hundred: usize) -> Duration {
        self.lags.get(self.lags.len() * of_hundred / 100).copied().unwrap_or_default()
    }
}

/// Whether this is the life of a seed.
pub fn compares(seed: u64) -> bool {
    seed % 256 == 29
}

/// Lags at the median and the 99th percentile.
pub type Lags = [Duration; 2];

/// Compares; the lags without and with the outage.
pub fn compare(seed: u64) -> (Lags, Lags) {
    let (calm, dead) = (course(seed, false), course(seed, true));
    let p99 = [&calm, &dead].map(|course| course.percentile(99));
    demand(p99[1] <= p99[0].mul_f64(WORSE) + GRAIN, Invariant::Isolation, || {
        format!("seed {seed}: p99 of the lag is {:?}, and {:?} while the other target is dead", p99[0], p99[1])
    });
    // Credit is used up in the first half; one batch more of each stream may be open in the second.
    demand(dead.held[1] <= dead.held[0] + 2 * limits::BATCH_BYTES, Invariant::Memory, || {
        format!("seed {seed}: at most {} bytes were held, then {}", dead.held[0], dead.held[1])
    });
    let lags = |course: &Course| [course.percentile(50), course.percentile(99)];
    (lags(&calm), lags(&dead))
}

fn course(seed: u64, dies: bool) -> Course {
    let sorts = [TargetSort::Loki, TargetSort::Syslog];
    let (dying, other) = (sorts[(seed % 2) as usize], sorts[(seed / 2 % 2) as usize]);
    let mut life = Life::new(seed, 2, &[dying, other], false);
    for source in 0..2 {
        life.chains.push(Chain::new(source, format!("{}/log.log", directory(source))));
    }
    let pace = if seed / 256 % 2 == 0 { FLOOD } else { TRICKLE };
    life.least_pad = pace.bytes;
    life.net.borrow_mut().judge.watched = Some(1);
    let (mut held, mut next, mut writes, mut written) = ([0; 2], pace.every, 0, Vec::new());
    let middle = (OUTAGE[0] + OUTAGE[1]) / 2;
    while life.disk.now().mono < WHOLE {
        let now = life.disk.now().mono;
        life.set_manners(0, Manners { is_dead: dies && OUTAGE[0] <= now && now < OUTAGE[1], ..Manners::default() });
        if now >= next {
            next += pace.every;
            writes += 1;
            let chain = usize::from(writes % 4 == 0);
            life.write(chain, pace.lines);
            written.resize(life.net.borrow().judge.lines.len(), now);
            if writes % 1_000 == 0 {
                life.rotate(chain);
            }
        }
        life.wakes_at = Some(next);
        life.turn();
        if OUTAGE[0] <= now && now < OUTAGE[1] {
            let half = usize::from(now >= middle);
            held[half] = held[half].max(bytes_held(&life));
        }
    }
    life.wakes_at = None;
    end(&mut life);
    reckon(&life);
    let arrivals = std::mem::take(&mut life.net.borrow_mut().judge.arrivals);
    let mut lags: Vec<Duration> = arrivals.iter().map(|(id, at)| at.saturating_sub(written[*id as usize])).collect();
    lags.sort();
    Course { lags, held }
}

/// What the lane holds of lines: chunks lent and batches that have not been settled.
fn bytes_held(life: &Life) -> usize {
    let Some(lane) = &life.lane else { return 0 };
    let batches: usize = lane.targets.iter().map(|(_, target)| target.in_flight_bytes).sum();
    lane.pool.lent() * limits::CHUNK_BYTES + batches
}
