//! PURE: how long to wait before attempt n. Exponential back-off that never gives up.

use std::time::Duration;

/// Exponential back-off with equal jitter.
///
/// `ceiling(n) = min(cap, base * 2^(n-1))`, n counting from 1, and `delay(n)` is uniform in `ceiling(n)/2 ..= ceiling(n)`.
/// Half of it is fixed, so that no attempt comes at once. Half is random, so that several deployments that lost the same broker do
/// not retry at the same time. The bounds never fall as n grows, and there is no last n.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// The ceiling of the first delay.
    pub base: Duration,
    /// No delay is longer.
    pub cap: Duration,
}

impl Backoff {
    /// The longest `delay(attempt)` can be. Attempt 0 counts as 1.
    pub fn ceiling(&self, attempt: u32) -> Duration {
        let factor = 1_u32.checked_shl(attempt.max(1) - 1).unwrap_or(u32::MAX);
        self.base.saturating_mul(factor).min(self.cap)
    }

    /// Random between half the ceiling and the ceiling.
    pub fn delay(&self, attempt: u32, rng: &mut impl rand::Rng) -> Duration {
        let ceiling = self.ceiling(attempt);
        rng.random_range(ceiling / 2..=ceiling)
    }
}

/// The pauses of a loop that retries: the ceilings of a [`Backoff`], one after the other, without jitter.
#[derive(Debug, Clone)]
pub struct Pauses {
    backoff: Backoff,
    attempt: u32,
}

impl Pauses {
    /// The first pause is `base`; none is longer than `cap`.
    pub const fn new(base: Duration, cap: Duration) -> Self {
        Self { backoff: Backoff { base, cap }, attempt: 0 }
    }

    /// How long to wait now; twice as long the next time, up to the cap.
    pub fn pause(&mut self) -> Duration {
        self.attempt = self.attempt.saturating_add(1);
        self.backoff.ceiling(self.attempt)
    }

    /// After a success: the next pause is the first again.
    pub fn reset(&mut self) {
        self.attempt = 0;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;

    const DEFAULT: Backoff = Backoff { base: Duration::from_secs(1), cap: Duration::from_secs(30) };

    #[test]
    fn the_ceilings_of_the_default_policy() {
        let seconds: Vec<u64> = (0..=8).map(|attempt| DEFAULT.ceiling(attempt).as_secs()).collect();
        assert_eq!(seconds, [1, 1, 2, 4, 8, 16, 30, 30, 30]);
        assert_eq!(DEFAULT.ceiling(u32::MAX), DEFAULT.cap);
    }

    #[test]
    fn jitter_uses_the_whole_range() {
        let mut rng = StdRng::seed_from_u64(7);
        let delays: Vec<Duration> = (0..2_000).map(|_| DEFAULT.delay(3, &mut rng)).collect();
        let (least, most) = (delays.iter().min(), delays.iter().max());
        assert!(least.is_some_and(|least| *least < Duration::from_millis(2_050)), "{least:?}");
        assert!(most.is_some_and(|most| *most > Duration::from_millis(3_950)), "{most:?}");
    }

    #[test]
    fn pauses_double_up_to_the_cap_and_start_again_when_reset() {
        let mut pauses = Pauses::new(Duration::from_millis(100), Duration::from_millis(350));
        let taken: Vec<u128> = (0..4).map(|_| pauses.pause().as_millis()).collect();
        assert_eq!(taken, [100, 200, 350, 350]);
        pauses.reset();
        assert_eq!(pauses.pause().as_millis(), 100);
    }

    fn any_attempt() -> impl Strategy<Value = u32> {
        prop_oneof![0_u32..40, any::<u32>(), Just(u32::MAX)]
    }

    proptest! {
        #[test]
        fn a_delay_is_within_its_bounds(
            base_ms in 0_u64..=u64::MAX / 2, cap_ms in 0_u64..=u64::MAX / 2, attempt in any_attempt(), seed: u64,
        ) {
            let policy = Backoff { base: Duration::from_millis(base_ms), cap: Duration::from_millis(cap_ms) };
            let delay = policy.delay(attempt, &mut StdRng::seed_from_u64(seed));
            prop_assert!(delay <= policy.cap);
            prop_assert!(delay <= policy.ceiling(attempt));
            prop_assert!(delay >= policy.ceiling(attempt) / 2);
            prop_assert!(policy.ceiling(attempt) >= policy.base.min(policy.cap));
        }

        #[test]
        fn the_envelope_never_falls(base_ms in 0_u64..100_000, cap_ms in 0_u64..1_000_000, attempt in any_attempt()) {
            let policy = Backoff { base: Duration::from_millis(base_ms), cap: Duration::from_millis(cap_ms) };
            prop_assert!(policy.ceiling(attempt) <= policy.ceiling(attempt.saturating_add(1)));
        }

        #[test]
        fn doubles_until_the_cap(base_ms in 1_u64..10_000, attempt in 1_u32..30) {
            let policy = Backoff { base: Duration::from_millis(base_ms), cap: Duration::MAX };
            prop_assert_eq!(policy.ceiling(attempt) * 2, policy.ceiling(attempt + 1));
        }
    }
}
