//! The signals that stop the service: Ctrl-C (SIGINT) and SIGTERM.

use tokio::signal::unix::{SignalKind, signal};

/// Takes the two signals over at once; resolves when the first of them comes, to its name.
pub fn wanted() -> std::io::Result<impl Future<Output = &'static str>> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => "SIGINT",
            _ = terminate.recv() => "SIGTERM",
        }
    })
}
