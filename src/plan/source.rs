//! What a source means once its document has been compiled.

use std::{
    collections::BTreeMap,
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
    pub tenant: Tenant,
    /// Bytes a second each target gets of it at most; what is more waits.
    pub rate_bytes: Option<u64>,
}

/// Whose lines a source's are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Tenant {
    /// The target's tenant, if it has one.
    #[default]
    Target,
    Is(String),
    /// That of the Kubernetes namespace in the path of the file: as `map` has it, else the namespace itself.
    Namespace {
        /// Where there is one, namespaces it does not name get `default`.
        map: BTreeMap<String, String>,
        /// Also of files whose path names no namespace; `None` leaves it to the target.
        default: Option<String>,
    },
}

impl Tenant {
    /// Of the lines of one reader; `path` is that of its file.
    pub fn of<'a>(&'a self, path: Option<&'a Path>) -> Option<&'a str> {
        match self {
            Self::Target => None,
            Self::Is(tenant) => Some(tenant),
            Self::Namespace { map, default } => {
                let Some(namespace) = path.and_then(namespace) else { return default.as_deref() };
                match map.get(namespace) {
                    Some(tenant) => Some(tenant),
                    None if map.is_empty() => Some(namespace),
                    None => default.as_deref(),
                }
            }
        }
    }
}

/// The namespace in the path of a container's log, as the kubelet makes it:
/// `…/pods/<namespace>_<pod>_<uid>/…` or `…/containers/<pod>_<namespace>_<container>-<id>.log`. Names are DNS labels,
/// so what is found is a good tenant.
fn namespace(path: &Path) -> Option<&str> {
    let mut parts = path.iter().filter_map(|part| part.to_str());
    let namespace = loop {
        match parts.next()? {
            "pods" => break parts.next()?.split('_').next()?,
            "containers" => break parts.next()?.split('_').nth(1)?,
            _ => {}
        }
    };
    let is_label = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    ((1..=63).contains(&namespace.len()) && namespace.bytes().all(is_label)).then_some(namespace)
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

/// Journal entries of one directory (or the machine's own); by default all of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_namespace_stands_in_the_path_of_a_containers_log() {
        for (path, expected) in [
            ("/var/log/pods/shop_web-0_1234-abcd/web/0.log", Some("shop")),
            ("/var/log/containers/web-0_shop_web-0123abcd.log", Some("shop")),
            ("/var/log/pods/Not_a_label/x", None),
            ("/var/log/pods", None),
            ("/var/log/app.log", None),
        ] {
            assert_eq!(namespace(Path::new(path)), expected, "{path}");
        }
    }

    #[test]
    fn a_tenant_is_mapped_or_the_namespace_itself() {
        let shop = Path::new("/var/log/pods/shop_a_b/0.log");
        let none = Path::new("/var/log/app.log");
        let rule = |map: &[(&str, &str)], default: Option<&str>| Tenant::Namespace {
            map: map.iter().map(|(from, to)| ((*from).to_owned(), (*to).to_owned())).collect(),
            default: default.map(str::to_owned),
        };
        assert_eq!(rule(&[], Some("ops")).of(Some(shop)), Some("shop"));
        assert_eq!(rule(&[], Some("ops")).of(Some(none)), Some("ops"));
        assert_eq!(rule(&[("shop", "s1")], Some("ops")).of(Some(shop)), Some("s1"));
        assert_eq!(rule(&[("other", "s1")], Some("ops")).of(Some(shop)), Some("ops"));
        assert_eq!(rule(&[("other", "s1")], None).of(Some(shop)), None);
        assert_eq!(Tenant::Target.of(Some(shop)), None);
    }
}
