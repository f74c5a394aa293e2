//! Lines that are written at a rate, and how late they arrive.

use std::{
    fs::{File, OpenOptions},
    io::Write,
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant, SystemTime},
};

use corelane_perf::loki::LokiSink;

/// What stands before a line's number.
pub const MARKER: &str = "\"seq\":";
/// No line is shorter.
pub const LINE_BYTES_MIN: u64 = 60;
/// How often something is written.
const TICK: Duration = Duration::from_millis(5);
/// How often the lag of a receiver is looked at.
const SAMPLE: Duration = Duration::from_millis(2);

/// When lines were written: up to this number at this time, in order.
type Written = Arc<Mutex<Vec<(u64, Instant)>>>;

/// A file that grows at a rate until told to stop, and then says how many lines it has.
pub struct Growing {
    stop: Arc<AtomicBool>,
    written: Written,
    thread: JoinHandle<u64>,
}

impl Growing {
    pub fn start(path: PathBuf, rate: u64) -> Self {
        let (stop, written) = (Arc::new(AtomicBool::new(false)), Written::default());
        let (told, log) = (Arc::clone(&stop), Arc::clone(&written));
        let thread = thread::spawn(move || {
            let mut file: File = OpenOptions::new().create(true).append(true).open(path).expect("a log file");
            let (started, mut next) = (Instant::now(), 0);
            while !told.load(Ordering::Relaxed) {
                let due = (started.elapsed().as_secs_f64() * rate as f64) as u64;
                let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("a clock");
                let mut out = Vec::new();
                for seq in next..due {
                    let (seconds, micros) = (now.as_secs(), now.subsec_micros());
                    writeln!(
                        out,
                        "{{\"level\":\"info\",\"ts\":{seconds}.{micros:06},\"msg\":\"served\",\"seq\":{seq}}}"
                    )
                    .expect("memory");
                }
                next = next.max(due);
                file.write_all(&out).expect("written");
                log.lock().expect("a lock").push((next, Instant::now()));
                thread::sleep(TICK);
            }
            next
        });
        Self { stop, written, thread }
    }

    pub fn stop(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("the writer did not panic")
    }

    /// The longest time a line took to arrive, in each second until told to stop. Who writes late makes no lag.
    pub fn lags(&self, sink: &LokiSink, stop: &AtomicBool) -> Lags {
        let mut lags = Lags::default();
        let began = Instant::now();
        let mut at = self.written.lock().expect("a lock").len().saturating_sub(1);
        while !stop.load(Ordering::Relaxed) {
            thread::sleep(SAMPLE);
            // Lines arrive in order: of the first one that has not, the time tells how long it has been under way.
            let (seen, now) = (sink.counters().tally.seen, Instant::now());
            let written = self.written.lock().expect("a lock");
            at += written[at..].partition_point(|(upto, _)| *upto <= seen);
            let lag = written.get(at).map_or(Duration::ZERO, |(_, when)| now.saturating_duration_since(*when));
            at = at.min(written.len().saturating_sub(1));
            drop(written);
            lags.note(began.elapsed().as_secs() as usize, lag);
        }
        lags
    }
}

/// The longest lag of each second.
#[derive(Debug, Default)]
pub struct Lags(Vec<Duration>);

impl Lags {
    fn note(&mut self, second: usize, lag: Duration) {
        self.0.resize(self.0.len().max(second + 1), Duration::ZERO);
        self.0[second] = self.0[second].max(lag);
    }

    /// The lag that in so many percent of the seconds was not exceeded.
    pub fn at(&self, percent: usize) -> Duration {
        let mut sorted = self.0.clone();
        sorted.sort();
        sorted.get((sorted.len() * percent / 100).min(sorted.len().saturating_sub(1))).copied().unwrap_or_default()
    }
}
