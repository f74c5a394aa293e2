//! Refused lines: found exactly, and nothing else with them.

use super::*;
use crate::plan::TooOld;

#[test]
fn a_good_batch_goes_as_it_was_sealed() {
    let mut rig = Rig::new(unhurried());
    let given = Arc::new(batch(&[line(1, WALL, "a")]));
    rig.session.accept(1, Arc::clone(&given));
    let Step::Push(push) = rig.session.next(rig.now) else { panic!("there is something to send") };
    assert_eq!((&push.body, push.resent), (&given.body, false));
}

/// New streams travel alone, known ones together and untouched.
#[test]
fn streams_are_new_once_for_each_connection() {
    let mut rig = Rig::new(unhurried());
    let lines = |text: &str| [line(1, WALL, &format!("{text}1")), line(2, WALL, &format!("{text}2"))];
    rig.give(&lines("a"));
    rig.run();
    assert_eq!(rig.pushes, 2, "each new stream alone");
    let given = Arc::new(batch(&lines("b")));
    rig.session.accept(9, Arc::clone(&given));
    let Step::Push(push) = rig.session.next(rig.now) else { panic!("there is something to send") };
    assert_eq!(push.body, given.body, "known streams together, as sealed");
    rig.session.connected();
    rig.run();
    assert_eq!(rig.pushes, 4, "and alone once more");
    assert_eq!(rig.stored().len(), 4);
}

#[test]
fn what_is_too_far_behind_is_found_by_lokis_words_and_never_hidden() {
    let mut rig = Rig::new(unhurried());
    rig.give(&[line(1, WALL, "newest"), line(2, WALL, "other")]);
    rig.run();
    let behind = |n: i64| line(1, WALL - 2 * HOUR + n * 300_000_000, &format!("behind {n}"));
    let mut lines: Vec<Line> = (0..30).map(behind).collect();
    lines.push(line(1, WALL - 50 * MINUTE, "just within"));
    lines.push(line(2, WALL + 1, "good"));
    rig.give(&lines);
    rig.run();
    assert_eq!(rig.judge.counters().refused_silently, 0);
    assert_eq!(rig.quarantined().len(), 30);
    assert!(["newest", "other", "just within", "good"].iter().all(|line| rig.stored().contains(*line)));
    let shortfall = &rig.settled[1].shortfall;
    assert_eq!((shortfall.of(1).quarantined, shortfall.of(2).quarantined), (30, 0), "where they came from");
    assert!(shortfall.reason.contains("too far behind"), "{}", shortfall.reason);
    let lost = &rig.settled[1].quarantine[0];
    assert_eq!((lost.labels.as_str(), lost.time), (labels(1).as_str(), Nanos(WALL - 2 * HOUR)));
}

#[test]
fn too_old_is_a_policy() {
    let old = [line(1, WALL - 8 * 24 * HOUR, "old"), line(1, WALL, "new")];
    for (policy, stored, quarantined, dropped) in
        [(TooOld::Quarantine, 1, 1, 0), (TooOld::Drop, 1, 0, 1), (TooOld::Restamp, 2, 0, 0)]
    {
        let mut rig = Rig::with(unhurried(), Rules { too_old: policy, ..Rules::default() });
        rig.give(&old);
        rig.run();
        assert_eq!(rig.stored().len(), stored, "{policy:?}");
        assert_eq!(rig.quarantined().len(), quarantined, "{policy:?}");
        assert_eq!(rig.lost(Fate::Dropped(crate::stats::DropReason::TooOld)), dropped, "{policy:?}");
        assert_eq!(rig.judge.counters().refused, 0, "known before it is sent");
    }
}

#[test]
fn a_restamped_line_says_its_own_time() {
    let mut rig = Rig::with(unhurried(), Rules { too_old: TooOld::Restamp, ..Rules::default() });
    rig.give(&[line(1, WALL - 8 * 24 * HOUR, "old")]);
    rig.run();
    let entry = &rig.judge.entries()[0];
    assert_eq!((entry.time_ns, entry.meta("original_time")), (WALL, Some("2026-02-16T15:46:40.000000Z")));
}

#[test]
fn max_age_drops_and_says_so() {
    let rules = Rules { max_age: Some(Duration::from_secs(3600)), ..Rules::default() };
    let mut rig = Rig::with(unhurried(), rules);
    rig.give(&[line(1, WALL - 2 * HOUR, "old"), line(1, WALL, "new"), line(2, WALL - 2 * HOUR, "old too")]);
    rig.run();
    assert_eq!(rig.stored(), BTreeSet::from(["new".to_owned()]));
    assert_eq!(rig.lost(Fate::Dropped(crate::stats::DropReason::MaxAge)), 2);
    let shortfall = &rig.settled[0].shortfall;
    assert_eq!([1, 2].map(|part| shortfall.of(part).settled()), [1, 1]);
}

/// A catch-up of hours in one batch, unordered: no line is refused for another of the same batch, not even when the
/// answer is lost and all of it is sent again.
#[test]
fn hours_in_one_batch_are_cut_so_that_a_resend_is_not_refused() {
    let mut rig = Rig::new(unhurried());
    let lines: Vec<Line> =
        (0..60).map(|n| line(1, WALL - 6 * HOUR + (n * 17 % 60) * 5 * MINUTE, &format!("line {n}"))).collect();
    rig.give(&lines);
    let mut lose = false;
    while rig.step_with(|answer| {
        lose = !lose;
        if lose { (503, String::new()) } else { answer }
    }) {}
    assert_eq!(rig.stored().len(), 60);
    assert_eq!((rig.judge.counters().refused, rig.quarantined().len()), (0, 0));
}

#[test]
fn one_line_in_a_thousand_is_found_by_halves_when_the_words_say_nothing() {
    let mut rig = Rig::new(unhurried());
    let lines: Vec<Line> = (0..1000).map(|n| line(n % 4, WALL, &format!("line {n}"))).collect();
    rig.give(&[line(9, WALL, "proof")]);
    rig.run();
    rig.give(&lines);
    let poison = b"line 613";
    for _ in 0..200 {
        let push = match rig.session.next(rig.now) {
            Step::Push(push) => push,
            Step::Settled(settled) => {
                rig.settled.push(settled);
                break;
            }
            other => panic!("{other:?}"),
        };
        let raw = snap::raw::Decoder::new().decompress_vec(&push.body).expect("a block");
        let bad = raw.windows(poison.len()).any(|window| window == poison);
        let (status, text) = match bad {
            true => (400, "no idea".to_owned()),
            false => rig.judge.push("t", &push.body, rig.now.wall.0, rig.now.mono),
        };
        rig.pushes += 1;
        rig.session.answered(Answer::of(status, None, text.as_bytes()), rig.now);
    }
    rig.run();
    assert_eq!(rig.quarantined(), ["line 613"]);
    assert_eq!(rig.stored().len(), 1000);
    assert!(rig.pushes < 60, "{} pushes", rig.pushes);
}

/// Somebody who says 400 to everything is no Loki: nothing may be lost to a wrong URL.
#[test]
fn nothing_is_quarantined_by_a_peer_that_never_took_a_line() {
    let mut rig = Rig::new(unhurried());
    let lines: Vec<Line> = (0..100).map(|n| line(1, WALL, &format!("line {n}"))).collect();
    rig.give(&lines);
    for _ in 0..500 {
        assert!(rig.step_with(|_| (400, "Bad Request".to_owned())), "it waits for ever");
    }
    assert!(rig.settled.is_empty() && rig.told.iter().any(|told| matches!(told, Told::Held(_))));
    rig.run();
    assert_eq!((rig.stored().len(), rig.quarantined().len()), (100, 0));
}

/// The one bad line comes first, before anything was ever taken: what follows proves the Loki.
#[test]
fn a_bad_line_at_the_very_beginning_is_convicted_by_the_next() {
    let mut rig = Rig::new(unhurried());
    rig.give(&[line(1, WALL, "bad"), line(1, WALL, "good")]);
    let mut steps = 0;
    while !rig.session.is_empty() && steps < 100 {
        steps += 1;
        match rig.session.next(rig.now) {
            Step::Push(push) => {
                let raw = snap::raw::Decoder::new().decompress_vec(&push.body).expect("a block");
                let bad = raw.windows(3).any(|window| window == b"bad");
                let answer = if bad { Answer::of(400, None, b"?") } else { Answer::of(204, None, b"") };
                rig.session.answered(answer, rig.now);
            }
            Step::Settled(settled) => rig.settled.push(settled),
            Step::Wait { until } => rig.pass(until - rig.now.mono),
            Step::Idle => break,
        }
    }
    assert_eq!(rig.quarantined(), ["bad"]);
}

#[test]
fn a_limit_told_once_is_kept_to() {
    let limits = Limits { line_bytes_max: 100, ..unhurried() };
    let mut rig = Rig::new(limits);
    let long = |n: i64| line(1, WALL + n, &format!("{n} {}", "x".repeat(200)));
    rig.give(&(0..500).map(|n| if n % 2 == 0 { long(n) } else { line(1, WALL + n, "ok") }).collect::<Vec<_>>());
    rig.give(&[line(1, WALL, "small"), long(1000)]);
    rig.run();
    assert_eq!(rig.quarantined().len(), 251);
    assert_eq!(rig.judge.counters().refused, 250, "refused once, all of them");
    assert!(rig.pushes <= 4, "{} pushes", rig.pushes);
}

#[test]
fn a_stream_whose_labels_are_refused_takes_no_other_with_it() {
    let mut rig = Rig::new(unhurried());
    rig.give(&[line(1, WALL, "a"), line(2, WALL, "b")]);
    rig.run();
    rig.give(&[line(1, WALL, "a2"), line(2, WALL, "b2"), line(3, WALL, "c2")]);
    while rig.step_with(|(status, text)| (status, text)) {}
    rig.judge.limits().label_value_bytes_max = 0;
    rig.give(&[line(1, WALL, "a3")]);
    rig.run();
    assert_eq!(rig.quarantined(), ["a3"]);
    assert_eq!(rig.stored().len(), 5);
}
