//! Seeded load: numbered log lines as storage services write them, the same ones for the same seed.
//!
//! The expensive part of a line, its message and fields, is built once per seed; a line is then a few copies, a time
//! and its number. What level a number has is known without generating it, so that a test can say which numbers a
//! level filter must let pass. [`Writer`] puts lines into a file and rotates it, [`drive`] does so at a pace.

mod body;
mod journal;
mod pace;
mod writer;

pub use self::{
    journal::Journal,
    pace::{End, Pace, Summary, drive},
    writer::{Rotation, Writer},
};
use crate::time::{now_ns, push_rfc3339};

/// Messages built per seed.
const BODIES: usize = 509;

/// The form of the lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// One JSON object a line, as Go's zap writes them; number as `"seq":N`.
    Zap,
    /// `key=value` pairs as Go's slog writes them; number as `seq=N`.
    Logfmt,
    /// A time and words; number as `seq=N`, no level.
    Plain,
}

impl Format {
    /// What stands before the number, for the sinks' `verify`.
    pub fn marker(self) -> &'static str {
        match self {
            Self::Zap => "\"seq\":",
            Self::Logfmt | Self::Plain => "seq=",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    Debug,
    Info,
    Warn,
    Error,
}

impl Level {
    pub fn name(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }
}

/// Where the lines' times come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clock {
    /// The time of writing.
    Wall,
    /// `start_ns` for number 0 and `step_ns` more for each further one: the bytes then depend on the seed alone.
    Counted { start_ns: i64, step_ns: i64 },
}

/// What load to make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spec {
    pub seed: u64,
    pub format: Format,
    /// Share of debug lines, in percent; of the others 90 % are info, 8 % warn and 2 % error.
    pub debug_percent: u8,
    pub clock: Clock,
}

impl Default for Spec {
    /// Zap lines, 30 % debug, seed 1, wall clock.
    fn default() -> Self {
        Self { seed: 1, format: Format::Zap, debug_percent: 30, clock: Clock::Wall }
    }
}

/// Prebuilt load of one spec.
#[derive(Clone)]
pub struct Load {
    spec: Spec,
    bodies: Vec<Vec<u8>>,
}

impl Load {
    pub fn new(spec: Spec) -> Self {
        let bodies = (0..BODIES as u64).map(|n| body::build(spec.format, mix(spec.seed, n))).collect();
        Self { spec, bodies }
    }

    pub fn spec(&self) -> Spec {
        self.spec
    }

    /// The level of line `seq`.
    pub fn level(&self, seq: u64) -> Level {
        let draw = mix(self.spec.seed ^ 0x1e7e1, seq);
        if draw % 100 < u64::from(self.spec.debug_percent) {
            return Level::Debug;
        }
        match draw / 100 % 100 {
            0..90 => Level::Info,
            90..98 => Level::Warn,
            _ => Level::Error,
        }
    }

    /// Appends line `seq` with its newline.
    pub fn push_line(&self, seq: u64, out: &mut Vec<u8>) {
        let time_ns = match self.spec.clock {
            Clock::Wall => now_ns(),
            Clock::Counted { start_ns, step_ns } => start_ns + step_ns * i64::try_from(seq).unwrap_or(i64::MAX),
        };
        let body = &self.bodies[(mix(self.spec.seed, seq) % BODIES as u64) as usize];
        let level = self.level(seq);
        match self.spec.format {
            Format::Zap => {
                push_all(out, &[b"{\"level\":\"", level.name().as_bytes(), b"\",\"ts\":\""]);
                push_rfc3339(out, time_ns, 6);
                push_all(out, &[b"\",", body, b",\"seq\":"]);
                push_number(out, seq);
                out.extend_from_slice(b"}\n");
            }
            Format::Logfmt => {
                out.extend_from_slice(b"time=");
                push_rfc3339(out, time_ns, 6);
                push_all(out, &[b" level=", level.name().to_ascii_uppercase().as_bytes(), b" ", body, b" seq="]);
                push_number(out, seq);
                out.push(b'\n');
            }
            Format::Plain => {
                push_rfc3339(out, time_ns, 6);
                push_all(out, &[b" ", body, b" seq="]);
                push_number(out, seq);
                out.push(b'\n');
            }
        }
    }

    /// Line `seq` without its newline.
    pub fn line(&self, seq: u64) -> Vec<u8> {
        let mut out = Vec::new();
        self.push_line(seq, &mut out);
        out.truncate(out.len() - 1);
        out
    }
}

fn push_all(out: &mut Vec<u8>, parts: &[&[u8]]) {
    parts.iter().for_each(|part| out.extend_from_slice(part));
}

fn push_number(out: &mut Vec<u8>, mut number: u64) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

/// A well-mixed 64-bit number of two: the finaliser of SplitMix64 over their combination.
pub(crate) fn mix(seed: u64, n: u64) -> u64 {
    let mut z = seed.wrapping_mul(0x2545_f491_4f6c_dd1d) ^ n.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verify::Marker;

    const CLOCK: Clock = Clock::Counted { start_ns: 1_771_947_989_000_000_000, step_ns: 1_000_000 };

    fn load(format: Format, seed: u64) -> Load {
        Load::new(Spec { seed, format, clock: CLOCK, ..Spec::default() })
    }

    fn hash(load: &Load) -> u64 {
        // FNV-1a, which no library update can change.
        let fold = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        (0..1000).flat_map(|seq| load.line(seq)).fold(0xcbf2_9ce4_8422_2325, |hash, byte| fold(hash, &byte))
    }

    #[test]
    fn a_seed_gives_the_same_lines_for_ever() {
        let hashes = [Format::Zap, Format::Logfmt, Format::Plain].map(|format| hash(&load(format, 1)));
        assert_eq!(hashes, GOLDEN);
        assert_ne!(hash(&load(Format::Zap, 1)), hash(&load(Format::Zap, 2)));
    }

    const GOLDEN: [u64; 3] = [9_386_309_117_627_364_187, 3_409_640_443_623_610_397, 9_058_103_607_557_475_905];

    #[test]
    fn every_line_carries_its_number_and_level() {
        for format in [Format::Zap, Format::Logfmt, Format::Plain] {
            let load = load(format, 7);
            let marker = Marker::new(format.marker());
            for seq in (0..2000).chain([1_000_000_007]) {
                let line = load.line(seq);
                assert_eq!(marker.number(&line), Some(seq));
                let text = String::from_utf8(line).unwrap();
                assert!(!text.contains('\n'));
                let level = load.level(seq).name();
                match format {
                    Format::Zap => {
                        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
                        assert_eq!((value["level"].as_str(), value["seq"].as_u64()), (Some(level), Some(seq)));
                    }
                    Format::Logfmt => assert!(text.contains(&format!(" level={} ", level.to_uppercase()))),
                    Format::Plain => {}
                }
            }
        }
    }

    #[test]
    fn shares_and_sizes_are_as_promised() {
        let load = load(Format::Zap, 3);
        let debug = (0..100_000).filter(|seq| load.level(*seq) == Level::Debug).count();
        assert!((29_000..31_000).contains(&debug), "{debug}");
        let bytes: usize = (0..10_000).map(|seq| load.line(seq).len()).sum();
        assert!((220..320).contains(&(bytes / 10_000)), "{} bytes a line", bytes / 10_000);
        let none = Load::new(Spec { debug_percent: 0, ..Spec::default() });
        assert!((0..1000).all(|seq| none.level(seq) != Level::Debug));
    }
}
