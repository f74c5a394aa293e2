//! Open batches: lines become wire bytes here, once for every target that wants the same bytes.
//!
//! A `Shape` is everything that decides the bytes; a lane keeps one open batch per shape, appends to it line by line
//! and seals it when it is full or old enough. The encoding of a line depends on the line and the shape alone, never on
//! where a batch was cut: what is sent again after a crash is the same, and Loki stores it once. An open batch keeps
//! its buffers over sealing; warm, appending allocates nothing.

mod console;
mod loki;
mod press;
mod syslog;
#[cfg(test)]
mod tests;

use bytes::Bytes;

pub use self::{console::ConsoleBatch, loki::LokiBatch, syslog::SyslogBatch};
use crate::{
    limits::{BATCH_BYTES, BATCH_ENTRIES_MAX, BATCH_STREAMS_MAX},
    model::{Field, Level, Nanos},
    orders::StreamFact,
    plan::{Framing, Output},
};

/// Everything that decides the bytes, so that targets wanting the same bytes share one batch.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Shape {
    Loki {
        /// Batches of two tenants are two requests, though an entry's bytes are the same.
        tenant: Option<String>,
        output: Output,
    },
    Syslog {
        /// 0–23.
        facility: u8,
        framing: Framing,
        /// Longest message in bytes, without its frame.
        max_message_bytes: usize,
        sd_id: String,
        output: Output,
    },
    Console {
        output: Output,
    },
}

impl Shape {
    /// Which bytes of a record `Item::line` must be.
    pub fn output(&self) -> Output {
        match self {
            Self::Loki { output, .. } | Self::Syslog { output, .. } | Self::Console { output } => *output,
        }
    }
}

/// One line to be appended.
#[derive(Clone, Copy, Debug)]
pub struct Item<'a> {
    /// The lane's number of the label set: same number, same labels.
    pub stream: u32,
    /// Which part of the batch it is: what is lost of it is counted there.
    pub part: u32,
    /// The label set as `wire::loki::render_labels` made it.
    pub labels: &'a str,
    pub level: Level,
    pub time: Nanos,
    /// The frame or the message, as the shape's output says; at most `limits::FRAME_BYTES_MAX` bytes.
    pub line: &'a [u8],
    pub metadata: &'a [Field<'a>],
    /// Name of the source.
    pub source: &'a str,
    /// Program that wrote the line; empty when not known.
    pub app: &'a [u8],
    /// Its process id; empty when not known.
    pub procid: &'a [u8],
}

/// What had to be changed to make a line acceptable, to be counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Appended {
    /// Invalid UTF-8 was replaced.
    pub replaced_utf8: bool,
    /// Structured metadata was cut or left out to keep within Loki's limits.
    pub cut_metadata: bool,
    /// Syslog messages beyond the first that the line was split into.
    pub extra_parts: u32,
}

/// A batch ready for the wire.
#[derive(Clone, Debug)]
pub struct Sealed {
    /// Compressed (Loki) or framed (syslog) bytes.
    pub body: Bytes,
    /// Size before compression, in bytes.
    pub raw_bytes: usize,
    /// Lines inside.
    pub entries: u32,
    /// What is known of each stream, in their order; empty where the format has none.
    pub streams: Vec<StreamFact>,
}

/// An open batch.
#[derive(Debug)]
pub enum Open {
    Loki(LokiBatch),
    Syslog(SyslogBatch),
    Console(ConsoleBatch),
}

impl Open {
    /// `cluster` and `node` are the plan's; Loki has them among the labels, syslog in every message.
    pub fn new(shape: &Shape, cluster: &str, node: &str) -> Self {
        match shape {
            Shape::Loki { tenant, .. } => Self::Loki(LokiBatch::new(tenant.as_deref())),
            Shape::Syslog { facility, framing, max_message_bytes, sd_id, .. } => {
                Self::Syslog(SyslogBatch::new(&crate::wire::syslog::Settings {
                    facility: *facility,
                    framing: *framing,
                    max_message_bytes: *max_message_bytes,
                    sd_id,
                    cluster,
                    node,
                }))
            }
            Shape::Console { .. } => Self::Console(ConsoleBatch::default()),
        }
    }

    /// Encodes one line. The caller seals a batch that is full before it appends again: the limits leave room for one
    /// line beyond the mark, not for many.
    pub fn append(&mut self, item: &Item<'_>) -> Appended {
        match self {
            Self::Loki(batch) => batch.append(item),
            Self::Syslog(batch) => batch.append(item),
            Self::Console(batch) => batch.append(item),
        }
    }

    /// Size before compression, in bytes: what `seal` will put into `Sealed::raw_bytes`.
    pub fn raw_bytes(&self) -> usize {
        match self {
            Self::Loki(batch) => batch.raw_bytes(),
            Self::Syslog(batch) => batch.raw_bytes(),
            Self::Console(batch) => batch.raw_bytes(),
        }
    }

    /// Lines inside.
    pub fn entries(&self) -> u32 {
        match self {
            Self::Loki(batch) => batch.entries(),
            Self::Syslog(batch) => batch.entries(),
            Self::Console(batch) => batch.entries(),
        }
    }

    /// Label sets inside; 0 where the format has none.
    pub fn streams(&self) -> usize {
        match self {
            Self::Loki(batch) => batch.streams(),
            Self::Syslog(_) | Self::Console(_) => 0,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.entries() == 0
    }

    /// Whether it must be sealed before anything is appended.
    pub fn is_full(&self) -> bool {
        self.raw_bytes() >= BATCH_BYTES
            || self.entries() as usize >= BATCH_ENTRIES_MAX
            || self.streams() >= BATCH_STREAMS_MAX
    }

    /// Gives back the memory an empty batch keeps for its next filling.
    pub fn let_go(&mut self) {
        debug_assert!(self.is_empty());
        match self {
            Self::Loki(batch) => batch.let_go(),
            Self::Syslog(batch) => batch.let_go(),
            Self::Console(batch) => batch.let_go(),
        }
    }

    /// The bytes of what was appended; the batch is empty afterwards and can be filled anew.
    pub fn seal(&mut self) -> Sealed {
        match self {
            Self::Loki(batch) => batch.seal(),
            Self::Syslog(batch) => batch.seal(),
            Self::Console(batch) => batch.seal(),
        }
    }
}
