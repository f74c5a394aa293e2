//! `apply`, `diff`, `export`, `history` and `rollback`: the configuration as a whole.
//!
//! Files are read here and every fault in them is told with its place; what they mean is judged by the API, all or
//! nothing, and its complaints are led back to the lines they are about.

use std::process::ExitCode;

use http::Method;
use serde_json::{Value, json};

use super::{
    access,
    client::{Client, Reply, refusal},
    diff,
    grammar::{Access, ApplyFlags, DiffFlags, ExportFlags, Files, HistoryFlags, OutputFormat, RollbackFlags},
    manifest::Manifest,
    object::BASE,
    print,
    screen::{Screen, Tone},
    table::{Table, time},
    wait::{self, Goal},
};
use crate::{
    config::Kind,
    fault::{Fault, Kind as FaultKind},
};

/// Objects named in one cell of the history.
const TOUCHED_SHOWN: usize = 3;

/// # Errors
/// The API cannot be reached, or what was waited for did not happen in time. What is wrong with the objects is told
/// here, with exit code 1.
pub fn apply(flags: &ApplyFlags, access: &Access) -> Result<ExitCode, Fault> {
    let limit = wait::limit(&flags.wait)?;
    let client = access::client(access)?;
    let Some(answer) = make(&client, &flags.files, flags.dry_run)? else { return Ok(ExitCode::FAILURE) };
    print::value(access, &without_documents(&answer), outcome)?;
    if let Some(limit) = limit.filter(|_| !flags.dry_run) {
        let reached = wait::until(&client, &goal(&client, &answer)?, limit)?;
        print::note(&reached.words());
    }
    Ok(ExitCode::SUCCESS)
}

/// The code is 0 when nothing would change, 1 when something would, 2 on trouble, as of diff(1).
pub fn diff(flags: &DiffFlags, access: &Access) -> ExitCode {
    let compare = || {
        let Some(answer) = make(&access::client(access)?, &flags.files, true)? else { return Ok(None) };
        let differs = changes(&answer).iter().any(|change| change["action"] != "unchanged");
        print::value(access, &answer, |answer, screen| {
            changes(answer).iter().map(|change| diff::change(change, screen)).collect()
        })?;
        Ok(Some(differs))
    };
    match compare() {
        Ok(Some(false)) => ExitCode::SUCCESS,
        Ok(Some(true)) => ExitCode::FAILURE,
        Ok(None) => ExitCode::from(2),
        Err(fault) => {
            let fault: Fault = fault;
            print::error(&fault);
            ExitCode::from(2)
        }
    }
}

/// # Errors
/// The API cannot be reached, or there is no such revision.
pub fn export(flags: &ExportFlags, access: &Access) -> Result<(), Fault> {
    let revision = flags.revision.map_or("latest".to_owned(), |revision| revision.to_string());
    let answer = access::client(access)?.call(Method::GET, &format!("{BASE}/revisions/{revision}"), None)?;
    let wanted = |object: &&Value| flags.kind.is_none_or(|kind| object["kind"] == kind.kind().singular());
    let objects: Vec<&Value> = answer["objects"].as_array().into_iter().flatten().filter(wanted).collect();
    if access.output_format == OutputFormat::Json {
        return print::value(access, &json!({ "objects": objects }), |_, _| String::new());
    }
    if objects.is_empty() {
        print::note("nothing to export");
    }
    let documents: Vec<String> = objects.into_iter().map(diff::document).collect();
    print::out(&documents.join("---\n"))
}

/// # Errors
/// The API cannot be reached.
pub fn history(flags: &HistoryFlags, access: &Access) -> Result<(), Fault> {
    let mut answer = access::client(access)?.call(Method::GET, &format!("{BASE}/revisions"), None)?;
    if let (Some(limit), Some(entries)) = (flags.limit, answer["revisions"].as_array_mut()) {
        entries.truncate(limit);
    }
    print::value(access, &answer, |answer, screen| {
        let mut table = Table::new(&["REV", "AT", "WHO", "WHAT", "OBJECTS"]);
        for entry in answer["revisions"].as_array().into_iter().flatten() {
            let text = |name: &str| entry[name].as_str().unwrap_or_default().to_owned();
            table.row(vec![text("revision"), time(&text("at")), text("who"), text("what"), touched(entry)]);
        }
        if table.is_empty() { "no revision yet\n".to_owned() } else { table.render(screen) }
    })
}

/// # Errors
/// As `apply`, or there is no such revision.
pub fn rollback(flags: &RollbackFlags, access: &Access) -> Result<(), Fault> {
    let limit = wait::limit(&flags.wait)?;
    let client = access::client(access)?;
    let path = format!("{BASE}/revisions/{}/rollback", flags.revision);
    let answer = client.call(Method::POST, &path, Some(&json!({"dryRun": flags.dry_run})))?;
    print::value(access, &without_documents(&answer), outcome)?;
    if let Some(limit) = limit.filter(|_| !flags.dry_run) {
        let reached = wait::until(&client, &goal(&client, &answer)?, limit)?;
        print::note(&reached.words());
    }
    Ok(())
}

/// Has the API make what the files say. `None`: refused, and everything that is wrong was told.
fn make(client: &Client, files: &Files, dry_run: bool) -> Result<Option<Value>, Fault> {
    let manifest = Manifest::read(&files.file);
    if !manifest.complaints.is_empty() {
        manifest.complaints.iter().for_each(|complaint| tell(complaint));
        return Ok(None);
    }
    if manifest.documents.is_empty() {
        let fault = Fault::new(FaultKind::Usage, "-f", "there is no object in it");
        return Err(if files.prune { fault.way_out("`delete` is for deleting all") } else { fault });
    }
    let put: Vec<Value> = manifest
        .documents
        .iter()
        .map(|document| {
            let mut fields = document.fields.clone();
            fields.insert("kind".to_owned(), Value::from(document.kind.singular()));
            Value::Object(fields)
        })
        .collect();
    let body = json!({"put": put, "prune": files.prune, "dryRun": dry_run});
    let reply = client.send(Method::POST, &format!("{BASE}/revisions"), Some(&body), None)?;
    if (200..300).contains(&reply.status) {
        return Ok(Some(reply.body));
    }
    let complaints = placed(&reply, &manifest);
    if complaints.is_empty() {
        return Err(refusal(&reply));
    }
    complaints.iter().for_each(|complaint| tell(complaint));
    Ok(None)
}

/// The API's complaints, each with the line it is about.
fn placed(reply: &Reply, manifest: &Manifest) -> Vec<String> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let details = reply.body["details"].as_array().into_iter().flatten();
    details
        .map(|detail| {
            let (kind, name, words) = (text(&detail["kind"]), text(&detail["name"]), text(&detail["text"]));
            match manifest.place(&kind, &name, &words) {
                Some(place) => format!("{place}: {kind} '{name}': {words}"),
                None => format!("{kind} '{name}': {words}"),
            }
        })
        .collect()
}

fn tell(complaint: &str) {
    print::note(&format!("corelane: {complaint}"));
}

/// What is to be waited for: the revision, and lines of what is enabled among the objects that were touched.
fn goal(client: &Client, answer: &Value) -> Result<Goal, Fault> {
    let revision = answer["revision"].as_str().and_then(|text| text.parse().ok()).unwrap_or(0);
    let status = client.call(Method::GET, &format!("{BASE}/status"), None)?;
    let enabled = |kind: Kind, name: &str| {
        let objects = status[kind.plural()].as_array().into_iter().flatten();
        objects.into_iter().any(|object| object["name"] == name && object["enabled"] == Value::Bool(true))
    };
    let flowing = changes(answer)
        .iter()
        .filter(|change| change["action"] == "created" || change["action"] == "changed")
        .filter_map(|change| Some((Kind::parse(change["kind"].as_str()?)?, change["name"].as_str()?.to_owned())))
        .filter(|(kind, name)| enabled(*kind, name))
        .collect();
    Ok(Goal { revision, flowing })
}

fn changes(answer: &Value) -> &[Value] {
    answer["changes"].as_array().map_or(&[], Vec::as_slice)
}

/// For programs that asked what would be done, not how it would look: that is `diff -o json`.
fn without_documents(answer: &Value) -> Value {
    let mut answer = answer.clone();
    for change in answer["changes"].as_array_mut().into_iter().flatten() {
        if let Some(change) = change.as_object_mut() {
            change.remove("before");
            change.remove("after");
        }
    }
    answer
}

/// One line for each object, then the sums and the revision.
fn outcome(answer: &Value, screen: &Screen) -> String {
    let text = |value: &Value| print::plain(value.as_str().unwrap_or_default());
    let dry_run = answer["dryRun"] == Value::Bool(true);
    let mut out = String::new();
    let mut sums = Vec::new();
    for (action, tone) in
        [("created", Tone::Good), ("changed", Tone::Warning), ("deleted", Tone::Bad), ("unchanged", Tone::Faint)]
    {
        let of_this = changes(answer).iter().filter(|change| change["action"] == action);
        let count = of_this.clone().count();
        for change in of_this {
            let name = format!("{} {}", text(&change["kind"]), text(&change["name"]));
            out.push_str(&format!("{name} {}\n", screen.paint(tone, action)));
        }
        if count > 0 {
            sums.push(format!("{count} {action}"));
        }
    }
    let sums = if sums.is_empty() { "nothing to change".to_owned() } else { sums.join(", ") };
    let revision = text(&answer["revision"]);
    out.push_str(&match dry_run {
        true => format!("{sums}; a dry run: nothing was done, revision {revision} stays in force\n"),
        false => format!("{sums}; revision {revision}\n"),
    });
    out
}

fn touched(entry: &Value) -> String {
    let objects = entry["touched"].as_array().map_or(&[][..], Vec::as_slice);
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut named: Vec<String> = objects
        .iter()
        .take(TOUCHED_SHOWN)
        .map(|object| format!("{} {} {}", text(&object["kind"]), text(&object["name"]), text(&object["action"])))
        .collect();
    if objects.len() > TOUCHED_SHOWN {
        named.push(format!("and {} more", objects.len() - TOUCHED_SHOWN));
    }
    named.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outcome_names_every_object_and_the_sums() {
        let change = |name: &str, action: &str| json!({"kind": "source", "name": name, "action": action});
        let all = [change("a", "unchanged"), change("b", "created"), change("c", "deleted"), change("d", "created")];
        let shown = outcome(&json!({"revision": "7", "dryRun": false, "changes": all}), &Screen::plain());
        assert_eq!(
            shown,
            "source b created\nsource d created\nsource c deleted\nsource a unchanged\n\
             2 created, 1 deleted, 1 unchanged; revision 7\n"
        );
        let dry = outcome(&json!({"revision": "7", "dryRun": true, "changes": []}), &Screen::plain());
        assert_eq!(dry, "nothing to change; a dry run: nothing was done, revision 7 stays in force\n");
    }
}
