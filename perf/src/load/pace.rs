//! Writing at a pace, open loop: what is due is due by the clock, whatever the one who reads can bear.

use std::{
    io, thread,
    time::{Duration, Instant},
};

use super::Writer;

/// How long the generator sleeps between two looks at the clock.
const TICK: Duration = Duration::from_millis(5);
/// Lines written between two looks at the clock and at whether to stop.
const RUN_LINES: u64 = 256;

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pace {
    Unlimited,
    LinesPerSecond(f64),
    BytesPerSecond(f64),
}

/// When to end; both given, the earlier counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct End {
    pub lines: Option<u64>,
    pub time: Option<Duration>,
}

/// What was written.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Summary {
    pub lines: u64,
    pub bytes: u64,
    pub seconds: f64,
    pub rotations: u64,
}

/// Writes until `end`, or until `stop` says so.
///
/// # Errors
/// The file system's.
pub fn drive(writer: &mut Writer, pace: Pace, end: End, mut stop: impl FnMut() -> bool) -> io::Result<Summary> {
    let start = Instant::now();
    let (first, bytes) = (writer.next_seq(), writer.bytes());
    let rotations = writer.rotations();
    loop {
        let elapsed = start.elapsed();
        let lines = writer.next_seq() - first;
        let left = end.lines.map_or(u64::MAX, |end| end.saturating_sub(lines));
        if left == 0 || end.time.is_some_and(|time| elapsed >= time) || stop() {
            break;
        }
        let seconds = elapsed.as_secs_f64();
        let mut budget = left.min(RUN_LINES);
        while budget > 0 && is_due(pace, seconds, writer.next_seq() - first, writer.bytes_pushed() - bytes) {
            writer.push_line()?;
            budget -= 1;
        }
        if pace != Pace::Unlimited {
            writer.flush()?;
        }
        if budget > 0 {
            thread::sleep(TICK);
        }
    }
    writer.flush()?;
    Ok(Summary {
        lines: writer.next_seq() - first,
        bytes: writer.bytes() - bytes,
        seconds: start.elapsed().as_secs_f64(),
        rotations: writer.rotations() - rotations,
    })
}

fn is_due(pace: Pace, seconds: f64, lines: u64, bytes: u64) -> bool {
    match pace {
        Pace::Unlimited => true,
        Pace::LinesPerSecond(rate) => (lines as f64) < rate * seconds,
        Pace::BytesPerSecond(rate) => (bytes as f64) < rate * seconds,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::{Load, Spec};

    #[test]
    fn due_lines_follow_the_clock() {
        assert!(is_due(Pace::LinesPerSecond(10.0), 1.0, 9, 0));
        assert!(!is_due(Pace::LinesPerSecond(10.0), 1.0, 10, 0));
        assert!(is_due(Pace::BytesPerSecond(100.0), 2.0, 0, 199));
        assert!(!is_due(Pace::BytesPerSecond(100.0), 2.0, 0, 200));
    }

    #[test]
    fn ends_at_the_line_and_when_told() {
        let directory = tempfile::tempdir().unwrap();
        let mut writer = Writer::open(directory.path().join("x"), Load::new(Spec::default())).unwrap();
        let end = End { lines: Some(1000), time: None };
        let summary = drive(&mut writer, Pace::Unlimited, end, || false).unwrap();
        assert_eq!((summary.lines, writer.next_seq()), (1000, 1000));
        assert_eq!(std::fs::metadata(writer.path()).unwrap().len(), summary.bytes);
        let summary = drive(&mut writer, Pace::LinesPerSecond(1e9), End::default(), || true).unwrap();
        assert_eq!(summary.lines, 0);
        let end = End { lines: Some(3), time: None };
        assert_eq!(drive(&mut writer, Pace::LinesPerSecond(1e6), end, || false).unwrap().lines, 3);
    }
}
