//! Whatever comes: every line is stored or counted as lost where it came from, and Loki never drops one in silence.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::plan::TooOld;

/// What goes wrong with one push.
#[derive(Clone, Copy, Debug)]
enum Trouble {
    None,
    /// Not stored, answered so.
    Answer(u16),
    /// Stored, and the answer is lost with the connection.
    LostAnswer,
    /// The connection dies before.
    LostRequest,
}

fn any_trouble() -> impl Strategy<Value = Trouble> {
    prop_oneof![
        6 => Just(Trouble::None),
        1 => prop::sample::select(vec![260, 401, 403, 429, 500, 503]).prop_map(Trouble::Answer),
        1 => Just(Trouble::LostAnswer),
        1 => Just(Trouble::LostRequest),
    ]
}

/// Lines of few streams: mostly about now, some hours or a fortnight old, some from the future.
fn any_lines() -> impl Strategy<Value = Vec<(u32, i64, usize)>> {
    let time = prop_oneof![
        8 => -40 * MINUTE..0,
        2 => -5 * HOUR..0,
        1 => -14 * 24 * HOUR..0,
        1 => 0..HOUR,
    ];
    let bytes = prop_oneof![8 => 1usize..200, 1 => 1_000usize..3_000];
    prop::collection::vec((0u32..5, time, bytes), 1..40)
}

fn any_limits() -> impl Strategy<Value = Limits> {
    (any::<bool>(), any::<bool>(), 1usize..8, prop::sample::select(vec![1_500usize, 2_500, 262_144]), 1usize..3)
        .prop_map(|(tenant, stream, streams_max, line_bytes_max, message)| Limits {
            tenant_rate: tenant.then_some(Rate { bytes_per_second: 5_000.0, burst_bytes: 8_000.0 }),
            stream_rate: stream.then_some(Rate { bytes_per_second: 3_000.0, burst_bytes: 6_000.0 }),
            streams_max,
            line_bytes_max,
            message_bytes_max: message * 4_096,
            ..Limits::stock()
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn every_line_is_stored_or_counted(
        batches in prop::collection::vec(any_lines(), 1..6),
        troubles in prop::collection::vec(any_trouble(), 60),
        limits in any_limits(),
        policy in prop::sample::select(vec![TooOld::Quarantine, TooOld::Drop, TooOld::Restamp]),
    ) {
        // A rate below the stock one must be configured: a stream over it may be refused in silence.
        let mut rules = Rules { too_old: policy, ..Rules::default() };
        if let Some(rate) = limits.stream_rate {
            rules.limits.stream_rate = rate.bytes_per_second as u64;
            rules.limits.stream_burst = rate.burst_bytes as u64;
        }
        let mut rig = Rig::with(limits, rules);
        let mut given: BTreeMap<u64, Vec<Line>> = BTreeMap::new();
        let mut number = 0;
        for lines in &batches {
            let lines: Vec<Line> = lines.iter().map(|(stream, time, bytes)| {
                number += 1;
                line(*stream, WALL + time, &format!("{number:05} {}", "x".repeat(*bytes)))
            }).collect();
            given.insert(rig.give(&lines), lines);
        }
        let mut troubles = troubles.into_iter();
        let mut clean = true;
        for step in 0.. {
            prop_assert!(step < 50_000, "no end: {:?}", rig.told.last());
            // An operator raises the stream limit in the end: held lines wait for that, not for ever.
            if step == 2_000 {
                rig.judge.limits().streams_max = 100;
            }
            match rig.session.next(rig.now) {
                Step::Idle => break,
                Step::Settled(settled) => rig.settled.push(settled),
                Step::Wait { until } => rig.pass(until - rig.now.mono),
                Step::Push(push) => {
                    let trouble = troubles.next().unwrap_or(Trouble::None);
                    clean &= matches!(trouble, Trouble::None);
                    let answer = match trouble {
                        Trouble::Answer(status) => (status, String::new()),
                        Trouble::LostRequest => (0, String::new()),
                        _ => rig.judge.push("t", &push.body, rig.now.wall.0, rig.now.mono),
                    };
                    match trouble {
                        Trouble::LostAnswer | Trouble::LostRequest => {
                            rig.session.failed(true, true, rig.now);
                            rig.session.connected();
                        }
                        _ => {
                            let answer = Answer::of(answer.0, None, answer.1.as_bytes());
                            rig.told.push(rig.session.answered(answer, rig.now));
                        }
                    }
                }
            }
        }
        prop_assert_eq!(rig.settled.len(), given.len());
        prop_assert_eq!(rig.judge.counters().refused_silently, 0);
        let stored = rig.stored();
        for settled in &rig.settled {
            let lines = &given[&settled.ticket];
            let quarantined: BTreeSet<&str> = settled.quarantine.iter().map(|lost| lost.line.as_str()).collect();
            prop_assert_eq!(settled.quarantine.len(), quarantined.len(), "a line twice in quarantine");
            for part in 0..3u32 {
                let of_part: Vec<&Line> = lines.iter().filter(|line| line.0 % 3 == part).collect();
                let missing = of_part.iter().filter(|line| !stored.contains(&line.2)).count() as u64;
                let counted = settled.shortfall.of(part);
                prop_assert!(counted.settled() <= of_part.len() as u64);
                // After an answer was lost, a line may be refused that was stored.
                let exact = if clean { counted.settled() == missing } else { counted.settled() >= missing };
                prop_assert!(exact, "part {}: {} missing, counted {:?}", part, missing, counted);
                let kept = of_part.iter().filter(|line| quarantined.contains(line.2.as_str())).count() as u64;
                prop_assert_eq!(counted.quarantined, kept);
            }
        }
    }
}
