//! Severity, normalised: six levels and "unknown".
//!
//! Formats write levels in many ways; `Level::parse` maps every synonym the contract names to one of
//! `trace debug info warn error fatal`. A line of unknown level always passes a level filter.

use std::fmt;

/// A severity. The order is that of the filter: `Unknown` is above all, since it must never be filtered away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Level {
    Trace = 0,
    Debug = 1,
    Info = 2,
    Warn = 3,
    Error = 4,
    Fatal = 5,
    #[default]
    Unknown = 6,
}

impl Level {
    /// Number of values, for tables indexed by level.
    pub const COUNT: usize = 7;
    /// All levels in order of severity, `Unknown` last.
    pub const ALL: [Level; Self::COUNT] =
        [Level::Trace, Level::Debug, Level::Info, Level::Warn, Level::Error, Level::Fatal, Level::Unknown];

    /// The level a word stands for, in any case; `None` for a word that is not a level.
    ///
    /// Takes the synonyms of the contract: `notice` is info, `warning` and `W` warn, `err` and `E` error,
    /// `crit critical alert emerg panic dpanic F` fatal.
    pub fn parse(word: &[u8]) -> Option<Self> {
        let mut lower = [0u8; 13];
        let lower = lower.get_mut(..word.len())?;
        lower.copy_from_slice(word);
        lower.make_ascii_lowercase();
        Some(match &*lower {
            b"info" | b"i" | b"notice" | b"n" | b"informational" | b"inf" => Self::Info,
            b"debug" | b"d" | b"dbg" | b"verbose" => Self::Debug,
            b"warn" | b"warning" | b"w" | b"wrn" => Self::Warn,
            b"error" | b"err" | b"e" | b"eror" => Self::Error,
            b"trace" | b"t" | b"trc" => Self::Trace,
            b"fatal" | b"f" | b"crit" | b"critical" | b"c" | b"alert" | b"emerg" | b"emergency" | b"panic"
            | b"dpanic" | b"ftl" => Self::Fatal,
            _ => return None,
        })
    }

    /// From a syslog severity 0–7 (RFC 5424 table 2), as the journal's PRIORITY has it.
    pub fn from_priority(priority: u8) -> Self {
        match priority {
            0..=2 => Self::Fatal,
            3 => Self::Error,
            4 => Self::Warn,
            5 | 6 => Self::Info,
            7 => Self::Debug,
            _ => Self::Unknown,
        }
    }

    /// The syslog severity sent for this level (contract §7): fatal 2, error 3, warn 4, info 6, debug and trace 7.
    pub fn severity(self) -> u8 {
        match self {
            Self::Fatal => 2,
            Self::Error => 3,
            Self::Warn => 4,
            Self::Info | Self::Unknown => 6,
            Self::Debug | Self::Trace => 7,
        }
    }

    /// Whether a record of this level passes a filter at `min`. Unknown always passes.
    #[inline]
    pub fn passes(self, min: Level) -> bool {
        self >= min || min == Level::Unknown
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Trace => "trace",
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
            Self::Fatal => "fatal",
            Self::Unknown => "unknown",
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_is_never_filtered() {
        for min in Level::ALL {
            assert!(Level::Unknown.passes(min), "{min}");
        }
        assert!(!Level::Debug.passes(Level::Info));
        assert!(Level::Info.passes(Level::Info));
    }

    #[test]
    fn synonyms_of_the_contract() {
        for (word, level) in [
            ("notice", Level::Info),
            ("WARNING", Level::Warn),
            ("W", Level::Warn),
            ("err", Level::Error),
            ("E", Level::Error),
            ("dpanic", Level::Fatal),
            ("emerg", Level::Fatal),
            ("F", Level::Fatal),
            ("Trace", Level::Trace),
        ] {
            assert_eq!(Level::parse(word.as_bytes()), Some(level), "{word}");
        }
        assert_eq!(Level::parse(b"informationally"), None);
        assert_eq!(Level::parse(b""), None);
    }
}
