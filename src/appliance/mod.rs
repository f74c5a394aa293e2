//! The appliance as far as it is wired: the control plane, until a signal says stop.

use std::sync::Arc;

use tokio::signal::unix::{SignalKind, signal};

use crate::{config::NodeConfig, control, fault::Fault, stats::Board};

/// Runs until SIGINT or SIGTERM.
///
/// # Errors
/// Something could not start; nothing is left running.
pub fn run(config: NodeConfig) -> Result<(), Fault> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Fault::io("appliance", &error))?;
    let control = control::start(&config, Arc::new(Board::default()), Box::new(|_| {}))?;
    tracing::info!("the API listens on https://{}", control.address());
    let waited = runtime.block_on(async {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        Ok::<(), std::io::Error>(())
    });
    control.stop();
    waited.map_err(|error| Fault::io("signals", &error))
}
