//! How nodes know of each other: a lease as long as one is alive, and what it last said of itself.
//!
//! The lease is renewed every few seconds, which costs etcd no write; the record is written at most every half minute.
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
    /// When the record may be written again.
    next: Mutex<Option<Instant>>,
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
    pub async fn put_collector(&self, record: &Value) -> Result<(), Fault> {
        // What a node says while it hears nothing would stand there for half a minute after it hears again.
        if self.feed() != store::Feed::Up {
            return Ok(());
        }
        let mut next = self.beat.next.lock().await;
        if next.is_some_and(|next| Instant::now() < next) {
            return Ok(());
        }
        let (key, value) = (self.layout.collector(&self.node), fitted(record).to_string());
        let put = self.link.ask(|mut client| async move { client.put(key, value, None).await }).await;
        // Later than half a minute, never earlier; also after a failure, which would only be repeated.
        *next = Some(Instant::now() + limits::COLLECTOR_INTERVAL + jittered(limits::COLLECTOR_INTERVAL / 8));
        put.map(|_| ()).map_err(Trouble::into_fault)
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
