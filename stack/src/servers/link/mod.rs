//! A stretch of network between a service and a server: a TCP relay that can be cut, slowed down, or led elsewhere.
//!
//! | | connections there are | new connections |
//! |---|---|---|
//! | [`Link::set`] | stalled, unanswered, cut | the same |
//! | [`Link::abandon`] | silent for ever: no byte, no FIN, no RST, on both sides | pass |
//! | [`Link::redirect`] | stay with their server | reach the other one |
//! | [`Link::throttle`] | share the bandwidth, and come later | the same |
//!
//! A failover by address is `link.redirect(standby.port()); link.abandon();`.

mod relay;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use self::relay::{Road, accept};
use super::port::Port;

/// What a link lets through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Passage {
    Open,
    /// Nothing passes and nobody is told, as when packets are lost; what was on its way arrives when it is open again.
    Stalled,
    /// What clients say passes; the answers are held back, as in `Stalled`.
    Unanswered,
    /// Connections are reset, and new ones with them.
    Cut,
}

/// How fast a link is. The default is as fast as it can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Throttle {
    /// Of all connections together, in each direction.
    pub bytes_per_second: Option<u32>,
    /// What each byte takes in addition, in each direction: half of what is added to a round trip.
    pub delay: Duration,
}

/// What holds for a link at this moment.
#[derive(Debug, Clone, Copy)]
struct Terms {
    passage: Passage,
    throttle: Throttle,
    /// The port that new connections are led to.
    server: u16,
    /// How often it was cut, and how often its connections were abandoned: each concerns the connections made before.
    cuts: u64,
    abandonments: u64,
    /// The link has ended, and with it whatever is silent.
    closed: bool,
}

/// Relays connections to a server on the loopback interface. Ends with this value.
#[derive(Debug)]
pub struct Link {
    port: Port,
    terms: Arc<watch::Sender<Terms>>,
    accepting: JoinHandle<()>,
}

impl Link {
    /// On `port`, to whoever listens on `server` when a connection comes. Needs a tokio runtime.
    pub async fn open(port: Port, server: u16) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", port.number())).await?;
        let terms = Arc::new(watch::Sender::new(Terms {
            passage: Passage::Open,
            throttle: Throttle::default(),
            server,
            cuts: 0,
            abandonments: 0,
            closed: false,
        }));
        let accepting = tokio::spawn(accept(listener, Arc::clone(&terms), Arc::new(Road::default())));
        Ok(Self { port, terms, accepting })
    }

    pub fn port(&self) -> u16 {
        self.port.number()
    }

    pub fn set(&self, passage: Passage) {
        self.terms.send_modify(|terms| {
            terms.passage = passage;
            terms.cuts += u64::from(passage == Passage::Cut);
        });
    }

    /// The connections there are go silent for ever: nothing passes in either direction, their sockets stay open on both sides, and
    /// nobody is told, even if one side closes. New connections pass. This is what a failover by address looks like to a client.
    pub fn abandon(&self) {
        self.terms.send_modify(|terms| terms.abandonments += 1);
    }

    /// Leads new connections to another server. Those that there are stay where they are.
    pub fn redirect(&self, server: u16) {
        self.terms.send_modify(|terms| terms.server = server);
    }

    /// Holds for all connections from now on, until it is told otherwise.
    pub fn throttle(&self, throttle: Throttle) {
        self.terms.send_modify(|terms| terms.throttle = throttle);
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.accepting.abort();
        self.terms.send_modify(|terms| terms.closed = true);
    }
}
