//! Delivery to the console: whole batches to standard output, acknowledged once flushed.
//!
//! A pipe that nobody reads blocks whoever writes to it, so the writing is done on the pool for blocking work; the
//! other targets go on.

use std::{
    io::{self, Write},
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;

use super::{connect::plain, task::Task};

/// Writes batches to `out` in order until the queue is closed.
pub(super) async fn run<W: Write + Send + 'static>(task: &mut Task, out: Arc<Mutex<W>>) {
    while let Some(load) = task.queue.recv().await {
        loop {
            let (body, out) = (load.body(), Arc::clone(&out));
            let written = tokio::task::spawn_blocking(move || write(&body, &out)).await;
            let error = match written {
                Ok(Ok(())) => break,
                Ok(Err(error)) => error,
                Err(died) => io::Error::other(died),
            };
            task.report.failed(&format!("standard output: {}", plain(&error)));
            task.pause(None).await;
            // What was written before the error may be on the screen already.
            task.report.resent();
        }
        task.backoff.reset();
        task.report.sent(load.batch().body.len());
        task.report.acked(1);
        load.acked();
    }
}

fn write<W: Write>(body: &Bytes, out: &Mutex<W>) -> io::Result<()> {
    let mut out = out.lock().unwrap_or_else(PoisonError::into_inner);
    out.write_all(body)?;
    out.flush()
}
