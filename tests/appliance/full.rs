//! The disk behind the state directory is full: lines flow on, a restart finds its way, and once there is room again
//! positions are kept as before.
//!
//! The disk is a tmpfs of a few MiB in a mount namespace of its own (unshare(1)), which needs root or user namespaces.

use std::{
    fs::{self, File},
    io::Write,
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use corelane::limits::RESEND_WINDOW_BYTES;
use corelane_perf::loki::{Fault, Share};
use rustix::process::geteuid;

use crate::{
    line::{LINE_BYTES_MIN, append_zap},
    node::{Node, PATIENCE, await_that, dropped, in_flight, on_both, total},
    peer,
};

/// A process that keeps a mount namespace, in which the state directory is a small disk of its own.
struct SmallDisk {
    keeper: Child,
    state: PathBuf,
}

impl SmallDisk {
    fn mount(node: &mut Node, size: &str) -> Self {
        let state = node.state_dir();
        fs::create_dir_all(&state).expect("a directory");
        let script = format!(
            "mount -t tmpfs -o size={size},mode=0700 tmpfs '{0}' && touch '{0}/mounted' && exec sleep 1000",
            state.display()
        );
        let mut unshare = Command::new("unshare");
        let root = geteuid().is_root();
        if !root {
            unshare.arg("--map-root-user");
        }
        let keeper = unshare.args(["--mount", "sh", "-c", &script]).stdin(Stdio::null()).spawn().expect("unshare(1)");
        let mut disk = Self { keeper, state };
        await_that("the disk is mounted", || {
            let ended = disk.keeper.try_wait().expect("a child");
            assert!(ended.is_none(), "no tmpfs in a mount namespace: {ended:?}; this needs root or user namespaces");
            disk.inside().join("mounted").exists()
        });
        fs::remove_file(disk.inside().join("mounted")).expect("it is there");
        let mut runner = vec!["nsenter".to_owned(), "--target".to_owned(), disk.keeper.id().to_string()];
        if !root {
            runner.extend(["--user".to_owned(), "--preserve-credentials".to_owned()]);
        }
        runner.push("--mount".to_owned());
        node.run_by(runner);
        disk
    }

    /// The state directory as those see it who are outside.
    fn inside(&self) -> PathBuf {
        let name = self.state.strip_prefix("/").expect("an absolute path");
        PathBuf::from(format!("/proc/{}/root", self.keeper.id())).join(name)
    }

    /// Takes all room there is but `spare` bytes.
    fn fill(&self, spare: u64) {
        let mut file = File::create(self.inside().join("filler")).expect("a file");
        let mut filled = 0;
        while file.write_all(&[7; 4096]).is_ok() {
            filled += 4096;
        }
        file.set_len(u64::saturating_sub(filled, spare)).expect("a shorter file");
    }

    fn make_room(&self) {
        fs::remove_file(self.inside().join("filler")).expect("it is there");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Gone already is as good.
        let _ = self.keeper.kill();
        let _ = self.keeper.wait();
    }
}

#[test]
fn a_full_state_disk_stops_no_line_and_loses_none_over_a_kill() {
    const PORTION: u64 = 20_000;
    on_both(|backend| {
        let loki = peer::loki();
        let mut node = Node::new(backend);
        let disk = SmallDisk::mount(&mut node, "24m");
        let log = node.path("logs/app.log");
        node.object("source", &peer::source("app", &log, "ZAP_JSON"));
        node.object("loki", &peer::loki_target("loki", &loki.url()));
        let arrive = |lines: u64| {
            append_zap(&log, "info", lines - PORTION..lines);
            assert!(loki.wait(PATIENCE, |now| now.tally.seen == lines), "{backend}: {:?}", loki.missing(0..lines));
        };
        let settle = |node: &Node, lines: u64| {
            node.await_status("all is delivered", |status| {
                in_flight(status) == 0 && total(status, "loki", "delivered") == lines
            });
        };
        node.start();
        arrive(PORTION);
        settle(&node, PORTION);
        disk.fill(0);
        arrive(2 * PORTION);
        settle(&node, 2 * PORTION);
        arrive(3 * PORTION);
        node.kill();
        // It starts although it can write nothing, not even where it is to be asked; with room it does.
        node.spawn();
        arrive(4 * PORTION);
        disk.make_room();
        arrive(5 * PORTION);
        await_that("it answers", || node.try_status().is_some_and(|status| in_flight(&status) == 0));
        node.terminate();
        let before = loki.counters().tally;
        node.start();
        arrive(6 * PORTION);
        settle(&node, 6 * PORTION);
        node.terminate();
        let after = loki.counters().tally;
        assert_eq!(after.duplicates, before.duplicates, "{backend}: with room again positions are kept");
        assert_eq!(loki.differing(), vec![], "{backend}");
        let most = 2 * PORTION + (RESEND_WINDOW_BYTES / LINE_BYTES_MIN) as u64;
        assert!(before.duplicates <= most, "{backend}: {} came twice", before.duplicates);
        println!("{backend}: {} came twice", before.duplicates);
    });
}

#[test]
fn what_finds_no_room_in_the_spool_is_counted_and_told() {
    const LINES: u64 = 30_000;
    on_both(|backend| {
        let loki = peer::loki();
        let mut node = Node::new(backend);
        let disk = SmallDisk::mount(&mut node, "24m");
        let log = node.path("logs/app.log");
        node.object("source", &peer::source("app", &log, "ZAP_JSON"));
        node.object("loki", &peer::loki_target("loki", &loki.url()));
        node.start();
        append_zap(&log, "info", 0..LINES / 2);
        node.await_status("half of it is delivered", |status| total(status, "loki", "delivered") == LINES / 2);
        loki.inject(Share::UntilHealed, Fault::LoseRequest);
        append_zap(&log, "info", LINES / 2..LINES);
        node.await_status("the rest waits", |status| in_flight(status) > 0);
        // Less than the tenth that the spool leaves free.
        disk.fill(1 << 20);
        fs::remove_file(&log).expect("removed");
        node.await_status("it is held", |status| status["lanes"][0]["pinnedFiles"] == 1);
        node.terminate();
        loki.heal();
        node.start();
        let status = node.await_status("every line is delivered or dropped", |status| {
            let lost = dropped(status, "loki", "budget");
            lost > 0 && total(status, "loki", "delivered") + lost == LINES && in_flight(status) == 0
        });
        let arrived = loki.counters().tally.seen;
        assert_eq!(arrived + dropped(&status, "loki", "budget"), LINES, "{backend}");
        let told = node.log();
        assert!(told.contains("no room to keep it"), "{backend}: {told}");
    });
}
