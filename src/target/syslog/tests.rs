//! The window against a model of a receiver: whatever happens, what settled was received, in order, and nothing is
//! lost.

use proptest::prelude::*;

use super::*;

const BATCH_BYTES: u64 = 100;

/// What can happen to a session, in any order.
#[derive(Clone, Debug)]
enum Step {
    Push,
    /// The writer gets so many bytes into the socket.
    Write(u64),
    /// The peer's TCP acknowledges so many more bytes.
    Acknowledge(u64),
    /// Time passes, in milliseconds, and the session is looked at.
    Tick(u64),
    /// The session dies. Of what its TCP acknowledged, the receiver had read all that was acknowledged `SYSLOG_SETTLE`
    /// ago, and of the rest this share, in per cent.
    Die(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => Just(Step::Push),
        4 => (1..250_u64).prop_map(Step::Write),
        4 => (1..250_u64).prop_map(Step::Acknowledge),
        4 => (0..1500_u64).prop_map(Step::Tick),
        1 => (0..=100_u64).prop_map(Step::Die),
    ]
}

/// A receiver and the socket before it: what the window cannot see.
#[derive(Default)]
struct World {
    window: Window<u32>,
    now: Duration,
    pushed: u32,
    /// Bytes of `window.next()` already in the socket.
    midway: u64,
    total: u64,
    acknowledged: u64,
    /// (offset, time): what was acknowledged when, as observed.
    observed: Vec<(u64, Duration)>,
    /// (end offset, batch) of this session.
    stream: Vec<(u64, u32)>,
    /// Batches the receiver has for certain or by luck.
    received: Vec<u32>,
    settled: Vec<u32>,
}

impl World {
    fn apply(&mut self, step: &Step) {
        match *step {
            Step::Push => {
                self.window.push(self.pushed);
                self.pushed += 1;
            }
            Step::Write(bytes) => self.write(bytes),
            Step::Acknowledge(bytes) => self.acknowledged = (self.acknowledged + bytes).min(self.total),
            Step::Tick(millis) => {
                self.now += Duration::from_millis(millis);
                self.look();
            }
            Step::Die(luck) => self.die(luck),
        }
    }

    fn write(&mut self, mut bytes: u64) {
        while bytes > 0
            && let Some(&batch) = self.window.next()
        {
            if self.midway == 0 {
                self.window.begin();
            }
            let some = bytes.min(BATCH_BYTES - self.midway);
            bytes -= some;
            self.midway += some;
            self.total += some;
            if self.midway == BATCH_BYTES {
                self.midway = 0;
                self.window.wrote(self.total);
                self.stream.push((self.total, batch));
            }
        }
    }

    fn look(&mut self) {
        self.observed.push((self.acknowledged, self.now));
        self.window.acked(self.total, self.total - self.acknowledged, self.now);
        while let Some(batch) = self.window.settled(self.now) {
            self.settled.push(batch);
        }
    }

    fn die(&mut self, luck: u64) {
        let old = self.observed.iter().rev().find(|(_, at)| self.now >= *at + SYSLOG_SETTLE);
        let certain = old.map_or(0, |(offset, _)| *offset);
        let read = certain + (self.acknowledged - certain) * luck / 100;
        self.received.extend(self.stream.iter().filter(|(end, _)| *end <= read).map(|(_, batch)| *batch));
        self.window.lost();
        self.stream.clear();
        self.observed.clear();
        (self.midway, self.total, self.acknowledged) = (0, 0, 0);
    }
}

proptest! {
    #[test]
    fn what_settled_was_received_and_nothing_is_lost(steps in prop::collection::vec(step(), 0..200)) {
        let mut world = World::default();
        for step in &steps {
            world.apply(step);
            // Every batch is either settled or still in the window, in order.
            let mut all = world.settled.clone();
            all.extend(world.window.items.iter().map(|item| item.load));
            prop_assert_eq!(&all, &(0..world.pushed).collect::<Vec<_>>());
        }
        // The worst death right after the last look: what settled must be with the receiver without any luck.
        world.die(0);
        for batch in &world.settled {
            prop_assert!(world.received.contains(batch), "batch {} settled and never received", batch);
        }
        // With a session that lives, the rest arrives.
        world.write(u64::from(world.pushed + 1) * BATCH_BYTES);
        world.acknowledged = world.total;
        world.look();
        world.now += SYSLOG_SETTLE;
        world.look();
        prop_assert!(world.window.is_empty());
        prop_assert_eq!(world.settled, (0..world.pushed).collect::<Vec<_>>());
    }
}

#[test]
fn a_batch_settles_only_a_whole_settling_time_after_its_acknowledgement() {
    let mut window = Window::default();
    window.push('a');
    assert!(!window.begin());
    window.wrote(100);
    let start = Duration::from_secs(5);
    window.acked(100, 1, start);
    assert_eq!(window.settled(start + 10 * SYSLOG_SETTLE), None, "one byte is missing");
    window.acked(100, 0, start + SYSLOG_SETTLE);
    assert_eq!(window.settled(start + 2 * SYSLOG_SETTLE - Duration::from_nanos(1)), None);
    assert_eq!(window.settled(start + 2 * SYSLOG_SETTLE), Some('a'));
    assert!(window.is_empty());
}

#[test]
fn a_lost_session_forgets_its_acknowledgements_and_counts_what_goes_again() {
    let mut window = Window::default();
    for load in ['a', 'b', 'c'] {
        window.push(load);
    }
    assert!(!window.begin());
    window.wrote(10);
    window.acked(10, 0, Duration::ZERO);
    assert!(!window.begin());
    assert!(window.is_midway());
    assert_eq!(window.lost(), 2, "a was written, b begun, c not");
    assert_eq!(window.settled(SYSLOG_SETTLE * 2), None, "the acknowledgement died with its session");
    assert!(!window.is_unsettled());
    assert_eq!(window.next(), Some(&'a'));
    assert!(window.begin(), "a goes again");
    window.wrote(10);
    assert!(window.begin(), "b goes again");
    window.wrote(20);
    assert!(!window.begin(), "c goes for the first time");
}
