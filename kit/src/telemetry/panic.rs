//! Panics: each is logged, and the last one of each thread is kept.

use std::cell::RefCell;

thread_local! {
    static LAST_PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Logs every panic, and keeps its message for the supervisor that sees the actor unwind on the same thread.
pub(super) fn remember_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let message = panic.payload_as_str().unwrap_or("a panic without a message").to_owned();
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(place, message, "A panic");
        LAST_PANIC.with_borrow_mut(|last| *last = Some(format!("panicked: {message}")));
    }));
}

/// The message of the latest panic on this thread. If logging was not started, only that there was one.
pub fn last_panic() -> String {
    LAST_PANIC.with_borrow(Clone::clone).unwrap_or_else(|| "panicked".to_owned())
}
