//! PURE: when to log that the connection to the message queue was lost, is still lost, or is back. One line per change, and a reminder at intervals.

use std::time::{Duration, Instant};

/// How often a lasting outage is logged again.
const REMINDER_INTERVAL: Duration = Duration::from_secs(30);

/// A change to be logged.
#[derive(Debug, PartialEq, Eq)]
pub enum Change {
    /// Connected for the first time.
    First,
    Back {
        after: Duration,
    },
    Lost,
    Still {
        since: Duration,
    },
}

#[derive(Debug)]
enum State {
    Connecting,
    Up,
    Down { since: Instant, last_logged: Instant },
}

#[derive(Debug)]
pub struct Link {
    state: State,
    started: Instant,
}

impl Link {
    pub fn new(now: Instant) -> Self {
        Self { state: State::Connecting, started: now }
    }

    pub fn up(&mut self, now: Instant) -> Option<Change> {
        match std::mem::replace(&mut self.state, State::Up) {
            State::Connecting => Some(Change::First),
            State::Up => None,
            State::Down { since, .. } => Some(Change::Back { after: now.duration_since(since) }),
        }
    }

    pub fn down(&mut self, now: Instant) -> Option<Change> {
        match &mut self.state {
            // Connecting takes a moment: that is no outage yet.
            State::Connecting if now.duration_since(self.started) < Duration::from_secs(2) => None,
            State::Connecting | State::Up => {
                self.state = State::Down { since: now, last_logged: now };
                Some(Change::Lost)
            }
            State::Down { since, last_logged } => {
                let remind = now.duration_since(*last_logged) >= REMINDER_INTERVAL;
                remind.then(|| {
                    *last_logged = now;
                    Change::Still { since: now.duration_since(*since) }
                })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_turn_is_said_once() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut link = Link::new(start);
        assert_eq!(link.down(at(1)), None, "still connecting");
        assert_eq!(link.up(at(1)), Some(Change::First));
        assert_eq!(link.up(at(2)), None);
        assert_eq!(link.down(at(10)), Some(Change::Lost));
        assert_eq!(link.down(at(11)), None);
        assert_eq!(link.down(at(40)), Some(Change::Still { since: Duration::from_secs(30) }));
        assert_eq!(link.down(at(41)), None);
        assert_eq!(link.up(at(50)), Some(Change::Back { after: Duration::from_secs(40) }));
    }

    #[test]
    fn a_start_without_a_connection_is_said_too() {
        let start = Instant::now();
        let mut link = Link::new(start);
        assert_eq!(link.down(start + Duration::from_secs(3)), Some(Change::Lost));
    }
}
