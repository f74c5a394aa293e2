//! What a source means once its document has been compiled.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use globset::{GlobMatcher, GlobSet};

use crate::model::{Level, ObjectId};

/// One source, ready to be carried by a lane.
#[derive(Clone, Debug)]
pub struct SourcePlan {
    pub id: ObjectId,
    pub name: String,
    pub enabled: bool,
    pub input: Input,
    pub format: Format,
    /// Records below are filtered (and counted); `Level::Trace` filters nothing.
    pub min_level: Level,
    pub start_at: StartAt,
    /// Static extra labels, ordered by name, without the fixed ones.
    pub labels: Vec<(String, String)>,
    /// What goes along as structured metadata.
    pub metadata: Vec<MetadataField>,
    /// `X-Scope-OrgID` for Loki targets; wins over the target's own.
    pub tenant: Option<String>,
    /// Bytes a second each target gets of it at most; what is more waits.
    pub rate_bytes: Option<u64>,
}

#[derive(Clone, Debug)]
pub enum Input {
    File(FileInput),
    Journal(JournalInput),
}

/// Files by globs.
#[derive(Clone, Debug)]
pub struct FileInput {
    /// As written, absolute.
    pub paths: Vec<PathGlob>,
    pub exclude: GlobSet,
}

impl FileInput {
    /// Whether a file of this path belongs to the source.
    pub fn asks_for(&self, path: &Path) -> bool {
        self.paths.iter().any(|glob| glob.matcher.is_match(path)) && !self.exclude.is_match(path)
    }
}

/// One glob, split where its first wildcard stands.
#[derive(Clone, Debug)]
pub struct PathGlob {
    pub pattern: String,
    /// The deepest directory without a wildcard: where the walk begins.
    pub base: PathBuf,
    /// Directory levels below `base` the walk may go; `usize::MAX` with `**`.
    pub depth: usize,
    pub matcher: GlobMatcher,
}

/// Journal entries of one directory (or the machine's own).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournalInput {
    /// Directories that hold the `*.journal` files, in the order they are tried: the machine's persistent and volatile
    /// ones, or the one named in the document.
    pub directories: Vec<PathBuf>,
    /// SYSLOG_IDENTIFIER, exactly or an instance of it: `duroslight` takes `duroslight-0` and `duroslight@1`.
    pub identifier: Option<String>,
    /// _SYSTEMD_UNIT, exactly.
    pub unit: Option<String>,
    /// Field → accepted values: AND between fields, OR within one.
    pub matches: Vec<(String, Vec<String>)>,
}

/// The formats of the contract that are built; the others are refused by name when a document asks for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    ZapJson,
    Logfmt,
    Unstructured,
}

/// Where a reader that was never seen before begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartAt {
    Beginning,
    End,
    Since(Duration),
}

/// Fields a source may ask for as structured metadata.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MetadataField {
    Logger,
    Caller,
    Shard,
    Pid,
    Unit,
    BootId,
    Seqnum,
    Filename,
    Hostname,
    Identifier,
    TraceId,
    SpanId,
    RequestId,
}

impl MetadataField {
    pub const ALL: [Self; 13] = [
        Self::Logger,
        Self::Caller,
        Self::Shard,
        Self::Pid,
        Self::Unit,
        Self::BootId,
        Self::Seqnum,
        Self::Filename,
        Self::Hostname,
        Self::Identifier,
        Self::TraceId,
        Self::SpanId,
        Self::RequestId,
    ];
    /// What goes along when a document does not say: as the contract has it, and the trace context of any format.
    pub const DEFAULT: [Self; 7] =
        [Self::Logger, Self::Shard, Self::Pid, Self::Unit, Self::TraceId, Self::SpanId, Self::RequestId];

    /// The name in documents, in decoded fields and in Loki.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Logger => "logger",
            Self::Caller => "caller",
            Self::Shard => "shard",
            Self::Pid => "pid",
            Self::Unit => "unit",
            Self::BootId => "boot_id",
            Self::Seqnum => "seqnum",
            Self::Filename => "filename",
            Self::Hostname => "hostname",
            Self::Identifier => "identifier",
            Self::TraceId => "trace_id",
            Self::SpanId => "span_id",
            Self::RequestId => "request_id",
        }
    }
}
