//! Log lines for credited batches: at once for a single batch, at most one per second under load.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tracing::info;

pub const PAUSE: Duration = Duration::from_secs(1);

#[derive(Debug, Default, Clone, Copy)]
pub struct Received {
    pub batches: usize,
    pub messages: usize,
    pub new: usize,
    pub duplicates: usize,
    pub ignored: usize,
    pub dead_letters: usize,
    pub points: i64,
    /// Time spent on batches.
    pub took: Duration,
}

#[derive(Default)]
pub struct ReceivedLog(Mutex<Unsaid>);

#[derive(Default)]
struct Unsaid {
    sum: Received,
    said_at: Option<Instant>,
}

impl ReceivedLog {
    pub fn add(&self, more: Received) {
        let mut unsaid = self.unsaid();
        let sum = &mut unsaid.sum;
        sum.batches += more.batches;
        sum.messages += more.messages;
        sum.new += more.new;
        sum.duplicates += more.duplicates;
        sum.ignored += more.ignored;
        sum.dead_letters += more.dead_letters;
        sum.points += more.points;
        sum.took += more.took;
        unsaid.say_if_due();
    }

    /// To be called now and then, so that the last batches before a silence are not left out.
    pub fn say_the_rest(&self) {
        self.unsaid().say_if_due();
    }

    fn unsaid(&self) -> MutexGuard<'_, Unsaid> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Unsaid {
    fn say_if_due(&mut self) {
        if self.sum.batches == 0 || self.said_at.is_some_and(|at| at.elapsed() < PAUSE) {
            return;
        }
        let Received { batches, messages, new, duplicates, ignored, dead_letters, points, took } =
            std::mem::take(&mut self.sum);
        self.said_at = Some(Instant::now());
        let duration_ms = took.as_millis();
        info!(
            batches,
            messages, new, duplicates, ignored, dead_letters, points, duration_ms, "Bonus received"
        );
    }
}
