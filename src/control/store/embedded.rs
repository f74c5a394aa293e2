//! The embedded store: one checksummed file per revision in `<state_dir>/store`, the last 50 of them the history.
//!
//! ```text
//! corelane-store 1 <xxh3-64 of the rest, 16 hex digits> <bytes of the rest>\n
//! {"revision": 12, "at": "…", "cause": "…", "objects": [{"kind", "id", "revision", "document"}, …]}
//! ```
//! A revision is written beside its place, synced, renamed, and the directory synced; so a crash leaves the one before
//! it. It always starts: a torn newest file costs that revision, said in a complaint, and its number is not used again.
//! The files hold secrets, and so are 0600 in a directory of 0700.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{Read, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use rustix::fs::FlockOperation;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use xxhash_rust::xxh3::xxh3_64;

use crate::{
    config::{Document, Kind, Object, Origin},
    fault::{Fault, Kind as FaultKind},
    limits,
    model::ObjectId,
    plan::Complaint,
};

const MAGIC: &str = "corelane-store 1";

/// One revision as it lies on disk.
#[derive(Deserialize, Serialize)]
struct Image {
    revision: u64,
    at: String,
    cause: String,
    objects: Vec<Kept>,
}

/// One object as it lies on disk. The id is a text, since JSON numbers do not hold 64 bits everywhere.
#[derive(Deserialize, Serialize)]
struct Kept {
    kind: String,
    id: String,
    revision: u64,
    document: Map<String, Value>,
}

/// The store of one node, held by one process.
#[derive(Debug)]
pub struct Embedded {
    directory: PathBuf,
    revision: u64,
    /// Never used again, even if their file was torn.
    highest: u64,
    objects: Vec<Object>,
    complaints: Vec<Complaint>,
    /// Locked as long as the store lives.
    _lock: File,
}

impl Embedded {
    /// Opens or makes the store below `state_dir`.
    ///
    /// # Errors
    /// The directory cannot be made, read or written, or is held by another process.
    pub fn open(state_dir: &Path) -> Result<Self, Fault> {
        let directory = state_dir.join("store");
        make_private_directory(&directory)?;
        let lock = lock(&directory)?;
        let mut store =
            Self { directory, revision: 0, highest: 0, objects: Vec::new(), complaints: Vec::new(), _lock: lock };
        let revisions = store.revisions()?;
        store.highest = revisions.last().copied().unwrap_or(0);
        for revision in revisions.iter().rev() {
            let path = store.path(*revision);
            let bytes = read(&path)?;
            match decode(&bytes) {
                Ok(image) if image.revision == *revision => {
                    store.revision = image.revision;
                    store.objects = image.objects.iter().filter_map(|kept| store.revive(kept)).collect();
                    let lost = store.lost(&image);
                    store.complaints.extend(lost);
                    return Ok(store);
                }
                Ok(image) => store.torn(&path, &format!("it says revision {}", image.revision)),
                Err(cause) => store.torn(&path, &cause),
            }
        }
        Ok(store)
    }

    pub fn revision(&self) -> u64 {
        self.revision
    }

    pub fn objects(&self) -> &[Object] {
        &self.objects
    }

    pub fn complaints(&self) -> &[Complaint] {
        &self.complaints
    }

    /// Makes `objects` the newest revision; see `Store::commit`.
    ///
    /// # Errors
    /// The file could not be written; the store is as it was.
    pub fn commit(&mut self, at_least: u64, objects: Vec<Object>, cause: &str) -> Result<u64, Fault> {
        let revision = at_least.max(self.highest + 1);
        let image = Image {
            revision,
            at: jiff::Timestamp::now().to_string(),
            cause: cause.to_owned(),
            objects: objects.iter().map(keep).collect(),
        };
        let path = self.path(revision);
        write_durably(&path, &encode(&image)?)?;
        self.revision = revision;
        self.highest = revision;
        self.objects = objects;
        self.prune();
        Ok(revision)
    }

    /// All revisions there are, oldest first. What a crash left half-written is removed.
    fn revisions(&self) -> Result<Vec<u64>, Fault> {
        let place = || self.directory.display().to_string();
        let mut revisions = Vec::new();
        for entry in fs::read_dir(&self.directory).map_err(|error| Fault::io(place(), &error))? {
            let path = entry.map_err(|error| Fault::io(place(), &error))?.path();
            let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
            if name.ends_with(".tmp") {
                // Nothing depends on it: a leftover that stays is written over or ignored.
                let _ = fs::remove_file(&path);
            } else if let Some(revision) = name.strip_suffix(".json").and_then(|number| number.parse().ok()) {
                revisions.push(revision);
            }
        }
        revisions.sort_unstable();
        Ok(revisions)
    }

    fn path(&self, revision: u64) -> PathBuf {
        self.directory.join(format!("{revision:020}.json"))
    }

    fn torn(&mut self, path: &Path, cause: &str) {
        let text = format!("is torn and left aside ({cause}); the revision before it is in force");
        self.complaints.push(Complaint { kind: path.display().to_string(), name: String::new(), text });
    }

    /// An object from disk; `None` when kind or id cannot be read. The document is judged anew, since it may have been
    /// written by another version.
    fn revive(&self, kept: &Kept) -> Option<Object> {
        let kind = Kind::parse(&kept.kind)?;
        let reading = Document::read(kind, &Value::Object(kept.document.clone()));
        Some(Object {
            id: ObjectId(kept.id.parse().ok()?),
            revision: kept.revision,
            origin: Origin::Store,
            document: reading.document,
            refusals: reading.refusals,
        })
    }

    /// Says which objects of the image could not be brought back.
    fn lost(&self, image: &Image) -> Option<Complaint> {
        let lost = image.objects.len() - self.objects.len();
        (lost > 0).then(|| Complaint {
            kind: self.path(image.revision).display().to_string(),
            name: String::new(),
            text: format!("{lost} object(s) are of a kind this version does not know"),
        })
    }

    /// Removes what is older than the history. A file that cannot be removed is tried again with the next revision.
    fn prune(&self) {
        let Ok(revisions) = self.revisions() else { return };
        let surplus = revisions.len().saturating_sub(limits::HISTORY_REVISIONS);
        for revision in &revisions[..surplus] {
            let _ = fs::remove_file(self.path(*revision));
        }
    }
}

/// Makes a directory, and those above it, that only its owner can enter.
///
/// # Errors
/// It cannot be made.
pub fn make_private_directory(path: &Path) -> Result<(), Fault> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|error| {
        Fault::io(path.display().to_string(), &error).way_out("is the state directory yours to write?")
    })
}

/// Writes a file of mode 0600 so that a crash leaves either the old content or the new: beside its place, synced,
/// renamed, directory synced.
///
/// # Errors
/// Nothing is at `path` that was not there before.
pub fn write_durably(path: &Path, bytes: &[u8]) -> Result<(), Fault> {
    let fault = |error: &std::io::Error| Fault::io(path.display().to_string(), error);
    let beside = path.with_extension("tmp");
    let write = || -> std::io::Result<()> {
        let _ = fs::remove_file(&beside);
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&beside, path)?;
        File::open(path.parent().unwrap_or(Path::new("/")))?.sync_all()
    };
    write().map_err(|error| {
        let _ = fs::remove_file(&beside);
        fault(&error)
    })
}

fn lock(directory: &Path) -> Result<File, Fault> {
    let path = directory.join("lock");
    let place = || path.display().to_string();
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(|error| Fault::io(place(), &error))?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => {
            Err(Fault::new(FaultKind::Conflict, place(), "the state directory is in use by another corelane")
                .way_out("stop it, or give this one a `--state-dir` of its own"))
        }
        Err(error) => Err(Fault::io(place(), &error.into())),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, Fault> {
    let fault = |error: &std::io::Error| Fault::io(path.display().to_string(), error);
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(|error| fault(&error))?;
    file.take(limits::STORE_BYTES_MAX as u64 + 1).read_to_end(&mut bytes).map_err(|error| fault(&error))?;
    Ok(bytes)
}

fn keep(object: &Object) -> Kept {
    Kept {
        kind: object.kind().singular().to_owned(),
        id: object.id.0.to_string(),
        revision: object.revision,
        document: object.document.fields().clone(),
    }
}

fn encode(image: &Image) -> Result<Vec<u8>, Fault> {
    let body = serde_json::to_vec(image)
        .map_err(|error| Fault::new(FaultKind::Internal, "store", format!("a revision cannot be written: {error}")))?;
    if body.len() >= limits::STORE_BYTES_MAX {
        let text =
            format!("all objects together take {} bytes, at most {} are kept", body.len(), limits::STORE_BYTES_MAX);
        return Err(Fault::new(FaultKind::Exhausted, "store", text));
    }
    let mut bytes = format!("{MAGIC} {:016x} {}\n", xxh3_64(&body), body.len()).into_bytes();
    bytes.extend_from_slice(&body);
    Ok(bytes)
}

fn decode(bytes: &[u8]) -> Result<Image, String> {
    let end = bytes.iter().position(|byte| *byte == b'\n').ok_or("it has no header")?;
    let header = std::str::from_utf8(&bytes[..end]).map_err(|_| "its header is not text")?;
    let body = &bytes[end + 1..];
    let rest = header.strip_prefix(MAGIC).ok_or("its header is not a store's")?;
    let (hash, length) = rest.trim_start().split_once(' ').ok_or("its header is cut off")?;
    if length.parse() != Ok(body.len()) {
        return Err(format!("it has {} bytes and should have {length}", body.len()));
    }
    if u64::from_str_radix(hash, 16) != Ok(xxh3_64(body)) {
        return Err("its checksum does not match".to_owned());
    }
    serde_json::from_slice(body).map_err(|error| format!("it is not what a store writes: {error}"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn object(name: &str, revision: u64) -> Object {
        let reading = Document::read(Kind::Target, &serde_json::json!({"name": name, "type": "console"}));
        Object {
            id: ObjectId(u64::MAX - revision),
            revision,
            origin: Origin::Store,
            document: reading.document,
            refusals: Vec::new(),
        }
    }

    fn names(store: &Embedded) -> Vec<&str> {
        store.objects().iter().map(Object::name).collect()
    }

    /// A state directory with the revisions 1 (a) and 2 (a, b).
    fn two_revisions() -> (tempfile::TempDir, PathBuf) {
        let state = tempfile::tempdir().unwrap();
        let mut store = Embedded::open(state.path()).unwrap();
        assert_eq!(store.commit(0, vec![object("a", 1)], "test").unwrap(), 1);
        assert_eq!(store.commit(0, vec![object("a", 1), object("b", 2)], "test").unwrap(), 2);
        let newest = store.path(2);
        (state, newest)
    }

    #[test]
    fn what_was_committed_is_there_after_a_restart() {
        let (state, newest) = two_revisions();
        let store = Embedded::open(state.path()).unwrap();
        assert_eq!((store.revision(), names(&store)), (2, vec!["a", "b"]));
        assert_eq!(store.objects()[1].id, ObjectId(u64::MAX - 2));
        assert_eq!(store.complaints(), []);
        assert_eq!(fs::metadata(newest).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(state.path().join("store")).unwrap().permissions().mode() & 0o777, 0o700);
    }

    #[test]
    fn a_file_torn_at_any_byte_costs_one_revision_and_no_start() {
        let (state, newest) = two_revisions();
        let whole = fs::read(&newest).unwrap();
        for cut in 0..whole.len() {
            fs::write(&newest, &whole[..cut]).unwrap();
            let store = Embedded::open(state.path()).unwrap();
            assert_eq!((store.revision(), names(&store)), (1, vec!["a"]), "cut at {cut}");
            assert_eq!(store.complaints().len(), 1);
        }
    }

    #[test]
    fn a_flipped_bit_anywhere_is_noticed() {
        let (state, newest) = two_revisions();
        let whole = fs::read(&newest).unwrap();
        for at in 0..whole.len() {
            let mut bent = whole.clone();
            bent[at] ^= 1;
            fs::write(&newest, &bent).unwrap();
            let store = Embedded::open(state.path()).unwrap();
            // A digit of the header may change its case or spelling without changing its value; then nothing is lost.
            assert!(store.revision() == 1 || names(&store) == ["a", "b"], "bit at {at}");
        }
    }

    #[test]
    fn the_number_of_a_torn_revision_is_not_used_again() {
        let (state, newest) = two_revisions();
        fs::write(&newest, "torn").unwrap();
        let mut store = Embedded::open(state.path()).unwrap();
        assert_eq!(store.commit(0, Vec::new(), "test").unwrap(), 3);
        drop(store);
        let store = Embedded::open(state.path()).unwrap();
        assert_eq!((store.revision(), store.complaints().len()), (3, 0));
    }

    #[test]
    fn it_starts_when_every_file_is_torn() {
        let (state, newest) = two_revisions();
        fs::write(&newest, "").unwrap();
        fs::write(newest.with_file_name("00000000000000000001.json"), "\0\0\0\0").unwrap();
        let store = Embedded::open(state.path()).unwrap();
        assert_eq!((store.revision(), store.objects().len(), store.complaints().len()), (0, 0, 2));
    }

    #[test]
    fn the_history_is_bounded() {
        let state = tempfile::tempdir().unwrap();
        let mut store = Embedded::open(state.path()).unwrap();
        for _ in 0..limits::HISTORY_REVISIONS + 3 {
            store.commit(0, Vec::new(), "test").unwrap();
        }
        let revisions = store.revisions().unwrap();
        assert_eq!((revisions.len(), revisions[0]), (limits::HISTORY_REVISIONS, 4));
    }

    #[test]
    fn two_processes_do_not_share_a_store() {
        let state = tempfile::tempdir().unwrap();
        let _first = Embedded::open(state.path()).unwrap();
        let refused = Embedded::open(state.path()).unwrap_err();
        assert!(refused.to_string().contains("in use by another corelane"), "{refused}");
    }
}
