//! Egress: moves sealed batches to their targets and brings verdicts back, on tokio.
//!
//! One thread with a current-thread runtime. Each lane's port has a dispatcher, each enabled target a task with a queue
//! of its own (a Loki one for each tenant); a task delivers in order, and no target ever waits for another. What bytes
//! and answers mean stands in `target`; here they are only moved. TLS, HTTP and sockets are a library's work.
//!
//! A batch is in exactly one place, inside a `Load`, and a load answers exactly once, even when its task dies: that is
//! what keeps a lane's ledger whole.

mod connect;
mod console;
mod hub;
mod load;
mod loki;
pub mod quarantine;
mod relp;
mod replay;
mod report;
mod stream;
mod syslog;
mod task;
#[cfg(test)]
mod tests;

pub use crate::orders::Port;

use std::{
    io,
    path::PathBuf,
    sync::{Arc, mpsc},
    thread,
};

use tokio::sync::Notify;

use self::hub::Hub;
use crate::{
    limits::{EGRESS_BLOCKING_THREADS_MAX, EGRESS_ORDERS_MAX},
    orders::{EgressOrder, EgressPort},
    stats::Board,
};

/// A running egress thread. Dropping it halts the thread without waiting for it.
#[derive(Debug)]
pub struct Egress {
    /// `None` once halted.
    orders: Option<mpsc::SyncSender<EgressOrder>>,
    arrived: Arc<Notify>,
    thread: Option<thread::JoinHandle<()>>,
}

/// Starts the thread `egress-0` for the lanes behind `ports`. It delivers nothing before its first plan. Lines that a
/// Loki refuses are kept below `state_dir`.
///
/// An order given before a batch is handed over is in force for that batch.
///
/// # Errors
/// No thread, or no epoll instance for it.
pub fn start(ports: Vec<EgressPort>, board: Arc<Board>, state_dir: PathBuf) -> io::Result<Egress> {
    let (orders, inbox) = mpsc::sync_channel(EGRESS_ORDERS_MAX);
    let arrived = Arc::new(Notify::new());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(EGRESS_BLOCKING_THREADS_MAX)
        .thread_name("egress-block")
        .build()?;
    let hub = Arc::new(Hub::new(inbox, Arc::clone(&arrived), board, ports.len(), state_dir));
    let thread = thread::Builder::new().name("egress-0".to_owned()).spawn(move || {
        runtime.block_on(hub.run(ports));
        // What blocks (a full pipe behind the console, a resolver without answer) must not hold up the end.
        runtime.shutdown_background();
    })?;
    Ok(Egress { orders: Some(orders), arrived, thread: Some(thread) })
}

impl Egress {
    /// Gives an order. Waits only while `limits::EGRESS_ORDERS_MAX` of them are not yet applied, which takes no IO;
    /// orders to a halted thread are lost.
    pub fn order(&self, order: EgressOrder) {
        if let Some(orders) = &self.orders {
            // The other end only goes away after a halt.
            let _ = orders.send(order);
        }
        self.arrived.notify_one();
    }

    /// Halts, unless that was ordered, and waits for the end of the thread. What is unsettled stays unsettled.
    pub fn join(mut self) {
        self.halt();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the egress thread panicked");
        }
    }

    fn halt(&mut self) {
        self.orders = None;
        self.arrived.notify_one();
    }
}

impl Drop for Egress {
    fn drop(&mut self) {
        self.halt();
    }
}
