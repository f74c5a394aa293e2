//! Whose entries are our own.
//!
//! What this process says of a line it could not ship goes to the journal too. A source that takes everything would
//! read it, fail to ship it, and say so: a loop. So entries of this process reach only sources that ask for it by name.

use super::{field::Field, file::JournalFile};

/// This process as the journal knows it. By default nobody.
#[derive(Clone, Debug, Default)]
pub struct Own {
    /// In decimal digits; empty is nobody.
    pid: Vec<u8>,
    boot_id: [u8; 16],
    /// Microseconds since the epoch. Before, the number was somebody else's.
    since: u64,
}

impl Own {
    pub fn new(pid: u32, boot_id: [u8; 16], since_micros: u64) -> Self {
        Self { pid: pid.to_string().into_bytes(), boot_id, since: since_micros }
    }

    /// Whether this process wrote the entry `file` has assembled.
    pub(super) fn wrote(&self, file: &JournalFile) -> bool {
        let Some(peeked) = file.peeked() else { return false };
        !self.pid.is_empty()
            && file.text(Field::Pid) == self.pid
            && peeked.head.boot_id == self.boot_id
            && peeked.head.realtime >= self.since
    }
}
