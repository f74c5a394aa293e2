//! The fields of an entry that go along with its record.

/// A field by what the reader does with it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Field {
    Message,
    Identifier,
    Unit,
    Pid,
    SyslogPid,
    Hostname,
    Priority,
    SourceTime,
    /// Nothing, unless a selector tests it.
    #[default]
    Other,
}

impl Field {
    /// Fields whose value is kept as bytes; they index a table.
    pub const TEXTS: usize = 6;
    pub const ALL_TEXTS: [Self; Self::TEXTS] =
        [Self::Message, Self::Identifier, Self::Unit, Self::Pid, Self::SyslogPid, Self::Hostname];

    /// Its place in a set of texts; 0 for what is no text.
    #[inline]
    pub const fn bit(self) -> u8 {
        let index = self as u8;
        if (index as usize) < Self::TEXTS { 1 << index } else { 0 }
    }

    #[inline]
    pub fn named(name: &[u8]) -> Self {
        match name {
            b"MESSAGE" => Self::Message,
            b"SYSLOG_IDENTIFIER" => Self::Identifier,
            b"_SYSTEMD_UNIT" => Self::Unit,
            b"_PID" => Self::Pid,
            b"SYSLOG_PID" => Self::SyslogPid,
            b"_HOSTNAME" => Self::Hostname,
            b"PRIORITY" => Self::Priority,
            b"_SOURCE_REALTIME_TIMESTAMP" => Self::SourceTime,
            _ => Self::Other,
        }
    }
}
