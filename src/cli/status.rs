//! `corelane status`: health first, then what flows, then what is in the way.

use http::Method;
use serde_json::Value;

use super::{
    access,
    grammar::{Access, Watch},
    print,
    screen::{Screen, Tone},
    table::{Table, count, time},
    watch::{self, Line, View},
};
use crate::fault::Fault;

/// Readers shown to people; `-o json` has more.
const READERS_SHOWN: usize = 10;

/// # Errors
/// The API cannot be reached.
pub fn status(watch: &Watch, access: &Access) -> Result<(), Fault> {
    watch::show(&Status { access }, watch, access)
}

struct Status<'a> {
    access: &'a Access,
}

impl View for Status<'_> {
    fn look(&self) -> Result<Value, Fault> {
        access::client(self.access)?.call(Method::GET, "/api/v2/logs/status", None)
    }

    fn human(&self, status: &Value, screen: &Screen) -> String {
        human(status, screen)
    }

    /// One line with the sums.
    fn lines(&self, status: &Value) -> Vec<Line> {
        vec![Line { about: "status".to_owned(), text: summary(status) }]
    }
}

/// What flows, in one line.
fn summary(status: &Value) -> String {
    let sum = |name: &str| items(&status["flows"]).iter().filter_map(|flow| flow["totals"][name].as_u64()).sum::<u64>();
    let in_flight: u64 = items(&status["flows"]).iter().filter_map(|flow| flow["inFlight"].as_u64()).sum();
    let lag = status["collector"]["lagSeconds"].as_f64().unwrap_or(0.0);
    let line = format!(
        "{}  revision {}  pipeline {}  read {}  delivered {}  refused {}  in flight {}  lag {lag:.0}s",
        time(&cell(&status["collector"]["lastSeen"])),
        status["revision"],
        health(&status["collector"]),
        count(sum("read") + in_flight),
        count(sum("delivered")),
        count(sum("refused")),
        count(in_flight),
    );
    print::plain(&line)
}

/// As people read it: HEALTHY prints as OK.
pub fn health(collector: &Value) -> String {
    cell(&collector["pipelineHealth"]).replace("HEALTHY", "OK")
}

fn human(status: &Value, screen: &Screen) -> String {
    let text = |value: &Value| print::plain(value.as_str().unwrap_or("-"));
    let collector = &status["collector"];
    let mut out = format!(
        "corelane {} on {} (cluster {}), revision {}\n",
        text(&status["version"]),
        text(&status["node"]),
        text(&status["cluster"]),
        status["revision"]
    );
    let health = health(collector);
    let tone = match health.as_str() {
        "OK" => Tone::Good,
        "ERROR" => Tone::Bad,
        _ => Tone::Warning,
    };
    let error = text(&collector["pipelineError"]);
    let error = if error.is_empty() { error } else { format!(": {error}") };
    out.push_str(&format!("pipeline {}{error}\n", screen.paint(tone, &print::plain(&health))));
    let parts = [lanes(&status["lanes"]), flows(&status["flows"]), targets(&status["targets"]), readers(status)];
    for table in parts.iter().filter(|table| !table.is_empty()) {
        out.push('\n');
        out.push_str(&table.render(screen));
    }
    for line in items(&status["readers"]).iter().filter_map(proof) {
        out.push_str(&format!("\n{}\n", print::plain(&line)));
    }
    for (noun, next) in [
        ("sources", "no source yet: `corelane create source --help`"),
        ("targets", "no target yet: `corelane create target --help`"),
    ] {
        if status[noun].as_array().is_none_or(Vec::is_empty) {
            out.push_str(&format!("\n{next}\n"));
        }
    }
    for warning in items(&collector["warnings"]) {
        out.push_str(&format!("\n{}\n", screen.paint(Tone::Warning, &format!("warning: {}", text(warning)))));
    }
    for complaint in items(&status["complaints"]) {
        let (kind, name) = (text(&complaint["kind"]), text(&complaint["name"]));
        let told = format!("complaint: {kind} {name}: {}", text(&complaint["text"]));
        out.push_str(&format!("\n{}\n", screen.paint(Tone::Bad, &told)));
    }
    out
}

fn items(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn counted(value: &Value) -> String {
    value.as_u64().map_or_else(|| cell(value), count)
}

fn lanes(lanes: &Value) -> Table {
    let mut table = Table::new(&["LANE", "BACKEND", "CORE", "REV", "CPU", "TROUBLE"]);
    for lane in items(lanes) {
        let cpu = format!("{:.2}s", lane["cpuMicros"].as_f64().unwrap_or(0.0) / 1e6);
        let trouble = items(&lane["troubles"]).last().map(cell).unwrap_or_default();
        let core = if lane["core"].is_null() { "unpinned".to_owned() } else { cell(&lane["core"]) };
        table.row(vec![cell(&lane["lane"]), cell(&lane["backend"]), core, cell(&lane["revision"]), cpu, trouble]);
    }
    table
}

fn flows(flows: &Value) -> Table {
    let mut table = Table::new(&[
        "SOURCE",
        "TARGET",
        "READ",
        "FILTERED",
        "DELIVERED",
        "REFUSED",
        "DROPPED",
        "IN FLIGHT",
        "LAG",
        "WAITING",
    ]);
    for flow in items(flows) {
        let totals = &flow["totals"];
        // The totals are those settled; what is in flight was read as well, so that a row adds up.
        let in_flight = flow["inFlight"].as_u64().unwrap_or(0);
        let read = totals["read"].as_u64().unwrap_or(0) + in_flight;
        let dropped: u64 = totals["dropped"].as_object().map_or(0, |map| map.values().filter_map(Value::as_u64).sum());
        table.row(vec![
            cell(&flow["source"]),
            cell(&flow["target"]),
            count(read),
            counted(&totals["filtered"]),
            counted(&totals["delivered"]),
            counted(&totals["refused"]),
            count(dropped),
            count(in_flight),
            format!("{:.0}s", flow["lagSeconds"].as_f64().unwrap_or(0.0)),
            cell(&flow["waiting"]),
        ]);
    }
    table
}

fn targets(targets: &Value) -> Table {
    let mut table = Table::new(&["TARGET", "STATE", "LAST ACKED", "RESENT", "REASON"]);
    for target in items(targets) {
        let state = if target["enabled"] == Value::Bool(true) { cell(&target["state"]) } else { "DISABLED".to_owned() };
        let cells = vec![
            cell(&target["name"]),
            state,
            time(&cell(&target["lastAcked"])),
            counted(&target["resent"]),
            cell(&target["reason"]),
        ];
        table.row(cells);
    }
    table
}

/// What can be said of all entries of a journal, in one line.
fn proof(reader: &Value) -> Option<String> {
    let journal = reader.get("journal").filter(|journal| !journal.is_null())?;
    let place = |place: &Value| match &place["time"] {
        Value::String(time) => format!("seqnum {} ({time})", cell(&place["seqnum"])),
        _ => "its beginning".to_owned(),
    };
    let path = cell(&reader["path"]);
    let unreadable = journal["unreadableFiles"].as_u64().unwrap_or(0);
    let mut line = match journal["read"].as_u64() {
        None | Some(0) => format!("journal {path}: nothing read yet"),
        Some(_) => {
            let gap = reader["unattributed"].as_u64().unwrap_or(0);
            let damaged = journal["damaged"].as_u64().unwrap_or(0);
            let all = if gap + damaged + unreadable == 0 { "every entry" } else { "entries" };
            format!("journal {path}: {all} from {} to {} read", place(&journal["from"]), place(&journal["to"]))
        }
    };
    let gap = match unreadable {
        0 => "at most {} vacuumed unread",
        _ => "at most {} vacuumed unread or in files that could not be read",
    };
    let files = if unreadable == 1 { "{} file could not be read" } else { "{} files could not be read" };
    for (count, words) in [
        (&reader["unattributed"], gap),
        (&journal["unreadableFiles"], files),
        (&journal["damaged"], "{} lost to damage"),
        (&journal["spoiled"], "{} without a damaged field"),
        (&journal["cut"], "{} cut to 1 MiB"),
        (&journal["own"], "{} of corelane itself kept back"),
        (&journal["repeated"], "{} stood in two files"),
    ] {
        if let Some(count) = count.as_u64().filter(|count| *count > 0) {
            line.push_str(&format!("; {}", words.replace("{}", &count.to_string())));
        }
    }
    Some(line)
}

/// The readers furthest behind.
fn readers(status: &Value) -> Table {
    let mut table = Table::new(&["READER", "SOURCE", "BEHIND", "LOST UNSEEN"]);
    for reader in items(&status["readers"]).iter().take(READERS_SHOWN) {
        let draining = match (reader["kept"].as_str(), reader["draining"] == Value::Bool(true)) {
            (Some("pinned"), _) => ", deleted, held open",
            (Some("spooled"), _) => ", deleted, in the spool",
            (_, true) => ", rotated away",
            (_, false) => "",
        };
        let behind = format!("{} bytes{draining}", counted(&reader["behindBytes"]));
        let unseen = match reader["unattributed"].as_u64() {
            None | Some(0) => String::new(),
            Some(most) => format!("at most {}", count(most)),
        };
        table.row(vec![cell(&reader["path"]), cell(&reader["source"]), behind, unseen]);
    }
    table
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_flow_adds_up_while_lines_are_in_flight() {
        let totals = json!({"read": 7, "filtered": 2, "delivered": 4, "refused": 0, "dropped": {"max-age": 1}});
        let flow = json!({"source": "s", "target": "t", "totals": totals, "inFlight": 5, "lagSeconds": 1.6});
        let shown = flows(&json!([flow])).render(&Screen::plain());
        let row: Vec<&str> = shown.lines().nth(1).unwrap().split_whitespace().collect();
        assert_eq!(row, ["s", "t", "12", "2", "4", "0", "1", "5", "2s", "-"]);
    }

    #[test]
    fn a_pipe_gets_one_line_with_the_sums() {
        let flow = |read: u64| json!({"totals": {"read": read, "delivered": read}, "inFlight": 1});
        let status = json!({
            "revision": 3, "flows": [flow(1000), flow(3)],
            "collector": {"pipelineHealth": "HEALTHY", "lastSeen": "T", "lagSeconds": 1.2},
        });
        let line = "T  revision 3  pipeline OK  read 1,005  delivered 1,003  refused 0  in flight 2  lag 1s";
        assert_eq!(summary(&status), line);
    }

    #[test]
    fn a_journal_with_a_file_that_could_not_be_read_was_not_read_entry_by_entry() {
        let line = |unattributed: u64, unreadable: u64| {
            let place = json!({"seqnum": 1, "time": "T"});
            let journal = json!({"from": place, "to": place, "read": 5, "unreadableFiles": unreadable});
            proof(&json!({"path": "/j", "unattributed": unattributed, "journal": journal})).unwrap()
        };
        assert_eq!(line(0, 0), "journal /j: every entry from seqnum 1 (T) to seqnum 1 (T) read");
        let entries = "journal /j: entries from seqnum 1 (T) to seqnum 1 (T) read; ";
        assert_eq!(line(0, 1), format!("{entries}1 file could not be read"));
        assert_eq!(line(3, 0), format!("{entries}at most 3 vacuumed unread"));
        let both = "at most 3 vacuumed unread or in files that could not be read; 2 files could not be read";
        assert_eq!(line(3, 2), format!("{entries}{both}"));
    }

    #[test]
    fn what_was_lost_unseen_is_shown() {
        let reader = json!({"path": "/a", "source": "s", "behindBytes": 9, "draining": true, "unattributed": 3});
        let shown = readers(&json!({ "readers": [reader] })).render(&Screen::plain());
        assert!(shown.contains("/a      s       9 bytes, rotated away  at most 3\n"), "{shown}");
    }
}
