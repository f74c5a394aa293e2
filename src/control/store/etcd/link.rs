//! The way to etcd: one member at a time, the next one when it fails.
//!
//! A balancing client would spread requests over members that may be stopped or cut off, and hides why a connection
//! fails. Here everything a node asks goes over one connection; a request that is not answered in time, or answered as
//! only a member without a leader does, moves the node on to the next member.

use std::{error::Error as _, future::Future, time::Duration};

use etcd_client::{Channel, Client, ConnectOptions, Error};
use tokio::{
    sync::{Mutex, watch},
    time::timeout,
};
use tonic::{
    Code,
    transport::{Certificate, ClientTlsConfig, Endpoint, Identity},
};

use crate::{
    config::EtcdConfig,
    control::seal::read_private,
    fault::{Fault, Kind},
    limits,
};

/// Why etcd did not do what it was asked.
#[derive(Clone, Debug)]
pub enum Trouble {
    /// It was not reached: nothing was done.
    Unreached(Fault),
    /// It was asked and did not answer: what was asked may have been done.
    Uncertain(Fault),
    /// It answered, and refuses.
    Refused(Fault),
    /// What was asked for is compacted away.
    Compacted,
}

/// The connection, and which member it goes to.
#[derive(Debug)]
pub struct Link {
    config: EtcdConfig,
    state: Mutex<State>,
    /// Counts connections given up, so that whoever holds on to one learns of it.
    turns: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    member: usize,
    client: Option<Client>,
}

/// One connection, as long as it lasts.
#[derive(Clone)]
pub struct Session {
    pub client: Client,
    pub member: String,
    turn: u64,
}

impl Link {
    pub fn new(config: EtcdConfig) -> Self {
        // Nodes that start together do not all begin with the same member.
        let member = usize::try_from(getrandom::u32().unwrap_or(0)).unwrap_or(0) % config.endpoints.len().max(1);
        Self { config, state: Mutex::new(State { member, client: None }), turns: watch::Sender::new(0) }
    }

    /// The connection there is, or a new one to the first member that takes it.
    ///
    /// # Errors
    /// `Unreached`: no member takes one; all reasons.
    pub async fn session(&self) -> Result<Session, Trouble> {
        let mut state = self.state.lock().await;
        let mut reasons = Vec::new();
        for _ in 0..self.config.endpoints.len() {
            let member = self.config.endpoints[state.member % self.config.endpoints.len()].clone();
            let turn = *self.turns.borrow();
            if let Some(client) = &state.client {
                return Ok(Session { client: client.clone(), member, turn });
            }
            match self.connect(&member).await {
                Ok(client) => {
                    state.client = Some(client.clone());
                    return Ok(Session { client, member, turn });
                }
                Err(fault) => {
                    state.member += 1;
                    reasons.push(fault.to_string());
                }
            }
        }
        reasons.dedup();
        Err(Trouble::Unreached(Fault::new(Kind::Unavailable, "etcd", reasons.join("; "))))
    }

    /// Gives a connection up; the next one goes to the next member.
    pub async fn give_up(&self, session: &Session) {
        let mut state = self.state.lock().await;
        if *self.turns.borrow() == session.turn {
            state.client = None;
            state.member += 1;
            self.turns.send_modify(|turn| *turn += 1);
        }
    }

    /// Ends when this connection was given up.
    pub async fn given_up(&self, session: &Session) {
        let mut turns = self.turns.subscribe();
        // The sender lives as long as this link.
        let _ = turns.wait_for(|turn| *turn != session.turn).await;
    }

    /// Asks one thing. The connection is given up when it is not answered.
    ///
    /// # Errors
    /// What etcd said, or why it did not.
    pub async fn ask<T, F>(&self, ask: impl FnOnce(Client) -> F) -> Result<T, Trouble>
    where
        F: Future<Output = Result<T, Error>> + Send,
    {
        let session = self.session().await?;
        let (trouble, over) = match timeout(limits::ETCD_REQUEST_TIMEOUT, ask(session.client.clone())).await {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(error)) => (trouble(&session.member, &error), is_about_the_user(&error)),
            Err(_) => (silent(&session.member), false),
        };
        // The next connection reads the password anew.
        if over || matches!(trouble, Trouble::Uncertain(_)) {
            self.give_up(&session).await;
        }
        Err(trouble)
    }

    /// Files are read anew at each connection, so that certificates and passwords can be replaced while this runs.
    async fn connect(&self, member: &str) -> Result<Client, Fault> {
        let bad = |error: &dyn std::error::Error| Fault::new(Kind::Unavailable, member, words(error));
        let mut endpoint = Endpoint::from_shared(member.to_owned())
            .map_err(|error| bad(&error))?
            .connect_timeout(limits::ETCD_CONNECT_TIMEOUT)
            .tcp_nodelay(true)
            .tcp_keepalive(Some(limits::TCP_KEEPALIVE));
        if member.starts_with("https://") {
            endpoint = endpoint.tls_config(self.tls()?).map_err(|error| bad(&error))?;
        }
        let mut options = ConnectOptions::new().with_require_leader(true);
        if let (Some(user), Some(file)) = (&self.config.user, &self.config.password_file) {
            let password = read_private(file)?;
            options = options.with_user(user, password.trim_end_matches(['\r', '\n'])).with_auto_token_refresh(true);
        }
        let connecting = async {
            let channel = endpoint.connect().await.map_err(|error| bad(&error))?;
            let client = Client::from_channel(Channel::Tonic(channel), Some(options)).await;
            client.map_err(|error| match trouble(member, &error) {
                Trouble::Unreached(fault) | Trouble::Uncertain(fault) | Trouble::Refused(fault) => fault,
                Trouble::Compacted => bad(&error),
            })
        };
        let patience = limits::ETCD_CONNECT_TIMEOUT + limits::ETCD_REQUEST_TIMEOUT;
        timeout(patience, connecting).await.unwrap_or_else(|_| Err(not_answered(member)))
    }

    fn tls(&self) -> Result<ClientTlsConfig, Fault> {
        let read =
            |path: &std::path::Path| std::fs::read(path).map_err(|error| Fault::io(path.display().to_string(), &error));
        let mut tls = match &self.config.ca {
            Some(ca) => ClientTlsConfig::new().ca_certificate(Certificate::from_pem(read(ca)?)),
            None => ClientTlsConfig::new().with_native_roots(),
        };
        if let (Some(cert), Some(key)) = (&self.config.cert, &self.config.key) {
            let key = read_private(key)?;
            tls = tls.identity(Identity::from_pem(read(cert)?, key));
        }
        Ok(tls)
    }
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "member {}", self.member)
    }
}

impl Trouble {
    /// For whoever only wants to know that it did not work.
    pub fn into_fault(self) -> Fault {
        match self {
            Self::Unreached(fault) | Self::Uncertain(fault) | Self::Refused(fault) => fault,
            Self::Compacted => Fault::new(Kind::Unavailable, "etcd", "what was asked for is compacted away"),
        }
    }
}

/// What an error of the client means.
pub fn trouble(member: &str, error: &Error) -> Trouble {
    let fault = |kind, text: String| Fault::new(kind, format!("etcd {member}"), text);
    let Error::GRpcStatus(status) = error else {
        return Trouble::Uncertain(fault(Kind::Unavailable, words(error)));
    };
    let text = match status.source() {
        Some(source) => words(source),
        None => status.message().trim_start_matches("etcdserver: ").to_owned(),
    };
    match status.code() {
        Code::Unavailable
        | Code::DeadlineExceeded
        | Code::Cancelled
        | Code::Unknown
        | Code::Internal
        | Code::Aborted => Trouble::Uncertain(fault(Kind::Unavailable, text)),
        Code::OutOfRange => Trouble::Compacted,
        Code::PermissionDenied => Trouble::Refused(
            fault(Kind::Unavailable, text)
                .way_out("the user needs a role that may read and write /corelane/<cluster>/"),
        ),
        _ if is_about_the_user(error) => {
            Trouble::Refused(fault(Kind::Unavailable, text).way_out("is `etcd_user` with its password the right one?"))
        }
        Code::InvalidArgument if text.contains("user name is empty") => {
            Trouble::Refused(fault(Kind::Unavailable, text).way_out("this etcd wants a user: set `etcd_user`"))
        }
        _ => Trouble::Refused(fault(Kind::Unavailable, text)),
    }
}

/// Whether etcd no longer takes this user with the password it had.
fn is_about_the_user(error: &Error) -> bool {
    let Error::GRpcStatus(status) = error else { return false };
    status.code() == Code::Unauthenticated || status.message().contains("authentication failed")
}

pub fn silent(member: &str) -> Trouble {
    Trouble::Uncertain(not_answered(member))
}

fn not_answered(member: &str) -> Fault {
    Fault::new(Kind::Unavailable, format!("etcd {member}"), "does not answer")
}

/// The innermost reason, which is the one that helps: `connection refused`, not `transport error`.
fn words(error: &dyn std::error::Error) -> String {
    let mut inner = error;
    while let Some(source) = inner.source() {
        inner = source;
    }
    let text = inner.to_string();
    match text.find(" (os error") {
        Some(end) => text[..end].to_lowercase(),
        None => text,
    }
}

/// A time give or take a quarter, so that many nodes do not do the same thing at the same moment.
pub fn jittered(time: Duration) -> Duration {
    let part = f64::from(getrandom::u32().unwrap_or(u32::MAX / 2)) / f64::from(u32::MAX);
    time.mul_f64(0.75 + part / 2.0)
}
