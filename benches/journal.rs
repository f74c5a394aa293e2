//! Reads all entries of a journal directory and says what that cost: `perf/journal` runs it beside libsystemd.
//!
//! `cargo bench --bench journal -- DIR [uring|poll] [IDENTIFIER]` prints one line: entries, bytes of their messages, CPU
//! seconds of the whole process (threads that the kernel keeps for it included), peak memory.

use std::{path::Path, time::Duration};

use corelane::{
    model::{Nanos, Record},
    os::{cpu, process},
    plan::{JournalInput, StartAt},
    ring::{Completion, Poll, Ring, Token, Uring},
    source::{
        Next,
        journal::{JournalCursor, JournalStart},
    },
};
use rustix::time::{ClockId, Timespec, clock_gettime};

fn main() -> Result<(), String> {
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    // Run with the other benchmarks, and without a directory, there is nothing to measure.
    let Some(directory) = arguments.next() else { return Ok(()) };
    let backend = arguments.next().unwrap_or_else(|| "uring".to_owned());
    let identifier = arguments.next();
    let words = |error: std::io::Error| format!("{backend}: {error}");
    match backend.as_str() {
        "poll" => run(Poll::new().map_err(words)?, &directory, identifier),
        _ => {
            let mut ring = Uring::new().map_err(words)?;
            // As a lane does.
            ring.confine_workers(&cpu::allowed()).map_err(words)?;
            run(ring, &directory, identifier)
        }
    }
}

/// Seconds of CPU this process has taken.
fn seconds() -> f64 {
    let Timespec { tv_sec, tv_nsec } = clock_gettime(ClockId::ProcessCPUTime);
    tv_sec as f64 + tv_nsec as f64 / 1e9
}

fn run<R: Ring>(mut ring: R, directory: &str, identifier: Option<String>) -> Result<(), String> {
    let input = JournalInput { identifier, ..JournalInput::default() };
    let start = JournalStart::At(StartAt::Beginning, Nanos(0));
    let before = seconds();
    let mut cursor = JournalCursor::new(&[Path::new(directory).to_owned()], vec![input], start);
    let (mut entries, mut bytes, mut sum, mut done) = (0u64, 0u64, 0u64, Vec::new());
    loop {
        match cursor.next(&mut ring, Token(1)) {
            Next::Record(Record { frame, .. }) => {
                entries += 1;
                bytes += frame.len() as u64;
                sum = sum.wrapping_add(frame.last().copied().map_or(0, u64::from));
            }
            Next::Yield => {}
            Next::Idle => break,
            Next::Pending => {
                ring.reap(Duration::from_secs(10), &mut done).map_err(|error| error.to_string())?;
                for completion in done.drain(..) {
                    if let Completion::Done { result, buf, .. } = completion {
                        cursor.complete(result, buf);
                    }
                }
            }
        }
    }
    let cpu = seconds() - before;
    for trouble in cursor.take_troubles() {
        eprintln!("{trouble}");
    }
    let peak = process::peak_rss_bytes().map_err(|error| error.to_string())? / 1024;
    println!("entries={entries} bytes={bytes} sum={sum} cpu={cpu:.4} peak_kib={peak} backend={}", ring.backend());
    Ok(())
}
