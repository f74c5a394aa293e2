//! The collector object: a node as clients in the field know it, with ours on top.
//!
//! The names `alloyStatus` and `remotecfgStatus` are kept so that existing clients go on working; here they mean the
//! collector and its configuration feed. 64-bit integers are texts, as protobuf-JSON has them. Of this node all is
//! known live; of the others what they last told through the store, believed only as long as they are heard of.

use std::{sync::Arc, time::Duration};

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

pub async fn list(State(shared): State<Arc<Shared>>) -> Answer {
    Ok(answer::ok(&json!({ "collectors": all(&shared, health::now()).await })))
}

pub async fn read(State(shared): State<Arc<Shared>>, id: Result<Path<String>, PathRejected>) -> Answer {
    let Path(id) = id.map_err(|_| Fault::invalid("path", "the id is not UTF-8"))?;
    let mut known = all(&shared, health::now()).await;
    if let Some(place) = known.iter().position(|collector| collector["id"] == id.as_str()) {
        return Ok(answer::ok(&known.swap_remove(place)));
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
        .filter(|beat| own["id"] != beat.node.as_str())
        .map(|beat| of_another(beat, desired, now))
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

/// Another node: what it last told, as far as that still says something.
fn of_another(beat: &Beat, desired: u64, now: Nanos) -> Value {
    let mut record = beat.record.as_object().cloned().unwrap_or_default();
    let seen = record.get("lastSeen").and_then(Value::as_str).unwrap_or_default().to_owned();
    let age = seen.parse::<jiff::Timestamp>().ok().map(|at| age(at, now));
    let status = match (beat.alive, age) {
        (false, _) => "OFFLINE",
        (true, Some(age)) if age <= limits::COLLECTOR_STALE => "ONLINE",
        (true, _) => "STALE",
    };
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

fn age(at: jiff::Timestamp, now: Nanos) -> Duration {
    let then = i64::try_from(at.as_nanosecond()).unwrap_or(0);
    Duration::from_nanos(u64::try_from(now.0.saturating_sub(then)).unwrap_or(0))
}

#[cfg(test)]
mod tests {
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
            let seen = of_another(&beat(alive, ago, "HEALTHY"), 7, NOW);
            assert_eq!((&seen["status"], &seen["pipelineHealth"]), (&json!(status), &json!(health)));
            assert_eq!((&seen["revision"], &seen["desiredRevision"]), (&json!("4"), &json!("7")));
            assert_eq!(seen["alloyStatus"], seen["status"]);
        }
        let gone = of_another(&beat(false, 60, "ERROR"), 7, NOW);
        assert_eq!(
            (&gone["pipelineError"], &gone["remotecfgStatus"]),
            (&json!("not heard of since 2027-01-15T07:59:00Z; its pipeline was ERROR then"), &json!("DOWN"))
        );
        let garbage = Beat { node: "n3".into(), alive: true, record: json!("\u{0}") };
        let seen = of_another(&garbage, 7, NOW);
        assert_eq!((&seen["id"], &seen["status"]), (&json!("n3"), &json!("STALE")));
    }
}
