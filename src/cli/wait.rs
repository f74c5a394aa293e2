//! `--wait`: returns when a change is in force on every node and, for what is enabled, a first line has arrived.
//!
//! What is still missing is told on stderr whenever it changes; when time is up it becomes the error. A node that is
//! OFFLINE is not waited for: it takes the change when it is back.

use std::{
    thread,
    time::{Duration, Instant},
};

use http::Method;
use serde_json::Value;

use super::{client::Client, grammar::Wait, object::BASE, print, table::count};
use crate::{
    config::{Kind, compile::amount},
    fault::{Fault, Kind as FaultKind},
};

/// How often it looks.
const LOOK: Duration = Duration::from_millis(200);
/// What is missing for a shorter time is not worth a word.
const PATIENT: Duration = Duration::from_millis(500);

/// What is waited for.
#[derive(Clone, Debug)]
pub struct Goal {
    /// Applied by every node.
    pub revision: u64,
    /// Enabled objects of which a line shall have been acknowledged.
    pub flowing: Vec<(Kind, String)>,
}

/// What was reached.
#[derive(Clone, Debug, PartialEq)]
pub struct Reached {
    pub nodes: usize,
    /// Lines acknowledged while waiting, of the objects waited for; or why none can flow yet.
    pub lines: Result<u64, String>,
    pub elapsed: Duration,
}

impl Reached {
    /// `in force on 3 nodes, flowing: 12 lines in the last 0.4 s`.
    pub fn words(&self) -> String {
        let nodes = if self.nodes == 1 { "node" } else { "nodes" };
        let force = format!("in force on {} {nodes}", self.nodes);
        match &self.lines {
            Ok(0) => force,
            Ok(lines) => format!("{force}, {}", flowing(*lines, self.elapsed)),
            Err(reason) => format!("{force}, {reason}"),
        }
    }
}

/// `flowing: 1,204 lines in the last 5.0 s`.
pub fn flowing(lines: u64, elapsed: Duration) -> String {
    format!("flowing: {} lines in the last {:.1} s", count(lines), elapsed.as_secs_f64())
}

/// How long is to be waited, if at all.
///
/// # Errors
/// It is no duration.
pub fn limit(wait: &Wait) -> Result<Option<Duration>, Fault> {
    let Some(text) = &wait.wait else { return Ok(None) };
    amount::duration(text).map(Some).map_err(|cause| Fault::new(FaultKind::Usage, "--wait", cause))
}

/// Waits for the goal and tells on stderr what is missing.
///
/// # Errors
/// Time is up, with what was still missing.
pub fn until(client: &Client, goal: &Goal, limit: Duration) -> Result<Reached, Fault> {
    reach(client, goal, limit, |missing| print::note(&format!("waiting: {missing}"))).map_err(|missing| {
        let text = format!("stored as revision {}, but after {} s {missing}", goal.revision, limit.as_secs());
        Fault::new(FaultKind::Unavailable, "--wait", text).way_out("it goes on by itself: see `corelane status`")
    })
}

/// As `until`, in silence; what is missing when time is up is no fault.
pub fn glance(client: &Client, goal: &Goal, limit: Duration) -> Option<Reached> {
    reach(client, goal, limit, |_| {}).ok()
}

fn reach(client: &Client, goal: &Goal, limit: Duration, mut tell: impl FnMut(&str)) -> Result<Reached, String> {
    let started = Instant::now();
    let mut told = String::new();
    let mut before = None;
    loop {
        let missing = match look(client, goal, &mut before) {
            Ok(mut reached) => {
                reached.elapsed = started.elapsed();
                return Ok(reached);
            }
            Err(missing) => missing,
        };
        if missing != told && started.elapsed() >= PATIENT {
            tell(&missing);
            told.clone_from(&missing);
        }
        if started.elapsed() >= limit {
            return Err(missing);
        }
        thread::sleep(LOOK.min(limit.saturating_sub(started.elapsed())));
    }
}

/// What is reached, or what is missing. `before` keeps the lines that had been delivered at the first look.
fn look(client: &Client, goal: &Goal, before: &mut Option<u64>) -> Result<Reached, String> {
    let ask = |path: &str| client.call(Method::GET, &format!("{BASE}/{path}"), None).map_err(|fault| fault.to_string());
    if before.is_none() && !goal.flowing.is_empty() {
        *before = Some(delivered(&ask("status")?, goal));
    }
    let nodes = nodes_behind(&ask("collectors")?, goal.revision)?;
    if goal.flowing.is_empty() {
        return Ok(Reached { nodes, lines: Ok(0), elapsed: Duration::ZERO });
    }
    let status = ask("status")?;
    let lines = arrived(&status, goal)?.map(|lines| lines.saturating_sub(before.unwrap_or(0)));
    Ok(Reached { nodes, lines, elapsed: Duration::ZERO })
}

/// How many nodes have the revision in force, or which have not.
fn nodes_behind(collectors: &Value, revision: u64) -> Result<usize, String> {
    let mut behind = Vec::new();
    let mut nodes = 0;
    for collector in items(&collectors["collectors"]) {
        let state = collector["status"].as_str().or_else(|| collector["alloyStatus"].as_str()).unwrap_or_default();
        let applied: u64 = collector["revision"].as_str().and_then(|text| text.parse().ok()).unwrap_or(0);
        match state {
            _ if applied >= revision => nodes += 1,
            "OFFLINE" => {}
            _ => behind.push(format!("{} ({state}, revision {applied})", text(&collector["id"]))),
        }
    }
    if behind.is_empty() { Ok(nodes) } else { Err(format!("it is not in force on {}", behind.join(", "))) }
}

/// Lines of the objects that have arrived in all; within, why none can; else what is missing.
fn arrived(status: &Value, goal: &Goal) -> Result<Result<u64, String>, String> {
    let mut lines = 0;
    let mut idle = None;
    for (kind, name) in &goal.flowing {
        let (role, others) = if *kind == Kind::Source { ("source", "targets") } else { ("target", "sources") };
        if !items(&status[others]).iter().any(|other| other["enabled"] == Value::Bool(true)) {
            idle = Some(format!("but no enabled {}", others.trim_end_matches('s')));
            continue;
        }
        let flows: Vec<&Value> = items(&status["flows"]).iter().filter(|flow| flow[role] == name.as_str()).collect();
        let sum = |what: &str| flows.iter().filter_map(|flow| flow["totals"][what].as_u64()).sum::<u64>();
        let delivered = sum("delivered");
        if delivered == 0 {
            return Err(format!("{} {name}: {}", kind.singular(), missing(status, *kind, name, &flows)));
        }
        lines += delivered;
    }
    Ok(match idle {
        Some(reason) if lines == 0 => Err(reason),
        _ => Ok(lines),
    })
}

fn delivered(status: &Value, goal: &Goal) -> u64 {
    let wanted = |flow: &&Value| {
        goal.flowing.iter().any(|(kind, name)| {
            let role = if *kind == Kind::Source { "source" } else { "target" };
            flow[role] == name.as_str()
        })
    };
    items(&status["flows"]).iter().filter(wanted).filter_map(|flow| flow["totals"]["delivered"].as_u64()).sum()
}

/// Why nothing has arrived, in words.
fn missing(status: &Value, kind: Kind, name: &str, flows: &[&Value]) -> String {
    let sum = |what: &str| flows.iter().filter_map(|flow| flow["totals"][what].as_u64()).sum::<u64>();
    let in_flight: u64 = flows.iter().filter_map(|flow| flow["inFlight"].as_u64()).sum();
    let finds = |reader: &Value| reader["source"] == name;
    if kind == Kind::Source && !items(&status["readers"]).iter().any(finds) {
        return "nothing to read was found yet".to_owned();
    }
    if in_flight > 0 {
        let failing = items(&status["targets"])
            .iter()
            .find(|target| target["state"] == "FAILING" && flows.iter().any(|flow| flow["target"] == target["name"]));
        return match failing {
            Some(target) => format!("target {} fails: {}", text(&target["name"]), text(&target["reason"])),
            None => format!("{} lines are under way, none is acknowledged yet", count(in_flight)),
        };
    }
    match (sum("read"), sum("filtered"), sum("refused")) {
        (0, ..) => "no new line was read yet".to_owned(),
        (read, filtered, _) if read == filtered => {
            format!("all {} lines read are below the level asked for", count(read))
        }
        (.., refused) => format!("{} lines were refused", count(refused)),
    }
}

fn items(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or("-")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn goal() -> Goal {
        Goal { revision: 7, flowing: vec![(Kind::Source, "s".to_owned())] }
    }

    #[test]
    fn nodes_are_waited_for_unless_they_are_offline() {
        let node = |id: &str, status: &str, revision: &str| json!({"id": id, "status": status, "revision": revision});
        let all = |nodes: &[Value]| nodes_behind(&json!({ "collectors": nodes }), 7);
        assert_eq!(all(&[node("a", "ONLINE", "7"), node("b", "ONLINE", "8")]), Ok(2));
        assert_eq!(all(&[node("a", "ONLINE", "7"), node("b", "OFFLINE", "2")]), Ok(1));
        let behind = all(&[node("a", "ONLINE", "7"), node("b", "STALE", "6")]);
        assert_eq!(behind, Err("it is not in force on b (STALE, revision 6)".to_owned()));
    }

    #[test]
    fn what_is_missing_is_told_in_words() {
        let status = |read: u64, filtered: u64, delivered: u64, in_flight: u64, state: &str| {
            json!({
                "targets": [{"name": "t", "enabled": true, "state": state, "reason": "connection refused"}],
                "sources": [{"name": "s", "enabled": true}],
                "readers": [{"source": "s"}],
                "flows": [{"source": "s", "target": "t", "inFlight": in_flight,
                    "totals": {"read": read, "filtered": filtered, "delivered": delivered, "refused": 0}}],
            })
        };
        let why = |status: Value| arrived(&status, &goal()).unwrap_err();
        assert_eq!(why(status(0, 0, 0, 0, "IDLE")), "source s: no new line was read yet");
        assert_eq!(
            why(status(1000, 1000, 0, 0, "IDLE")),
            "source s: all 1,000 lines read are below the level asked for"
        );
        assert_eq!(why(status(0, 0, 0, 3, "FAILING")), "source s: target t fails: connection refused");
        assert_eq!(why(status(0, 0, 0, 3, "UP")), "source s: 3 lines are under way, none is acknowledged yet");
        assert_eq!(arrived(&status(5, 0, 5, 0, "UP"), &goal()), Ok(Ok(5)));
        let mut nothing = status(0, 0, 0, 0, "IDLE");
        nothing["readers"] = json!([]);
        assert_eq!(why(nothing), "source s: nothing to read was found yet");
        let alone = json!({"targets": [{"name": "t", "enabled": false}]});
        assert_eq!(arrived(&alone, &goal()), Ok(Err("but no enabled target".to_owned())));
    }
}
