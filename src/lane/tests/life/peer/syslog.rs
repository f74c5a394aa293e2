//! A syslog receiver behind TCP, and a link that keeps the resend window of `target::syslog`.
//!
//! The receiver's machine acknowledges bytes before the receiver has read them: what lay between is lost with the
//! receiver, and its death is seen soon after.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use super::{
    super::{judge::Entry, kinds::Trouble},
    Room,
};
use crate::{
    orders::{Batch, Outcome},
    target::{Backoff, syslog::Window},
};

/// The receiver reads what has arrived after so long at most.
const READ_EVERY: Duration = Duration::from_millis(20);
/// A death shows within less than the time a batch has to settle.
const DEATH_SHOWS: Duration = Duration::from_millis(300);

#[derive(Debug)]
pub struct Syslog {
    backoff: Backoff,
    window: Window<Arc<Batch>>,
    session: Session,
}

#[derive(Debug)]
enum Session {
    Down { until: Duration },
    Up(Up),
}

#[derive(Debug, Default)]
struct Up {
    /// Bytes given to the socket, and acknowledged by the peer's machine.
    written: u64,
    acked: u64,
    /// Arrived and not read by the receiver yet.
    unread: VecDeque<Arc<Batch>>,
    next_read: Duration,
    slow_until: Duration,
    /// The receiver is dead; seen then.
    dies: Option<Duration>,
}

impl Syslog {
    pub fn new(seed: u64) -> Self {
        Self {
            backoff: Backoff::new(seed),
            window: Window::default(),
            session: Session::Down { until: Duration::ZERO },
        }
    }

    pub fn next_due(&self, has_work: bool, now: Duration) -> Option<Duration> {
        let is_busy = has_work || !self.window.is_empty();
        match &self.session {
            Session::Down { until } => is_busy.then_some((*until).max(now)),
            Session::Up(up) => (is_busy || !up.unread.is_empty() || up.dies.is_some()).then_some(now + READ_EVERY),
        }
    }

    /// The session ends by our side: what has arrived is still read. Gives what was not settled.
    pub fn cut(&mut self, room: &mut Room<'_>) -> Vec<Arc<Batch>> {
        if let Session::Up(up) = &mut self.session
            && up.dies.is_none()
        {
            up.read(room, usize::MAX);
        }
        self.session = Session::Down { until: room.now };
        self.window.lost();
        let mut held = Vec::new();
        while let Some(batch) = self.window.next().cloned() {
            held.push(batch);
            self.window.wrote(0);
        }
        self.window = Window::default();
        held
    }

    pub fn step(
        &mut self,
        queue: &mut VecDeque<Arc<Batch>>,
        room: &mut Room<'_>,
        settle: &mut impl FnMut(u64, Outcome),
    ) {
        queue.drain(..).for_each(|batch| self.window.push(batch));
        match &mut self.session {
            Session::Down { until } if *until > room.now || self.window.is_empty() => return,
            Session::Down { .. } => {
                if room.manners.is_dead || room.strikes(Trouble::SessionRefused) {
                    if room.manners.is_dead {
                        room.table.note(Trouble::SessionRefused);
                    }
                    self.session = Session::Down { until: room.now + self.backoff.pause() };
                    return;
                }
                self.backoff.reset();
                self.session = Session::Up(Up::default());
            }
            Session::Up(_) => {}
        }
        let Session::Up(up) = &mut self.session else { return };
        if up.dies.is_some_and(|at| at <= room.now) {
            self.window.lost();
            self.session = Session::Down { until: room.now + self.backoff.pause() };
            return;
        }
        up.write(&mut self.window, room);
        if up.dies.is_none() {
            self.window.acked(up.written, up.written - up.acked, room.now);
            while let Some(batch) = self.window.settled(room.now) {
                settle(batch.id, Outcome::Acked);
            }
        }
    }
}

impl Up {
    fn write(&mut self, window: &mut Window<Arc<Batch>>, room: &mut Room<'_>) {
        if self.dies.is_none() && (room.manners.is_dead || self.dies_now(window, room)) {
            self.dies = Some(room.now + Duration::from_millis(room.dice.below(DEATH_SHOWS.as_millis() as u64)));
        }
        if self.slow_until > room.now {
            return;
        }
        let may_slow = self.dies.is_none() && self.slow_until.is_zero() && window.next().is_some();
        if may_slow && room.strikes(Trouble::SlowReader) {
            self.slow_until = room.now + Duration::from_millis(500 + room.dice.below(5_000));
            // Slow to take more; what its machine has acknowledged it has read by then.
            self.read(room, usize::MAX);
            return;
        }
        while let Some(batch) = window.next().cloned() {
            window.begin();
            self.written += batch.body.len() as u64;
            window.wrote(self.written);
            if self.dies.is_none() {
                self.unread.push_back(batch);
            }
        }
        if self.dies.is_none() {
            self.acked = self.written;
            if room.now >= self.next_read {
                self.next_read = room.now + READ_EVERY;
                self.slow_until = Duration::ZERO;
                let most = 1 + room.dice.below(8) as usize;
                self.read(room, most);
            }
        }
    }

    /// The receiver dies: with what it has not read, or in the midst of a batch.
    fn dies_now(&mut self, window: &mut Window<Arc<Batch>>, room: &mut Room<'_>) -> bool {
        if self.unread.is_empty() && window.next().is_none() {
            return false;
        }
        let way = if room.dice.one_in(2) { Trouble::SessionCut } else { Trouble::CutMidway };
        if !room.dice.one_in(3) || !room.strikes(way) {
            return false;
        }
        if way == Trouble::CutMidway
            && let Some(batch) = self.unread.front().or(window.next()).cloned()
        {
            let entries = decode(&batch);
            let kept = room.dice.below(entries.len() as u64 + 1) as usize;
            entries[..kept].iter().for_each(|entry| room.judge.stored(room.target, batch.id, entry));
        }
        self.unread.clear();
        true
    }

    fn read(&mut self, room: &mut Room<'_>, most: usize) {
        for _ in 0..most {
            let Some(batch) = self.unread.pop_front() else { return };
            for entry in decode(&batch) {
                room.judge.stored(room.target, batch.id, &entry);
            }
        }
    }
}

/// Octet-counted RFC 5424 messages.
fn decode(batch: &Batch) -> Vec<Entry> {
    let mut rest = std::str::from_utf8(&batch.body).expect("syslog is text");
    let mut entries = Vec::new();
    while let Some((length, after)) = rest.split_once(' ') {
        let (message, next) = after.split_at(length.parse().expect("a length"));
        rest = next;
        let mut words = message.splitn(3, ' ');
        let (priority, time) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let (head, line) = words.next().and_then(|body| body.split_once("] ")).expect("structured data");
        let time = time.parse::<jiff::Timestamp>().expect("a time").as_nanosecond() as i64;
        let (labels, stream) = (format!("{priority} {head}"), String::new());
        entries.push(Entry { labels, stream, time, line: line.to_owned() });
    }
    entries
}
