//! What was last in force, on disk: a node starts and ships without etcd.
//!
//! One file, checksummed and 0600, with the secrets sealed as they lie in etcd. An object that is complained of is kept
//! as it last was good, so that it stays in force over a restart too, until it is mended.

use std::{
    collections::BTreeSet,
    convert::Infallible,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use tokio::sync::Notify;

use super::mirror::{Key, Mirror};
use crate::{
    control::store::{
        file,
        image::{Image, Kept},
    },
    fault::Kind,
    limits,
    plan::Complaint,
};

#[derive(Debug)]
pub struct Keep {
    path: PathBuf,
    cluster: String,
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    revision: u64,
    objects: Vec<Kept>,
    /// Not on disk yet.
    dirty: bool,
}

impl Keep {
    /// Reads what is there. A file that is torn, or of another cluster, is as good as none.
    pub fn open(directory: &Path, cluster: &str) -> Self {
        let path = directory.join("last-good.image");
        let read = || -> Result<Image, String> {
            let bytes = file::read(&path).map_err(|fault| match fault.kind() {
                Kind::NotFound => String::new(),
                _ => fault.to_string(),
            })?;
            Image::decode(&bytes)
        };
        let state = match read() {
            Ok(image) if image.cluster.as_deref() == Some(cluster) => {
                State { revision: image.revision, objects: image.objects, dirty: false }
            }
            Ok(_) => State::default(),
            Err(cause) => {
                if !cause.is_empty() {
                    tracing::warn!("{} is torn and left aside: {cause}", path.display());
                }
                State::default()
            }
        };
        Self { path, cluster: cluster.to_owned(), state: Mutex::new(state), changed: Notify::new() }
    }

    /// Revision and objects last in force.
    pub fn last(&self) -> (u64, Vec<Kept>) {
        let state = self.state();
        (state.revision, state.objects.clone())
    }

    /// Takes what is good of the mirror; it is on disk a moment later.
    pub fn take(&self, mirror: &Mirror, complaints: &[Complaint]) {
        let bad: BTreeSet<(&str, &str)> =
            complaints.iter().map(|complaint| (complaint.kind.as_str(), complaint.name.as_str())).collect();
        let good = |key: &Key| !bad.contains(&(key.0.singular(), key.1.as_str()));
        let mut state = self.state();
        let objects = mirror.to_keep(good, &state.objects);
        if state.revision != mirror.head().revision || state.objects != objects {
            *state = State { revision: mirror.head().revision, objects, dirty: true };
            self.changed.notify_one();
        }
    }

    /// Writes what changed, each time after a pause. Never ends.
    pub async fn run(&self) -> Infallible {
        loop {
            self.changed.notified().await;
            tokio::time::sleep(limits::KEEP_INTERVAL).await;
            self.flush();
        }
    }

    /// Writes what changed now.
    pub fn flush(&self) {
        let image = {
            let mut state = self.state();
            if !std::mem::take(&mut state.dirty) {
                return;
            }
            Image {
                revision: state.revision,
                at: jiff::Timestamp::now().to_string(),
                who: "etcd".to_owned(),
                what: "last in force".to_owned(),
                touched: Vec::new(),
                directory: None,
                cluster: Some(self.cluster.clone()),
                objects: state.objects.clone(),
            }
        };
        let written = image.encode().and_then(|bytes| file::write_durably(&self.path, &bytes));
        if let Err(fault) = written {
            self.state().dirty = true;
            tracing::warn!("the last good objects cannot be kept for a start without etcd: {fault}");
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
