//! Following etcd: read everything, watch from there, and begin anew when either fails.
//!
//! A watch says nothing when nothing happens and also when it is dead. So it is asked now and then whether it lives;
//! the connection is given up when it does not answer, when its member has no leader, or when a request over it went
//! unanswered. Now and then everything is read although nothing happened: a watch that lost something would be found.

use std::{convert::Infallible, time::Duration};

use etcd_client::{Compare, CompareOp, EventType, KeyValue, Txn, TxnOp, WatchOptions, WatchResponse, WatchStream};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::{
    Etcd,
    chronicle::Chronicle,
    link::{Session, Trouble, jittered, silent, trouble},
    mirror::{Before, Seen},
};
use crate::limits;

/// Why a watch is not worth listening to any longer.
enum End {
    /// What it should begin with is compacted away: read everything again.
    ReadAgain,
    Broken(Trouble),
}

impl From<Trouble> for End {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Compacted => Self::ReadAgain,
            other => Self::Broken(other),
        }
    }
}

impl Etcd {
    /// Never ends.
    pub(super) async fn follow(&self) -> Infallible {
        let mut pause = limits::ETCD_BACKOFF_MIN;
        loop {
            let began = Instant::now();
            let trouble = match self.attend().await {
                Ok(never) => match never {},
                Err(trouble) => trouble,
            };
            // A connection that held for a while was a good one: its successor is tried at once.
            if began.elapsed() > limits::ETCD_BACKOFF_MAX {
                pause = limits::ETCD_BACKOFF_MIN;
            }
            self.set_feed(Some(trouble.into_fault().to_string()));
            sleep(jittered(pause)).await;
            pause = (pause * 2).min(limits::ETCD_BACKOFF_MAX);
        }
    }

    /// One connection, as long as it is good for anything.
    async fn attend(&self) -> Result<Infallible, Trouble> {
        let session = self.link.session().await?;
        let mut at = self.read(true).await?;
        loop {
            self.set_feed(None);
            match self.listen(&session, at).await {
                Ok(never) => match never {},
                Err(End::ReadAgain) => at = self.read(true).await?,
                Err(End::Broken(trouble)) => {
                    self.link.give_up(&session).await;
                    return Err(trouble);
                }
            }
        }
    }

    async fn listen(&self, session: &Session, at: i64) -> Result<Infallible, End> {
        let mut stream = self.open_watch(session, at + 1).await?;
        let (mut probe, mut asked) = (soon(limits::ETCD_PROBE_INTERVAL), false);
        let mut reconcile = soon(limits::ETCD_RECONCILE_INTERVAL);
        let mut adopt = self.adopt_at(None);
        loop {
            let adopting = async {
                match adopt {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                message = stream.message() => {
                    match message.map_err(|error| trouble(&session.member, &error))? {
                        Some(message) => self.hear(session, &message)?,
                        None => return Err(silent(&session.member).into()),
                    }
                    asked = false;
                    adopt = self.adopt_at(adopt);
                }
                () = sleep_until(probe) => {
                    if asked {
                        return Err(silent(&session.member).into());
                    }
                    asked = true;
                    probe = soon(limits::ETCD_PROBE_INTERVAL);
                    stream.request_progress().await.map_err(|error| trouble(&session.member, &error))?;
                }
                () = sleep_until(reconcile) => {
                    reconcile = soon(limits::ETCD_RECONCILE_INTERVAL);
                    let (seen, head, at) = self.fetch(true).await?;
                    let mut mirror = self.mirror();
                    mirror.fold_read(seen, head, at, false);
                    self.publish(&mirror);
                }
                () = adopting => {
                    adopt = None;
                    self.adopt().await?;
                }
                () = self.link.given_up(session) => return Err(silent(&session.member).into()),
            }
        }
    }

    async fn open_watch(&self, session: &Session, from: i64) -> Result<WatchStream, End> {
        let (first, end) = self.layout.watched();
        let options = WatchOptions::new().with_range(end).with_start_revision(from);
        let mut client = session.client.watch_client().max_decoding_message_size(limits::STORE_BYTES_MAX);
        match timeout(limits::ETCD_REQUEST_TIMEOUT, client.watch(first, Some(options))).await {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(error)) => Err(trouble(&session.member, &error).into()),
            Err(_) => Err(silent(&session.member).into()),
        }
    }

    /// Takes the events of a message. They are whole revisions: etcd does not split one over several messages.
    fn hear(&self, session: &Session, message: &WatchResponse) -> Result<(), End> {
        if message.canceled() {
            if message.compact_revision() > 0 {
                return Err(End::ReadAgain);
            }
            let status = tonic::Status::cancelled(match message.cancel_reason() {
                "" => "the watch was cancelled",
                reason => reason,
            });
            return Err(trouble(&session.member, &etcd_client::Error::GRpcStatus(status)).into());
        }
        let seen = |event: &etcd_client::Event| Some(seen(event.kv()?, event.event_type() == EventType::Put));
        let events: Vec<Seen> = message.events().iter().filter_map(seen).collect();
        if !events.is_empty() {
            let mut mirror = self.mirror();
            mirror.fold_events(events);
            self.publish(&mirror);
        }
        Ok(())
    }

    /// When what another hand changed is to be noted: every node sees it, so each waits another time.
    fn adopt_at(&self, planned: Option<Instant>) -> Option<Instant> {
        let something = self.mirror().is_touched();
        something.then(|| planned.unwrap_or_else(|| soon(limits::ETCD_ADOPT_AFTER)))
    }

    /// Writes what another hand changed into the history, unless another node was faster. Gives the revision of etcd at
    /// which that was so; none when there is nothing to write.
    pub(super) async fn adopt(&self) -> Result<Option<i64>, Trouble> {
        let (all, next) = {
            let mirror = self.mirror();
            let Some(all) = mirror.by_hand() else { return Ok(None) };
            (all, mirror.head().revision + 1)
        };
        let entry = self.entry(next, "another hand", "changed objects in etcd, past the API", all.touched);
        let chronicle = |undo: Option<&[Before]>| {
            let chronicle = Chronicle::new(entry.clone(), undo).map_err(Trouble::Refused)?;
            Ok::<_, Trouble>(chronicle.covering(all.upto).encode())
        };
        let mut value = chronicle(all.undo.as_deref())?;
        if value.len() > limits::ETCD_REQUEST_BYTES_MAX {
            // A hand may change more at once than one entry can undo.
            value = chronicle(None)?;
        }
        let key = self.layout.history(next);
        let mut operations = vec![TxnOp::put(key.clone(), value, None)];
        operations.extend(self.forget_old(next));
        let absent = Compare::create_revision(key, CompareOp::Equal, 0);
        let txn = Txn::new().when(vec![absent]).and_then(operations);
        let answer = self.link.ask(|mut client| async move { client.txn(txn).await }).await?;
        Ok(answer.header().map(|header| header.revision()))
    }
}

/// A key with its value as the mirror takes it.
pub(super) fn seen(kv: &KeyValue, there: bool) -> Seen {
    Seen {
        key: kv.key().to_vec(),
        value: there.then(|| kv.value().to_vec()),
        created: kv.create_revision(),
        modified: kv.mod_revision(),
    }
}

fn soon(after: Duration) -> Instant {
    Instant::now() + jittered(after)
}
