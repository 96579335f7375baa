//! When something is to be done again and again: a cron expression.

use std::fmt;
use std::str::FromStr;

use apalis_cron::{Schedule, Tick};
use chrono::Utc;

/// When to sweep: a cron expression with seconds.
#[derive(Debug, Clone)]
pub struct SweepSchedule(cron::Schedule);

impl FromStr for SweepSchedule {
    type Err = String;

    fn from_str(expression: &str) -> Result<Self, String> {
        let schedule = cron::Schedule::from_str(expression).map_err(|error| {
            format!("must be a cron expression with seconds, such as */10 * * * * *: {error}")
        })?;
        match schedule.upcoming(Utc).next() {
            Some(_) => Ok(Self(schedule)),
            None => Err("lies in the past and would never run".to_owned()),
        }
    }
}

impl fmt::Display for SweepSchedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

// apalis-cron implements it for `cron::Schedule` only together with a database of all time zones, of which none is needed here.
impl Schedule<apalis_cron::timezone::Utc> for SweepSchedule {
    fn next_tick(&mut self, _: &apalis_cron::timezone::Utc) -> Option<Tick> {
        let next = self.0.upcoming(Utc).next()?;
        u64::try_from(next.timestamp()).ok().map(Tick::new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schedule_has_seconds_and_a_future() {
        for good in ["*/10 * * * * *", "0 30 3 * * *", "@daily"] {
            assert!(good.parse::<SweepSchedule>().is_ok(), "{good}");
        }
        for (wrong, why) in [
            ("*/10 * * * *", "cron expression with seconds"),
            ("soon", "cron expression with seconds"),
            ("", "cron expression with seconds"),
            ("0 0 0 1 1 * 2020", "lies in the past"),
        ] {
            let refusal = wrong.parse::<SweepSchedule>().unwrap_err();
            assert!(refusal.contains(why), "{wrong}: {refusal}");
        }
    }

    #[test]
    fn ticks_come_in_order_and_lie_ahead() {
        let mut schedule: SweepSchedule = "*/10 * * * * *".parse().unwrap();
        let before = u64::try_from(Utc::now().timestamp()).unwrap();
        let tick = schedule.next_tick(&apalis_cron::timezone::Utc).unwrap().get_timestamp();
        assert!(tick > before && tick <= before + 11 && tick.is_multiple_of(10), "{tick} after {before}");
    }
}
