//! The collector object: this node as clients in the field know it, with ours on top.
//!
//! The names `alloyStatus` and `remotecfgStatus` are kept so that existing clients go on working; here they mean the
//! collector and its configuration feed. 64-bit integers are texts, as protobuf-JSON has them.

use std::sync::Arc;

use axum::extract::{Path, State};
use serde_json::{Map, Value, json};

use super::{
    Shared,
    answer::{self, Answer},
    health::{self, Counts},
};
use crate::{
    control::registry::time_text,
    fault::{Fault, Kind},
    model::Nanos,
};

pub async fn list(State(shared): State<Arc<Shared>>) -> Answer {
    Ok(answer::ok(&json!({ "collectors": [collector(&shared, health::now())] })))
}

pub async fn read(State(shared): State<Arc<Shared>>, Path(id): Path<String>) -> Answer {
    let own = shared.registry().plan().node.clone();
    if id != own {
        return Err(Fault::new(Kind::NotFound, "", format!("no collector '{id}'; this node is '{own}'")).into());
    }
    Ok(answer::ok(&collector(&shared, health::now())))
}

/// This node, as of `now`.
pub fn collector(shared: &Shared, now: Nanos) -> Value {
    let (plan, expiry) = {
        let registry = shared.registry();
        (registry.plan(), registry.certificate_expiry())
    };
    let trend = shared.trend();
    let counts = Counts::of(&shared.board);
    let verdict = health::assess(&plan, &shared.board, &trend, now);
    let lanes = shared.board.lanes();
    let flows = || lanes.iter().flat_map(|lane| &lane.flows);
    let applied = lanes.iter().map(|lane| lane.revision).min().unwrap_or(0);
    let lag = flows().map(|flow| flow.lag_seconds).fold(0.0, f64::max);
    let queued: u64 = flows().map(|flow| flow.in_flight).sum();
    let loki = plan.targets.iter().filter(|target| health::is_loki(target));
    let loki_lost: u64 = loki.map(|target| trend.lost(&counts, target.id)).sum();
    let components: Vec<Value> = verdict
        .components
        .iter()
        .map(|part| {
            json!({
                "localId": part.id, "name": part.name, "state": "UNHEALTHY", "message": part.message,
                "updatedTime": time_text(part.since),
            })
        })
        .collect();
    json!({
        "id": plan.node,
        "lastSeen": time_text(now),
        "status": "ONLINE",
        "alloyStatus": "ONLINE",
        "configHash": format!("{:016x}", plan.revision),
        "remotecfgStatus": "UP",
        "pipelineHealth": verdict.health.as_str(),
        "unhealthyComponents": components,
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
    })
}

/// By enabled target, when it last took something; null before the first time.
fn last_delivered(shared: &Shared, plan: &crate::plan::Plan) -> Map<String, Value> {
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
