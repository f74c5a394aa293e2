//! Delivery to one Loki for one tenant: batches in, pushes out, answers in, fates out.
//!
//! At most one push is under way. What is to be sent next is worked out anew each time from what is pending, so that
//! nothing has to be undone when an answer, a lost connection or a new plan changes what is known. Batches are settled
//! as they are done; a stream that waits (its rate, the stream limit) lets those of other streams pass it.

use std::{collections::HashSet, sync::Arc, time::Duration};

use bytes::Bytes;

use super::{
    answer::{Answer, Entries, Meaning, Static, Why},
    blame::{others, reason_names, refused_entries},
    delivery::{Delivery, Settled, Share},
    plain::Cut,
    screen::Screen,
    stream::{Load, Rate, Streams},
};
use crate::{
    limits::{BACKOFF_MAX, LOKI_PROBES_MAX, LOKI_PUSH_BYTES_MAX, LOKI_STRANGERS_MAX, LOKI_STREAM_PAUSE},
    model::Nanos,
    orders::{Batch, Fate},
    plan::{LokiLimits, TooOld},
    target::Backoff,
};

/// Least a push is cut down to because of a rate, in bytes: one entry may be more.
const PUSH_BYTES_MIN: usize = 4 * 1024;
/// Longest a stream waits for its rate before it is tried again.
const RATE_PAUSE_MAX: Duration = Duration::from_secs(2);

/// Now, by both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    pub wall: Nanos,
    /// Since whenever, never back.
    pub mono: Duration,
}

/// What the target's plan says about delivery.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    pub max_age: Option<Duration>,
    pub too_old: TooOld,
    pub limits: LokiLimits,
}

/// What to do now.
#[derive(Debug)]
pub enum Step {
    /// Send this, then call `answered` or `failed`.
    Push(Push),
    /// Nothing can be sent before this time; a new batch or a new plan may change that.
    Wait { until: Duration },
    /// One batch is done with. Ask again.
    Settled(Settled),
    /// There is nothing to do.
    Idle,
}

#[derive(Clone, Debug)]
pub struct Push {
    /// Whose batch it is of.
    pub ticket: u64,
    /// One raw snappy block of a `PushRequest`.
    pub body: Bytes,
    /// Some of it may be there already.
    pub resent: bool,
}

/// What an answer came to, for the target's report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    Stored,
    /// Nothing goes for a while.
    Held(String),
    /// Some streams wait, the others go on.
    StreamHeld(String),
    /// Somebody in it is refused.
    Refused(String),
}

/// The push under way.
#[derive(Debug)]
struct Flight {
    ticket: u64,
    share: Share,
    loads: Vec<Load>,
    /// Before compression.
    bytes: usize,
}

#[derive(Debug)]
pub struct Session {
    rules: Rules,
    screen: Screen,
    streams: Streams,
    backoff: Backoff,
    /// In the order they came.
    deliveries: Vec<Delivery>,
    flight: Option<Flight>,
    paused_until: Duration,
    /// The last try may have been stored without our knowing.
    unclear: bool,
    /// This Loki has taken lines, or refused some in the words of a Loki.
    proven: bool,
    /// Entries refused one by one before it was proven.
    strangers: u32,
    /// Bytes one push may have: as it told, and as its rate seems to allow.
    hard_max: usize,
    soft_max: usize,
    /// Refusals for the tenant's rate without a success between them.
    throttled: u32,
}

impl Session {
    /// `seed` spreads the pauses of a fleet.
    pub fn new(rules: Rules, seed: u64) -> Self {
        let rate = rate(&rules.limits);
        Self {
            screen: Screen::new(rules.max_age, rules.too_old, &rules.limits),
            streams: Streams::new(rate),
            rules,
            backoff: Backoff::new(seed),
            deliveries: Vec::new(),
            flight: None,
            paused_until: Duration::ZERO,
            unclear: false,
            proven: false,
            strangers: 0,
            hard_max: LOKI_PUSH_BYTES_MAX,
            soft_max: LOKI_PUSH_BYTES_MAX,
            throttled: 0,
        }
    }

    /// Another plan: what was learned of limits is forgotten, and pauses end.
    pub fn renew(&mut self, rules: Rules) {
        self.screen = Screen::new(rules.max_age, rules.too_old, &rules.limits);
        self.streams.set_rate(rate(&rules.limits));
        self.rules = rules;
        (self.hard_max, self.soft_max, self.throttled) = (LOKI_PUSH_BYTES_MAX, LOKI_PUSH_BYTES_MAX, 0);
        self.paused_until = Duration::ZERO;
        self.streams.let_all_go();
        self.backoff.reset();
    }

    /// A connection was made: who answers may know nothing of what the one before was sent.
    pub fn connected(&mut self) {
        self.streams.doubt_all();
        self.deliveries.iter_mut().for_each(Delivery::unprobe);
    }

    /// Takes a batch over. `ticket` names it in `Step::Settled`.
    pub fn accept(&mut self, ticket: u64, batch: Arc<Batch>) {
        self.deliveries.push(Delivery::new(ticket, batch));
    }

    /// Batches taken over and not settled.
    pub fn len(&self) -> usize {
        self.deliveries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.deliveries.is_empty()
    }

    /// What to do now. A push that was given out before and never answered counts as not sent.
    pub fn next(&mut self, now: Moment) -> Step {
        self.flight = None;
        if let Some(done) = self.take_done() {
            return Step::Settled(done);
        }
        if self.deliveries.is_empty() {
            return Step::Idle;
        }
        if now.mono < self.paused_until {
            return Step::Wait { until: self.paused_until };
        }
        if let Some(push) = self.choose(now) {
            return Step::Push(push);
        }
        // Screening may have taken the last line out of a batch.
        if let Some(done) = self.take_done() {
            return Step::Settled(done);
        }
        let waits = self.deliveries.iter().flat_map(Delivery::unsettled).map(|hash| self.streams.held_until(hash));
        let until = waits.filter(|until| *until > now.mono).min().unwrap_or(now.mono + BACKOFF_MAX);
        Step::Wait { until }
    }

    fn take_done(&mut self) -> Option<Settled> {
        let done = self.deliveries.iter().position(Delivery::is_done)?;
        Some(self.deliveries.remove(done).settled())
    }

    fn choose(&mut self, now: Moment) -> Option<Push> {
        let room = self.hard_max.min(self.soft_max);
        let mut busy = HashSet::new();
        for delivery in &mut self.deliveries {
            let share = delivery.pick(&self.streams, &self.screen, &busy, room, now);
            if delivery.is_done() {
                // What follows may rely on what was taken out of it: the next step tells.
                return None;
            }
            let Some(share) = share else {
                busy.extend(delivery.unsettled());
                continue;
            };
            let (body, loads, bytes) = delivery.weigh(&share);
            for load in &loads {
                self.streams.sent(load, now.mono);
            }
            let ticket = delivery.ticket;
            self.flight = Some(Flight { ticket, share, loads, bytes });
            return Some(Push { ticket, body, resent: self.unclear });
        }
        None
    }

    /// There was no answer: a connection that failed, a timeout. `sent`: some of the push may have arrived. Without
    /// `pause` it is tried again at once, as after a connection that was closed for being idle.
    pub fn failed(&mut self, sent: bool, pause: bool, now: Moment) {
        self.flight = None;
        self.unclear |= sent;
        if pause {
            self.paused_until = now.mono + self.backoff.pause();
        }
    }

    /// Loki answered the push under way.
    pub fn answered(&mut self, answer: Answer, now: Moment) -> Told {
        let Some(flight) = self.flight.take() else { return Told::Held(answer.reason) };
        let Some(at) = self.deliveries.iter().position(|delivery| delivery.ticket == flight.ticket) else {
            return Told::Held(answer.reason);
        };
        let Answer { meaning, reason } = answer;
        match meaning {
            Meaning::Stored => {
                self.stored(at, &flight, now);
                Told::Stored
            }
            Meaning::Hold { after } => {
                self.unclear = true;
                self.paused_until = now.mono + self.backoff.pause().max(after.unwrap_or_default());
                Told::Held(reason)
            }
            Meaning::TenantRate { rate } => {
                self.over_tenant_rate(&flight, rate, now);
                Told::Held(reason)
            }
            Meaning::TooLarge { limit } => self.too_large(at, &flight, limit, reason, now),
            Meaning::StreamLimit => self.stream_limit(at, &flight, reason, now),
            Meaning::Entries(entries) => self.entries_refused(at, &flight, &entries, reason, now),
            Meaning::Static(told) => self.static_refusal(at, &flight, &told, reason, now),
            Meaning::Poison => self.suspect(at, &flight, reason, now),
        }
    }

    fn stored(&mut self, at: usize, flight: &Flight, now: Moment) {
        for load in &flight.loads {
            self.streams.stored(load, now.mono);
        }
        self.deliveries[at].delivered(&flight.share);
        self.prove();
        self.unclear = false;
        self.throttled = 0;
        self.soft_max = (self.soft_max + self.soft_max / 16).min(LOKI_PUSH_BYTES_MAX);
        self.backoff.reset();
    }

    /// It is a Loki and takes lines: those it refuses are to blame themselves.
    fn prove(&mut self) {
        self.proven = true;
        self.strangers = 0;
        self.deliveries.iter_mut().for_each(Delivery::retry_suspects);
    }

    /// Nothing was stored. After a pause in which the tenant earns what the push needs it is tried again; what is
    /// refused then as well is perhaps more than the burst, and would never pass.
    fn over_tenant_rate(&mut self, flight: &Flight, rate: Option<u64>, now: Moment) {
        self.throttled += 1;
        if self.throttled > 1 {
            self.soft_max = (flight.bytes / 2).max(PUSH_BYTES_MIN);
        }
        let earned = rate.filter(|rate| *rate > 0).map(|rate| {
            let size: usize = flight.loads.iter().map(|load| load.bytes).sum();
            Duration::from_secs_f64(size as f64 / rate as f64).min(BACKOFF_MAX)
        });
        self.paused_until = now.mono + self.backoff.pause().max(earned.unwrap_or_default());
    }

    fn too_large(&mut self, at: usize, flight: &Flight, limit: Option<usize>, reason: String, now: Moment) -> Told {
        let Some(cuts) = self.deliveries[at].cuts_of(&flight.share) else { return Told::Refused(reason) };
        if let [cut] = cuts.as_slice()
            && cut.len() == 1
        {
            return self.blame(at, cut, reason, now);
        }
        // A little is kept free: what Loki counts is the message behind, not ours.
        let told = limit.filter(|limit| *limit < flight.bytes).map(|limit| limit - limit / 16);
        self.hard_max = self.hard_max.min(told.unwrap_or(flight.bytes / 2)).max(1);
        if matches!(flight.share, Share::Probe(_)) {
            self.deliveries[at].split(&flight.share, &cuts);
        }
        Told::Refused(reason)
    }

    /// The new streams of a push wait; which ones is only clear when each travels alone.
    fn stream_limit(&mut self, at: usize, flight: &Flight, reason: String, now: Moment) -> Told {
        self.prove();
        match flight.loads.as_slice() {
            [one] => self.streams.hold(one.hash, self.backoff.around(LOKI_STREAM_PAUSE), None, now.mono),
            _ => self.separate(at, flight),
        }
        Told::StreamHeld(reason)
    }

    /// From now on each stream of this push travels alone: the answer was about one, and may have hidden others.
    fn separate(&mut self, at: usize, flight: &Flight) {
        for load in &flight.loads {
            self.streams.doubt(load.hash);
        }
        self.unclear = true;
        self.deliveries[at].open();
        self.deliveries[at].unprobe();
    }

    fn entries_refused(&mut self, at: usize, flight: &Flight, told: &Entries, reason: String, now: Moment) -> Told {
        self.prove();
        if flight.loads.len() > 1 {
            self.separate(at, flight);
            return Told::Refused(reason);
        }
        let Some(cuts) = self.deliveries[at].cuts_of(&flight.share) else { return Told::Refused(reason) };
        let ([cut], [load]) = (cuts.as_slice(), flight.loads.as_slice()) else {
            return self.suspect(at, flight, reason, now);
        };
        match told.why {
            Why::Rate(rate) => {
                self.over_stream_rate(at, cut, load, (told, rate), now);
                Told::StreamHeld(reason)
            }
            Why::Behind(_) | Why::Other => {
                let delivery = &mut self.deliveries[at];
                let bad = delivery.plain().and_then(|plain| refused_entries(plain, cut, told));
                let Some(bad) = bad else { return self.suspect(at, flight, reason, now) };
                for run in &bad {
                    match told.why {
                        Why::Behind(_) => {
                            delivery.take_out_of_time(run, self.screen.too_old, now.wall, &reason);
                        }
                        _ => delivery.take_out(run, Fate::Quarantined, &reason),
                    }
                }
                if told.of == cut.len() {
                    // The others of the stream are stored: the ingester saw all of it and refused these only.
                    let others = others(cut, &bad);
                    others.iter().for_each(|cut| delivery.forget(cut));
                    self.note_stored(at, &others, now);
                }
                Told::Refused(reason)
            }
        }
    }

    /// A prefix is stored, the rest waits until the stream has earned some of it.
    fn over_stream_rate(
        &mut self,
        at: usize,
        cut: &Cut,
        load: &Load,
        (told, rate): (&Entries, Option<u64>),
        now: Moment,
    ) {
        let delivery = &mut self.deliveries[at];
        delivery.unprobe();
        let mut left = load.bytes;
        if let Some(plain) = delivery.plain()
            && told.of == cut.len()
            && let Some(first) = told.listed.first()
            && let Some(stop) = plain.entries(cut).iter().position(|entry| entry.at.time == *first)
        {
            let prefix = Cut { stream: cut.stream, entries: cut.entries.start..cut.entries.start + stop };
            left = left.saturating_sub(plain.load(&prefix).bytes);
            delivery.forget(&prefix);
            self.note_stored(at, &[prefix], now);
        }
        let per_second = rate.unwrap_or(self.rules.limits.stream_rate).max(1);
        let earned = Duration::from_secs_f64(left as f64 / per_second as f64).min(RATE_PAUSE_MAX);
        self.streams.hold(load.hash, self.backoff.around(earned), Some(rate), now.mono);
        self.unclear = true;
    }

    fn note_stored(&mut self, at: usize, cuts: &[Cut], now: Moment) {
        let Some(plain) = self.deliveries[at].plain() else { return };
        for cut in cuts.iter().filter(|cut| cut.len() > 0) {
            self.streams.stored(&plain.load(cut), now.mono);
        }
    }

    /// What breaks the limit told of is taken out; the rest is stored as a rule, and sent again to be sure: only the
    /// last refusal is told.
    fn static_refusal(&mut self, at: usize, flight: &Flight, told: &Static, reason: String, now: Moment) -> Told {
        self.prove();
        let Some(cuts) = self.deliveries[at].cuts_of(&flight.share) else { return Told::Refused(reason) };
        let delivery = &mut self.deliveries[at];
        let found = if *told == Static::Labels {
            let named = |cut: &&Cut| {
                let only = cuts.iter().all(|other| other.stream == cut.stream);
                only || delivery.plain().is_some_and(|plain| reason_names(&reason, plain.labels(cut.stream)))
            };
            let bad: Vec<Cut> = cuts.iter().filter(named).cloned().collect();
            bad.iter().for_each(|cut| delivery.take_out(cut, Fate::Quarantined, &reason));
            !bad.is_empty()
        } else {
            self.screen.learn(told, now);
            delivery.screen(&self.screen, now.wall)
        };
        if !found {
            return self.suspect(at, flight, reason, now);
        }
        self.unclear = true;
        Told::Refused(reason)
    }

    /// Somebody in this push is to blame, and nothing says who: halves are tried.
    fn suspect(&mut self, at: usize, flight: &Flight, reason: String, now: Moment) -> Told {
        let delivery = &mut self.deliveries[at];
        let Some(cuts) = delivery.cuts_of(&flight.share) else { return Told::Refused(reason) };
        self.unclear = true;
        delivery.probed += 1;
        if delivery.probed > LOKI_PROBES_MAX && self.proven {
            cuts.iter().for_each(|cut| delivery.take_out(cut, Fate::Quarantined, &reason));
            return Told::Refused(reason);
        }
        let share = if flight.share == Share::Whole { Share::Cuts(cuts.clone()) } else { flight.share.clone() };
        if delivery.split(&share, &cuts) {
            return Told::Refused(reason);
        }
        match cuts.as_slice() {
            [cut] => self.blame(at, cut, reason, now),
            _ => Told::Refused(reason),
        }
    }

    /// One entry is refused. By a Loki it goes into quarantine; from somebody who refuses whatever he is given it may
    /// be no Loki at all, and everything waits.
    fn blame(&mut self, at: usize, cut: &Cut, reason: String, now: Moment) -> Told {
        let delivery = &mut self.deliveries[at];
        if self.proven {
            delivery.take_out(cut, Fate::Quarantined, &reason);
            return Told::Refused(reason);
        }
        self.strangers += 1;
        delivery.suspect(cut);
        let others = self.deliveries.iter().enumerate().any(|(index, delivery)| index != at && !delivery.is_stuck());
        let is_stuck = self.deliveries[at].is_stuck() && !others;
        if self.strangers < LOKI_STRANGERS_MAX && !is_stuck {
            return Told::Refused(reason);
        }
        self.strangers = 0;
        self.deliveries.iter_mut().for_each(Delivery::unprobe);
        self.paused_until = now.mono + self.backoff.around(BACKOFF_MAX);
        Told::Held(format!("{reason} (it has taken nothing so far; is this the push path of a Loki?)"))
    }
}

fn rate(limits: &LokiLimits) -> Rate {
    Rate { bytes_per_second: limits.stream_rate, burst_bytes: limits.stream_burst }
}
