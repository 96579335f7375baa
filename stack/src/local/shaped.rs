//! What the shape of a stack makes of its parts.

use std::path::Path;

use anyhow::Result;

use super::{Mq, Part, Ports, Shape, State};
use crate::secured::Secured;
use crate::servers::port::{Port, is_free};
use crate::servers::process::Life;
use crate::servers::{Redis, ServiceSettings};

/// Where operators of the order service and of the bonus service expect to be served.
const OPERATORS: [u16; 2] = [3002, 3004];

/// Where operators are served apart, if the stack is secured.
pub(super) fn operators(state: &State, alive: bool, shape: Shape, ports: Ports) -> Result<[Option<Port>; 2]> {
    if !shape.secure {
        return Ok([None, None]);
    }
    let port = |place: usize, standard: u16| {
        anyhow::Ok(Some(match state.operator_ports.get(place) {
            Some(number) if alive => Port::fixed(*number),
            _ if ports == Ports::Standard && is_free(standard) => Port::fixed(standard),
            _ => Port::free()?,
        }))
    };
    let [orders, bonus] = OPERATORS;
    Ok([port(0, orders)?, port(1, bonus)?])
}

pub(super) fn service_settings(part: Part, secured: &Option<Secured>) -> Result<ServiceSettings> {
    let (settings, prefix) = match part {
        Part::Bonus => (ServiceSettings::bonus()?, "BONUS"),
        _ => (ServiceSettings::orders()?, "ORDERS"),
    };
    Ok(match secured {
        None => settings,
        Some(secured) => secured.service(settings, prefix),
    })
}

pub(super) fn redis(
    directory: &Path,
    mq: Mq,
    secured: &Option<Secured>,
    port: Port,
    life: Life,
) -> Result<Redis> {
    if mq == Mq::Redis {
        Redis::require_streams()?;
    }
    let (encryption, user) = secured.as_ref().map(Secured::redis).transpose()?.unzip();
    Redis::new(directory, port, encryption, user, life)
}
