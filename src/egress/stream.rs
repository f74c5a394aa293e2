//! A connection to a receiver of syslog, plain or RELP: made under the newest plan, then read and written in steps,
//! whichever is possible first.
//!
//! It is read although a plain syslog receiver says nothing, since TLS does: unread tickets make the peer's end a reset
//! that takes data with it, and an unread close_notify makes a dead session look alive.

use std::{
    io,
    os::fd::AsFd,
    pin::Pin,
    task::{Context, Poll, ready},
};

use rustix::net::sockopt;
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf},
    time::timeout,
};

use super::{
    connect::{Endpoint, Socket, Trust, Wire, plain},
    task::Task,
};
use crate::{
    fault::Fault,
    limits::{SYSLOG_SETTLE, TCP_KEEPALIVE, TCP_USER_TIMEOUT},
    os,
    plan::{SyslogPlan, TargetKind, TargetPlan},
};

/// How a session ended.
pub(super) enum End {
    /// By the peer or the network, with the reason in words.
    Lost(String),
    /// By us, everything settled or given up: the plan has changed.
    Replaced,
    /// The queue is closed.
    Closed,
}

/// Connects to a syslog target under its newest plan. `None`: the plan is not usable, which was told and waited for, or
/// has changed meanwhile; try again.
pub(super) async fn connect(task: &mut Task, endpoint: &mut Option<Endpoint>) -> Option<Result<Stream, String>> {
    if endpoint.is_none() || task.plans.have_changed() {
        // Never the one before: its trust may have been taken away.
        *endpoint = None;
        match compile(&task.plans.take()).await {
            Ok(compiled) => *endpoint = Some(compiled),
            Err(fault) => fail(task, &fault.to_string()).await,
        }
    }
    tokio::select! {
        wire = endpoint.as_ref()?.connect() => Some(wire.and_then(Stream::new)),
        () = task.plans.changed() => None,
    }
}

async fn compile(plan: &TargetPlan) -> Result<Endpoint, Fault> {
    let TargetKind::Syslog(SyslogPlan { host, port, protocol, server_name, tls, permitted_peer, .. }) = &plan.kind
    else {
        return Err(Fault::invalid(&plan.name, "is not a syslog target"));
    };
    let trust = || Trust { bundle: tls.clone(), permitted_peer: *permitted_peer, server_name, alpn: b"" };
    Endpoint::new(host, *port, protocol.is_tls().then(trust)).await
}

/// Tells of a failure and waits before the next try.
pub(super) async fn fail(task: &mut Task, reason: &str) {
    task.report.failed(reason);
    task.pause(None).await;
}

/// What came of waiting for the socket.
pub(super) enum Step {
    /// The peer said so many bytes.
    Heard(usize),
    Wrote(usize),
    Flushed,
    Ended(io::Result<()>),
}

pub(super) struct Stream {
    wire: Wire,
}

impl Stream {
    /// # Errors
    /// Why the connection cannot be watched, in words.
    pub(super) fn new(wire: Wire) -> Result<Self, String> {
        let socket = wire.socket().as_fd();
        os::tcp::set_user_timeout(socket, TCP_USER_TIMEOUT).map_err(|error| plain(&error))?;
        // Only finds a dead peer sooner; without it the next write does.
        let _ = sockopt::set_socket_keepalive(socket, true);
        let _ = sockopt::set_tcp_keepidle(socket, TCP_KEEPALIVE);
        let _ = sockopt::set_tcp_keepintvl(socket, TCP_KEEPALIVE / 3);
        Ok(Self { wire })
    }

    pub(super) fn socket(&self) -> &Socket {
        self.wire.socket()
    }

    /// Reads into `heard`, and writes `rest` and, when that is empty, flushes.
    pub(super) async fn step(&mut self, heard: &mut [u8], rest: Option<&[u8]>) -> Step {
        std::future::poll_fn(|cx| self.poll_step(cx, heard, rest)).await
    }

    fn poll_step(&mut self, cx: &mut Context<'_>, heard: &mut [u8], rest: Option<&[u8]>) -> Poll<Step> {
        let mut wire = Pin::new(&mut self.wire);
        let mut heard = ReadBuf::new(heard);
        match wire.as_mut().poll_read(cx, &mut heard) {
            Poll::Ready(Ok(())) if heard.filled().is_empty() => return Poll::Ready(Step::Ended(Ok(()))),
            Poll::Ready(Ok(())) => return Poll::Ready(Step::Heard(heard.filled().len())),
            Poll::Ready(Err(error)) => return Poll::Ready(Step::Ended(Err(error))),
            Poll::Pending => {}
        }
        let Some(rest) = rest else { return Poll::Pending };
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

    /// Says goodbye, without insisting.
    pub(super) async fn close(&mut self) {
        let _ = timeout(SYSLOG_SETTLE, self.wire.shutdown()).await;
    }
}

/// Why a session is over, in words.
pub(super) fn ended(how: &io::Result<()>) -> String {
    match how {
        Ok(()) => "the peer ended the session".to_owned(),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            "the peer ended the session without a word".to_owned()
        }
        Err(error) => format!("the session broke: {}", plain(error)),
    }
}
