//! `stack postgres-failover`: the primary dies, its standby takes over, and the address stays.

use std::time::Instant;

use anyhow::Result;

use super::{Home, LocalStack, Part, Ports, distribution};
use crate::say;
use crate::servers::process::Life;

/// Kills the primary if it runs, promotes the standby, leads the address there, and makes a standby of the dead one.
pub fn postgres_failover(home: Home) -> Result<()> {
    let _lock = home.lock()?;
    let shape = home.load().shape;
    let stack = LocalStack::open(home, shape, distribution(shape.mq)?.0, Ports::Standard, Life::Left)?;
    let (pair, address) = stack.postgres.pair()?;
    let part = |place: usize| if place == 0 { Part::Postgres } else { Part::Postgres2 };
    let (dead, next) = (part(pair.place_of_primary()), part(1 - pair.place_of_primary()));
    let begun = Instant::now();
    pair.primary().kill()?;
    say::done(dead, "the primary: killed");
    let took = pair.promote()?;
    address.point_at(pair.primary().port())?;
    stack.record(next)?;
    say::done(next, format!("promoted in {}", say::seconds(took)));
    say::done(
        "address",
        format!(
            "127.0.0.1:{} leads to {next}, {} after the kill",
            address.port(),
            say::seconds(begun.elapsed())
        ),
    );
    let rejoined = pair.rejoin();
    stack.record(dead)?;
    say::done(dead, format!("its standby, which commits wait for, after {}", say::seconds(rejoined?)));
    Ok(())
}
