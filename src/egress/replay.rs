//! Sending again what lies in a target's quarantine, when somebody has marked it so.
//!
//! The lines go the way of all others, through the task of their tenant: what is refused once more goes back into
//! quarantine, and a target that does not answer makes them wait. A file is deleted when all of it has its fate; a
//! crash before sends it again from its beginning. The ledger is not touched: these lines were counted when they went
//! in.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, Weak},
};

use tokio::time::sleep;

use super::{
    hub::Hub,
    quarantine::{Quarantine, Record},
};
use crate::{
    batch::{Item, LokiBatch, Open},
    limits::QUARANTINE_POLL,
    model::{Field, Level, Nanos, ObjectId, Position},
    orders::{Batch, Outcome, Part, Wire},
    stats::Totals,
};

/// Looks for marked files until the target is gone.
pub(super) async fn run(hub: Weak<Hub>, target: ObjectId, name: String, quarantine: Arc<Quarantine>) {
    loop {
        let looking = Arc::clone(&quarantine);
        if let Ok(Some((path, records))) = tokio::task::spawn_blocking(move || looking.replay()).await {
            let Some(hub) = hub.upgrade() else { return };
            send(&hub, target, &name, path, &records).await;
        }
        sleep(QUARANTINE_POLL).await;
    }
}

async fn send(hub: &Arc<Hub>, target: ObjectId, name: &str, path: PathBuf, records: &[Record]) {
    let (mut sent, mut refused) = (0, 0);
    for batch in batches(records) {
        let lines = u64::from(batch.entries);
        let Some(told) = hub.send_again(target, Arc::new(batch)) else { return };
        match told.await {
            Ok(Outcome::Acked) => sent += lines,
            Ok(Outcome::Short(shortfall)) => {
                let lost = shortfall.lines();
                sent += lines.saturating_sub(lost);
                refused += lost;
                tracing::warn!(target_name = name, lines = lost, reason = shortfall.reason, "refused once more");
            }
            // The target went away meanwhile; the file is sent again when it is back.
            Ok(Outcome::Returned | Outcome::Refused(_)) | Err(_) => return,
        }
        hub.board().update_target(target, |report| report.replayed += lines);
    }
    tracing::info!(target_name = name, lines = sent, refused, "sent again from quarantine");
    let deleted = tokio::task::spawn_blocking(move || std::fs::remove_file(&path).map_err(|error| (path, error)));
    if let Ok(Err((path, error))) = deleted.await {
        tracing::error!("{}: {error}; its lines are sent once more", path.display());
    }
}

/// The lines as batches of one tenant each, in their order.
fn batches(records: &[Record]) -> Vec<Batch> {
    let mut tenants: BTreeMap<Option<&str>, Vec<&Record>> = BTreeMap::new();
    for record in records {
        tenants.entry(record.tenant.as_deref()).or_default().push(record);
    }
    let mut batches = Vec::new();
    for (tenant, records) in tenants {
        let mut open = Open::Loki(LokiBatch::new(tenant));
        let mut streams: Vec<&str> = Vec::new();
        for record in records {
            let stream = streams.iter().position(|known| *known == record.labels).unwrap_or_else(|| {
                streams.push(&record.labels);
                streams.len() - 1
            });
            let pairs = record.metadata.iter().map(|(name, value)| Field { name, value: value.as_bytes() });
            let metadata: Vec<Field<'_>> = pairs.collect();
            open.append(&Item {
                stream: stream as u32,
                part: 0,
                labels: &record.labels,
                level: Level::Unknown,
                time: Nanos(record.time),
                line: record.line.as_bytes(),
                metadata: &metadata,
                source: "",
                app: &[],
                procid: &[],
            });
            if open.is_full() {
                batches.push(batch(&mut open, tenant));
            }
        }
        if !open.is_empty() {
            batches.push(batch(&mut open, tenant));
        }
    }
    batches
}

fn batch(open: &mut Open, tenant: Option<&str>) -> Batch {
    let sealed = open.seal();
    let counts = Totals { read: u64::from(sealed.entries), ..Totals::default() };
    Batch {
        id: 0,
        body: sealed.body,
        wire: Wire::Loki,
        raw_bytes: sealed.raw_bytes,
        entries: sealed.entries,
        newest: None,
        tenant: tenant.map(str::to_owned),
        parts: vec![Part { reader: 0, source: ObjectId(0), end: Position::file(0), counts }],
        streams: sealed.streams,
    }
}
