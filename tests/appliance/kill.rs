//! Killed while lines flow: every number arrives at both targets, what comes twice is the same and stays in the window.
//!
//! The syslog receiver reads 1 MB/s through a 64 KiB buffer until the last kill, so that each kill finds megabytes in
//! the queue and in the kernels; then it reads as fast as it can, or the test would take many minutes. The soak keeps
//! it slow to the end.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use corelane::limits::{RESEND_BEYOND_QUEUE_BYTES, RESEND_WINDOW_BYTES};
use corelane_perf::{
    loki::{Fault, LokiSink, Share},
    syslog::SyslogSink,
};

use crate::{
    line::{Growing, LINE_BYTES_MIN},
    node::{Node, PATIENCE, in_flight, on_both, total},
    peer,
};

const MEGABYTE: u64 = 1_000_000;
/// New lines the syslog receiver must have had between two kills: so many, and up to three times as many besides.
const NEWS_LINES: u64 = 2_000;
const RECV_BUFFER_BYTES: u32 = 64 * 1024;

/// One run.
#[derive(Clone, Copy, Debug)]
pub struct Run {
    pub backend: &'static str,
    pub lines: u64,
    /// Lines written each second until the last kill.
    pub rate: u64,
    pub kills: u64,
    /// `queueBytes` of the syslog target, in MiB.
    pub queue_mib: usize,
    /// Whether the syslog receiver stays slow after the last kill.
    pub slow_to_the_end: bool,
    pub seed: u64,
}

impl Run {
    /// The one that must always pass.
    fn standard(backend: &'static str, queue_mib: usize) -> Self {
        Self { backend, lines: 1_000_000, rate: 8_000, kills: 5, queue_mib, slow_to_the_end: false, seed: seed() }
    }

    /// Does it all and judges.
    pub fn judge(self) {
        println!("{self:?}");
        let authority = peer::authority();
        let loki = peer::loki();
        let siem = peer::syslog(&authority, Some(MEGABYTE), Some(RECV_BUFFER_BYTES));
        let mut node = Node::new(self.backend);
        node.object("bundle", &peer::bundle(&authority));
        node.object("source", &peer::source("app", &node.path("logs/app.log"), "ZAP_JSON"));
        node.object("loki", &peer::loki_target("loki", &loki.url()));
        node.object("siem", &peer::syslog_target("siem", siem.addr().port(), &format!("{}MiB", self.queue_mib)));
        node.start();
        let growing = Growing::start(node.path("logs/app.log"), self.lines, self.rate);
        let window = Window::new(self.queue_mib);
        let started = Instant::now();
        for kill in 1..=self.kills {
            // Each life must bring something new, or the kills would prove nothing.
            let (least, spread) = ((self.lines / 250).min(NEWS_LINES), (self.lines / 60).min(3 * NEWS_LINES));
            let news = least + crate::line::mix(self.seed, kill) % spread;
            let target = siem.counters().tally.seen + news;
            assert!(siem.wait(PATIENCE, |counters| counters.tally.seen >= target), "syslog stands still");
            // Loki has the next batch, but corelane does not know it when it is killed.
            let lost = loki.counters().answers_lost;
            loki.inject(Share::UntilHealed, Fault::LoseAnswer);
            assert!(loki.wait(PATIENCE, |counters| counters.answers_lost > lost), "Loki stands still");
            // By turns a rotation while it runs and one while it does not.
            if kill % 4 == 2 {
                growing.rotate();
            }
            node.kill();
            loki.heal();
            if kill % 4 == 0 {
                growing.rotate();
            }
            node.start();
            println!("{:?}: kill {kill}: {}", started.elapsed(), window.judge(kill, &loki, &siem));
        }
        if !self.slow_to_the_end {
            siem.set_read_rate(None);
        }
        growing.hurry();
        self.arrived(&loki, &siem);
        // Kills that found nothing in flight would prove nothing.
        assert!(loki.counters().tally.duplicates > 0 && siem.counters().tally.duplicates > 0);
        println!("{:?}: all: {}", started.elapsed(), window.judge(self.kills, &loki, &siem));
        let all = |status: &serde_json::Value| {
            in_flight(status) == 0 && ["loki", "siem"].iter().all(|to| total(status, to, "delivered") == self.lines)
        };
        let status = node.await_status("the ledger counts every line once", all);
        assert_eq!(status["lanes"][0]["backend"], self.backend);
        assert_eq!(status["lanes"][0]["imbalances"], 0);
        node.terminate();
    }

    fn arrived(self, loki: &LokiSink, siem: &SyslogSink) {
        // With the receiver slow to the end this takes long; as long as something comes, it is waited for.
        loop {
            let (at_loki, at_siem) = (loki.counters().tally.seen, siem.counters().tally.seen);
            if at_loki == self.lines && at_siem == self.lines {
                break;
            }
            let loki_moves = at_loki == self.lines || loki.wait(PATIENCE, |now| now.tally.seen > at_loki);
            let siem_moves = at_siem == self.lines || siem.wait(PATIENCE, |now| now.tally.seen > at_siem);
            assert!(loki_moves, "missing at Loki: {:?}", loki.missing(0..self.lines));
            assert!(siem_moves, "missing at syslog: {:?}", siem.missing(0..self.lines));
        }
        assert_eq!((loki.differing(), siem.differing()), (vec![], vec![]));
        let (at_loki, at_siem) = (loki.counters(), siem.counters());
        assert_eq!((at_loki.unnumbered, at_loki.refused, at_loki.tally.beyond), (0, 0, 0));
        assert_eq!((at_siem.unnumbered, at_siem.malformed, at_siem.handshakes_failed), (0, 0, 0));
    }
}

/// How many lines may come twice for each kill.
struct Window {
    loki_bytes: usize,
    siem_bytes: usize,
}

impl Window {
    fn new(queue_mib: usize) -> Self {
        let siem_bytes = queue_mib * 1024 * 1024 + RESEND_BEYOND_QUEUE_BYTES;
        Self { loki_bytes: RESEND_WINDOW_BYTES, siem_bytes }
    }

    /// Holds what came twice so far against the window of so many kills.
    fn judge(&self, kills: u64, loki: &LokiSink, siem: &SyslogSink) -> String {
        let (at_loki, at_siem) = (loki.counters(), siem.counters());
        // A line takes at least its own bytes in a batch for Loki; in one for syslog, what was seen on the wire.
        let loki_lines = self.loki_bytes as u64 / LINE_BYTES_MIN as u64;
        let siem_lines = self.siem_bytes as u64 * at_siem.messages.max(1) / at_siem.bytes.max(1);
        let (twice_at_loki, twice_at_siem) = (at_loki.tally.duplicates, at_siem.tally.duplicates);
        assert!(
            twice_at_loki <= kills * loki_lines,
            "Loki: {twice_at_loki} in {kills} kills, {loki_lines} allowed each"
        );
        assert!(twice_at_siem <= kills * siem_lines, "syslog: {twice_at_siem} in {kills}, {siem_lines} allowed each");
        format!(
            "Loki {} lines, {twice_at_loki} twice (window {loki_lines} a kill); syslog {} lines, {twice_at_siem} twice \
             (window {siem_lines})",
            at_loki.tally.seen, at_siem.tally.seen
        )
    }
}

/// A seed of now; printed with the run.
pub fn seed() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |now| now.as_micros() as u64)
}

#[test]
fn a_million_lines_survive_five_kills_on_both_backends() {
    // Side by side: the slow receiver is what takes the time. The queue is the default's.
    on_both(|backend| Run::standard(backend, 8).judge());
}
