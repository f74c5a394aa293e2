//! journald groups its change notifications: a file has changed 250 ms before anybody is told. Following by such events
//! alone, with the real backends and systemd's writer at work, loses nothing and brings nothing twice.

use std::{
    collections::VecDeque,
    io,
    path::Path,
    time::{Duration, Instant},
};

use corelane::{
    model::Nanos,
    plan::{JournalInput, StartAt},
    ring::{
        Completion, Entry, Handle, Mapping, Meta, Now, Op, Poll, ReadNow, Ring, Token, Uring, Waker, Watch, WatchKind,
    },
    source::{
        Next,
        journal::{JournalCursor, JournalStart},
    },
};
use corelane_perf::load::Journal;

use super::{Writer, live};

/// As journald has it (`POST_CHANGE_TIMER_INTERVAL_USEC`).
const DELAY: Duration = Duration::from_millis(250);
const ENTRIES: u64 = 12_000;
const PORTION: u64 = 50;
const PAUSE: Duration = Duration::from_millis(8);
const PATIENCE: Duration = Duration::from_secs(60);

/// A ring whose change events come late. Everything else is the ring's own.
struct Delayed<R> {
    ring: R,
    held: VecDeque<(Instant, Completion)>,
}

impl<R: Ring> Ring for Delayed<R> {
    fn reap(&mut self, wait: Duration, out: &mut Vec<Completion>) -> io::Result<()> {
        let due = self.held.front().map(|(due, _)| due.saturating_duration_since(Instant::now()));
        let mut happened = Vec::new();
        self.ring.reap(due.map_or(wait, |due| due.min(wait)), &mut happened)?;
        let now = Instant::now();
        for completion in happened {
            match completion {
                Completion::Done { .. } => out.push(completion),
                event => self.held.push_back((now + DELAY, event)),
            }
        }
        while let Some((_, event)) = self.held.pop_front_if(|(due, _)| *due <= now) {
            out.push(event);
        }
        Ok(())
    }

    fn cpu(&self) -> Duration {
        self.ring.cpu()
    }

    fn backend(&self) -> &'static str {
        self.ring.backend()
    }

    fn now(&self) -> Now {
        self.ring.now()
    }

    fn waker(&self) -> Waker {
        self.ring.waker()
    }

    fn open(&mut self, path: &Path) -> io::Result<Handle> {
        self.ring.open(path)
    }

    fn create(&mut self, path: &Path) -> io::Result<Handle> {
        self.ring.create(path)
    }

    fn close(&mut self, handle: Handle) {
        self.ring.close(handle);
    }

    fn stat(&mut self, handle: Handle) -> io::Result<Meta> {
        self.ring.stat(handle)
    }

    fn stat_path(&mut self, path: &Path) -> io::Result<Meta> {
        self.ring.stat_path(path)
    }

    fn list(&mut self, directory: &Path, max: usize) -> io::Result<Vec<Entry>> {
        self.ring.list(directory, max)
    }

    fn remove(&mut self, path: &Path) -> io::Result<()> {
        self.ring.remove(path)
    }

    fn read_now(&mut self, handle: Handle, offset: u64, buf: &mut [u8]) -> io::Result<ReadNow> {
        self.ring.read_now(handle, offset, buf)
    }

    fn map(&mut self, handle: Handle, offset: u64, bytes: usize) -> io::Result<Mapping> {
        self.ring.map(handle, offset, bytes)
    }

    fn write(&mut self, handle: Handle, offset: u64, data: &[u8]) -> io::Result<()> {
        self.ring.write(handle, offset, data)
    }

    fn watch(&mut self, path: &Path, kind: WatchKind) -> io::Result<Watch> {
        self.ring.watch(path, kind)
    }

    fn unwatch(&mut self, watch: Watch) {
        self.ring.unwatch(watch);
    }

    fn submit(&mut self, op: Op) -> Result<(), Op> {
        self.ring.submit(op)
    }
}

#[test]
fn late_events_lose_nothing_by_io_uring() {
    match Uring::new() {
        Ok(ring) => follow(ring),
        Err(error) => println!("io_uring is denied here: {error}"),
    }
}

#[test]
fn late_events_lose_nothing_by_poll() {
    follow(Poll::new().expect("poll"));
}

fn follow<R: Ring>(ring: R) {
    let directory = tempfile::tempdir().expect("a directory");
    let mut writer = Writer::start(&directory.path().join("system.journal"), true, true);
    let writing = std::thread::spawn(move || {
        let load = Journal::new(83);
        for first in (0..ENTRIES).step_by(PORTION as usize) {
            let mut bytes = Vec::new();
            (first..first + PORTION).for_each(|seq| load.push_entry(seq, &mut bytes));
            if first % 4000 == 0 {
                live::rotation(first, &mut bytes);
            }
            writer.write(&bytes);
            // The pace of the load; nothing waits for it.
            std::thread::sleep(PAUSE);
        }
        writer.end();
    });
    let mut ring = Delayed { ring, held: VecDeque::new() };
    let (numbers, looks) = numbers(&mut ring, directory.path());
    writing.join().expect("the writer ends");
    println!("{ENTRIES} entries in {looks} looks by {}", ring.backend());
    assert!(numbers.iter().copied().eq(0..ENTRIES), "{} of {ENTRIES}, in order and once", numbers.len());
    assert!(looks < ENTRIES / PORTION, "events came late and many at once: {looks} looks");
}

/// The numbers of all entries, and how many looks it took. Only events cause a look: no timer helps.
fn numbers<R: Ring>(ring: &mut R, directory: &Path) -> (Vec<u64>, u64) {
    let input = JournalInput::default();
    let start = JournalStart::At(StartAt::Beginning, Nanos(0));
    let mut cursor = JournalCursor::new(&[directory.to_owned()], vec![input], start);
    let (mut numbers, mut done, mut looks) = (Vec::new(), Vec::new(), 0);
    let (mut watch, mut grew) = (None, Instant::now());
    while (numbers.len() as u64) < ENTRIES {
        assert!(grew.elapsed() < PATIENCE, "stuck after {} entries", numbers.len());
        match cursor.next(ring, Token(1)) {
            Next::Record(record) => {
                numbers.extend(live::number(record.frame));
                grew = Instant::now();
                continue;
            }
            Next::Yield => continue,
            Next::Idle if watch.is_none() => {
                // Armed first, looked after: what came in between is not missed.
                watch = Some(ring.watch(directory, WatchKind::ContentOnce).expect("a watch"));
                looks += 1;
                cursor.changed();
                continue;
            }
            Next::Idle | Next::Pending => ring.reap(Duration::from_secs(1), &mut done).expect("the ring works"),
        }
        for completion in done.drain(..) {
            match completion {
                Completion::Done { result, buf, .. } => cursor.complete(result, buf),
                Completion::Changed { watch: seen, .. } if Some(seen) == watch => watch = None,
                Completion::Changed { .. } | Completion::Overflow => {}
            }
        }
    }
    let counts = cursor.counts();
    assert_eq!((counts.damaged, counts.spoiled, counts.unattributed), (0, 0, 0));
    assert_eq!(cursor.take_troubles(), Vec::<String>::new());
    cursor.release(ring);
    (numbers, looks)
}
