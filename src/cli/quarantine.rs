//! `corelane list quarantine` and `corelane replay quarantine`: what targets refused for good, and sending it again.
//!
//! Both look at the files in the state directory, so they work on the node, with or without a daemon, for whoever may
//! read them. Replay only marks the files; the daemon sends them, so that one connection and one set of rules serves
//! all, and what is refused once more lands in quarantine again.

use std::{
    collections::BTreeMap,
    io,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use super::{
    grammar::{Access, QuarantineFlags},
    print,
    screen::Screen,
    table::Table,
};
use crate::{
    config::compile::amount,
    egress::quarantine::{self, DIRECTORY},
    fault::{Fault, Kind},
    limits::CLIENT_TIMEOUT,
};

/// Lines of one target that were refused alike.
#[derive(Default)]
struct Group {
    lines: u64,
    bytes: usize,
    oldest: String,
    newest: String,
    waiting: u64,
}

/// Tells what lies in quarantine, by target and reason.
///
/// # Errors
/// The state directory cannot be read.
pub fn list(flags: &QuarantineFlags, access: &Access) -> Result<(), Fault> {
    let state = access.state_dir_or_default();
    let mut rows = Vec::new();
    for target in targets(&state, flags.target.as_deref())? {
        let directory = state.join(DIRECTORY).join(&target);
        let failed = |error: io::Error| Fault::io(directory.display().to_string(), &error);
        let mut groups: BTreeMap<(String, String), Group> = BTreeMap::new();
        for file in quarantine::files(&directory).map_err(failed)? {
            let torn = quarantine::read(&file.path, |record, bytes| {
                let key = (record.tenant.unwrap_or_default(), kind_of(&record.reason));
                let group = groups.entry(key).or_default();
                if group.lines == 0 {
                    group.oldest.clone_from(&record.at);
                }
                group.newest = record.at;
                group.lines += 1;
                group.bytes += bytes;
                group.waiting += u64::from(file.replay);
            });
            if torn.map_err(failed)? > 0 {
                print::note(&format!("{}: a torn line was passed over", file.path.display()));
            }
        }
        for ((tenant, reason), group) in groups {
            rows.push(json!({
                "target": target, "tenant": tenant, "lines": group.lines, "bytes": group.bytes,
                "first": group.oldest, "last": group.newest, "replaying": group.waiting, "reason": reason,
            }));
        }
    }
    print::value(access, &json!({ "quarantine": rows }), human)
}

/// The beginning of a reason, without what differs from line to line.
fn kind_of(reason: &str) -> String {
    let plain: String = reason.chars().map(|letter| if letter.is_ascii_digit() { '#' } else { letter }).collect();
    let mut short: String = plain.chars().take(REASON_CHARS_SHOWN).collect();
    while short.contains("##") {
        short = short.replace("##", "#");
    }
    short
}

/// So much of a reason tells refusals apart.
const REASON_CHARS_SHOWN: usize = 160;

fn human(value: &Value, screen: &Screen) -> String {
    let rows = value["quarantine"].as_array().map(Vec::as_slice).unwrap_or_default();
    if rows.is_empty() {
        return "Nothing lies in quarantine.\n".to_owned();
    }
    let mut table = Table::new(&["TARGET", "TENANT", "LINES", "SIZE", "FIRST", "LAST", "REPLAYING", "REASON"]);
    let text = |row: &Value, name: &str| row[name].as_str().unwrap_or_default().to_owned();
    for row in rows {
        let bytes = usize::try_from(row["bytes"].as_u64().unwrap_or_default()).unwrap_or(usize::MAX);
        let replaying = row["replaying"].as_u64().filter(|lines| *lines > 0);
        table.row(vec![
            text(row, "target"),
            text(row, "tenant"),
            row["lines"].to_string(),
            amount::bytes_text(bytes),
            text(row, "first"),
            text(row, "last"),
            replaying.map(|lines| lines.to_string()).unwrap_or_default(),
            text(row, "reason"),
        ]);
    }
    table.render(screen)
}

/// Marks what lies in quarantine to be sent again, and waits a while for the daemon to do it.
///
/// # Errors
/// There is nothing, or the files cannot be renamed.
pub fn replay(flags: &QuarantineFlags, access: &Access) -> Result<(), Fault> {
    let state = access.state_dir_or_default();
    let mut marked = Vec::new();
    for target in targets(&state, flags.target.as_deref())? {
        let place = state.join(DIRECTORY).join(&target).display().to_string();
        marked.extend(quarantine::mark_for_replay(&state, &target).map_err(|error| Fault::io(place, &error))?);
    }
    if marked.is_empty() {
        print::out("Nothing lies in quarantine that is not being sent again already.\n")?;
        return Ok(());
    }
    let mut lines = 0u64;
    for path in &marked {
        // The daemon may have sent and deleted it by now.
        let _ = quarantine::read(path, |_, _| lines += 1);
    }
    print::note(&format!("{} file(s) with {lines} lines are to be sent again; waiting for the daemon", marked.len()));
    let deadline = Instant::now() + CLIENT_TIMEOUT;
    while marked.iter().any(|path| path.exists()) {
        if Instant::now() >= deadline {
            return Err(Fault::new(Kind::Unavailable, "quarantine", "the lines are not sent yet".to_owned())
                .way_out("they go as soon as the daemon runs and the target takes them; see `corelane status`"));
        }
        thread::sleep(LOOK);
    }
    print::out("Sent again. What was refused once more is in quarantine again: `corelane list quarantine`.\n")
}

/// How often the files are looked at.
const LOOK: Duration = Duration::from_millis(100);

/// The targets asked for that have a quarantine.
fn targets(state: &Path, wanted: Option<&str>) -> Result<Vec<String>, Fault> {
    let place = state.join(DIRECTORY).display().to_string();
    let mut found = quarantine::targets(state).map_err(|error| Fault::io(place, &error))?;
    found.retain(|name| wanted.is_none_or(|wanted| wanted == name));
    Ok(found)
}
