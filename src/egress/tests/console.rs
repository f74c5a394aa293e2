//! The console, and tasks that panic: both driven without the hub.

use std::{
    io::{self, Read, Write},
    sync::{
        Mutex,
        atomic::{AtomicU32, Ordering},
    },
};

use tokio::sync::{mpsc, watch};

use super::*;
use crate::{
    egress::{
        console,
        load::{Halted, Load},
        report::Reporter,
        task::{Task, supervise},
    },
    orders::EgressPort,
    plan::ConsolePlan,
};

/// A task by itself, and the lane it answers to.
struct Bench {
    lane: LanePort,
    port: EgressPort,
    woken: Arc<Notify>,
    board: Arc<Board>,
    queue: mpsc::UnboundedSender<Load>,
    halted: Halted,
    _plan: watch::Sender<Arc<TargetPlan>>,
    task: Option<Task>,
}

impl Bench {
    fn new() -> Self {
        let woken = Arc::new(Notify::new());
        let bell = Arc::clone(&woken);
        let (lane, port) = handoff(Waker::new(move || bell.notify_one()));
        let board = Arc::new(Board::default());
        let (queue, loads) = mpsc::unbounded_channel();
        let (plan, plans) = watch::channel(Arc::new(target(1, TargetKind::Console(ConsolePlan))));
        let report = Reporter::new(Arc::clone(&board), ObjectId(1), "console", None);
        let task = Some(Task::new(loads, plans, report));
        Self { lane, port, woken, board, queue, halted: Halted::default(), _plan: plan, task }
    }

    fn send(&self, id: u64, body: &'static str) {
        let body = Bytes::from_static(body.as_bytes());
        let batch = batch(id, Wire::Console, body);
        let load = Load::new(&self.port, ObjectId(1), Arc::new(batch), &self.halted);
        self.queue.send(load).expect("a task");
    }

    async fn verdict(&mut self) -> (u64, Outcome) {
        let verdict = timeout(DEADLINE, async {
            loop {
                if let Some(verdict) = self.lane.verdict() {
                    return (verdict.batch, verdict.outcome);
                }
                self.woken.notified().await;
            }
        });
        verdict.await.expect("a verdict")
    }

    fn report(&self) -> TargetReport {
        self.board.targets().get(&ObjectId(1)).cloned().unwrap_or_default()
    }
}

/// Fails with EPIPE as often as it is told, then writes.
struct Screen {
    broken: u32,
    text: Arc<Mutex<Vec<u8>>>,
}

impl Write for Screen {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.broken > 0 {
            self.broken -= 1;
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        self.text.lock().expect("no panic").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn the_console_writes_in_order_and_outlives_a_broken_pipe() {
    let mut bench = Bench::new();
    let text = Arc::new(Mutex::new(Vec::new()));
    let screen = Arc::new(Mutex::new(Screen { broken: 2, text: Arc::clone(&text) }));
    let mut task = bench.task.take().expect("a task");
    tokio::spawn(async move { console::run(&mut task, screen).await });
    bench.send(0, "one\n");
    bench.send(1, "two\n");
    assert_eq!(bench.verdict().await, (0, Outcome::Acked));
    assert_eq!(bench.verdict().await, (1, Outcome::Acked));
    assert_eq!(*text.lock().expect("no panic"), b"one\ntwo\n");
    let report = bench.report();
    assert_eq!((report.state, report.acked, report.failed_tries), (TargetState::Up, 2, 2));
}

#[tokio::test]
async fn a_pipe_whose_reader_is_gone_is_told_in_words() {
    let mut bench = Bench::new();
    let (mut reader, writer) = io::pipe().expect("a pipe");
    let mut task = bench.task.take().expect("a task");
    tokio::spawn(async move { console::run(&mut task, Arc::new(Mutex::new(writer))).await });
    bench.send(0, "seen\n");
    assert_eq!(bench.verdict().await, (0, Outcome::Acked));
    let mut text = [0; 5];
    reader.read_exact(&mut text).expect("the line");
    assert_eq!(&text, b"seen\n");
    drop(reader);
    bench.send(1, "unseen\n");
    let failing = async {
        while bench.report().state != TargetState::Failing {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(DEADLINE, failing).await.expect("a failing console");
    assert_eq!(bench.report().reason.as_deref(), Some("standard output: broken pipe"));
}

#[tokio::test]
async fn a_task_that_panics_returns_its_batches_says_so_and_begins_anew() {
    let mut bench = Bench::new();
    for id in 0..3 {
        bench.send(id, "x");
    }
    let runs = Arc::new(AtomicU32::new(0));
    let task = bench.task.take().expect("a task");
    tokio::spawn(supervise(task, move |task| {
        let run = runs.fetch_add(1, Ordering::Relaxed);
        Box::pin(async move {
            while let Some(load) = task.queue.recv().await {
                assert!(run > 0, "a defect for batch {}", load.batch().id);
                load.acked();
            }
        })
    }));
    let mut returned = Vec::new();
    for _ in 0..3 {
        let (batch, outcome) = bench.verdict().await;
        assert_eq!(outcome, Outcome::Returned);
        returned.push(batch);
    }
    returned.sort_unstable();
    assert_eq!(returned, [0, 1, 2]);
    assert_eq!(bench.report().state, TargetState::Failing);
    assert_eq!(bench.report().reason.as_deref(), Some("defect: a defect for batch 0"));
    bench.send(3, "y");
    assert_eq!(bench.verdict().await, (3, Outcome::Acked));
}
