//! Ports that stay free until their server takes them, and again while it is down.

use std::fs::File;
use std::net::{Ipv4Addr, TcpListener};

use anyhow::{Result, bail};

/// Below the range from which Linux takes the ports of outgoing connections (32768 and up): there a client that
/// knocks at a dead server's port can be given that very port, and connect to itself.
const FIRST: u16 = 20_000;
const LAST: u16 = 32_000;
/// Ports tried before giving up.
const TRIES_MAX: usize = 1_000;

/// A port on the loopback interface that no other user of this module gets while this value lives.
#[derive(Debug)]
pub struct Port {
    number: u16,
    _claim: Option<File>,
}

impl Port {
    /// Any free port.
    pub fn free() -> Result<Self> {
        let span = usize::from(LAST - FIRST);
        let start = usize::try_from(uuid::Uuid::new_v4().as_u128() % (span as u128)).unwrap_or_default();
        for step in 0..TRIES_MAX {
            let number = FIRST + u16::try_from((start + step) % span).unwrap_or_default();
            if let Some(claim) = claim(number)
                && is_free(number)
            {
                return Ok(Self { number, _claim: claim });
            }
        }
        bail!("no free port between {FIRST} and {LAST}")
    }

    /// This port, whoever may have it.
    pub fn fixed(number: u16) -> Self {
        Self { number, _claim: None }
    }

    pub fn number(&self) -> u16 {
        self.number
    }
}

/// Whether a server could listen there now.
pub fn is_free(number: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, number)).is_ok()
}

/// A locked file tells other processes. `None`: it is theirs. `Some(None)`: no file can be had here, so go by the port alone.
fn claim(number: u16) -> Option<Option<File>> {
    let directory = std::env::temp_dir().join(format!("orders-stack-ports-{}", nix::unistd::geteuid()));
    let file = std::fs::create_dir_all(&directory)
        .and_then(|()| File::options().create(true).append(true).open(directory.join(number.to_string())));
    match file {
        Ok(file) => file.try_lock().is_ok().then_some(Some(file)),
        Err(_) => Some(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claimed_port_is_not_given_twice() {
        let ports: Vec<Port> = (0..20).map(|_| Port::free().unwrap()).collect();
        let mut numbers: Vec<u16> = ports.iter().map(Port::number).collect();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), 20);
        assert!(claim(numbers[0]).is_none());
    }
}
