//! Log lines for credited batches: at once for a single batch, at most one per second under load.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tracing::info;

pub const PAUSE: Duration = Duration::from_secs(1);

#[derive(Debug, Default, Clone, Copy)]
pub struct BatchTotals {
    pub batches: usize,
    pub messages: usize,
    pub new: usize,
    pub duplicates: usize,
    pub ignored: usize,
    pub dead_letters: usize,
    pub points: i64,
    /// Grades and VIP statuses gained and lost.
    pub standing_changes: usize,
    /// Time spent on batches.
    pub took: Duration,
}

#[derive(Default)]
pub struct BatchLog(Mutex<UnloggedBatches>);

#[derive(Default)]
struct UnloggedBatches {
    sum: BatchTotals,
    logged_at: Option<Instant>,
}

impl BatchLog {
    pub fn add(&self, more: BatchTotals) {
        let mut unlogged = self.unlogged();
        let sum = &mut unlogged.sum;
        sum.batches += more.batches;
        sum.messages += more.messages;
        sum.new += more.new;
        sum.duplicates += more.duplicates;
        sum.ignored += more.ignored;
        sum.dead_letters += more.dead_letters;
        sum.points += more.points;
        sum.standing_changes += more.standing_changes;
        sum.took += more.took;
        unlogged.log_if_due();
    }

    /// Must be called at intervals, so that the last batches before a pause are logged too.
    pub fn log_the_rest(&self) {
        self.unlogged().log_if_due();
    }

    fn unlogged(&self) -> MutexGuard<'_, UnloggedBatches> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl UnloggedBatches {
    fn log_if_due(&mut self) {
        if self.sum.batches == 0 || self.logged_at.is_some_and(|at| at.elapsed() < PAUSE) {
            return;
        }
        let BatchTotals {
            batches,
            messages,
            new,
            duplicates,
            ignored,
            dead_letters,
            points,
            standing_changes,
            took,
        } = std::mem::take(&mut self.sum);
        self.logged_at = Some(Instant::now());
        let duration_ms = took.as_millis();
        info!(
            batches,
            messages,
            new,
            duplicates,
            ignored,
            dead_letters,
            points,
            standing_changes,
            duration_ms,
            "Bonus received"
        );
    }
}
