//! `GET /api/v2/logs/status`: everything this node knows of itself, for `corelane status` and for people at 3 a.m.

use std::{cmp::Reverse, sync::Arc};

use axum::extract::State;
use serde_json::{Value, json};

use super::{
    Shared,
    answer::{self, Answer},
    collector, health,
};
use crate::{
    control::registry::time_text,
    limits,
    model::Nanos,
    stats::{DropReason, FlowReport, JournalReport, Kept, LaneReport, ReaderReport, TargetReport, TargetState, Totals},
};

pub async fn read(State(shared): State<Arc<Shared>>) -> Answer {
    Ok(answer::ok(&status(&shared)))
}

/// The whole status as JSON.
pub fn status(shared: &Shared) -> Value {
    let plan = shared.registry().plan();
    let lanes = shared.board.lanes();
    let reports = shared.board.targets();
    let mut readers: Vec<&ReaderReport> = lanes.iter().flat_map(|lane| &lane.readers).collect();
    let readers_total = readers.len();
    readers.sort_by_key(|reader| Reverse(reader.behind_bytes));
    readers.truncate(limits::STATUS_READERS_MAX);
    let targets: Vec<Value> = plan
        .targets
        .iter()
        .map(|plan| target(&plan.name, plan.enabled, &reports.get(&plan.id).cloned().unwrap_or_default()))
        .collect();
    let sources: Vec<Value> =
        plan.sources.iter().map(|source| json!({"name": source.name, "enabled": source.enabled})).collect();
    let complaints: Vec<Value> = plan
        .complaints
        .iter()
        .map(|complaint| json!({"kind": complaint.kind, "name": complaint.name, "text": complaint.text}))
        .collect();
    let collector = collector::collector(shared, health::now());
    json!({
        "cluster": plan.cluster,
        "node": plan.node,
        "version": env!("CARGO_PKG_VERSION"),
        "revision": plan.revision,
        "collector": collector,
        "lanes": lanes.iter().map(|report| lane(report)).collect::<Vec<_>>(),
        "sources": sources,
        "readers": readers.into_iter().map(reader).collect::<Vec<_>>(),
        "readersTotal": readers_total,
        "flows": lanes.iter().flat_map(|lane| &lane.flows).map(flow).collect::<Vec<_>>(),
        "targets": targets,
        "complaints": complaints,
        "warnings": collector["warnings"],
    })
}

fn lane(report: &LaneReport) -> Value {
    let lost = report.lost.iter().map(|(source, most)| json!({"source": source, "most": most}));
    let lost: Vec<Value> = lost.collect();
    json!({
        "lane": report.lane,
        "backend": report.backend,
        "backendReason": report.backend_reason,
        "core": report.core,
        "revision": report.revision,
        "reportedAt": time_text(report.at),
        "cpuMicros": report.cpu_micros,
        "imbalances": report.imbalances,
        "troubles": report.troubles,
        "pinnedFiles": report.kept.pinned_files,
        "pinnedBytes": report.kept.pinned_bytes,
        "spooledFiles": report.kept.spooled_files,
        "spooledBytes": report.kept.spooled_bytes,
        "lostUnseen": lost,
    })
}

fn reader(report: &ReaderReport) -> Value {
    json!({
        "source": report.source,
        "path": report.path,
        "behindBytes": report.behind_bytes,
        "draining": report.draining,
        "kept": kept(report.kept),
        "unattributed": report.unattributed,
        "journal": report.journal.as_ref().map(journal),
    })
}

fn kept(kept: Kept) -> &'static str {
    match kept {
        Kept::Named => "named",
        Kept::Pinned => "pinned",
        Kept::Spooled => "spooled",
    }
}

fn journal(report: &JournalReport) -> Value {
    let place = |(seqnum, time): (u64, Nanos)| json!({"seqnum": seqnum, "time": (time.0 > 0).then(|| time_text(time))});
    json!({
        "from": place(report.from),
        "to": place(report.to),
        "read": report.read,
        "damaged": report.damaged,
        "spoiled": report.spoiled,
        "cut": report.cut,
        "own": report.own,
        "repeated": report.repeated,
        "unreadableFiles": report.unreadable,
    })
}

fn flow(report: &FlowReport) -> Value {
    json!({
        "source": report.source_name,
        "target": report.target_name,
        "totals": totals(&report.totals),
        "inFlight": report.in_flight,
        "lagSeconds": report.lag_seconds,
        "lastDelivered": report.last_delivered.map(time_text),
        "waiting": report.waiting,
    })
}

fn totals(totals: &Totals) -> Value {
    let dropped: serde_json::Map<String, Value> = DropReason::ALL
        .iter()
        .zip(totals.dropped)
        .map(|(reason, lines)| (reason.as_str().to_owned(), json!(lines)))
        .collect();
    json!({
        "read": totals.read,
        "readBytes": totals.read_bytes,
        "filtered": totals.filtered,
        "delivered": totals.delivered,
        "refused": totals.refused,
        "quarantined": totals.quarantined,
        "dropped": dropped,
        "unparsed": totals.unparsed,
    })
}

fn target(name: &str, enabled: bool, report: &TargetReport) -> Value {
    let state = match report.state {
        TargetState::Idle => "IDLE",
        TargetState::Up => "UP",
        TargetState::Failing => "FAILING",
    };
    json!({
        "name": name,
        "enabled": enabled,
        "state": state,
        "reason": report.reason,
        "since": (report.since.0 > 0).then(|| time_text(report.since)),
        "lastAcked": report.last_acked.map(time_text),
        "acked": report.acked,
        "failedTries": report.failed_tries,
        "resent": report.resent,
        "sentBytes": report.sent_bytes,
        "replayed": report.replayed,
        "failing": report.failing,
    })
}
