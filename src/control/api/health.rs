//! Health means delivery: what the reports of lanes and egress say about whether lines arrive.
//!
//! `assess` is a pure function of plan, reports, trend and time. A target is healthy when it took what was given to it;
//! unhealthy when its last try failed, when it refused or cost lines lately, or when a flow to it is far behind. All
//! targets unhealthy is ERROR, some is DEGRADED, and as long as nothing was ever taken it is UNKNOWN, never HEALTHY.

use std::collections::{BTreeMap, VecDeque};

use crate::{
    limits,
    model::{Nanos, ObjectId},
    plan::{Plan, TargetKind, TargetPlan},
    stats::{Board, TargetReport, TargetState, Totals},
};

/// How the pipeline is doing, in the fixed words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    Healthy,
    Degraded,
    Unknown,
    Error,
}

impl Health {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "HEALTHY",
            Self::Degraded => "DEGRADED",
            Self::Unknown => "UNKNOWN",
            Self::Error => "ERROR",
        }
    }
}

/// One thing that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Component {
    pub id: String,
    pub name: String,
    pub message: String,
    pub since: Nanos,
}

/// The verdict with its reasons.
#[derive(Clone, Debug)]
pub struct Assessment {
    pub health: Health,
    pub components: Vec<Component>,
    /// Names of enabled targets that are not taking their lines.
    pub failing: Vec<String>,
    pub targets: usize,
    /// In words, when not healthy.
    pub error: String,
}

/// The counts of one moment, summed over lanes.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    /// Failed tries, all targets.
    pub send_failed: u64,
    /// Lines refused, quarantined or dropped, by target.
    pub lost: BTreeMap<ObjectId, u64>,
}

/// How counts moved lately: for deltas over a window, and for what was lost in a day.
#[derive(Debug, Default)]
pub struct Trend {
    /// Counts at the start of the window before this one and of this one.
    windows: Option<(Counts, Counts, Nanos)>,
    /// All lines lost, at most one mark an hour.
    hours: VecDeque<(Nanos, u64)>,
}

const HOUR: i64 = 3_600_000_000_000;
/// Marks kept: one more than a day has hours.
const HOURS_MAX: usize = 25;

/// The revision that every lane obeys; 0 before they have reported.
pub fn applied(board: &Board) -> u64 {
    board.lanes().iter().map(|lane| lane.revision).min().unwrap_or(0)
}

/// The wall clock.
pub fn now() -> Nanos {
    i64::try_from(jiff::Timestamp::now().as_nanosecond()).map_or(Nanos(0), Nanos)
}

impl Counts {
    pub fn of(board: &Board) -> Self {
        let mut counts =
            Self { send_failed: board.targets().values().map(|target| target.failed_tries).sum(), ..Self::default() };
        for flow in board.lanes().iter().flat_map(|lane| &lane.flows) {
            *counts.lost.entry(flow.target).or_default() += lost(&flow.totals);
        }
        counts
    }

    fn all_lost(&self) -> u64 {
        self.lost.values().sum()
    }
}

fn lost(totals: &Totals) -> u64 {
    totals.refused + totals.quarantined + totals.dropped.iter().sum::<u64>()
}

impl Trend {
    /// Takes note of the counts at `at`; call it often.
    pub fn sample(&mut self, board: &Board, at: Nanos) {
        let counts = Counts::of(board);
        match self.hours.back() {
            Some((last, _)) if at.0 - last.0 < HOUR => {}
            _ => {
                self.hours.push_back((at, counts.all_lost()));
                if self.hours.len() > HOURS_MAX {
                    self.hours.pop_front();
                }
            }
        }
        let window = i64::try_from(limits::COLLECTOR_DELTA_WINDOW.as_nanos()).unwrap_or(i64::MAX);
        match &mut self.windows {
            None => self.windows = Some((counts.clone(), counts, at)),
            Some((older, newer, since)) if at.0 - since.0 >= window => {
                *older = std::mem::replace(newer, counts);
                *since = at;
            }
            Some(_) => {}
        }
    }

    /// Failed tries within the last one to two windows.
    pub fn send_failed(&self, counts: &Counts) -> u64 {
        self.windows.as_ref().map_or(0, |(older, ..)| counts.send_failed.saturating_sub(older.send_failed))
    }

    /// Lines one target cost within the last one to two windows.
    pub fn lost(&self, counts: &Counts, target: ObjectId) -> u64 {
        let of = |counts: &Counts| counts.lost.get(&target).copied().unwrap_or(0);
        self.windows.as_ref().map_or(0, |(older, ..)| of(counts).saturating_sub(of(older)))
    }

    /// Lines lost within the last day, as far back as this process goes.
    pub fn lost_in_a_day(&self, counts: &Counts) -> u64 {
        self.hours.front().map_or(0, |(_, start)| counts.all_lost().saturating_sub(*start))
    }
}

/// How one enabled target is doing.
enum Condition {
    Taking,
    /// Nothing was given to it yet.
    Spared,
    /// Something was given to it, and nothing is known of it yet.
    Untried,
    Failing(Component),
}

/// Judges the pipeline as of `now`; `further` is what is wrong besides.
pub fn assess(plan: &Plan, board: &Board, trend: &Trend, further: Vec<Component>, now: Nanos) -> Assessment {
    let reports = board.targets();
    let counts = Counts::of(board);
    let enabled: Vec<_> = plan.targets.iter().filter(|target| target.enabled).collect();
    let mut components = lane_components(board, now);
    components.extend(complaint_components(plan, now));
    components.extend(further);
    let mut failing = Vec::new();
    let (mut taking, mut untried) = (0, 0);
    for target in &enabled {
        let report = reports.get(&target.id).cloned().unwrap_or_default();
        match condition(target, &report, board, trend.lost(&counts, target.id), now) {
            Condition::Taking => taking += 1,
            Condition::Spared => {}
            Condition::Untried => untried += 1,
            Condition::Failing(component) => {
                failing.push(target.name.clone());
                components.push(component);
            }
        }
    }
    let health = match () {
        () if enabled.is_empty() => Health::Unknown,
        () if failing.len() == enabled.len() => Health::Error,
        () if !failing.is_empty() || !components.is_empty() => Health::Degraded,
        () if untried > 0 || taking == 0 => Health::Unknown,
        () => Health::Healthy,
    };
    let error = match health {
        Health::Healthy => String::new(),
        _ if !components.is_empty() => {
            let texts: Vec<_> = components.iter().map(|part| format!("{}: {}", part.name, part.message)).collect();
            texts.join("; ")
        }
        _ if enabled.is_empty() => "no enabled target".to_owned(),
        _ => "nothing was delivered yet".to_owned(),
    };
    Assessment { health, components, failing, targets: enabled.len(), error }
}

fn condition(target: &TargetPlan, report: &TargetReport, board: &Board, lost: u64, now: Nanos) -> Condition {
    let component = |message: String, since: Nanos| {
        let id = format!("target.{}", target.name);
        Condition::Failing(Component { id, name: target.name.clone(), message, since })
    };
    if report.state == TargetState::Failing {
        let reason = report.reason.clone().unwrap_or_else(|| "the last try failed".to_owned());
        return component(reason, report.since);
    }
    if lost > 0 {
        return component(format!("{lost} line(s) refused or dropped lately"), now);
    }
    let lanes = board.lanes();
    let flows = || lanes.iter().flat_map(|lane| &lane.flows).filter(|flow| flow.target == target.id);
    let lag = flows().map(|flow| flow.lag_seconds).fold(0.0, f64::max);
    if lag > limits::HEALTHY_LAG_SECONDS {
        return component(format!("{lag:.0} s behind"), now);
    }
    match report.state {
        TargetState::Up => Condition::Taking,
        _ if flows().any(|flow| flow.in_flight > 0) => Condition::Untried,
        _ => Condition::Spared,
    }
}

/// Lanes that stand still or whose books do not balance.
fn lane_components(board: &Board, now: Nanos) -> Vec<Component> {
    let stale = i64::try_from(limits::REPORT_STALE.as_nanos()).unwrap_or(i64::MAX);
    let mut components = Vec::new();
    for lane in board.lanes().iter() {
        let mut add = |message: String| {
            let name = format!("lane {}", lane.lane);
            components.push(Component { id: format!("lane.{}", lane.lane), name, message, since: lane.at });
        };
        if now.0.saturating_sub(lane.at.0) > stale {
            add("has not reported for a while; it stands still".to_owned());
        }
        if lane.imbalances > 0 {
            add(format!("its ledger did not balance {} time(s)", lane.imbalances));
        }
    }
    components
}

/// Objects that are not (or not wholly) in force.
fn complaint_components(plan: &Plan, now: Nanos) -> Vec<Component> {
    let component = |complaint: &crate::plan::Complaint| Component {
        id: format!("{}.{}", complaint.kind, complaint.name),
        name: if complaint.name.is_empty() { complaint.kind.clone() } else { complaint.name.clone() },
        message: complaint.text.clone(),
        since: now,
    };
    plan.complaints.iter().map(component).collect()
}

/// Whether a target speaks Loki's protocol.
pub fn is_loki(target: &TargetPlan) -> bool {
    matches!(target.kind, TargetKind::Loki(_))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        model::Level,
        plan::{ConsolePlan, Output, Route},
        stats::{FlowReport, LaneReport},
    };

    const NOW: Nanos = Nanos(1_000_000_000_000);

    fn plan(names: &[&str]) -> Plan {
        let mut plan = Plan::empty("c", "n");
        for (index, name) in names.iter().enumerate() {
            plan.targets.push(Arc::new(TargetPlan {
                id: ObjectId(index as u64),
                name: (*name).to_owned(),
                enabled: true,
                kind: TargetKind::Console(ConsolePlan),
                route: Route::All,
                min_level: Level::Trace,
                output: Output::Line,
                queue_bytes: limits::QUEUE_BYTES,
                max_age: None,
            }));
        }
        plan
    }

    fn flow(target: u64, in_flight: u64, lag_seconds: f64, refused: u64) -> FlowReport {
        FlowReport {
            source: ObjectId(100),
            source_name: "s".into(),
            target: ObjectId(target),
            target_name: String::new(),
            totals: Totals { refused, ..Totals::default() },
            in_flight,
            lag_seconds,
            last_delivered: None,
            waiting: None,
        }
    }

    fn board(states: &[TargetState], flows: Vec<FlowReport>) -> Board {
        let board = Board::default();
        board.publish_lane(LaneReport { at: NOW, flows, ..LaneReport::default() });
        for (index, state) in states.iter().enumerate() {
            board.update_target(ObjectId(index as u64), |report| {
                report.state = *state;
                report.reason = Some("connection refused".into());
            });
        }
        board
    }

    fn judged(states: &[TargetState], flows: Vec<FlowReport>) -> (Health, String) {
        let names = ["a", "b"];
        let verdict = assess(&plan(&names[..states.len()]), &board(states, flows), &Trend::default(), vec![], NOW);
        (verdict.health, verdict.error)
    }

    #[test]
    fn health_is_delivery() {
        use TargetState::{Failing, Idle, Up};
        assert_eq!(judged(&[Up, Up], vec![]).0, Health::Healthy);
        assert_eq!(judged(&[Up, Failing], vec![]), (Health::Degraded, "b: connection refused".into()));
        assert_eq!(judged(&[Failing, Failing], vec![]).0, Health::Error);
        assert_eq!(judged(&[Idle, Failing], vec![]).0, Health::Degraded);
        assert_eq!(judged(&[Idle, Idle], vec![]), (Health::Unknown, "nothing was delivered yet".into()));
        assert_eq!(judged(&[], vec![]), (Health::Unknown, "no enabled target".into()));
        assert_eq!(judged(&[Up, Idle], vec![]).0, Health::Healthy, "nothing was given to the idle one");
        assert_eq!(judged(&[Up, Idle], vec![flow(1, 5, 0.0, 0)]).0, Health::Unknown);
        assert_eq!(judged(&[Up], vec![flow(0, 5, 61.0, 0)]), (Health::Error, "a: 61 s behind".into()));
    }

    #[test]
    fn lines_refused_lately_are_not_health() {
        let plan = plan(&["a", "b"]);
        let states = [TargetState::Up, TargetState::Up];
        let mut trend = Trend::default();
        trend.sample(&board(&states, vec![flow(0, 0, 0.0, 7)]), NOW);
        let later = board(&states, vec![flow(0, 0, 0.0, 9)]);
        let verdict = assess(&plan, &later, &trend, vec![], NOW);
        assert_eq!((verdict.health, verdict.failing), (Health::Degraded, vec!["a".to_owned()]));
        assert_eq!(verdict.error, "a: 2 line(s) refused or dropped lately");
        assert_eq!(trend.lost_in_a_day(&Counts::of(&later)), 2);
        // Two windows later it is forgiven.
        let window = limits::COLLECTOR_DELTA_WINDOW.as_nanos() as i64;
        trend.sample(&later, Nanos(NOW.0 + window));
        trend.sample(&later, Nanos(NOW.0 + 2 * window));
        assert_eq!(assess(&plan, &later, &trend, vec![], NOW).health, Health::Healthy);
    }

    #[test]
    fn a_silent_lane_and_a_bad_object_are_named() {
        let late = Nanos(NOW.0 + 11_000_000_000);
        let verdict = assess(&plan(&["a"]), &board(&[TargetState::Up], vec![]), &Trend::default(), vec![], late);
        assert_eq!(verdict.health, Health::Degraded);
        assert!(verdict.error.contains("lane 0: has not reported"), "{}", verdict.error);
        let mut plan = plan(&["a"]);
        plan.complaints.push(crate::plan::Complaint { kind: "source".into(), name: "s".into(), text: "bad".into() });
        let verdict = assess(&plan, &board(&[TargetState::Up], vec![]), &Trend::default(), vec![], NOW);
        assert_eq!((verdict.health, verdict.error.as_str()), (Health::Degraded, "s: bad"));
    }
}
