//! A backlog's progress in the log: lines while it is drained, and one when it is done.

use std::time::{Duration, Instant};

use tracing::info;

use super::Publisher;
use crate::metric;

/// The first line of progress comes after a second, each further one after twice as long, up to this.
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// The backlog that there was when this instance began to publish.
pub(super) struct Drain {
    began: Instant,
    from: i64,
    upto: i64,
    pause: Duration,
    logged_at: Instant,
}

impl Drain {
    /// `None` when there is no backlog.
    pub(super) fn of(published: i64, head: i64) -> Option<Self> {
        let now = Instant::now();
        (head > published).then_some(Self {
            began: now,
            from: published,
            upto: head,
            pause: Duration::from_secs(1),
            logged_at: now,
        })
    }

    fn per_second(&self, published: i64) -> f64 {
        ((published - self.from) as f64 / self.began.elapsed().as_secs_f64()).round()
    }
}

impl Publisher {
    /// To be called after every input.
    pub(super) fn watch_drain(&mut self) {
        let published = self.machine.published();
        let Some(drain) = self.drain.take_if(|drain| published >= drain.upto) else { return };
        metric::drained(drain.upto - drain.from);
        info!(
            events = drain.upto - drain.from,
            took_ms = drain.began.elapsed().as_millis(),
            per_second = drain.per_second(published),
            "Drained: the backlog is published"
        );
    }

    pub(super) fn log_drain_progress(&mut self) {
        let published = self.machine.published();
        let Some(drain) = self.drain.as_mut().filter(|drain| drain.logged_at.elapsed() >= drain.pause) else {
            return;
        };
        (drain.logged_at, drain.pause) = (Instant::now(), (drain.pause * 2).min(PAUSE_MAX));
        info!(
            published = published - drain.from,
            left = drain.upto - published,
            per_second = drain.per_second(published),
            "Draining"
        );
    }
}
