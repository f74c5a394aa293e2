//! Delivery over syslog: a session that is written with back pressure, always read, and asked what TCP acknowledged.
//!
//! Batches are pipelined: the next is written while the former wait to settle (`target::syslog::Window` says when). The
//! session is read although a syslog receiver says nothing, since TLS does: unread tickets make the peer's end a reset
//! that takes data with it, and an unread close_notify makes a dead session look alive.

use std::{
    io,
    os::fd::AsFd,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use rustix::net::{RecvFlags, sockopt};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf},
    time::{Instant, MissedTickBehavior, interval, timeout},
};

use super::{
    connect::{Endpoint, Trust, Wire, plain},
    load::Load,
    task::Task,
};
use crate::{
    fault::Fault,
    limits::{SESSION_DRAIN, SYSLOG_POLL, SYSLOG_READ_BYTES, SYSLOG_SETTLE, TCP_KEEPALIVE, TCP_USER_TIMEOUT},
    os,
    plan::{Protocol, SyslogPlan, TargetKind, TargetPlan},
    target::syslog::Window,
};

/// Delivers in order until the queue is closed.
pub(super) async fn run(task: &mut Task) {
    let mut window = Window::default();
    let mut endpoint = None;
    loop {
        // No session is opened before there is something to say.
        if window.is_empty() {
            let Some(load) = task.queue.recv().await else { return };
            window.push(load);
        }
        if endpoint.is_none() || task.plans.have_changed() {
            // Never the one before: its trust may have been taken away.
            endpoint = None;
            match compile(&task.plans.take()).await {
                Ok(compiled) => endpoint = Some(compiled),
                Err(fault) => fail(task, &fault.to_string()).await,
            }
        }
        let Some(target) = &endpoint else { continue };
        let wire = tokio::select! {
            wire = target.connect() => wire,
            () = task.plans.changed() => continue,
        };
        let end = match wire.and_then(Session::new) {
            Ok(session) => session.carry(task, &mut window).await,
            Err(reason) => End::Lost(reason),
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

async fn fail(task: &mut Task, reason: &str) {
    task.report.failed(reason);
    task.pause(None).await;
}

async fn compile(plan: &Arc<TargetPlan>) -> Result<Endpoint, Fault> {
    let TargetKind::Syslog(SyslogPlan { host, port, protocol, server_name, tls, permitted_peer, .. }) = &plan.kind
    else {
        return Err(Fault::invalid(&plan.name, "is not a syslog target"));
    };
    let trust = match protocol {
        Protocol::Tcp => None,
        Protocol::Tls => Some(Trust { bundle: tls.clone(), permitted_peer: *permitted_peer, server_name, alpn: b"" }),
    };
    Endpoint::new(host, *port, trust).await
}

/// How a session ended.
enum End {
    /// By the peer or the network, with the reason in words.
    Lost(String),
    /// By us, everything settled or given up: the plan has changed.
    Replaced,
    /// The queue is closed.
    Closed,
}

/// What came of waiting for the socket.
enum Step {
    /// The peer said something; it is not for us to understand.
    Heard,
    Wrote(usize),
    Flushed,
    Ended(io::Result<()>),
}

/// One connection to a receiver.
struct Session {
    wire: Wire,
    since: Instant,
    /// Bytes of the window's next batch that were taken.
    offset: usize,
}

impl Session {
    fn new(wire: Wire) -> Result<Self, String> {
        let socket = wire.socket().as_fd();
        os::tcp::set_user_timeout(socket, TCP_USER_TIMEOUT).map_err(|error| plain(&error))?;
        // Only finds a dead peer sooner; without it the next write does.
        let _ = sockopt::set_socket_keepalive(socket, true);
        let _ = sockopt::set_tcp_keepidle(socket, TCP_KEEPALIVE);
        let _ = sockopt::set_tcp_keepintvl(socket, TCP_KEEPALIVE / 3);
        Ok(Self { wire, since: Instant::now(), offset: 0 })
    }

    /// Writes, reads, settles until the session ends. What is unsettled stays in the window.
    async fn carry(mut self, task: &mut Task, window: &mut Window<Load>) -> End {
        let mut poll = interval(SYSLOG_POLL);
        poll.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // When the plan changed or, if later, something settled.
        let mut draining: Option<Instant> = None;
        loop {
            if let Some(since) = draining
                && (!window.is_midway() && !window.is_unsettled() || since.elapsed() > SESSION_DRAIN)
            {
                self.close().await;
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
                    window.push(load);
                }
                step = self.step(body.as_ref()) => {
                    if let Some(reason) = self.apply(step, task, window) {
                        return End::Lost(reason);
                    }
                }
            }
        }
    }

    /// Reads, and writes `body` from `offset` on and flushes it, whichever is possible first.
    async fn step(&mut self, body: Option<&Bytes>) -> Step {
        let mut scrap = [0; SYSLOG_READ_BYTES];
        std::future::poll_fn(|cx| self.poll_step(cx, &mut scrap, body)).await
    }

    fn poll_step(&mut self, cx: &mut Context<'_>, scrap: &mut [u8], body: Option<&Bytes>) -> Poll<Step> {
        let mut wire = Pin::new(&mut self.wire);
        let mut heard = ReadBuf::new(scrap);
        match wire.as_mut().poll_read(cx, &mut heard) {
            Poll::Ready(Ok(())) if heard.filled().is_empty() => return Poll::Ready(Step::Ended(Ok(()))),
            Poll::Ready(Ok(())) => return Poll::Ready(Step::Heard),
            Poll::Ready(Err(error)) => return Poll::Ready(Step::Ended(Err(error))),
            Poll::Pending => {}
        }
        let Some(body) = body else { return Poll::Pending };
        let rest = &body[self.offset..];
        if rest.is_empty() {
            return match ready!(wire.poll_flush(cx)) {
                Ok(()) => Poll::Ready(Step::Flushed),
                Err(error) => Poll::Ready(Step::Ended(Err(error))),
            };
        }
        match ready!(wire.poll_write(cx, rest)) {
            Ok(0) => Poll::Ready(Step::Ended(Err(io::ErrorKind::WriteZero.into()))),
            Ok(count) => Poll::Ready(Step::Wrote(count)),
            Err(error) => Poll::Ready(Step::Ended(Err(error))),
        }
    }

    /// Takes `step` into account; gives the reason if it was the session's last.
    fn apply(&mut self, step: Step, task: &Task, window: &mut Window<Load>) -> Option<String> {
        match step {
            Step::Heard => None,
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
                window.wrote(self.wire.socket().taken());
                self.offset = 0;
                None
            }
            Step::Ended(Ok(())) => Some("the peer ended the session".to_owned()),
            Step::Ended(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {
                Some("the peer ended the session without a word".to_owned())
            }
            Step::Ended(Err(error)) => Some(format!("the session broke: {}", plain(&error))),
        }
    }

    /// Asks the kernel what was acknowledged, and settles what may. Gives the number of batches settled.
    fn settle(&self, task: &mut Task, window: &mut Window<Load>) -> io::Result<usize> {
        let socket = self.wire.socket();
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

    /// Says goodbye, without insisting.
    async fn close(&mut self) {
        let _ = timeout(SYSLOG_SETTLE, self.wire.shutdown()).await;
    }
}
