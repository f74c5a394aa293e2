//! Delivery over RELP: a session in which every message is answered (`target::relp` says what the answers mean).
//!
//! Messages are pipelined over batches; a batch settles when the last of its messages is answered, with no time to be
//! waited for besides. Reading comes before writing, since answers make room for messages.

use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use super::{
    load::Load,
    stream::{End, Step, Stream, connect, ended, fail},
    task::Task,
};
use crate::{
    limits::{
        CONNECT_TIMEOUT, RELP_ANSWER_TIMEOUT, RELP_POLL, RELP_READ_BYTES, RELP_WRITE_BYTES, SESSION_DRAIN,
        SYSLOG_SETTLE,
    },
    orders::{Outcome, Refusal},
    target::relp::{Session, Settled, Window},
};

/// Delivers in order until the queue is closed.
pub(super) async fn run(task: &mut Task) {
    let mut window = Window::default();
    let mut endpoint = None;
    // What a session is opened for. It grows old while none can be.
    let mut first = None;
    loop {
        if window.is_empty() && first.is_none() {
            first = task.next().await;
            if first.is_none() {
                return;
            }
        }
        let Some(stream) = connect(task, &mut endpoint).await else { continue };
        let end = match stream {
            Ok(stream) => {
                first.take().and_then(|load| task.wanted(load)).into_iter().for_each(|load| push(&mut window, load));
                let mut talk = Talk::new(stream);
                let end = talk.carry(task, &mut window).await;
                if talk.session.took() {
                    task.backoff.reset();
                }
                talk.session.end(&mut window);
                end
            }
            Err(reason) => {
                fail(task, &reason).await;
                continue;
            }
        };
        // What was refused for good is known at a session's end.
        settle(task, &mut window);
        match end {
            End::Closed => return,
            End::Replaced => task.backoff.reset(),
            // A peer may end a session that has nothing under way; the next batch opens another.
            End::Lost(reason) if window.is_empty() => tracing::debug!(reason, "an idle RELP session ended"),
            End::Lost(reason) => fail(task, &reason).await,
        }
    }
}

fn push(window: &mut Window<Load>, load: Load) {
    let body = load.body();
    window.push(load, body);
}

/// Answers for what has settled. Gives the number of batches.
fn settle(task: &mut Task, window: &mut Window<Load>) -> usize {
    let settled: Vec<Settled<Load>> = std::iter::from_fn(|| window.settled()).collect();
    let acked = settled.iter().filter(|settled| settled.refusal.is_none()).count();
    if acked > 0 {
        // Whoever sees a verdict finds it on the board as well.
        task.report.acked(acked as u64);
    }
    let count = settled.len();
    for Settled { load, refusal } in settled {
        match refusal {
            None => load.acked(),
            Some(Refusal { entries, reason }) => {
                task.report.refused(&reason);
                let entries = entries.min(load.batch().entries);
                load.settle(Outcome::Refused(Refusal { entries, reason }));
            }
        }
    }
    count
}

/// One session on its connection.
struct Talk {
    stream: Stream,
    session: Session,
    since: Instant,
    /// Frames to be written, from `offset` on.
    out: Vec<u8>,
    offset: usize,
}

impl Talk {
    fn new(stream: Stream) -> Self {
        let since = Instant::now();
        let mut out = Vec::with_capacity(RELP_WRITE_BYTES);
        let session = Session::new(&mut out, since.elapsed());
        Self { stream, session, since, out, offset: 0 }
    }

    /// Writes, reads, settles until the session ends. What is unanswered is with the session.
    async fn carry(&mut self, task: &mut Task, window: &mut Window<Load>) -> End {
        let mut heard = vec![0; RELP_READ_BYTES];
        let mut poll = interval(RELP_POLL);
        poll.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // When the plan changed or, if later, something settled.
        let mut draining: Option<Instant> = None;
        loop {
            if let Some(since) = draining
                && (!self.session.is_waiting() || since.elapsed() > SESSION_DRAIN)
            {
                if !self.session.is_waiting() {
                    self.say_goodbye(window).await;
                }
                self.stream.close().await;
                return End::Replaced;
            }
            // A session being replaced writes what it has begun and begins nothing more.
            if self.out.is_empty() && draining.is_none() {
                let again = self.session.speak(window, &mut self.out, self.since.elapsed());
                (0..again).for_each(|_| task.report.resent());
            }
            let rest = (!self.out.is_empty()).then(|| &self.out[self.offset..]);
            // In this order, so that nothing queued after a plan is written to a session of the plan before. Steps come
            // last and are not starved: plans and ticks are rare, and a lane's credit bounds what is queued.
            tokio::select! {
                biased;
                () = task.plans.changed(), if draining.is_none() => draining = Some(Instant::now()),
                _ = poll.tick(), if self.session.is_waiting() => {
                    if let Some(reason) = self.overdue() {
                        return End::Lost(reason);
                    }
                }
                load = task.queue.recv() => {
                    let Some(load) = load else { return End::Closed };
                    task.wanted(load).into_iter().for_each(|load| push(window, load));
                }
                step = self.stream.step(&mut heard, rest) => {
                    if let Err(reason) = self.apply(&step, &heard, task, window) {
                        return End::Lost(reason);
                    }
                    if settle(task, window) > 0 {
                        draining = draining.map(|_| Instant::now());
                    }
                }
            }
        }
    }

    fn overdue(&self) -> Option<String> {
        let now = self.since.elapsed();
        if !self.session.is_open() && now > CONNECT_TIMEOUT {
            return Some(format!("the peer did not open a RELP session within {CONNECT_TIMEOUT:?}"));
        }
        self.session.is_overdue(now).then(|| format!("the peer has answered nothing for {RELP_ANSWER_TIMEOUT:?}"))
    }

    /// Takes `step` into account. The reason if it was the session's last.
    fn apply(&mut self, step: &Step, heard: &[u8], task: &Task, window: &mut Window<Load>) -> Result<(), String> {
        match step {
            Step::Heard(count) => self.session.hear(&heard[..*count], window, self.since.elapsed()),
            Step::Wrote(count) => {
                self.offset += count;
                Ok(())
            }
            Step::Flushed => {
                task.report.sent(self.offset);
                self.out.clear();
                // What a message of the greatest size needed is not kept for ever.
                self.out.shrink_to(2 * RELP_WRITE_BYTES);
                self.offset = 0;
                Ok(())
            }
            Step::Ended(how) => Err(ended(how)),
        }
    }

    /// Says goodbye and waits a little for its answer.
    async fn say_goodbye(&mut self, window: &mut Window<Load>) {
        let goodbye = async {
            let mut heard = vec![0; RELP_READ_BYTES];
            self.session.close(&mut self.out);
            while !self.session.is_closed() {
                let rest = (!self.out.is_empty()).then(|| &self.out[self.offset..]);
                match self.stream.step(&mut heard, rest).await {
                    Step::Heard(count) => {
                        if self.session.hear(&heard[..count], window, self.since.elapsed()).is_err() {
                            return;
                        }
                    }
                    Step::Wrote(count) => self.offset += count,
                    Step::Flushed => (self.out, self.offset) = (Vec::new(), 0),
                    Step::Ended(_) => return,
                }
            }
        };
        let _ = timeout(SYSLOG_SETTLE, goodbye).await;
    }
}
