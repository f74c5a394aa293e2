//! The collector object: a node as clients in the field know it, with ours on top.
//!
//! The names `alloyStatus` and `remotecfgStatus` are kept so that existing clients go on working; here they mean the
//! collector and its configuration feed. 64-bit integers are texts, as protobuf-JSON has them. Of this node all is
//! known live; of the others what they last told through the store, believed only as long as they are heard of.

use std::{collections::HashMap, sync::Arc, time::Instant};

use axum::extract::{Path, State};
use serde_json::{Map, Value, json};

use super::{
    Shared,
    answer::{self, Answer},
    health::{self, Assessment, Counts},
};
use crate::{
    config::document::spelling,
    control::{
        registry::time_text,
        store::{Beat, Feed},
    },
    fault::{Fault, Kind},
    limits,
    model::Nanos,
    plan::Plan,
};

/// Clocks that differ by less are as good as right, in nanoseconds.
const CLOCKS_APART: i64 = limits::TOKEN_LEEWAY_SECONDS as i64 * 1_000_000_000;

pub async fn list(State(shared): State<Arc<Shared>>) -> Answer {
    Ok(answer::ok(&json!({ "collectors": all(&shared, health::now()).await })))
}

pub async fn read(State(shared): State<Arc<Shared>>, id: Result<Path<String>, PathRejected>) -> Answer {
    let Path(id) = id.map_err(|_| Fault::invalid("path", "the id is not UTF-8"))?;
    let mut known = all(&shared, health::now()).await;
    if let Some(place) = known.iter().position(|collector| collector["id"] == id.as_str()) {
        return Ok(answer::reading(&known.swap_remove(place)));
    }
    let ids: Vec<&str> = known.iter().filter_map(|collector| collector["id"].as_str()).collect();
    let hint = match (ids.as_slice(), spelling::nearest(&id, ids.iter().copied())) {
        ([own], _) => format!("this node is '{own}'"),
        (_, Some(near)) => format!("did you mean '{near}'?"),
        (ids, None) => format!("there are {}", ids.len()),
    };
    let shown: String = id.chars().take(limits::NAME_BYTES_MAX).collect();
    Err(Fault::new(Kind::NotFound, "", format!("no collector '{shown}'; {hint}")).into())
}

type PathRejected = axum::extract::rejection::PathRejection;

/// Every node that is known, this one first.
async fn all(shared: &Shared, now: Nanos) -> Vec<Value> {
    let own = collector(shared, now);
    let desired = shared.registry().plan().revision;
    let others = shared.others().await;
    let mut out: Vec<Value> = others
        .iter()
        .filter(|(beat, _)| own["id"] != beat.node.as_str())
        .map(|(beat, heard)| of_another(beat, *heard, desired, now))
        .collect();
    out.sort_by(|a, b| a["id"].as_str().cmp(&b["id"].as_str()));
    out.insert(0, own);
    out
}

/// This node, as of `now`.
pub fn collector(shared: &Shared, now: Nanos) -> Value {
    let plan = shared.registry().plan();
    let (expiry, mut warnings, certificates) = shared.certificates(&plan, now);
    let feed = shared.registry().store().feed();
    if let Feed::Down { since, reason } = &feed {
        warnings
            .push(format!("the store does not answer since {since} ({reason}); the last good objects are in force"));
    }
    warnings.extend(shared.identity.complaint());
    let trend = shared.trend();
    let counts = Counts::of(&shared.board);
    let verdict = health::assess(&plan, &shared.board, &trend, certificates, now);
    let lanes = shared.board.lanes();
    let flows = || lanes.iter().flat_map(|lane| &lane.flows);
    let applied = health::applied(&shared.board);
    let lag = flows().map(|flow| flow.lag_seconds).fold(0.0, f64::max);
    let queued: u64 = flows().map(|flow| flow.in_flight).sum();
    let loki = plan.targets.iter().filter(|target| health::is_loki(target));
    let loki_lost: u64 = loki.map(|target| trend.lost(&counts, target.id)).sum();
    json!({
        "id": plan.node,
        "lastSeen": time_text(now),
        "status": "ONLINE",
        "alloyStatus": "ONLINE",
        "configHash": format!("{:016x}", plan.revision),
        "remotecfgStatus": if feed == Feed::Up { "UP" } else { "DOWN" },
        "pipelineHealth": verdict.health.as_str(),
        "unhealthyComponents": components(&verdict),
        "pipelineCheckedAt": time_text(now),
        "pipelineError": verdict.error,
        "exporterSendFailedDelta": trend.send_failed(&counts).to_string(),
        "lokiDroppedEntriesDelta": loki_lost.to_string(),
        "failingExporters": verdict.failing,
        "totalExporters": verdict.targets,
        "exporterSendFailedTotal": counts.send_failed.to_string(),
        "exporterQueueSize": queued.to_string(),
        "revision": applied.to_string(),
        "desiredRevision": plan.revision.to_string(),
        "lagSeconds": lag,
        "lastDelivered": last_delivered(shared, &plan),
        "dropped24h": trend.lost_in_a_day(&counts).to_string(),
        "certExpires": expiry.map(time_text),
        "version": env!("CARGO_PKG_VERSION"),
        "warnings": warnings,
    })
}

fn components(verdict: &Assessment) -> Vec<Value> {
    let component = |part: &health::Component| {
        json!({
            "localId": part.id, "name": part.name, "state": "UNHEALTHY", "message": part.message,
            "updatedTime": time_text(part.since),
        })
    };
    verdict.components.iter().map(component).collect()
}

/// By enabled target, when it last took something; null before the first time.
fn last_delivered(shared: &Shared, plan: &Plan) -> Map<String, Value> {
    let reports = shared.board.targets();
    let lanes = shared.board.lanes();
    let mut out = Map::new();
    for target in plan.targets.iter().filter(|target| target.enabled) {
        let flows = lanes.iter().flat_map(|lane| &lane.flows).filter(|flow| flow.target == target.id);
        let settled = flows.filter_map(|flow| flow.last_delivered).max();
        let acked = reports.get(&target.id).and_then(|report| report.last_acked);
        let last = settled.max(acked).map(time_text);
        out.insert(target.name.clone(), json!(last));
    }
    out
}

/// Another node: what it last told, as far as that still says something. Whether it is silent its own clock tells,
/// unless it was `heard` of: then that clock is wrong, or this one.
fn of_another(beat: &Beat, heard: bool, desired: u64, now: Nanos) -> Value {
    let mut record = beat.record.as_object().cloned().unwrap_or_default();
    let seen = record.get("lastSeen").and_then(Value::as_str).unwrap_or_default().to_owned();
    let behind = seen.parse::<jiff::Timestamp>().ok().map(|at| now.0.saturating_sub(nanos(at)));
    let stale = limits::COLLECTOR_STALE.as_nanos() as i64;
    let status = match (beat.alive, behind) {
        (false, _) => "OFFLINE",
        (true, Some(behind)) if behind <= stale || heard => "ONLINE",
        (true, _) => "STALE",
    };
    if let Some(behind) = behind.filter(|behind| status == "ONLINE" && (*behind < -CLOCKS_APART || *behind > stale)) {
        let (seconds, word) = (behind.unsigned_abs() / 1_000_000_000, if behind < 0 { "ahead of" } else { "behind" });
        let text = format!("its clock is about {seconds} s {word} this node's");
        match record.get_mut("warnings").and_then(Value::as_array_mut) {
            Some(warnings) => warnings.push(json!(text)),
            None => _ = record.insert("warnings".to_owned(), json!([text])),
        }
    }
    record.insert("id".to_owned(), json!(beat.node));
    record.insert("status".to_owned(), json!(status));
    record.insert("alloyStatus".to_owned(), json!(status));
    let told = record.get("desiredRevision").and_then(Value::as_str).and_then(|text| text.parse().ok()).unwrap_or(0);
    record.insert("desiredRevision".to_owned(), json!(desired.max(told).to_string()));
    if status != "ONLINE" {
        let since = if seen.is_empty() { "ever".to_owned() } else { format!("since {seen}") };
        let last = record.get("pipelineHealth").and_then(Value::as_str).unwrap_or("UNKNOWN");
        let error = format!("not heard of {since}; its pipeline was {last} then");
        record.insert("pipelineError".to_owned(), json!(error));
        record.insert("pipelineHealth".to_owned(), json!("UNKNOWN"));
        record.insert("remotecfgStatus".to_owned(), json!("DOWN"));
    }
    Value::Object(record)
}

fn nanos(at: jiff::Timestamp) -> i64 {
    i64::try_from(at.as_nanosecond()).unwrap_or(0)
}

/// Which nodes were heard of by what they write, whatever their clocks say.
#[derive(Debug, Default)]
pub struct Heard(HashMap<String, Last>);

/// What a node had written at the last look.
#[derive(Debug)]
struct Last {
    seen: Value,
    looked: Instant,
    /// It has written something after a look: until then it is not silent.
    fresh: Option<Instant>,
}

impl Heard {
    /// Takes what was found now; says of each node whether it was heard of lately.
    pub fn look(&mut self, beats: Vec<Beat>, now: Instant) -> Vec<(Beat, bool)> {
        self.0.retain(|node, _| beats.iter().any(|beat| beat.node == *node));
        let heard = |beat: Beat| {
            let seen = beat.record["lastSeen"].clone();
            let last = self.0.entry(beat.node.clone());
            let last = last.or_insert_with(|| Last { seen: seen.clone(), looked: now, fresh: None });
            if last.seen != seen {
                last.fresh = Some(last.looked + limits::COLLECTOR_STALE);
                last.seen = seen;
            }
            last.looked = now;
            let is_heard = last.fresh.is_some_and(|fresh| now < fresh);
            (beat, is_heard)
        };
        beats.into_iter().map(heard).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const NOW: Nanos = Nanos(1_800_000_000_000_000_000);

    fn beat(alive: bool, seconds_ago: i64, health: &str) -> Beat {
        let seen = time_text(Nanos(NOW.0 - seconds_ago * 1_000_000_000));
        let record = json!({"lastSeen": seen, "pipelineHealth": health, "remotecfgStatus": "UP", "revision": "4",
                            "desiredRevision": "4", "status": "ONLINE"});
        Beat { node: "n2".into(), alive, record }
    }

    #[test]
    fn another_node_is_believed_while_it_is_heard_of() {
        for (alive, ago, status, health) in
            [(true, 30, "ONLINE", "HEALTHY"), (true, 121, "STALE", "UNKNOWN"), (false, 1, "OFFLINE", "UNKNOWN")]
        {
            let seen = of_another(&beat(alive, ago, "HEALTHY"), false, 7, NOW);
            assert_eq!((&seen["status"], &seen["pipelineHealth"]), (&json!(status), &json!(health)));
            assert_eq!((&seen["revision"], &seen["desiredRevision"]), (&json!("4"), &json!("7")));
            assert_eq!(seen["alloyStatus"], seen["status"]);
        }
        let gone = of_another(&beat(false, 60, "ERROR"), false, 7, NOW);
        assert_eq!(
            (&gone["pipelineError"], &gone["remotecfgStatus"]),
            (&json!("not heard of since 2027-01-15T07:59:00Z; its pipeline was ERROR then"), &json!("DOWN"))
        );
        let garbage = Beat { node: "n3".into(), alive: true, record: json!("\u{0}") };
        let seen = of_another(&garbage, false, 7, NOW);
        assert_eq!((&seen["id"], &seen["status"]), (&json!("n3"), &json!("STALE")));
    }

    #[test]
    fn a_clock_that_is_wrong_is_told_of_and_makes_nobody_stale() {
        let told = |ago: i64, heard: bool| {
            let seen = of_another(&beat(true, ago, "HEALTHY"), heard, 7, NOW);
            (seen["status"].as_str().unwrap().to_owned(), seen["warnings"][0].as_str().map(str::to_owned))
        };
        let online = |warning: Option<&str>| ("ONLINE".to_owned(), warning.map(str::to_owned));
        assert_eq!(told(5, true), online(None));
        assert_eq!(told(-20, false), online(None));
        assert_eq!(told(-3600, false), online(Some("its clock is about 3600 s ahead of this node's")));
        assert_eq!(told(600, false), ("STALE".to_owned(), None), "silent, as far as is known");
        assert_eq!(told(600, true), online(Some("its clock is about 600 s behind this node's")));
    }

    #[test]
    fn who_writes_between_two_looks_was_heard_of() {
        let (mut heard, start) = (Heard::default(), Instant::now());
        let mut look =
            |written: i64, after: Duration| heard.look(vec![beat(true, written, "HEALTHY")], start + after)[0].1;
        let minute = Duration::from_secs(60);
        assert!(!look(900, Duration::ZERO), "who knows how old that is");
        assert!(!look(900, minute));
        assert!(look(840, 2 * minute), "written in the last minute");
        assert!(look(840, 2 * minute + minute / 2));
        assert!(!look(840, 3 * minute), "not since");
        assert!(!look(100, 90 * minute), "written some time within an hour and a half");
    }
}
