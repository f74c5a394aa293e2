//! Delivery over syslog: a session that is written with back pressure, always read, and asked what TCP acknowledged.
//!
//! Batches are pipelined: the next is written while the former wait to settle (`target::syslog::Window` says when). The
//! session is read although a syslog receiver says nothing: see `stream`.

use std::{io, os::fd::AsFd};

use rustix::net::RecvFlags;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::{
    connect::plain,
    load::Load,
    stream::{End, Step, Stream, connect, ended, fail},
    task::Task,
};
use crate::{
    limits::{SESSION_DRAIN, SYSLOG_POLL, SYSLOG_READ_BYTES},
    os,
    target::syslog::Window,
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
                first.take().and_then(|load| task.wanted(load)).into_iter().for_each(|load| window.push(load));
                Session::new(stream).carry(task, &mut window).await
            }
            Err(reason) => {
                fail(task, &reason).await;
                continue;
            }
        };
        window.lost();
        match end {
            End::Closed => return,
            End::Replaced => task.backoff.reset(),
            // A peer may end a session that has nothing under way; the next batch opens another.
            End::Lost(reason) if window.is_empty() => tracing::debug!(reason, "an idle syslog session ended"),
            End::Lost(reason) => fail(task, &reason).await,
        }
    }
}

/// One connection to a receiver.
struct Session {
    stream: Stream,
    since: Instant,
    /// Bytes of the window's next batch that were taken.
    offset: usize,
}

impl Session {
    fn new(stream: Stream) -> Self {
        Self { stream, since: Instant::now(), offset: 0 }
    }

    /// Writes, reads, settles until the session ends. What is unsettled stays in the window.
    async fn carry(mut self, task: &mut Task, window: &mut Window<Load>) -> End {
        let mut scrap = [0; SYSLOG_READ_BYTES];
        let mut poll = interval(SYSLOG_POLL);
        poll.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // When the plan changed or, if later, something settled.
        let mut draining: Option<Instant> = None;
        loop {
            if let Some(since) = draining
                && (!window.is_midway() && !window.is_unsettled() || since.elapsed() > SESSION_DRAIN)
            {
                self.stream.close().await;
                return End::Replaced;
            }
            // A session being replaced finishes the batch it has begun and begins no other.
            let body = (draining.is_none() || window.is_midway()).then(|| window.next().map(Load::body)).flatten();
            // In this order, so that nothing queued after a plan is written to a session of the plan before. Steps come
            // last and are not starved: plans and ticks are rare, and a lane's credit bounds what is queued.
            tokio::select! {
                biased;
                () = task.plans.changed(), if draining.is_none() => draining = Some(Instant::now()),
                _ = poll.tick(), if window.is_unsettled() || draining.is_some() => {
                    match self.settle(task, window) {
                        Ok(0) => {}
                        Ok(_) => draining = draining.map(|_| Instant::now()),
                        Err(error) => return End::Lost(plain(&error)),
                    }
                }
                load = task.queue.recv() => {
                    let Some(load) = load else { return End::Closed };
                    task.wanted(load).into_iter().for_each(|load| window.push(load));
                }
                step = self.stream.step(&mut scrap, body.as_ref().map(|body| &body[self.offset..])) => {
                    if let Some(reason) = self.apply(step, task, window) {
                        return End::Lost(reason);
                    }
                }
            }
        }
    }

    /// Takes `step` into account; gives the reason if it was the session's last.
    fn apply(&mut self, step: Step, task: &Task, window: &mut Window<Load>) -> Option<String> {
        match step {
            // It is not for us to understand.
            Step::Heard(_) => None,
            Step::Wrote(count) => {
                if self.offset == 0 && window.begin() {
                    task.report.resent();
                }
                self.offset += count;
                None
            }
            Step::Flushed => {
                task.report.sent(self.offset);
                // All of the batch's bytes, encrypted or not, are with the socket now.
                window.wrote(self.stream.socket().taken());
                self.offset = 0;
                None
            }
            Step::Ended(how) => Some(ended(&how)),
        }
    }

    /// Asks the kernel what was acknowledged, and settles what may. Gives the number of batches settled.
    fn settle(&self, task: &mut Task, window: &mut Window<Load>) -> io::Result<usize> {
        let socket = self.stream.socket();
        // Straight from the kernel: what the peer said last is seen even if the runtime has not come to it yet.
        // Whatever waits to be read may be the session's end, so nothing settles before it is read.
        match rustix::net::recv(socket, &mut [0; 1], RecvFlags::PEEK | RecvFlags::DONTWAIT) {
            Ok(_) => return Ok(0),
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let now = self.since.elapsed();
        window.acked(socket.taken(), os::tcp::unacked(socket.as_fd())? as u64, now);
        let settled: Vec<Load> = std::iter::from_fn(|| window.settled(now)).collect();
        if !settled.is_empty() {
            task.backoff.reset();
            // Whoever sees a verdict finds it on the board as well.
            task.report.acked(settled.len() as u64);
        }
        let count = settled.len();
        settled.into_iter().for_each(Load::acked);
        Ok(count)
    }
}
