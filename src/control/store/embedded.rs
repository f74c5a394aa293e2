//! The embedded store: one checksummed file per revision in `<state_dir>/store`, the last 50 of them the history.
//!
//! A revision ([`super::image`]) is written beside its place, synced, renamed, and the directory synced; so a crash
//! leaves the one before it. It always starts: a torn newest file costs that revision, said in a complaint, and its
//! number is not used again. Secrets are sealed. The files are 0600 in a directory of 0700.

#[cfg(test)]
mod tests;

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::watch;

use super::{
    change::{Change, Entry, Snapshot, came_too_late},
    file::{self, make_private_directory, write_durably},
    image::{Image, Kept},
};
use crate::{
    control::seal::Keyring,
    fault::{Fault, Kind},
    limits,
    plan::Complaint,
};

/// The store of one node, held by one process.
#[derive(Debug)]
pub struct Embedded {
    directory: PathBuf,
    ring: Keyring,
    state: Mutex<State>,
    newest: watch::Sender<Arc<Snapshot>>,
    /// Locked as long as the store lives.
    _lock: File,
}

#[derive(Debug, Default)]
struct State {
    /// Never used again, even if their file was torn or could not be written.
    highest: u64,
    /// Digest of the objects directory the newest revision was in force with.
    noted: Option<u64>,
    /// The objects of the newest revision as they lie on disk. What is not changed stays as it is, be it that this node
    /// cannot open it.
    kept: Vec<Kept>,
}

impl Embedded {
    /// Opens or makes the store below `state_dir`; `ring` is asked for once the directory is known to be ours.
    ///
    /// # Errors
    /// The directory cannot be made, read or written, or is held by another process.
    pub fn open(state_dir: &Path, ring: impl FnOnce() -> Result<Keyring, Fault>) -> Result<Self, Fault> {
        let directory = state_dir.join("store");
        make_private_directory(&directory)?;
        let lock = file::lock(&directory)?;
        let newest = watch::Sender::new(Arc::default());
        let mut store = Self { directory, ring: ring()?, state: Mutex::default(), newest, _lock: lock };
        store.load()?;
        Ok(store)
    }

    /// Takes the newest revision that is whole.
    fn load(&mut self) -> Result<(), Fault> {
        let revisions = self.revisions()?;
        let mut state = State { highest: revisions.last().copied().unwrap_or(0), ..State::default() };
        let mut complaints = Vec::new();
        let mut snapshot = Snapshot::default();
        for revision in revisions.iter().rev() {
            let path = self.path(*revision);
            match Image::decode(&file::read(&path)?) {
                Ok(image) if image.revision == *revision => {
                    state.noted = image.noted();
                    snapshot = image.snapshot(&path.display().to_string(), &self.ring);
                    state.kept = image.objects;
                    break;
                }
                Ok(image) => complaints.push(torn(&path, &format!("it says revision {}", image.revision))),
                Err(cause) => complaints.push(torn(&path, &cause)),
            }
        }
        complaints.append(&mut snapshot.complaints);
        snapshot.complaints = complaints;
        self.state = Mutex::new(state);
        self.newest.send_replace(Arc::new(snapshot));
        Ok(())
    }

    pub fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.newest.borrow())
    }

    pub fn watch(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.newest.subscribe()
    }

    /// See `Store::apply`.
    pub fn apply(&self, change: &Change) -> Result<Arc<Snapshot>, Fault> {
        let mut state = self.state();
        let revision = state.highest + 1;
        let snapshot = self.snapshot();
        if !change.writes.iter().all(|write| write.fits(snapshot.find(write.kind, &write.name))) {
            return Err(came_too_late());
        }
        let mut kept = state.kept.clone();
        for write in &change.writes {
            kept.retain(|kept| !kept.is(write.kind, &write.name));
            if let Some((id, document)) = &write.value {
                kept.push(Kept::seal(*id, revision, document, &self.ring)?);
            }
        }
        let entry = Entry {
            revision,
            at: jiff::Timestamp::now().to_string(),
            who: change.who.clone(),
            what: change.what.clone(),
            touched: change.touched(),
        };
        self.write(&mut state, entry, kept)
    }

    /// See `Store::note_directory`. What cannot be noted counts all the same until the next start.
    pub fn note_directory(&self, digest: u64) -> u64 {
        let mut state = self.state();
        let before = state.noted.replace(digest);
        let entry = Entry {
            revision: state.highest + 1,
            at: jiff::Timestamp::now().to_string(),
            who: "the objects directory".to_owned(),
            what: "changed".to_owned(),
            touched: Vec::new(),
        };
        let snapshot = self.snapshot();
        let kept = state.kept.clone();
        match self.write(&mut state, entry, kept) {
            Ok(snapshot) => snapshot.revision,
            Err(fault) => {
                state.noted = before;
                state.highest += 1;
                let revision = state.highest;
                tracing::warn!("revision {revision} is in force but could not be noted: {fault}");
                self.newest.send_replace(Arc::new(Snapshot { revision, ..Snapshot::clone(&snapshot) }));
                revision
            }
        }
    }

    pub fn directory_noted(&self) -> Option<u64> {
        self.state().noted
    }

    /// See `Store::history`. A revision that is torn is left out.
    pub fn history(&self) -> Result<Vec<Entry>, Fault> {
        let _nothing_is_pruned_meanwhile = self.state();
        let revisions = self.revisions()?;
        let read = |revision: &u64| Image::decode(&file::read(&self.path(*revision)).ok()?).ok();
        Ok(revisions.iter().rev().filter_map(read).map(|image| image.entry()).collect())
    }

    /// See `Store::read_at`.
    pub fn read_at(&self, revision: u64) -> Result<Snapshot, Fault> {
        let path = self.path(revision);
        let bytes = file::read(&path).map_err(|fault| match fault.kind() {
            Kind::NotFound => Fault::new(Kind::NotFound, "", format!("no revision {revision} in the history")),
            _ => fault,
        })?;
        let image = Image::decode(&bytes)
            .map_err(|cause| Fault::new(Kind::NotFound, "", format!("revision {revision} cannot be read: {cause}")))?;
        Ok(image.snapshot(&path.display().to_string(), &self.ring))
    }

    /// Looks whether the keys are others, and if so opens everything again.
    pub fn refresh(&self) {
        if self.ring.refresh() {
            let state = self.state();
            self.publish(self.snapshot().revision, &state.kept);
        }
    }

    /// Makes `kept` the newest revision; the store is as it was when that fails.
    fn write(&self, state: &mut State, entry: Entry, kept: Vec<Kept>) -> Result<Arc<Snapshot>, Fault> {
        let revision = entry.revision;
        let image = Image {
            revision,
            at: entry.at,
            who: entry.who,
            what: entry.what,
            touched: entry.touched,
            directory: state.noted.map(|digest| format!("{digest:016x}")),
            cluster: None,
            objects: kept,
        };
        write_durably(&self.path(revision), &image.encode()?)?;
        state.highest = revision;
        state.kept = image.objects;
        self.prune();
        Ok(self.publish(revision, &state.kept))
    }

    fn publish(&self, revision: u64, kept: &[Kept]) -> Arc<Snapshot> {
        let mut next = Snapshot { revision, complaints: self.snapshot().complaints.clone(), ..Snapshot::default() };
        for kept in kept {
            next.take(kept.open(&self.ring));
        }
        let next = Arc::new(next);
        self.newest.send_replace(Arc::clone(&next));
        next
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
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

    /// Removes what is older than the history. A file that cannot be removed is tried again with the next revision.
    fn prune(&self) {
        let Ok(revisions) = self.revisions() else { return };
        let surplus = revisions.len().saturating_sub(limits::HISTORY_REVISIONS);
        for revision in &revisions[..surplus] {
            let _ = fs::remove_file(self.path(*revision));
        }
    }
}

fn torn(path: &Path, cause: &str) -> Complaint {
    let text = format!("is torn and left aside ({cause}); the revision before it is in force");
    Complaint { kind: path.display().to_string(), name: String::new(), text }
}
