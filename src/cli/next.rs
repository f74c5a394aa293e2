//! What happens after a change: waits for it if asked to, and says what comes next.

use std::time::Duration;

use http::Method;
use serde_json::Value;

use super::{
    client::Client,
    grammar::{Access, Wait},
    object::BASE,
    print,
    screen::Screen,
    wait::{self, Goal},
};
use crate::{config::Kind, fault::Fault};

/// How long a person at a terminal is kept waiting for a first line, unasked.
const GLANCE: Duration = Duration::from_secs(2);

/// An object that was created or updated.
#[derive(Clone, Debug)]
pub struct Change {
    kind: Kind,
    done: &'static str,
    object: Value,
}

impl Change {
    /// From the object as the API answers it.
    pub fn of(kind: Kind, done: &'static str, object: Value) -> Self {
        Self { kind, done, object }
    }

    fn name(&self) -> &str {
        self.object["name"].as_str().unwrap_or_default()
    }

    fn enabled(&self) -> bool {
        self.object["enabled"] == Value::Bool(true)
    }

    fn goal(&self, client: &Client) -> Result<Goal, Fault> {
        let flows = self.kind != Kind::TlsBundle && self.enabled();
        let flowing = if flows { vec![(self.kind, self.name().to_owned())] } else { Vec::new() };
        Ok(Goal { revision: newest(client)?, flowing })
    }
}

/// The revision of the node that was asked, which has what it accepted before it answers. An object's tag would not do:
/// it counts otherwise where the store is a cluster's.
fn newest(client: &Client) -> Result<u64, Fault> {
    let status = client.call(Method::GET, &format!("{BASE}/status"), None)?;
    Ok(status["revision"].as_u64().unwrap_or(0))
}

/// Says what was done and what comes next; waits before if asked to.
///
/// # Errors
/// What was waited for did not happen in time, or stdout cannot be written.
pub fn tell(client: &Client, access: &Access, wait: &Wait, change: &Change) -> Result<(), Fault> {
    let limit = wait::limit(wait)?;
    let done = format!("{} {} {}", change.kind.singular(), change.name(), change.done);
    if !access.is_for_people() {
        print::value(access, &change.object, |_, _| String::new())?;
        return limit.map_or(Ok(()), |limit| wait::until(client, &change.goal(client)?, limit).map(|_| ()));
    }
    let next = match limit {
        Some(limit) => match change.goal(client).and_then(|goal| wait::until(client, &goal, limit)) {
            Ok(reached) if change.kind == Kind::TlsBundle || change.enabled() => format!(", {}", reached.words()),
            Ok(reached) => format!(", {}{}", reached.words(), next_step(client, change)),
            Err(fault) => {
                print::out(&format!("{done}\n"))?;
                return Err(fault);
            }
        },
        None => next_step(client, change),
    };
    let next = if limit.is_none() && next == SEE && Screen::stdout(access).is_terminal() {
        seen(client, change).unwrap_or(next)
    } else {
        next
    };
    print::out(&format!("{done}{next}\n"))
}

/// After a change that has no object of its own: waits until the newest revision is in force.
///
/// # Errors
/// As `tell`.
pub fn await_newest(client: &Client, wait: &Wait) -> Result<(), Fault> {
    let Some(limit) = wait::limit(wait)? else { return Ok(()) };
    let goal = Goal { revision: newest(client)?, flowing: Vec::new() };
    wait::until(client, &goal, limit).map(|reached| print::note(&reached.words()))
}

const SEE: &str = ", enabled: see it flow with `corelane status`";

/// Whether lines flow already, for somebody who looks on.
fn seen(client: &Client, change: &Change) -> Option<String> {
    let reached = wait::glance(client, &change.goal(client).ok()?, GLANCE)?;
    let lines = reached.lines.ok().filter(|lines| *lines > 0)?;
    Some(format!(", enabled, {}", wait::flowing(lines, reached.elapsed)))
}

fn next_step(client: &Client, change: &Change) -> String {
    let (noun, name) = (change.kind.singular(), change.name());
    let enabled_ones = |nouns: &str| {
        let answer = client.call(Method::GET, &format!("{BASE}/{nouns}"), None).unwrap_or(Value::Null);
        answer[nouns].as_array().is_some_and(|items| items.iter().any(|item| item["enabled"] == Value::Bool(true)))
    };
    match change.kind {
        Kind::TlsBundle if change.done == "created" => {
            format!("; use it with `corelane update target NAME --tls-bundle={name}`")
        }
        Kind::TlsBundle => String::new(),
        _ if !change.enabled() => format!(", disabled: enable with `corelane update {noun} {name} --enabled`"),
        Kind::Source if !enabled_ones("targets") => {
            ", enabled, but no enabled target: `corelane create target --help`".to_owned()
        }
        Kind::Target if !enabled_ones("sources") => {
            ", enabled, but no enabled source: `corelane create source --help`".to_owned()
        }
        _ => SEE.to_owned(),
    }
}
