//! Rates, sizes and the stream limit: what waits, what is split, and that nothing is lost.

use super::*;
use crate::limits::FRAME_BYTES_MAX;

const KIB: usize = 1024;

fn many(stream: u32, count: i64, bytes: usize) -> Vec<Line> {
    (0..count).map(|n| line(stream, WALL + n, &format!("{stream}/{n} {}", "x".repeat(bytes)))).collect()
}

#[test]
fn a_request_above_the_tenants_burst_is_split_until_it_passes() {
    let mut rig = Rig::new(Limits { tenant_rate: rate(50_000.0, 60_000.0), ..unhurried() });
    rig.give(&many(1, 200, 1_000));
    rig.run();
    assert_eq!((rig.stored().len(), rig.quarantined().len()), (200, 0));
    assert_eq!(rig.judge.counters().duplicates, 0, "a tenant's rate stores nothing of what it refuses");
    assert!(rig.told.iter().any(|told| matches!(told, Told::Held(_))));
}

#[test]
fn over_the_streams_rate_the_stored_prefix_is_not_sent_again() {
    let mut rig = Rig::new(Limits { stream_rate: rate(20_000.0, 30_000.0), ..unhurried() });
    rig.give(&many(1, 200, 1_000));
    rig.run();
    assert_eq!((rig.stored().len(), rig.quarantined().len()), (200, 0));
    assert_eq!(rig.judge.counters().duplicates, 0);
    assert_eq!(rig.judge.counters().refused_silently, 0);
}

#[test]
fn a_stream_over_its_rate_lets_others_pass() {
    let mut rig = Rig::new(Limits { stream_rate: rate(10_000.0, 30_000.0), ..unhurried() });
    rig.give(&many(1, 100, 1_000));
    rig.run_until_waiting();
    let other = rig.give(&[line(2, WALL, "other")]);
    rig.run_until_waiting();
    assert!(rig.settled.iter().any(|settled| settled.ticket == other), "it does not wait for the first");
    assert!(rig.stored().len() < 101);
    rig.run();
    assert_eq!(rig.stored().len(), 101);
}

#[test]
fn of_too_many_streams_only_the_new_ones_wait() {
    let mut rig = Rig::new(Limits { streams_max: 2, ..unhurried() });
    rig.give(&[line(1, WALL, "a"), line(2, WALL, "b"), line(3, WALL, "c")]);
    rig.run_until_waiting();
    let known = rig.give(&[line(1, WALL, "a2"), line(2, WALL, "b2")]);
    let mixed = rig.give(&[line(3, WALL, "c2"), line(1, WALL, "a3")]);
    rig.run_until_waiting();
    assert_eq!(rig.stored().len(), 5);
    assert_eq!(rig.settled.iter().map(|settled| settled.ticket).collect::<Vec<_>>(), [known]);
    assert!(matches!(rig.told.last(), Some(Told::Stored | Told::StreamHeld(_))));
    rig.judge.limits().streams_max = 3;
    rig.run();
    assert!(rig.settled.iter().any(|settled| settled.ticket == mixed));
    let of_three: Vec<_> = rig.judge.entries().iter().filter(|entry| entry.line.starts_with('c')).collect();
    assert_eq!(of_three.iter().map(|entry| entry.line.as_str()).collect::<Vec<_>>(), ["c", "c2"], "in order");
    assert_eq!((rig.quarantined().len(), rig.judge.counters().refused_silently), (0, 0));
}

#[test]
fn too_large_is_split_down_to_single_lines_then_quarantined() {
    let mut rig = Rig::new(Limits { message_bytes_max: 2 * KIB, ..unhurried() });
    let mut lines = many(1, 100, 100);
    lines.push(line(1, WALL, &"y".repeat(4 * KIB)));
    rig.give(&lines);
    rig.run();
    assert_eq!((rig.stored().len(), rig.quarantined().len()), (100, 1));
    assert!(rig.quarantined()[0].starts_with("yyy"));
    assert!(rig.pushes < 40, "{} pushes", rig.pushes);
}

#[test]
fn a_body_over_a_gateways_limit_is_split() {
    let mut rig = Rig::new(Limits { body_bytes_max: 600, ..unhurried() });
    let lines: Vec<Line> = (0..100).map(|n| line(1, WALL, &format!("{:x}", xxh3_64(&[n])).repeat(3))).collect();
    rig.give(&lines);
    rig.run();
    assert_eq!((rig.stored().len(), rig.quarantined().len()), (100, 0));
}

/// An entry of 1 MiB that seven sources of one journal want is 28 lines of one batch: more than Loki takes at once.
#[test]
fn a_batch_beyond_what_loki_takes_goes_in_pushes_that_fit() {
    let mut rig = Rig::new(unhurried());
    let text = |n: u32| format!("{n:02}{}", "x".repeat(FRAME_BYTES_MAX - 2));
    let lines: Vec<Line> = (0..28).map(|n| line(n / 4, WALL, &text(n))).collect();
    rig.give(&lines);
    rig.run();
    assert_eq!((rig.stored().len(), rig.quarantined().len()), (28, 0));
    assert!(rig.pushes > 1 && rig.told.iter().all(|told| matches!(told, Told::Stored)), "{:?}", rig.told);
}

#[test]
fn a_blocked_tenant_and_a_broken_server_hold_everything() {
    for (status, text) in [(260, "blocked"), (401, "no org id"), (403, ""), (500, "boom"), (503, ""), (302, "")] {
        let mut rig = Rig::new(unhurried());
        rig.give(&[line(1, WALL, "a")]);
        for _ in 0..20 {
            assert!(rig.step_with(|_| (status, text.to_owned())), "{status}");
        }
        assert!(rig.settled.is_empty());
        rig.run();
        assert_eq!((rig.stored().len(), rig.settled[0].shortfall.lines()), (1, 0), "{status}");
    }
}

#[test]
fn a_new_plan_ends_a_pause() {
    let mut rig = Rig::new(unhurried());
    rig.give(&[line(1, WALL, "a")]);
    let Step::Push(_) = rig.session.next(rig.now) else { panic!("there is something to send") };
    rig.session.failed(true, true, rig.now);
    assert!(matches!(rig.session.next(rig.now), Step::Wait { .. }));
    rig.session.renew(Rules::default());
    let Step::Push(push) = rig.session.next(rig.now) else { panic!("it goes at once") };
    assert!(push.resent, "it may have arrived");
}
