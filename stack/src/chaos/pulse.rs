//! When commands were acknowledged and when not, over the whole run.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;

/// What is told apart. Shorter gaps are not seen.
const SLOT: Duration = Duration::from_millis(50);
const SLOTS_A_SECOND: usize = 20;

/// What clients met within one stretch of time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(super) struct Beat {
    pub(super) acknowledged: u32,
    /// Answers with status 503.
    pub(super) unavailable: u32,
    /// Other errors of the server.
    pub(super) failed: u32,
    /// No answer in time, or no connection.
    pub(super) unanswered: u32,
}

impl Beat {
    fn add(&mut self, other: &Self) {
        self.acknowledged += other.acknowledged;
        self.unavailable += other.unavailable;
        self.failed += other.failed;
        self.unanswered += other.unanswered;
    }
}

#[derive(Debug)]
pub(super) struct Pulse {
    begun: Instant,
    slots: Mutex<Vec<Beat>>,
}

impl Default for Pulse {
    fn default() -> Self {
        Self { begun: Instant::now(), slots: Mutex::new(Vec::new()) }
    }
}

impl Pulse {
    pub(super) fn beat(&self, change: impl Fn(&mut Beat)) {
        let slot = self.slot(Instant::now());
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        if slots.len() <= slot {
            slots.resize(slot + 1, Beat::default());
        }
        if let Some(beat) = slots.get_mut(slot) {
            change(beat);
        }
    }

    fn slot(&self, at: Instant) -> usize {
        let passed = at.saturating_duration_since(self.begun).as_millis() / SLOT.as_millis();
        usize::try_from(passed).unwrap_or(usize::MAX)
    }

    /// From `since` until now, slot by slot.
    fn window(&self, since: Instant) -> Vec<Beat> {
        let (first, last) = (self.slot(since), self.slot(Instant::now()));
        let slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        (first..last).map(|slot| slots.get(slot).copied().unwrap_or_default()).collect()
    }

    /// The longest time since `since` in which no client was acknowledged anything.
    pub(super) fn longest_gap(&self, since: Instant) -> Duration {
        longest_gap(&self.window(since))
    }

    /// Second by second since `since`.
    pub(super) fn by_second(&self, since: Instant) -> Vec<Beat> {
        by_second(&self.window(since))
    }
}

fn longest_gap(slots: &[Beat]) -> Duration {
    let longest = slots.split(|beat| beat.acknowledged > 0).map(<[Beat]>::len).max();
    SLOT * u32::try_from(longest.unwrap_or_default()).unwrap_or(u32::MAX)
}

fn by_second(slots: &[Beat]) -> Vec<Beat> {
    let second = |slots: &[Beat]| {
        slots.iter().fold(Beat::default(), |mut sum, beat| {
            sum.add(beat);
            sum
        })
    };
    slots.chunks(SLOTS_A_SECOND).map(second).collect()
}

/// Several windows, each second added to the same second of the others.
pub(super) fn together(windows: &[Vec<Beat>]) -> Vec<Beat> {
    let mut sum = vec![Beat::default(); windows.iter().map(Vec::len).max().unwrap_or_default()];
    for window in windows {
        sum.iter_mut().zip(window).for_each(|(sum, beat)| sum.add(beat));
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEAT: Beat = Beat { acknowledged: 1, unavailable: 0, failed: 0, unanswered: 0 };
    const REFUSAL: Beat = Beat { acknowledged: 0, unavailable: 2, failed: 0, unanswered: 0 };

    #[test]
    fn a_gap_is_the_longest_time_without_an_acknowledgement() {
        assert_eq!(longest_gap(&[BEAT, BEAT]), Duration::ZERO);
        assert_eq!(longest_gap(&[BEAT, REFUSAL, REFUSAL, BEAT, REFUSAL]), 2 * SLOT);
        assert_eq!(longest_gap(&[REFUSAL; 3]), 3 * SLOT);
    }

    #[test]
    fn seconds_are_added_up() {
        let mut slots = vec![BEAT; SLOTS_A_SECOND];
        slots.push(REFUSAL);
        let seconds = by_second(&slots);
        assert_eq!(seconds.iter().map(|beat| beat.acknowledged).collect::<Vec<_>>(), [20, 0]);
        let both = together(&[seconds.clone(), seconds[..1].to_vec()]);
        assert_eq!(
            both.iter().map(|beat| (beat.acknowledged, beat.unavailable)).collect::<Vec<_>>(),
            [(40, 0), (0, 2)]
        );
    }
}
