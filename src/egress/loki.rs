//! Delivery to Loki: one HTTP/1.1 connection of our own for each tenant, one push after the other.
//!
//! What to send, and what an answer means, is decided by `target::loki::Session`; here its bytes are moved. The
//! connection is kept alive and made anew when it is found closed, when a try on it failed, or when the plan has
//! changed. Proxies and HTTP/2 are not spoken yet.

use std::{collections::HashMap, sync::Arc, time::Duration};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{
    Response,
    body::Incoming,
    client::conn::http1::{self, SendRequest},
    header::RETRY_AFTER,
};
use hyper_util::rt::TokioIo;
use tokio::{
    task::JoinHandle,
    time::{Instant, sleep_until, timeout},
};

use super::{
    connect::{Endpoint, Trust, words},
    load::Load,
    quarantine::Quarantine,
    report::wall,
    task::Task,
};
use crate::{
    fault::Fault,
    limits::ANSWER_BYTES_MAX,
    orders::{Fate, Outcome},
    plan::{LokiPlan, TargetKind, TargetPlan},
    target::loki::{Answer, Head, Moment, Push, Rules, Session, Settled, Step, Told},
};

/// Delivers until the queue is closed. Lines that Loki refuses go to `quarantine`.
pub(super) async fn run(task: &mut Task, quarantine: Arc<Quarantine>) {
    let plan = task.plans.take();
    let mut desk = Desk {
        session: Session::new(rules(&plan), task.seed),
        began: Instant::now(),
        loads: HashMap::new(),
        next_ticket: 0,
        client: Client::default(),
        quarantine,
    };
    while desk.step(task).await {}
}

/// One session and all that it works with.
struct Desk {
    session: Session,
    began: Instant,
    /// By ticket: what the session has taken over.
    loads: HashMap<u64, Load>,
    next_ticket: u64,
    client: Client,
    quarantine: Arc<Quarantine>,
}

impl Desk {
    /// Does what the session wants; false when the queue is closed.
    async fn step(&mut self, task: &mut Task) -> bool {
        while let Ok(load) = task.queue.try_recv() {
            self.accept(load);
        }
        if task.plans.have_changed() {
            let plan = task.plans.take();
            self.session.renew(rules(&plan));
            self.client = Client::default();
            task.backoff.reset();
        }
        match self.session.next(self.now()) {
            Step::Push(push) => self.push(task, &push).await,
            Step::Settled(settled) => self.settle(settled).await,
            Step::Wait { until } => {
                tokio::select! {
                    () = sleep_until(self.began + until) => {}
                    () = task.plans.changed() => {}
                    load = task.queue.recv() => return self.accept_or_end(load),
                }
            }
            Step::Idle => {
                let load = task.queue.recv().await;
                return self.accept_or_end(load);
            }
        }
        true
    }

    fn accept_or_end(&mut self, load: Option<Load>) -> bool {
        let goes_on = load.is_some();
        load.into_iter().for_each(|load| self.accept(load));
        goes_on
    }

    fn accept(&mut self, load: Load) {
        self.next_ticket += 1;
        self.session.accept(self.next_ticket, load.shared());
        self.loads.insert(self.next_ticket, load);
    }

    fn now(&self) -> Moment {
        Moment { wall: wall(), mono: self.began.elapsed() }
    }

    async fn push(&mut self, task: &mut Task, push: &Push) {
        let Some(load) = self.loads.get(&push.ticket) else { return };
        match self.client.connect(task).await {
            Ok(Connected::Still) => {}
            Ok(Connected::Anew) => {
                // What may be sent on a new connection is another question.
                self.session.connected();
                return;
            }
            Ok(Connected::NewPlan) => return,
            Err(reason) => {
                task.report.failed(&reason);
                self.session.failed(false, true, self.now());
                return;
            }
        }
        if push.resent {
            task.report.resent();
        }
        match self.client.push(load.batch().tenant.as_deref(), push.body.clone()).await {
            Ok(answer) => {
                task.report.sent(push.body.len());
                let now = self.now();
                match self.session.answered(answer, now) {
                    Told::Stored => task.report.acked(1),
                    Told::Held(reason) => task.report.failed(&reason),
                    Told::StreamHeld(reason) | Told::Refused(reason) => task.report.refused(&reason),
                }
            }
            Err(miss) => {
                self.client.line = None;
                if !miss.stale {
                    task.report.failed(&miss.reason);
                }
                self.session.failed(miss.sent, !miss.stale, self.now());
            }
        }
    }

    /// Keeps what was refused, and answers the lane.
    async fn settle(&mut self, mut settled: Settled) {
        let Some(load) = self.loads.remove(&settled.ticket) else { return };
        if !settled.quarantine.is_empty() {
            let lines = std::mem::take(&mut settled.quarantine);
            let (quarantine, tenant) = (Arc::clone(&self.quarantine), load.batch().tenant.clone());
            let kept = tokio::task::spawn_blocking(move || {
                let kept = quarantine.keep(tenant.as_deref(), &lines);
                (kept, lines)
            });
            match kept.await {
                Ok(((kept, fate), lines)) => {
                    settled.quarantine = lines;
                    settled.not_kept(kept, fate);
                }
                Err(_) => settled.shortfall.move_all(Fate::Quarantined, Fate::Refused),
            }
        }
        match settled.shortfall.losses.is_empty() {
            true => load.settle(Outcome::Acked),
            false => load.settle(Outcome::Short(settled.shortfall)),
        }
    }
}

fn rules(plan: &TargetPlan) -> Rules {
    match &plan.kind {
        TargetKind::Loki(loki) => Rules { max_age: plan.max_age, too_old: loki.too_old, limits: loki.limits },
        // Egress never gives this task another kind of plan.
        TargetKind::Syslog(_) | TargetKind::Console(_) => Rules::default(),
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

/// What `Client::connect` found.
enum Connected {
    /// The connection of before is not known to be closed.
    Still,
    Anew,
    /// The plan has changed meanwhile: begin again.
    NewPlan,
}

impl Client {
    /// Has a connection that is not known to be closed, or says in words why not.
    async fn connect(&mut self, task: &mut Task) -> Result<Connected, String> {
        if self.line.as_ref().is_some_and(|line| !line.sender.is_closed()) {
            return Ok(Connected::Still);
        }
        self.line = None;
        let setup = match &self.setup {
            Some(setup) => setup,
            None => {
                let setup = Setup::new(&task.plans.peek()).await.map_err(|fault| fault.to_string())?;
                self.setup.insert(setup)
            }
        };
        let wire = tokio::select! {
            wire = setup.endpoint.connect() => wire?,
            () = task.plans.changed() => return Ok(Connected::NewPlan),
        };
        let (sender, connection) = http1::handshake(TokioIo::new(wire)).await.map_err(|error| words(&error))?;
        self.line = Some(Line { sender, driver: tokio::spawn(connection), answered: false });
        Ok(Connected::Anew)
    }

    /// One try on the connection.
    async fn push(&mut self, tenant: Option<&str>, body: Bytes) -> Result<Answer, Miss> {
        let (Some(setup), Some(line)) = (&self.setup, &mut self.line) else {
            return Err(Miss { reason: "there is no connection".to_owned(), sent: false, stale: false });
        };
        let request = match setup.head.request(tenant, Full::new(body)) {
            Ok(request) => request,
            // A plan's tenants are checked when it is made; another one waits for its plan to be mended.
            Err(fault) => return Err(Miss { reason: fault.to_string(), sent: false, stale: false }),
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
    Ok(Answer::of(head.status.as_u16(), after, &text))
}
