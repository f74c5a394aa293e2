//! Time and wake-ups.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use super::{Completion, LONG, Op, Ring, Stage, Token, under_every_backend};
use crate::ring::WatchKind;

fn a_timeout_ends_the_sleep_and_time_goes_on<S: Stage>() {
    let stage = S::new();
    let mut ring = stage.ring();
    let mut out = Vec::new();
    let mut before = ring.now();
    for wait in [Duration::ZERO, Duration::from_micros(300), Duration::from_millis(20)] {
        // Early returns are allowed, but a ring that hardly sleeps would need more of them.
        let reaps = (1..=50).find(|_| {
            ring.reap(wait, &mut out).unwrap();
            ring.now().mono >= before.mono + wait
        });
        assert!(reaps.is_some(), "{wait:?}: from {before:?} to {:?}", ring.now());
        before = ring.now();
    }
    assert!(out.is_empty());
}

fn cpu_time_grows_with_what_is_read<S: Stage>() {
    let stage = S::new();
    stage.append("log", &[b'x'; 4096]);
    let mut ring = stage.ring();
    let handle = ring.open(&stage.path("log")).unwrap();
    let before = ring.cpu();
    let mut reads = 0;
    // Bounded, or a clock that stands still would hang the suite.
    while ring.cpu() == before && reads < 1_000_000 {
        ring.read_now(handle, 0, &mut [0; 4096]).unwrap();
        reads += 1;
    }
    assert!(ring.cpu() > before, "{reads} reads cost nothing");
}

fn a_wake_up_given_before_keeps_from_sleeping<S: Stage>() {
    let stage = S::new();
    let mut ring = stage.ring();
    let mut out = Vec::new();
    let waker = ring.waker();
    waker.wake();
    waker.clone().wake();
    ring.reap(LONG, &mut out).unwrap();
    assert!(ring.now().mono < LONG, "it slept");
    assert!(out.is_empty());
}

fn a_wake_up_ends_the_sleep<S: Stage>() {
    let stage = S::new();
    let mut ring = stage.ring();
    let waker = ring.waker();
    let given = Arc::new(AtomicU64::new(0));
    let other = thread::spawn({
        let given = Arc::clone(&given);
        move || {
            given.store(1, Ordering::Release);
            waker.wake();
        }
    });
    while given.load(Ordering::Acquire) == 0 {
        let before = ring.now().mono;
        ring.reap(LONG, &mut Vec::new()).unwrap();
        assert!(!S::REAL_TIME || ring.now().mono < before + LONG, "slept through it");
        thread::yield_now();
    }
    other.join().unwrap();
}

/// Two sides wait for each other's next move, so one lost wake-up stops them. The lane looks at the counter only after
/// `reap`, as a lane does, and so relies on wake-ups given at any moment before.
fn no_wake_up_is_lost<S: Stage>() {
    const MOVES: u64 = 20_000;
    let stage = S::new();
    let mut ring = stage.ring();
    let waker = ring.waker();
    let theirs = Arc::new(AtomicU64::new(0));
    let ours = Arc::new(AtomicU64::new(0));
    let other = thread::spawn({
        let (theirs, ours) = (Arc::clone(&theirs), Arc::clone(&ours));
        move || {
            for turn in 1..=MOVES {
                theirs.store(turn, Ordering::Relaxed);
                waker.wake();
                // Now and then ahead of the lane, now and then in step with it.
                while turn % 4 != 0 && ours.load(Ordering::Relaxed) < turn {
                    thread::yield_now();
                }
            }
        }
    });
    let mut out = Vec::new();
    let mut seen = 0;
    while seen < MOVES {
        let before = ring.now().mono;
        ring.reap(LONG, &mut out).unwrap();
        assert!(!S::REAL_TIME || ring.now().mono < before + LONG, "the wake-up after {seen} was lost");
        seen = theirs.load(Ordering::Relaxed);
        ours.store(seen, Ordering::Relaxed);
        if !S::REAL_TIME {
            thread::yield_now();
        }
    }
    other.join().unwrap();
    assert!(out.is_empty());
}

/// A lane with work never sleeps; it must learn of reads, persists and watches all the same.
fn a_busy_ring_sees_what_comes<S: Stage>() {
    let stage = S::new();
    let mut ring = stage.ring();
    stage.append("log", b"one");
    let handle = ring.open(&stage.path("log")).unwrap();
    ring.watch(&stage.path("log"), WatchKind::ContentOnce).unwrap();
    ring.submit(Op::Read { token: Token(1), handle, offset: 0, buf: vec![0; 3] }).unwrap();
    ring.submit(Op::Persist { token: Token(2), path: stage.path("state"), data: vec![1] }).unwrap();
    stage.append("log", b"two");
    let mut out = Vec::new();
    while out.len() < 3 {
        assert!(ring.now().mono < LONG, "only {out:?}");
        ring.reap(Duration::ZERO, &mut out).unwrap();
    }
    let done = |of| out.iter().any(|one| matches!(one, Completion::Done { token, result: Ok(_), .. } if *token == of));
    assert!(done(Token(1)) && done(Token(2)), "{out:?}");
}

fn a_waker_outlives_its_ring<S: Stage>() {
    let stage = S::new();
    let waker = stage.ring().waker();
    waker.wake();
}

under_every_backend! {
    cpu_time_grows_with_what_is_read
    a_timeout_ends_the_sleep_and_time_goes_on
    a_wake_up_given_before_keeps_from_sleeping
    a_wake_up_ends_the_sleep
    no_wake_up_is_lost
    a_busy_ring_sees_what_comes
    a_waker_outlives_its_ring
}
