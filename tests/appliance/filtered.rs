//! Gigabytes of lines below the level asked for: the position moves, nothing is held, although the target is dead.
//!
//! The short run reads 150 MB on each backend; `CORELANE_FILTERED_GB` asks for more (the soak for 10).

use std::{fs, path::Path};

use corelane_perf::{
    load::{Load, Spec, Writer},
    procfs::Usage,
};
use serde_json::json;

use crate::{
    line::append_zap,
    node::{Node, PATIENCE, await_that, in_flight, on_both, total},
    peer,
};

/// Lines of one file, of about 270 bytes each.
const FILE_LINES: u64 = 100_000;
/// Bytes the resident set may grow by after the first file.
const RSS_GROWTH_BYTES: u64 = 16 * 1024 * 1024;
/// Bytes that may be read again after a kill: the head, the look-back and a chunk or two.
const REREAD_BYTES: u64 = 4 * 1024 * 1024;

#[test]
fn filtered_lines_move_the_checkpoint_and_pin_nothing() {
    let bytes = std::env::var("CORELANE_FILTERED_GB")
        .map_or(150_000_000, |text| text.parse::<u64>().expect("gigabytes") * 1_000_000_000);
    on_both(|backend| flood(backend, bytes));
}

fn flood(backend: &'static str, bytes: u64) {
    let loki = peer::loki();
    loki.down();
    let mut node = Node::new(backend);
    let log = node.path("logs/app.log");
    let mut source = peer::source("app", &log, "ZAP_JSON");
    source["minLevel"] = json!("info");
    node.object("source", &source);
    node.object("loki", &peer::loki_target("loki", &loki.url()));
    node.start();
    let load = Load::new(Spec { debug_percent: 100, ..Spec::default() });
    let mut writer = Writer::open(&log, load).expect("a log file").rotating(corelane_perf::load::Rotation::Never, 0);
    let (mut resident, mut files) = (0, 0);
    while writer.bytes() < bytes {
        writer.write_lines(FILE_LINES).expect("written");
        drained(&node, writer.next_seq());
        files += 1;
        match files {
            1 => resident = Usage::of(node.pid()).expect("it runs").rss_bytes,
            3 => killed_it_stands_where_it_stood(&mut node, writer.next_seq()),
            _ => {}
        }
        // Deleted once drained, as logrotate does with the oldest.
        writer.rotate().expect("rotated");
    }
    let grown = Usage::of(node.pid()).expect("it runs").rss_bytes.saturating_sub(resident);
    assert!(grown < RSS_GROWTH_BYTES, "{backend}: grown by {grown} bytes over {} bytes of lines", writer.bytes());
    await_that("no deleted file is held", || node.deleted_files().is_empty());
    // The target was dead all the time; now it lives, and gets what there is for it.
    append_zap(&log, "info", 0..1);
    loki.up().expect("the port is ours");
    assert!(loki.wait(PATIENCE, |counters| counters.tally.seen == 1));
    let lines = writer.next_seq();
    let status = node.await_status("the ledger has it all", |status| total(status, "loki", "delivered") == 1);
    assert_eq!(total(&status, "loki", "filtered"), lines);
    assert_eq!(total(&status, "loki", "read"), lines + 1);
    node.terminate();
}

fn drained(node: &Node, lines: u64) {
    let status = node.await_status("all is read and filtered", |status| total(status, "loki", "filtered") == lines);
    assert_eq!(in_flight(&status), 0);
}

/// What was filtered is in the checkpoint: after a kill the totals are there and the file is not read again.
fn killed_it_stands_where_it_stood(node: &mut Node, lines: u64) {
    node.kill();
    node.start();
    node.await_status("the totals are back", |status| total(status, "loki", "filtered") == lines);
    let read = read_bytes(node.pid());
    let size = fs::metadata(node.path("logs/app.log")).expect("the log").len();
    assert!(size > 5 * REREAD_BYTES, "the file is large enough to tell");
    assert!(read < REREAD_BYTES, "{read} bytes read again of {size}");
}

/// Bytes a process has read (proc(5): `io`). A ring's own reads may not count there, but cached bytes are read by
/// preadv2 on both backends.
fn read_bytes(pid: u32) -> u64 {
    let text = fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("io")).expect("its io");
    let line = text.lines().find_map(|line| line.strip_prefix("rchar: "));
    line.and_then(|number| number.parse().ok()).expect("rchar")
}
