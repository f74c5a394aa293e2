//! Follows a journal directory that is being written to, as a lane does, and says how late its entries were seen and
//! what that cost: `perf/journal/follow` runs it.
//!
//! `cargo bench --bench follow -- DIR ENTRIES [uring|poll] [DELAY_MS]` reads until so many entries came and prints one
//! line. With a delay, events are held back so long, as journald holds them back. Late is counted from the event that
//! led to the look; after a rest from its beginning, the earliest an event can have come. The entries' own numbers
//! (`"seq":N`) tell gaps and duplicates.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use corelane::{
    limits::{JOURNAL_POLL, JOURNAL_REST},
    model::Nanos,
    plan::{JournalInput, StartAt},
    ring::{Completion, Poll, Ring, Token, Uring, WatchKind},
    source::{
        Next,
        journal::{JournalCursor, JournalStart},
    },
};

fn main() -> Result<(), String> {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    // Run with the other benchmarks, and without a directory, there is nothing to measure.
    let [directory, entries, rest @ ..] = arguments.as_slice() else { return Ok(()) };
    let entries = entries.parse().map_err(|_| format!("'{entries}' is no number of entries"))?;
    let backend = rest.first().map_or("uring", String::as_str);
    let delay = Duration::from_millis(rest.get(1).map_or(Ok(0), |ms| ms.parse()).map_err(|_| "no number of ms")?);
    let words = |error: std::io::Error| format!("{backend}: {error}");
    match backend {
        "poll" => run(Poll::new().map_err(words)?, Path::new(directory), entries, delay),
        _ => run(Uring::new().map_err(words)?, Path::new(directory), entries, delay),
    }
}

#[derive(Default)]
struct Seen {
    numbers: Vec<u64>,
    /// How late each was, in microseconds after the event that led to it.
    late: Vec<u64>,
    events: u64,
    /// A watch has fired.
    fired: bool,
}

fn run<R: Ring>(mut ring: R, directory: &Path, entries: usize, delay: Duration) -> Result<(), String> {
    let input = JournalInput::default();
    let start = JournalStart::At(StartAt::Beginning, Nanos(0));
    let mut cursor = JournalCursor::new(&[directory.to_owned()], vec![input], start);
    let (mut seen, mut done) = (Seen::default(), Vec::new());
    let (began, cpu_began) = (Instant::now(), ring.cpu());
    let mut since = Instant::now();
    while seen.numbers.len() < entries {
        // Armed first, looked at after: what came in between is not missed.
        let watch = ring.watch(directory, WatchKind::ContentOnce).map_err(|error| error.to_string())?;
        seen.fired = false;
        cursor.changed();
        drain(&mut cursor, &mut ring, since, &mut seen)?;
        let waited = Instant::now();
        while !seen.fired && waited.elapsed() < JOURNAL_POLL {
            ring.reap(JOURNAL_POLL, &mut done).map_err(|error| error.to_string())?;
            seen.fired |= done.drain(..).any(|completion| matches!(completion, Completion::Changed { .. }));
        }
        ring.unwatch(watch);
        seen.events += u64::from(seen.fired);
        std::thread::sleep(delay);
        let event = Instant::now();
        cursor.changed();
        drain(&mut cursor, &mut ring, event, &mut seen)?;
        since = Instant::now();
        std::thread::sleep(JOURNAL_REST);
    }
    let (wall, cpu) = (began.elapsed().as_secs_f64(), (ring.cpu() - cpu_began).as_secs_f64());
    let in_order = seen.numbers.iter().copied().eq(0..entries as u64);
    seen.late.sort_unstable();
    let late = |part: f64| seen.late[((seen.late.len() - 1) as f64 * part) as usize] as f64 / 1000.0;
    println!(
        "entries={} once_in_order={in_order} rate={:.0}/s events={} late_ms p50={:.1} p99={:.1} max={:.1} \
         cpu={:.1}% backend={}",
        seen.numbers.len(),
        seen.numbers.len() as f64 / wall,
        seen.events,
        late(0.5),
        late(0.99),
        late(1.0),
        100.0 * cpu / wall,
        ring.backend()
    );
    if in_order { Ok(()) } else { Err("entries are missing, twice or out of order".to_owned()) }
}

/// Reads all there is; a look that waited for its turn is as late as the rest the last event was given.
fn drain<R: Ring>(cursor: &mut JournalCursor, ring: &mut R, event: Instant, seen: &mut Seen) -> Result<(), String> {
    let mut done = Vec::new();
    loop {
        match cursor.next(ring, Token(1)) {
            Next::Record(record) => {
                let text = String::from_utf8_lossy(record.frame);
                let digits = text.rsplit_once("\"seq\":").and_then(|(_, rest)| rest.strip_suffix('}'));
                seen.numbers.push(digits.and_then(|digits| digits.parse().ok()).ok_or("an entry without a number")?);
                seen.late.push(event.elapsed().as_micros() as u64);
            }
            Next::Yield => {}
            Next::Idle => return Ok(()),
            Next::Pending => {
                ring.reap(Duration::from_secs(10), &mut done).map_err(|error| error.to_string())?;
                for completion in done.drain(..) {
                    match completion {
                        Completion::Done { result, buf, .. } => cursor.complete(result, buf),
                        Completion::Changed { .. } => seen.fired = true,
                        Completion::Overflow => {}
                    }
                }
            }
        }
    }
}
