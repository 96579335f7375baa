//! What a run is made of.

use std::time::Duration;

use anyhow::Result;

use super::plan::Stage;
use crate::local::Mq;
use crate::local::parts::secure_wanted;
use crate::say;
use crate::servers::SmallDisk;

#[derive(Debug, Clone, Copy, clap::Args)]
// The command has the same name, and groups must differ: a debug build insists on it.
#[group(skip)]
pub struct Chaos {
    /// Which storms and which clients; by default another one each time.
    #[arg(long, env = "SEED", value_parser = parse_seed, default_value = "")]
    pub seed: Seed,
    /// Seconds of load; the storm that has begun then is the last one.
    #[arg(long, env = "DURATION", default_value_t = 120)]
    pub duration: u64,
    /// Faults at a time, 1 to 6.
    #[arg(long, env = "INTENSITY", default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=6))]
    pub intensity: u8,
    /// Clients at a time.
    #[arg(long, env = "CLIENTS", default_value_t = 24)]
    pub clients: u64,
    /// Longest pause of a client between two commands, in milliseconds; by default 40, or 200 with failovers, which are for long runs.
    #[arg(long, env = "PAUSE")]
    pub pause: Option<u64>,
    /// A standby of Postgres, three brokers if Kafka is the message queue, and what befalls such.
    #[arg(long, env = "FAILOVERS", value_parser = clap::builder::FalseyValueParser::new(), num_args = 0..=1,
          default_missing_value = "1", default_value = "0", require_equals = true)]
    pub failovers: bool,
}

impl Chaos {
    pub(super) fn stage(self) -> Result<Stage> {
        let mq = Mq::wanted()?.unwrap_or_default();
        let secure = secure_wanted()?.unwrap_or_default();
        let brokers = match (mq, self.failovers) {
            (Mq::Redis, _) => 0,
            (Mq::Kafka, false) => 1,
            (Mq::Kafka, true) => 3,
        };
        if !self.failovers {
            return Ok(Stage { mq, brokers, failovers: false, small_disk: false, secure });
        }
        let unavailable = SmallDisk::unavailable();
        if let Some(reason) = unavailable {
            say::note(format_args!("no disk is filled: {reason}"));
        }
        Ok(Stage { mq, brokers, failovers: true, small_disk: unavailable.is_none(), secure })
    }

    pub(super) fn pause(self) -> Duration {
        Duration::from_millis(self.pause.unwrap_or(if self.failovers { 200 } else { 40 }))
    }
}

#[derive(Debug, Clone, Copy)]
pub struct Seed(pub u64);

fn parse_seed(text: &str) -> Result<Seed, std::num::ParseIntError> {
    if text.is_empty() {
        return Ok(Seed(rand::random::<u32>().into()));
    }
    text.parse().map(Seed)
}
