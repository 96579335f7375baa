//! How a backlog goes: a line in the log when it is gone, and now and then until then.

use std::time::{Duration, Instant};

use tracing::info;

use super::Publisher;
use crate::metric;

/// The first line of progress comes after a second, each further one after twice as long, up to this.
const SILENCE_MAX: Duration = Duration::from_secs(30);

/// What waited when this instance began to publish.
pub(super) struct Drain {
    began: Instant,
    from: i64,
    upto: i64,
    silence: Duration,
    said_at: Instant,
}

impl Drain {
    /// `None` when nothing waits.
    pub(super) fn of(published: i64, head: i64) -> Option<Self> {
        let now = Instant::now();
        (head > published).then_some(Self {
            began: now,
            from: published,
            upto: head,
            silence: Duration::from_secs(1),
            said_at: now,
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
            "Drained: what waited is published"
        );
    }

    pub(super) fn say_how_the_drain_goes(&mut self) {
        let published = self.machine.published();
        let Some(drain) = self.drain.as_mut().filter(|drain| drain.said_at.elapsed() >= drain.silence) else {
            return;
        };
        (drain.said_at, drain.silence) = (Instant::now(), (drain.silence * 2).min(SILENCE_MAX));
        info!(
            published = published - drain.from,
            left = drain.upto - published,
            per_second = drain.per_second(published),
            "Draining"
        );
    }
}
