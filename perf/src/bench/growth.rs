//! A file that grows by the clock while something is measured, and how long its lines take to a receiver.

use std::{
    collections::VecDeque,
    io,
    path::Path,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use crate::{
    load::{Load, Rotation, Spec, Writer},
    loki::LokiSink,
};

/// How often lines are written, and so how finely lag is known.
const TICK: Duration = Duration::from_millis(5);
/// Bytes after which the file is rotated.
const ROTATION_BYTES: u64 = 64_000_000;
/// Rotated files kept: what a lagging target still needs must not be deleted.
const ROTATED_MAX: usize = 1000;
/// How long one wait for news from a receiver may take before its end is looked at.
const LOOK: Duration = Duration::from_millis(200);

/// When which number was written: all below it were there at that moment.
type Marks = Mutex<VecDeque<(Instant, u64)>>;

/// Writes zap lines, none of them debug, into `path` at a rate until told to stop.
pub(super) struct Growth {
    stop: Arc<AtomicBool>,
    marks: Arc<Marks>,
    thread: thread::JoinHandle<io::Result<u64>>,
}

impl Growth {
    /// # Errors
    /// The file cannot be made.
    pub(super) fn start(path: &Path, bytes_per_second: f64) -> io::Result<Self> {
        let load = Load::new(Spec { debug_percent: 0, ..Spec::default() });
        let mut writer = Writer::open(path, load)?.rotating(Rotation::Bytes(ROTATION_BYTES), ROTATED_MAX);
        let (stop, marks) = (Arc::new(AtomicBool::new(false)), Arc::<Marks>::default());
        let (told, noted) = (Arc::clone(&stop), Arc::clone(&marks));
        let thread = thread::Builder::new().name("growth".to_owned()).spawn(move || {
            let start = Instant::now();
            while !told.load(Ordering::Relaxed) {
                let due = (start.elapsed().as_secs_f64() * bytes_per_second) as u64;
                let line_bytes = writer.bytes().checked_div(writer.next_seq()).unwrap_or(300).max(1);
                writer.write_lines(due.saturating_sub(writer.bytes()) / line_bytes)?;
                lock(&noted).push_back((Instant::now(), writer.next_seq()));
                thread::sleep(TICK);
            }
            Ok(writer.next_seq())
        })?;
        Ok(Self { stop, marks, thread })
    }

    /// For one watcher.
    pub(super) fn marks(&self) -> Arc<Marks> {
        Arc::clone(&self.marks)
    }

    /// Ends the writing. Gives the number of lines.
    ///
    /// # Errors
    /// The file could not be written.
    pub(super) fn stop(self) -> io::Result<u64> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| io::Error::other("the writer panicked"))?
    }
}

/// Takes from `marks` what `sink` has received, and notes how long it took, in seconds, until told to end.
pub(super) fn watch_lag(sink: &LokiSink, marks: &Marks, lags: &Mutex<Vec<f64>>, end: &AtomicBool) {
    let mut known = None;
    while !end.load(Ordering::Relaxed) {
        if !sink.wait(LOOK, |counters| counters.tally.highest > known) {
            continue;
        }
        known = sink.counters().tally.highest;
        let (now, mut marks) = (Instant::now(), lock(marks));
        while let Some((written, _)) = marks.pop_front_if(|(_, next)| known.is_some_and(|highest| *next <= highest + 1))
        {
            lock(lags).push((now - written).as_secs_f64());
        }
    }
}

/// A list is as good after a panic elsewhere as before.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
