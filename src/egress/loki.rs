//! Delivery to Loki: one HTTP/1.1 connection of our own, one push after the other, tried until Loki has answered for
//! it.
//!
//! Order is kept by never having more than one push under way; the connection is kept alive and made anew when it is
//! found closed, when a try on it failed, or when the plan has changed. Proxies and HTTP/2 are not spoken yet.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{
    Response,
    body::Incoming,
    client::conn::http1::{self, SendRequest},
    header::RETRY_AFTER,
};
use hyper_util::rt::TokioIo;
use tokio::{task::JoinHandle, time::timeout};

use super::{
    connect::{Endpoint, Trust, words},
    load::Load,
    task::Task,
};
use crate::{
    fault::Fault,
    limits::ANSWER_BYTES_MAX,
    orders::Refusal,
    plan::{LokiPlan, TargetKind, TargetPlan},
    target::loki::{Answer, Head, judge},
};

/// Delivers in order until the queue is closed.
pub(super) async fn run(task: &mut Task) {
    let mut client = Client::default();
    while let Some(load) = task.queue.recv().await {
        client.deliver(task, load).await;
    }
}

/// What one plan makes of itself, and the connection that stands under it.
#[derive(Default)]
struct Client {
    setup: Option<Setup>,
    line: Option<Line>,
}

struct Setup {
    endpoint: Endpoint,
    head: Head,
    timeout: Duration,
}

/// One connection.
struct Line {
    sender: SendRequest<Full<Bytes>>,
    /// hyper's side of it; ends with the connection.
    driver: JoinHandle<hyper::Result<()>>,
    /// Whether a push was answered on it: a keep-alive connection that then fails was perhaps closed for being idle.
    answered: bool,
}

impl Drop for Line {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// How one try went wrong without an answer.
struct Miss {
    reason: String,
    /// The request went out, at least in part, and may have been stored.
    sent: bool,
    /// The connection was one kept alive and closed meanwhile: worth trying again at once.
    stale: bool,
}

impl Client {
    /// Tries until there is an answer that settles `load`.
    async fn deliver(&mut self, task: &mut Task, load: Load) {
        let mut may_have_arrived = false;
        loop {
            if self.setup.is_none() || task.plans.have_changed() {
                (self.line, self.setup) = (None, None);
                match Setup::new(&task.plans.take()).await {
                    Ok(setup) => self.setup = Some(setup),
                    Err(fault) => {
                        task.report.failed(&fault.to_string());
                        task.pause(None).await;
                        continue;
                    }
                }
            }
            if let Err(reason) = self.connect(task).await {
                if let Some(reason) = reason {
                    task.report.failed(&reason);
                    task.pause(None).await;
                }
                continue;
            }
            if may_have_arrived {
                task.report.resent();
            }
            let after = match self.push(&load).await {
                Ok(Answer::Acked) => {
                    task.backoff.reset();
                    task.report.sent(load.batch().body.len());
                    task.report.acked(1);
                    return load.acked();
                }
                Ok(Answer::Refused { entries, reason }) => {
                    task.backoff.reset();
                    task.report.sent(load.batch().body.len());
                    task.report.refused(&reason);
                    let all = load.batch().entries;
                    return load.refused(Refusal { entries: entries.map_or(all, |some| some.min(all)), reason });
                }
                Ok(Answer::Retry { reason, after }) => {
                    may_have_arrived = true;
                    task.report.failed(&reason);
                    // Another replica behind the same name may be well.
                    self.line = None;
                    after
                }
                Err(miss) => {
                    may_have_arrived |= miss.sent;
                    self.line = None;
                    if miss.stale {
                        continue;
                    }
                    task.report.failed(&miss.reason);
                    None
                }
            };
            task.pause(after).await;
        }
    }

    /// Has a connection that is not known to be closed. `Err(None)`: the plan changed meanwhile, begin again.
    async fn connect(&mut self, task: &mut Task) -> Result<(), Option<String>> {
        if self.line.as_ref().is_some_and(|line| !line.sender.is_closed()) {
            return Ok(());
        }
        self.line = None;
        let Some(setup) = &self.setup else { return Err(None) };
        let wire = tokio::select! {
            wire = setup.endpoint.connect() => wire?,
            () = task.plans.changed() => return Err(None),
        };
        let (sender, connection) = http1::handshake(TokioIo::new(wire)).await.map_err(|error| words(&error))?;
        self.line = Some(Line { sender, driver: tokio::spawn(connection), answered: false });
        Ok(())
    }

    /// One try on the connection.
    async fn push(&mut self, load: &Load) -> Result<Answer, Miss> {
        let (Some(setup), Some(line)) = (&self.setup, &mut self.line) else {
            return Err(Miss { reason: "there is no connection".to_owned(), sent: false, stale: false });
        };
        let request = match setup.head.request(load.batch().tenant.as_deref(), Full::new(load.body())) {
            Ok(request) => request,
            // No retry mends a tenant of one source, and it must not hold up the others.
            Err(fault) => return Ok(Answer::Refused { entries: None, reason: fault.to_string() }),
        };
        let stale = line.answered;
        let exchange = async {
            if let Err(error) = line.sender.ready().await {
                return Err(Miss { reason: line.epitaph(&error).await, sent: false, stale });
            }
            let response = match line.sender.try_send_request(request).await {
                Ok(response) => response,
                Err(mut error) => {
                    let sent = error.take_message().is_none();
                    let stale = stale && !error.error().is_parse();
                    return Err(Miss { reason: line.epitaph(error.error()).await, sent, stale });
                }
            };
            line.answered = true;
            read(response).await.map_err(|error| Miss { reason: words(&error), sent: true, stale: false })
        };
        match timeout(setup.timeout, exchange).await {
            Ok(outcome) => outcome,
            Err(_) => {
                let reason = format!("no answer within {} s", setup.timeout.as_secs_f32());
                Err(Miss { reason, sent: true, stale: false })
            }
        }
    }
}

impl Setup {
    /// # Errors
    /// What in the plan cannot be used.
    async fn new(plan: &Arc<TargetPlan>) -> Result<Self, Fault> {
        let TargetKind::Loki(loki) = &plan.kind else {
            return Err(Fault::invalid(&plan.name, "is not a Loki target"));
        };
        Ok(Self { endpoint: endpoint(loki).await?, head: Head::new(loki)?, timeout: loki.timeout })
    }
}

async fn endpoint(plan: &LokiPlan) -> Result<Endpoint, Fault> {
    let trust = plan.https.then(|| Trust {
        bundle: plan.tls.clone(),
        permitted_peer: None,
        server_name: &plan.server_name,
        alpn: b"http/1.1",
    });
    Endpoint::new(&plan.host, plan.port, trust).await
}

impl Line {
    /// Why the connection died. The connection's own end knows more than the request that was cancelled by it: with
    /// TLS 1.3 the peer's word about our certificate comes after the handshake.
    async fn epitaph(&mut self, error: &hyper::Error) -> String {
        if (error.is_canceled() || error.is_closed())
            && let Ok(Err(cause)) = (&mut self.driver).await
        {
            return words(&cause);
        }
        words(error)
    }
}

/// Reads the answer, at most `limits::ANSWER_BYTES_MAX` of its body, and judges it.
async fn read(response: Response<Incoming>) -> Result<Answer, hyper::Error> {
    let (head, mut body) = response.into_parts();
    let mut text = Vec::new();
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame?.into_data() {
            let room = ANSWER_BYTES_MAX - text.len();
            text.extend_from_slice(&data[..data.len().min(room)]);
        }
        if text.len() >= ANSWER_BYTES_MAX {
            // The rest is left unread; hyper closes such a connection.
            break;
        }
    }
    let after = head.headers.get(RETRY_AFTER).map(|value| value.as_bytes());
    Ok(judge(head.status.as_u16(), after, &text))
}
