//! Where a process runs.

use actix::SystemRunner;

/// A system on a multi-threaded runtime: database, Kafka and Redis work runs there, actors on arbiters of their own.
///
/// # Errors
/// When the operating system gives no threads.
pub fn system() -> std::io::Result<SystemRunner> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    Ok(actix::System::with_tokio_rt(move || runtime))
}
