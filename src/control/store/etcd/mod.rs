//! The etcd store: the objects of a whole cluster, and how its nodes know of each other.
//!
//! Each node holds a `mirror` of what lies there (`layout`), kept by one watch (`follow`); reading never asks
//! etcd. A change is one transaction that also writes the next entry of the history, if that entry is not there yet: so
//! changes of all nodes come one after the other, and one that was judged on old objects is refused and judged again.
//! Without etcd the node runs on with what it knows, and starts with what it last had in force (`keep`).

mod beat;
mod by_hand;
mod chronicle;
mod follow;
mod keep;
mod layout;
mod link;
mod mirror;

use std::{
    fs::File,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use etcd_client::{Compare, CompareOp, DeleteOptions, GetOptions, SortOrder, SortTarget, Txn, TxnOp};
use tokio::{sync::watch, time::timeout};

use self::{
    chronicle::Chronicle,
    keep::Keep,
    layout::Layout,
    link::{Link, Trouble, jittered},
    mirror::{Head, Mirror, Seen},
};
use super::{
    Feed,
    change::{Change, Entry, Expected, Snapshot, came_too_late},
    file,
};
use crate::{
    config::NodeConfig,
    control::seal::{Keyring, key_file},
    fault::{Fault, Kind as FaultKind},
    limits,
    plan::Complaint,
};

/// The store of all nodes, as one of them sees it.
#[derive(Debug)]
pub struct Etcd {
    node: String,
    layout: Layout,
    ring: Keyring,
    link: Link,
    mirror: Mutex<Mirror>,
    newest: watch::Sender<Arc<Snapshot>>,
    /// Revision of etcd up to which `newest` is complete.
    seen: watch::Sender<i64>,
    feed: Mutex<Feed>,
    keep: Keep,
    beat: beat::Beat,
    _lock: File,
}

/// Why etcd says nothing before its first answer, or the first failure to get one.
const UNASKED: &str = "was not asked yet";

impl Etcd {
    /// Takes what the node last had in force. etcd need not answer.
    ///
    /// # Errors
    /// The state directory cannot be made, read or written, or is held by another process.
    pub fn open(config: &NodeConfig) -> Result<Self, Fault> {
        let directory = config.state_dir.join("store");
        file::make_private_directory(&directory)?;
        let lock = file::lock(&directory)?;
        let ring = Keyring::open(&key_file(config));
        let keep = Keep::open(&directory, &config.cluster);
        let (revision, kept) = keep.last();
        let layout = Layout::new(&config.cluster);
        let mirror = Mirror::new(layout.clone(), ring.clone(), revision, kept);
        let reason = UNASKED.to_owned();
        let store = Self {
            node: config.node.clone(),
            layout,
            ring,
            link: Link::new(config.etcd.clone()),
            mirror: Mutex::new(mirror),
            newest: watch::Sender::new(Arc::default()),
            seen: watch::Sender::new(0),
            feed: Mutex::new(Feed::Down { since: jiff::Timestamp::now(), reason }),
            keep,
            beat: beat::Beat::default(),
            _lock: lock,
        };
        store.publish(&store.mirror());
        Ok(store)
    }

    pub fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.newest.borrow())
    }

    pub fn watch(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.newest.subscribe()
    }

    pub fn feed(&self) -> Feed {
        self.feed.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Looks whether the cluster key is another, and if so opens everything again.
    pub fn refresh(&self) {
        if self.ring.refresh() {
            let mut mirror = self.mirror();
            mirror.reopen();
            self.publish(&mirror);
        }
    }

    /// Keeps on disk what is good of the newest snapshot; see `keep`.
    pub fn keep_good(&self, complaints: &[Complaint]) {
        let mirror = self.mirror();
        if mirror.at() > 0 {
            self.keep.take(&mirror, complaints);
        }
    }

    /// Follows etcd and tells it that this node is alive, for as long as it is polled.
    pub async fn run(&self) {
        tokio::join!(self.follow(), self.stay_alive(), self.keep.run());
    }

    /// Says goodbye, so that the others need not wait to learn that this node is gone.
    pub async fn close(&self) {
        self.keep.flush();
        if timeout(limits::ETCD_CONNECT_TIMEOUT, self.leave()).await.is_err() {
            tracing::debug!("the others learn later that this node is gone");
        }
    }

    /// See `Store::apply`.
    pub async fn apply(&self, change: &Change) -> Result<Arc<Snapshot>, Fault> {
        self.first_answer().await;
        self.tell_of_other_hands().await?;
        let (txn, next, nonce) = self.transaction(change)?;
        let started = Instant::now();
        loop {
            let once = txn.clone();
            match self.link.ask(|mut client| async move { client.txn(once).await }).await {
                Ok(answer) if answer.succeeded() => {
                    return Ok(self.catch_up(answer.header().map_or(0, |header| header.revision())).await);
                }
                Ok(_) => {
                    // Ours, if an earlier try was made and its answer was lost.
                    if let Some(modified) = self.find(next, &nonce).await? {
                        return Ok(self.catch_up(modified).await);
                    }
                    self.read(false).await.map_err(Trouble::into_fault)?;
                    return Err(came_too_late());
                }
                Err(Trouble::Uncertain(fault)) if started.elapsed() < limits::ETCD_CHANGE_TIMEOUT => {
                    tracing::debug!("a change is tried again: {fault}");
                    tokio::time::sleep(jittered(limits::ETCD_BACKOFF_MIN)).await;
                }
                Err(Trouble::Uncertain(fault)) => {
                    let text = format!("{}; whether the change was made is not known", fault.cause());
                    return Err(Fault::new(FaultKind::Unavailable, fault.place(), text));
                }
                Err(trouble) => return Err(trouble.into_fault().way_out("nothing was changed")),
            }
        }
    }

    /// Waits a little while etcd is asked for the first time: who changes something right after a start is served.
    async fn first_answer(&self) {
        if matches!(self.feed(), Feed::Down { reason, .. } if reason == UNASKED) {
            let mut seen = self.seen.subscribe();
            // Without an answer the change is refused with the reason there is by then.
            let _ = timeout(limits::ETCD_CONNECT_TIMEOUT, seen.wait_for(|seen| *seen > 0)).await;
        }
    }

    /// Has the history tell of what another hand changed before a change builds on it: undone are both in their order.
    async fn tell_of_other_hands(&self) -> Result<(), Fault> {
        for _ in 0..limits::CHANGE_TRIES {
            let told = self.adopt().await.map_err(|trouble| trouble.into_fault().way_out("nothing was changed"))?;
            let Some(at) = told else { break };
            self.catch_up(at).await;
        }
        Ok(())
    }

    /// The transaction of a change, the revision it makes and the nonce of its entry.
    fn transaction(&self, change: &Change) -> Result<(Txn, u64, String), Fault> {
        let mirror = self.mirror();
        if mirror.at() == 0 {
            let Feed::Down { reason, .. } = self.feed() else { return Err(came_too_late()) };
            return Err(Fault::new(FaultKind::Unavailable, "etcd", format!("{reason}; nothing was changed")));
        }
        let next = mirror.head().revision + 1;
        let history = self.layout.history(next);
        let mut compares = vec![Compare::create_revision(history.clone(), CompareOp::Equal, 0)];
        let mut operations = Vec::new();
        let mut undo = Vec::new();
        let mut bytes = 0;
        for write in &change.writes {
            let key = self.layout.object(write.kind, &write.name);
            compares.push(match write.expected {
                Expected::Absent => Compare::create_revision(key.clone(), CompareOp::Equal, 0),
                Expected::At(revision) => Compare::mod_revision(key.clone(), CompareOp::Equal, revision.cast_signed()),
            });
            undo.push(mirror.before(&(write.kind, write.name.clone())));
            operations.push(match &write.value {
                Some((id, document)) => {
                    let sealed = self.ring.seal(write.kind, document.fields())?;
                    let value = layout::encode(write.kind, *id, &sealed);
                    bytes += value.len();
                    TxnOp::put(key, value, None)
                }
                None => TxnOp::delete(key, None),
            });
        }
        let entry = self.entry(next, &change.who, &change.what, change.touched());
        let chronicle = Chronicle::new(entry, Some(&undo))?;
        let value = chronicle.encode();
        bytes += value.len();
        if bytes > limits::ETCD_REQUEST_BYTES_MAX {
            let (count, most) = (change.writes.len(), limits::ETCD_REQUEST_BYTES_MAX);
            let text = format!("{count} objects would change at once, {bytes} bytes with their history; {most} can");
            return Err(Fault::new(FaultKind::Exhausted, "", text).way_out("make it in several changes"));
        }
        operations.push(TxnOp::put(history, value, None));
        operations.extend(self.forget_old(next));
        Ok((Txn::new().when(compares).and_then(operations), next, chronicle.nonce))
    }

    fn entry(&self, revision: u64, who: &str, what: &str, touched: Vec<super::Touched>) -> Entry {
        let at = jiff::Timestamp::now().to_string();
        Entry { revision, at, who: who.to_owned(), what: what.to_owned(), touched }
    }

    /// Deletes what is older than the history, once `next` is part of it.
    fn forget_old(&self, next: u64) -> Option<TxnOp> {
        let last = next.checked_sub(limits::HISTORY_REVISIONS as u64)?;
        let end = DeleteOptions::new().with_range(self.layout.history(last + 1));
        Some(TxnOp::delete(self.layout.history(0), Some(end)))
    }

    /// Revision of etcd at which an entry of the history was written, if it is the one with this nonce.
    async fn find(&self, revision: u64, nonce: &str) -> Result<Option<i64>, Fault> {
        let key = self.layout.history(revision);
        let answer = self.link.ask(|mut client| async move { client.get(key, None).await }).await;
        let answer = answer.map_err(Trouble::into_fault)?;
        let found = answer.kvs().first();
        let ours = found.filter(|kv| Chronicle::decode(kv.value()).is_some_and(|entry| entry.nonce == nonce));
        Ok(ours.map(etcd_client::KeyValue::mod_revision))
    }

    /// Waits until the mirror has this revision of etcd: the watch brings it, or it is read.
    async fn catch_up(&self, revision: i64) -> Arc<Snapshot> {
        let mut seen = self.seen.subscribe();
        let echoed = timeout(limits::ETCD_ECHO_TIMEOUT, seen.wait_for(|seen| *seen >= revision)).await.is_ok();
        if !echoed && let Err(trouble) = self.read(false).await {
            tracing::warn!("a change was made and could not be read back: {}", trouble.into_fault());
        }
        self.snapshot()
    }

    /// Reads all objects and the head of the history, at one revision, and takes them.
    async fn read(&self, authoritative: bool) -> Result<i64, Trouble> {
        let (seen, head, at) = self.fetch(false).await?;
        let mut mirror = self.mirror();
        mirror.fold_read(seen, head, at, authoritative);
        self.publish(&mirror);
        Ok(at)
    }

    /// All objects and the head, at one revision of etcd. A `serializable` read may be a little old and costs one
    /// member only.
    async fn fetch(&self, serializable: bool) -> Result<(Vec<Seen>, Head, i64), Trouble> {
        let how = |options: GetOptions| if serializable { options.with_serializable() } else { options };
        let (from, to) = self.layout.objects();
        let newest = GetOptions::new().with_prefix().with_keys_only().with_limit(1);
        let newest = newest.with_sort(SortTarget::Key, SortOrder::Descend);
        let both = Txn::new().and_then(vec![
            TxnOp::get(from, Some(how(GetOptions::new().with_range(to)))),
            TxnOp::get(self.layout.folder("history"), Some(how(newest))),
        ]);
        let answer = self.link.ask(|client| async move {
            let mut client = client.kv_client().max_decoding_message_size(limits::STORE_BYTES_MAX);
            client.txn(both).await
        });
        let answer = answer.await?;
        let at = answer.header().map_or(0, |header| header.revision());
        let (mut seen, mut head) = (Vec::new(), Head::default());
        for (index, response) in answer.op_responses().into_iter().enumerate() {
            let etcd_client::TxnOpResponse::Get(found) = response else { continue };
            for kv in found.kvs() {
                if index == 0 {
                    seen.push(follow::seen(kv, true));
                } else if let layout::Place::History(revision) = self.layout.place(kv.key()) {
                    head = Head { revision, modified: kv.mod_revision() };
                }
            }
        }
        Ok((seen, head, at))
    }

    /// See `Store::history`.
    pub async fn history(&self) -> Result<Vec<Entry>, Fault> {
        let chronicles = self.chronicles().await?;
        Ok(chronicles.into_iter().map(|chronicle| chronicle.entry).collect())
    }

    /// The history, newest first. What another hand put there and is no entry is left out.
    async fn chronicles(&self) -> Result<Vec<Chronicle>, Fault> {
        let folder = self.layout.folder("history");
        let newest_first = GetOptions::new().with_prefix().with_sort(SortTarget::Key, SortOrder::Descend);
        let newest_first = newest_first.with_limit(limits::HISTORY_REVISIONS as i64);
        let answer = self.link.ask(|client| async move {
            let mut client = client.kv_client().max_decoding_message_size(limits::STORE_BYTES_MAX);
            client.get(folder, Some(newest_first)).await
        });
        let answer = answer.await.map_err(Trouble::into_fault)?;
        Ok(answer.kvs().iter().filter_map(|kv| Chronicle::decode(kv.value())).collect())
    }

    /// See `Store::read_at`.
    pub async fn read_at(&self, revision: u64) -> Result<Snapshot, Fault> {
        for _ in 0..limits::CHANGE_TRIES {
            let chronicles = self.chronicles().await?;
            let (seen, head, at) = self.fetch(false).await.map_err(Trouble::into_fault)?;
            // Both or neither have what is changed meanwhile.
            if chronicles.first().map_or(0, |newest| newest.entry.revision) == head.revision {
                let mut then = Mirror::new(self.layout.clone(), self.ring.clone(), 0, Vec::new());
                then.fold_read(seen, head, at, true);
                return wind_back(then, &chronicles, revision);
            }
        }
        Err(Fault::new(FaultKind::Unavailable, "", "others change objects all the time; try again"))
    }

    /// Gives the mirror out, if it is another than before.
    fn publish(&self, mirror: &Mirror) {
        let mut next = mirror.snapshot();
        if mirror.at() == 0 {
            let text = "was not read yet since the start; what was last in force is in force".to_owned();
            next.complaints.push(Complaint { kind: "etcd".to_owned(), name: String::new(), text });
        }
        self.newest.send_if_modified(|newest| {
            let same = newest.is_same(&next);
            if !same {
                *newest = Arc::new(next);
            }
            !same
        });
        self.seen.send_if_modified(|seen| std::mem::replace(seen, mirror.at()) != mirror.at());
    }

    fn set_feed(&self, reason: Option<String>) {
        let mut feed = self.feed.lock().unwrap_or_else(PoisonError::into_inner);
        match (&mut *feed, reason) {
            (Feed::Down { .. }, None) => {
                tracing::info!("etcd answers");
                *feed = Feed::Up;
            }
            (Feed::Up, Some(reason)) => {
                tracing::warn!("etcd: {reason}; the last good objects stay in force");
                *feed = Feed::Down { since: jiff::Timestamp::now(), reason };
            }
            (Feed::Down { reason: known, .. }, Some(reason)) if *known != reason => {
                tracing::warn!("etcd: {reason}");
                *known = reason;
            }
            _ => {}
        }
    }

    fn mirror(&self) -> MutexGuard<'_, Mirror> {
        self.mirror.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The objects of a copy of the mirror as they were at a revision.
fn wind_back(mut then: Mirror, chronicles: &[Chronicle], revision: u64) -> Result<Snapshot, Fault> {
    let gone = |text: String| Fault::new(FaultKind::NotFound, "", text);
    if chronicles.iter().all(|chronicle| chronicle.entry.revision != revision) {
        return Err(gone(format!("no revision {revision} in the history")));
    }
    for chronicle in chronicles.iter().filter(|chronicle| chronicle.entry.revision > revision) {
        let at = chronicle.entry.revision;
        let undo = chronicle.undo().ok_or_else(|| {
            gone(format!("revision {revision} cannot be brought back: how it was before revision {at} is not known"))
        })?;
        undo.iter().for_each(|before| then.undo(before));
    }
    Ok(Snapshot { revision, ..then.snapshot() })
}
