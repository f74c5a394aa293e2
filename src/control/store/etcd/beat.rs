//! How nodes know of each other: a lease as long as one is alive, and what it last said of itself.
//!
//! The lease is renewed every few seconds, which costs etcd no write; the record is written at most every half minute,
//! or when another revision is in force, so that who made it need not wait: that at most every other second.
//! A node whose lease ran out is gone, or cut off: its record says since when.

use std::{convert::Infallible, time::Duration};

use etcd_client::{GetOptions, PutOptions, Txn, TxnOp, TxnOpResponse};
use serde_json::{Value, json};
use tokio::{
    sync::Mutex,
    time::{Instant, sleep, timeout},
};

use super::{
    Etcd,
    link::{Session, Trouble, jittered, silent, trouble},
};
use crate::{
    control::store::{self, collector::fitted},
    fault::Fault,
    limits,
};

/// The renewal comes so often within the time the lease runs.
const RENEWALS: u32 = 4;

#[derive(Debug, Default)]
pub struct Beat {
    lease: Mutex<Option<i64>>,
    last: Mutex<Option<Last>>,
}

/// The record as it was last written, or could not be.
#[derive(Debug)]
struct Last {
    /// The revision it said is in force.
    revision: Value,
    at: Instant,
    /// When the next one is due if nothing is new.
    next: Instant,
}

impl Last {
    /// How long a record with this revision has to wait; `None` for one that has nothing new to say.
    fn wait(&self, revision: &Value, now: Instant) -> Option<Duration> {
        match self.revision == *revision {
            true => (now >= self.next).then_some(Duration::ZERO),
            false => Some((self.at + limits::COLLECTOR_NEWS_INTERVAL).min(self.next).saturating_duration_since(now)),
        }
    }
}

impl Etcd {
    /// Keeps the lease of this node. Never ends.
    pub(super) async fn stay_alive(&self) -> Infallible {
        loop {
            let trouble = match self.live().await {
                Ok(never) => match never {},
                Err(trouble) => trouble,
            };
            tracing::debug!("the lease of this node: {}", trouble.into_fault());
            sleep(jittered(limits::ETCD_BACKOFF_MIN * 10)).await;
        }
    }

    /// As long as one connection and one lease last.
    async fn live(&self) -> Result<Infallible, Trouble> {
        let session = self.link.session().await?;
        let lease = self.lease(&session).await?;
        let asked = |error| trouble(&session.member, &error);
        let mut client = session.client.lease_client();
        let begun = timeout(limits::ETCD_REQUEST_TIMEOUT, client.keep_alive(lease)).await;
        let begun = begun.map_err(|_| silent(&session.member))?;
        let (mut keeper, mut answers) = match begun {
            Ok(begun) => begun,
            Err(error) => {
                // It ran out while there was no connection: the next one is new.
                *self.beat.lease.lock().await = None;
                return Err(asked(error));
            }
        };
        loop {
            tokio::select! {
                () = sleep(jittered(Duration::from_secs(limits::ALIVE_SECONDS) / RENEWALS)) => {}
                () = self.link.given_up(&session) => return Err(silent(&session.member)),
            }
            keeper.keep_alive().await.map_err(asked)?;
            let answer = timeout(limits::ETCD_REQUEST_TIMEOUT, answers.message()).await;
            match answer.map_err(|_| silent(&session.member))?.map_err(asked)? {
                Some(answer) if answer.ttl() > 0 => {}
                _ => {
                    *self.beat.lease.lock().await = None;
                    return Err(silent(&session.member));
                }
            }
        }
    }

    /// The lease there is, or a new one with this node's sign of life on it.
    async fn lease(&self, session: &Session) -> Result<i64, Trouble> {
        let mut lease = self.beat.lease.lock().await;
        if let Some(lease) = *lease {
            return Ok(lease);
        }
        let mut client = session.client.clone();
        let key = self.layout.alive(&self.node);
        let value = json!({ "since": jiff::Timestamp::now().to_string(), "version": env!("CARGO_PKG_VERSION") });
        let making = async {
            let granted = client.lease_grant(limits::ALIVE_SECONDS.cast_signed(), None).await?.id();
            let options = PutOptions::new().with_lease(granted);
            client.put(key, value.to_string(), Some(options)).await?;
            Ok(granted)
        };
        let made = timeout(limits::ETCD_REQUEST_TIMEOUT, making).await.map_err(|_| silent(&session.member))?;
        let granted = made.map_err(|error| trouble(&session.member, &error))?;
        *lease = Some(granted);
        Ok(granted)
    }

    /// Gives the lease back.
    pub(super) async fn leave(&self) {
        let Some(lease) = self.beat.lease.lock().await.take() else { return };
        let left = self.link.ask(|mut client| async move { client.lease_revoke(lease).await }).await;
        if let Err(trouble) = left {
            tracing::debug!("the others learn later that this node is gone: {}", trouble.into_fault());
        }
    }

    /// See `Store::put_collector`.
    pub async fn put_collector(&self, record: &Value) -> Result<Option<Duration>, Fault> {
        // What a node says while it hears nothing would stand there for half a minute after it hears again.
        if self.feed() != store::Feed::Up {
            return Ok(None);
        }
        // A record without a sign of life is that of a node that is gone.
        if self.beat.lease.lock().await.is_none() {
            return Ok(Some(limits::REPORT_INTERVAL));
        }
        let mut last = self.beat.last.lock().await;
        let (revision, now) = (record["revision"].clone(), Instant::now());
        match last.as_ref().map(|last| last.wait(&revision, now)) {
            Some(None) => return Ok(None),
            Some(Some(wait)) if !wait.is_zero() => return Ok(Some(wait)),
            _ => {}
        }
        let (key, value) = (self.layout.collector(&self.node), fitted(record).to_string());
        let put = self.link.ask(|mut client| async move { client.put(key, value, None).await }).await;
        // Later than half a minute, never earlier; also after a failure, which would only be repeated.
        let at = Instant::now();
        let next = at + limits::COLLECTOR_INTERVAL + jittered(limits::COLLECTOR_INTERVAL / 8);
        *last = Some(Last { revision, at, next });
        put.map(|_| None).map_err(Trouble::into_fault)
    }

    /// See `Store::collectors`.
    pub async fn collectors(&self) -> Result<Vec<store::Beat>, Fault> {
        let (records, alive) = (self.layout.folder("collectors"), self.layout.folder("alive"));
        let all = || GetOptions::new().with_prefix().with_serializable();
        let both = Txn::new().and_then(vec![
            TxnOp::get(records.clone(), Some(all())),
            TxnOp::get(alive.clone(), Some(all().with_keys_only())),
        ]);
        let answer = self.link.ask(|client| async move {
            let mut client = client.kv_client().max_decoding_message_size(limits::STORE_BYTES_MAX);
            client.txn(both).await
        });
        let answer = answer.await.map_err(Trouble::into_fault)?;
        let mut found = answer.op_responses().into_iter().filter_map(|response| match response {
            TxnOpResponse::Get(found) => Some(found),
            _ => None,
        });
        let (records_found, alive_found) = (found.next(), found.next());
        let living: Vec<Vec<u8>> = alive_found
            .iter()
            .flat_map(|found| found.kvs())
            .filter_map(|kv| kv.key().strip_prefix(alive.as_bytes()).map(<[u8]>::to_vec))
            .collect();
        let beat = |kv: &etcd_client::KeyValue| {
            let record: Value = serde_json::from_slice(kv.value()).ok()?;
            let key = kv.key().strip_prefix(records.as_bytes())?;
            let node = record.get("id")?.as_str()?.to_owned();
            Some(store::Beat { node, alive: living.iter().any(|living| living == key), record })
        };
        Ok(records_found.iter().flat_map(|found| found.kvs()).filter_map(beat).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_revision_is_told_at_once_and_no_more_often_than_every_other_second() {
        let at = Instant::now();
        let last = Last { revision: json!("7"), at, next: at + limits::COLLECTOR_INTERVAL };
        let after = |seconds: u64| at + Duration::from_secs(seconds);
        assert_eq!(last.wait(&json!("7"), after(3)), None, "nothing is new");
        assert_eq!(last.wait(&json!("8"), after(3)), Some(Duration::ZERO));
        assert_eq!(last.wait(&json!("8"), at), Some(limits::COLLECTOR_NEWS_INTERVAL));
        assert_eq!(last.wait(&json!("7"), after(30)), Some(Duration::ZERO));
    }
}
