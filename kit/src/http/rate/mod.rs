//! How often a caller may ask: so many requests a second in the long run, and so many at once.
//!
//! | a request | is charged to |
//! |---|---|
//! | with a good token | the token's subject, wherever it comes from. A service takes tokens of one issuer, so the subject is enough |
//! | with a token that is refused, or with none where one is needed | the peer's address |
//! | for what everybody may use, or where nobody has to say who they are | the peer's address |
//! | of a probe: `/livez`, `/readyz` | nobody |
//!
//! So whoever tries tokens is bounded, and a good caller behind the same address is not refused. IPv6 addresses count by their first
//! 64 bits: a client has all the others. Behind a proxy the address is the proxy's.
//!
//! governor has the arithmetic (GCRA). A caller takes 16 bytes, in two tables with a bound ([`Buckets`]).

mod buckets;

use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use governor::clock::Clock;
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::{Quota, RateLimiter};
use metrics::counter;

use self::buckets::Buckets;
use super::problem::Problem;

/// What a caller may send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    pub per_second: NonZeroU32,
    pub burst: NonZeroU32,
}

/// What was set. `None`: the default.
#[derive(Debug, Clone, Copy)]
pub struct RateChoice {
    /// 0: no limit.
    pub per_second: Option<u32>,
    pub burst: Option<u32>,
    /// The counter of refused requests.
    pub metric: &'static str,
}

/// For callers that are known by their token. A person's page sends a few requests a second, and some dozens when it opens.
const PER_SECOND_DEFAULT: u32 = 100;

impl RateChoice {
    /// What it comes to; `None`: no limit. Without tokens everybody behind a proxy would be one caller, so there is none unless it is
    /// set.
    pub(super) fn rate(&self, tokens: bool) -> Option<Rate> {
        let default = if tokens { PER_SECOND_DEFAULT } else { 0 };
        let per_second = NonZeroU32::new(self.per_second.unwrap_or(default))?;
        let twice = per_second.saturating_mul(NonZeroU32::MIN.saturating_add(1));
        Some(Rate { per_second, burst: self.burst.and_then(NonZeroU32::new).unwrap_or(twice) })
    }
}

/// Who a request is charged to.
#[derive(Debug, Clone, Copy)]
pub(super) enum Payer<'a> {
    /// Whom a good token names.
    Subject(&'a str),
    /// `None`: the peer has none, as on a Unix socket.
    Address(Option<IpAddr>),
}

/// The limits of all callers.
pub(super) struct RateLimit<C: Clock<Instant = Nanos> = SinceStart> {
    rate: Rate,
    metric: &'static str,
    /// Keys are hashes. Nobody knows the seed, so nobody can choose to share another one's.
    seed: RandomState,
    /// Apart, so that no number of addresses takes the room of callers that are known.
    subjects: Limiter<C>,
    addresses: Limiter<C>,
}

type Limiter<C> = RateLimiter<u64, Buckets<C>, C, NoOpMiddleware<Nanos>>;

impl RateLimit {
    pub(super) fn new(rate: Rate, metric: &'static str) -> Self {
        Self::by(rate, metric, SinceStart(Instant::now()))
    }
}

impl<C: Clock<Instant = Nanos> + Clone> RateLimit<C> {
    fn by(rate: Rate, metric: &'static str, clock: C) -> Self {
        let quota = Quota::per_second(rate.per_second).allow_burst(rate.burst);
        let limiter = || RateLimiter::new(quota, Buckets::new(clock.clone()), clock.clone());
        Self { rate, metric, seed: RandomState::new(), subjects: limiter(), addresses: limiter() }
    }

    /// # Errors
    /// The answer, if it was one request too many.
    pub(super) fn charge(&self, payer: Payer<'_>) -> Result<(), Problem> {
        let (limiter, key, by) = match payer {
            Payer::Subject(subject) => (&self.subjects, self.seed.hash_one(subject), "caller"),
            Payer::Address(address) => (&self.addresses, self.seed.hash_one(network(address)), "address"),
        };
        limiter.check_key(&key).map_err(|until| {
            counter!(self.metric, "by" => by).increment(1);
            self.refusal(until.wait_time_from(limiter.clock().now()))
        })
    }

    fn refusal(&self, wait: Duration) -> Problem {
        let seconds = u16::try_from(wait.as_millis().div_ceil(1_000)).unwrap_or(u16::MAX).max(1);
        let Rate { per_second, burst } = self.rate;
        let detail = format!(
            "Nothing was done: a caller may send {per_second} request(s) a second, and {burst} at once. Send it again after {seconds} \
             second(s), and send fewer."
        );
        Problem::too_many_requests(detail, seconds)
    }
}

/// What counts as one client.
fn network(address: Option<IpAddr>) -> IpAddr {
    match address.unwrap_or(IpAddr::V6(Ipv6Addr::UNSPECIFIED)).to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        v4 @ IpAddr::V4(_) => v4,
    }
}

/// Nanoseconds since this moment.
#[derive(Debug, Clone)]
pub(super) struct SinceStart(Instant);

impl Clock for SinceStart {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        self.0.elapsed().into()
    }
}

#[cfg(test)]
mod tests {
    use actix_web::ResponseError;
    use actix_web::http::header::RETRY_AFTER;
    use governor::clock::FakeRelativeClock;

    use super::*;

    fn limit(per_second: u32, burst: u32) -> (RateLimit<FakeRelativeClock>, FakeRelativeClock) {
        let clock = FakeRelativeClock::default();
        let choice = RateChoice { per_second: Some(per_second), burst: Some(burst), metric: "limited" };
        (RateLimit::by(choice.rate(true).unwrap(), choice.metric, clock.clone()), clock)
    }

    fn address(text: &str) -> Payer<'static> {
        Payer::Address(Some(text.parse().unwrap()))
    }

    /// How many of so many requests are let in.
    fn let_in(limit: &RateLimit<FakeRelativeClock>, payer: Payer<'_>, requests: usize) -> usize {
        (0..requests).filter(|_| limit.charge(payer).is_ok()).count()
    }

    #[test]
    fn a_caller_may_send_a_burst_and_then_the_rate() {
        let (limit, clock) = limit(10, 25);
        let kim = Payer::Subject("kim");
        assert_eq!(let_in(&limit, kim, 100), 25);
        clock.advance(Duration::from_secs(1));
        assert_eq!(let_in(&limit, kim, 100), 10);
        clock.advance(Duration::from_secs(3_600));
        assert_eq!(let_in(&limit, kim, 100), 25, "no more than a burst is saved up");
    }

    #[test]
    fn nobody_pays_for_somebody_else() {
        let (limit, _) = limit(1, 1);
        for payer in
            [Payer::Subject("kim"), Payer::Subject("sam"), address("192.0.2.1"), address("192.0.2.2")]
        {
            assert_eq!(let_in(&limit, payer, 3), 1, "{payer:?}");
        }
        assert_eq!(let_in(&limit, Payer::Subject("192.0.2.3"), 1), 1);
        assert_eq!(let_in(&limit, address("192.0.2.3"), 1), 1, "a subject is no address");
    }

    #[test]
    fn an_address_is_a_network_that_one_client_has() {
        let one = |a: &str, b: &str| network(Some(a.parse().unwrap())) == network(Some(b.parse().unwrap()));
        assert!(one("2001:db8:1:2::1", "2001:db8:1:2:ffff::9"));
        assert!(!one("2001:db8:1:2::1", "2001:db8:1:3::1"));
        assert!(one("192.0.2.1", "::ffff:192.0.2.1"));
        assert!(!one("192.0.2.1", "192.0.2.2"));
        assert!(!one("::ffff:192.0.2.1", "::ffff:192.0.2.2"));
    }

    #[test]
    fn a_refusal_says_how_long_to_wait() {
        for (per_second, wait, seconds) in [(100, 0, "1"), (1, 0, "1"), (1, 5, "5")] {
            let (limit, _) = limit(per_second, 1);
            limit.charge(Payer::Subject("kim")).unwrap();
            let problem = match wait {
                0 => limit.charge(Payer::Subject("kim")).unwrap_err(),
                wait => limit.refusal(Duration::from_millis(wait * 1_000 - 1)),
            };
            assert_eq!(
                (problem.status, problem.kind.as_str()),
                (429, "urn:orders:problem:too-many-requests")
            );
            assert_eq!(problem.error_response().headers().get(RETRY_AFTER).unwrap(), seconds);
        }
    }

    #[test]
    fn without_a_choice_only_callers_that_are_known_are_limited() {
        let chosen = |per_second, burst, tokens| {
            let rate = RateChoice { per_second, burst, metric: "limited" }.rate(tokens);
            rate.map(|rate| (rate.per_second.get(), rate.burst.get()))
        };
        assert_eq!(chosen(None, None, true), Some((100, 200)));
        assert_eq!(chosen(None, None, false), None);
        assert_eq!(chosen(Some(7), None, false), Some((7, 14)));
        assert_eq!(chosen(Some(7), Some(3), true), Some((7, 3)));
        assert_eq!(chosen(Some(0), Some(3), true), None);
    }

    /// By as many addresses as anybody has.
    #[test]
    fn a_million_callers_take_no_more_room_than_the_bound() {
        let (limit, _) = limit(1, 2);
        for number in 0..1_000_000_u32 {
            let _ = limit.charge(Payer::Address(Some(IpAddr::V4(number.into()))));
        }
        let full = limit.addresses.into_state_store();
        assert!(full.len() <= buckets::KEYS_MAX && full.len() > buckets::KEYS_MAX / 2, "{}", full.len());
    }

    #[test]
    fn who_is_known_keeps_their_own_allowance_when_there_is_no_room() {
        let (limit, clock) = limit(1, 2);
        let sender = |number: u32| Payer::Address(Some(IpAddr::V4(number.into())));
        assert_eq!(let_in(&limit, address("192.0.2.1"), 3), 2);
        (0..1_000_000).for_each(|number| drop(limit.charge(sender(number))));
        assert_eq!(
            let_in(&limit, Payer::Subject("kim"), 3),
            2,
            "addresses take nothing of callers that are known"
        );
        let late = (1_000_000..1_001_000).filter(|number| limit.charge(sender(*number)).is_ok()).count();
        assert_eq!(late, 0, "who comes when there is no room shares what is left");
        clock.advance(Duration::from_secs(1));
        assert_eq!(let_in(&limit, address("192.0.2.1"), 3), 1);
        clock.advance(Duration::from_secs(2));
        let late = (1_001_000..1_002_000).filter(|number| limit.charge(sender(*number)).is_ok()).count();
        assert_eq!(late, 1_000, "whoever has been quiet is forgotten");
    }
}
