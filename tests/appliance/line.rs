//! Numbered lines as short as a service's can be, and a file of them that grows by the clock and is rotated on demand.

use std::{
    fs::{self, File, OpenOptions},
    io::Write,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant, SystemTime},
};

/// What stands before the number.
pub const MARKER: &str = "\"seq\":";
/// Length of the shortest line, with its newline: a number of one digit.
pub const LINE_BYTES_MIN: usize = 63;

/// Lines written at once by one in a hurry.
const HURRIED_LINES: u64 = 1_000;

/// Appends line `seq` as zap writes it, with its newline.
pub fn push_zap(out: &mut Vec<u8>, level: &str, seq: u64) {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("a clock");
    let (seconds, micros) = (now.as_secs(), now.subsec_micros());
    writeln!(out, "{{\"level\":\"{level}\",\"ts\":{seconds}.{micros:06},\"msg\":\"served\",\"seq\":{seq}}}")
        .expect("memory");
}

/// Appends lines to a file.
pub fn append_zap(path: &Path, level: &str, numbers: std::ops::Range<u64>) {
    let mut out = Vec::new();
    numbers.for_each(|seq| push_zap(&mut out, level, seq));
    append(path).write_all(&out).expect("written");
}

fn append(path: &Path) -> File {
    OpenOptions::new().create(true).append(true).open(path).expect("a log file")
}

/// A thread that writes `lines` numbered lines at `rate` lines a second until told to hurry, and rotates by rename when
/// told to. The rate must leave time for all that is to happen meanwhile, on a busy machine too.
pub struct Growing {
    rotate: mpsc::Sender<mpsc::Sender<()>>,
    hurry: Arc<AtomicBool>,
    thread: thread::JoinHandle<()>,
}

impl Growing {
    pub fn start(path: PathBuf, lines: u64, rate: u64) -> Self {
        let (rotate, orders) = mpsc::channel::<mpsc::Sender<()>>();
        let hurry = Arc::new(AtomicBool::new(false));
        let is_late = Arc::clone(&hurry);
        let thread = thread::spawn(move || {
            let (mut file, mut rotations, mut next) = (append(&path), 0, 0);
            let (start, mut buffer) = (Instant::now(), Vec::new());
            while next < lines {
                if let Ok(done) = orders.recv_timeout(Duration::from_millis(5)) {
                    for n in (1..=rotations).rev() {
                        fs::rename(rotated(&path, n), rotated(&path, n + 1)).expect("renamed");
                    }
                    fs::rename(&path, rotated(&path, 1)).expect("renamed");
                    file = append(&path);
                    rotations += 1;
                    done.send(()).expect("somebody waits");
                }
                let by_clock = (start.elapsed().as_secs_f64() * rate as f64) as u64;
                let due = if is_late.load(Ordering::Relaxed) { next + HURRIED_LINES } else { by_clock };
                buffer.clear();
                (next..due.min(lines)).for_each(|seq| push_zap(&mut buffer, "info", seq));
                next = next.max(due.min(lines));
                file.write_all(&buffer).expect("written");
            }
        });
        Self { rotate, hurry, thread }
    }

    /// Rotates, and waits until that is done. The lines must not all be written yet.
    pub fn rotate(&self) {
        let (done, wait) = mpsc::channel();
        self.rotate.send(done).expect("lines are still being written");
        wait.recv().expect("lines are still being written");
    }

    /// Writes the rest as fast as it can, and waits until all lines are written.
    pub fn hurry(self) {
        self.hurry.store(true, Ordering::Relaxed);
        self.thread.join().expect("the writer did not panic");
    }
}

fn rotated(path: &Path, n: u32) -> PathBuf {
    path.with_extension(format!("log.{n}"))
}

#[test]
fn the_shortest_line_is_as_short_as_said() {
    let mut line = Vec::new();
    push_zap(&mut line, "info", 0);
    assert_eq!(line.len(), LINE_BYTES_MIN, "{}", String::from_utf8_lossy(&line));
}

/// A well-mixed number of two (SplitMix64's finaliser), so that a seed gives the same run again.
pub fn mix(seed: u64, n: u64) -> u64 {
    let mut z = seed ^ n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
