//! Following systemd's writer at work with the real backends: through rotation, without gap or duplicate.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use corelane::{
    model::Nanos,
    plan::{JournalInput, StartAt},
    ring::{Completion, Poll, Ring, Token, Uring, WatchKind},
    source::{
        Next,
        journal::{JournalCursor, JournalStart},
    },
};
use corelane_perf::load::Journal;

use super::Writer;

const ENTRIES: u64 = 60_000;
/// Entries a second; the machine may be too busy for it.
const RATE: f64 = 20_000.0;
/// A new field name in each of so many entries fills the table of fields: the writer rotates.
const FIELDS: u64 = 260;

#[test]
fn a_fast_writer_is_followed_by_io_uring() {
    match Uring::new() {
        Ok(ring) => follow(ring),
        Err(error) => println!("io_uring is denied here: {error}"),
    }
}

#[test]
fn a_fast_writer_is_followed_by_poll() {
    follow(Poll::new().expect("poll"));
}

fn follow<R: Ring>(mut ring: R) {
    let directory = tempfile::tempdir().expect("a directory");
    let mut writer = Writer::start(&directory.path().join("system.journal"), true, true);
    let writing = std::thread::spawn(move || {
        let (load, started) = (Journal::new(81), Instant::now());
        for first in (0..ENTRIES).step_by(50) {
            let mut bytes = Vec::new();
            (first..first + 50).for_each(|seq| load.push_entry(seq, &mut bytes));
            if first % 10_000 == 0 {
                rotation(first, &mut bytes);
            }
            // The pace of the load; nothing waits for it.
            std::thread::sleep(Duration::from_secs_f64(first as f64 / RATE).saturating_sub(started.elapsed()));
            writer.write(&bytes);
        }
        writer.end();
        started.elapsed()
    });
    let numbers = numbers(&mut ring, directory.path());
    let took = writing.join().expect("the writer ends");
    println!("{ENTRIES} entries in {took:?} by {}", ring.backend());
    assert!(numbers.iter().copied().eq(0..ENTRIES), "{} of {ENTRIES}, in order and once", numbers.len());
    let files = std::fs::read_dir(directory.path()).expect("the directory").count();
    assert!(files > 3, "the writer rotated: {files} files");
}

/// An entry without a number, with many new field names.
pub fn rotation(first: u64, bytes: &mut Vec<u8>) {
    bytes.extend_from_slice(b"_BOOT_ID=5e6f1d0c9f0b4b6c8f3a2b1c0d9e8f70\n");
    (0..FIELDS).for_each(|n| bytes.extend_from_slice(format!("F{first}_{n}=x\n").as_bytes()));
    bytes.extend_from_slice(b"MESSAGE=rotate\n\n");
}

/// The number the load gave to a message.
pub fn number(message: &[u8]) -> Option<u64> {
    let at = message.windows(6).rposition(|bytes| bytes == b"\"seq\":")?;
    let digits = std::str::from_utf8(&message[at + 6..message.len() - 1]).expect("digits");
    Some(digits.parse().expect("a number"))
}

/// The numbers of all entries, as they are read; ends when the last was seen and a further look brings nothing.
fn numbers<R: Ring>(ring: &mut R, directory: &Path) -> Vec<u64> {
    let input = JournalInput::default();
    let start = JournalStart::At(StartAt::Beginning, Nanos(0));
    let mut cursor = JournalCursor::new(&[directory.to_owned()], vec![input], start);
    let (mut numbers, mut done, mut quiet) = (Vec::new(), Vec::new(), 0);
    let mut grew = Instant::now();
    while quiet < 3 {
        assert!(grew.elapsed() < Duration::from_secs(60), "stuck after {} entries", numbers.len());
        match cursor.next(ring, Token(1)) {
            Next::Record(record) => {
                numbers.extend(number(record.frame));
                grew = Instant::now();
                continue;
            }
            Next::Yield => continue,
            Next::Idle if numbers.len() as u64 >= ENTRIES => {
                quiet += 1;
                cursor.changed();
                continue;
            }
            Next::Idle => {
                // Armed first, looked after: what came in between is not missed.
                let watch = ring.watch(directory, WatchKind::ContentOnce).expect("a watch");
                ring.reap(Duration::from_millis(5), &mut done).expect("the ring works");
                ring.unwatch(watch);
                cursor.changed();
            }
            Next::Pending => ring.reap(Duration::from_millis(5), &mut done).expect("the ring works"),
        }
        for completion in done.drain(..) {
            if let Completion::Done { result, buf, .. } = completion {
                cursor.complete(result, buf);
            }
        }
    }
    let counts = cursor.counts();
    assert_eq!((counts.damaged, counts.spoiled, counts.unattributed), (0, 0, 0));
    assert_eq!(cursor.take_troubles(), Vec::<String>::new());
    cursor.release(ring);
    numbers
}
