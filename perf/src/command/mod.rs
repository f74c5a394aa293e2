//! The commands of the binary: arguments in, library calls, a summary for people or as JSON.

pub mod bench;
pub mod generate;
pub mod journal;
pub mod sink;
pub mod usage;

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::signal::unix::{SignalKind, signal};

/// A switch that ctrl-c and SIGTERM turn on.
///
/// # Errors
/// No thread or signal handler can be had.
pub fn interruption() -> io::Result<Arc<AtomicBool>> {
    let switch = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&switch);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (mut interrupt, mut terminate) = {
        let _context = runtime.enter();
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?)
    };
    std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        });
        seen.store(true, Ordering::Relaxed);
    })?;
    Ok(switch)
}

/// An I/O error with what it happened to.
pub fn at(place: impl std::fmt::Display) -> impl FnOnce(io::Error) -> String {
    move |error| format!("{place}: {error}")
}
