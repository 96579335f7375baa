//! Whether the last writes succeeded: for readiness, and to log each change once.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tracing::{info, warn};

/// How often a lasting failure is logged again.
const REMINDER_INTERVAL: Duration = Duration::from_secs(30);

/// The outcome of the last attempt.
#[derive(Debug, Default)]
pub struct WriteHealth(Mutex<State>);

#[derive(Debug, Default)]
enum State {
    #[default]
    Well,
    Failing {
        since: Instant,
        last: Instant,
        logged: Instant,
        commands: usize,
    },
}

impl WriteHealth {
    /// `commands` were answered 503.
    pub(super) fn failed(&self, commands: usize, error: &str) {
        let now = Instant::now();
        let mut state = self.state();
        match &mut *state {
            State::Well => {
                *state = State::Failing { since: now, last: now, logged: now, commands };
                drop(state);
                warn!(commands, error, "Commands cannot be written: they are answered 503 until they can");
            }
            State::Failing { since, last, logged, commands: all } => {
                *all += commands;
                *last = now;
                if now.duration_since(*logged) < REMINDER_INTERVAL {
                    return;
                }
                *logged = now;
                let (all, seconds) = (*all, since.elapsed().as_secs());
                drop(state);
                warn!(commands = all, seconds, error, "Commands still cannot be written");
            }
        }
    }

    pub(super) fn succeeded(&self) {
        let before = std::mem::take(&mut *self.state());
        if let State::Failing { since, commands, .. } = before {
            info!(commands, seconds = since.elapsed().as_secs_f64(), "Commands are written again");
        }
    }

    /// Whether the last attempt failed, less than `memory` ago. Without the limit a failure would last until the next command.
    pub fn has_failed_within(&self, memory: Duration) -> bool {
        matches!(&*self.state(), State::Failing { last, .. } if last.elapsed() < memory)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_remembered_until_a_success_or_for_a_while() {
        let health = WriteHealth::default();
        let memory = Duration::from_secs(60);
        assert!(!health.has_failed_within(memory));
        health.failed(1, "disk full");
        assert!(health.has_failed_within(memory));
        assert!(!health.has_failed_within(Duration::ZERO));
        health.succeeded();
        assert!(!health.has_failed_within(memory));
    }
}
