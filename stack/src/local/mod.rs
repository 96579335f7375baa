//! A whole stack: Postgres, Redis, Kafka unless Redis is the message queue, and both services, on ports and in a directory of its own.

#[cfg(feature = "kafka")]
mod brokers;
#[cfg(not(feature = "kafka"))]
#[path = "no_brokers.rs"]
mod brokers;
#[cfg(feature = "kafka")]
pub mod exec;
pub mod failover;
pub mod logs;
pub mod parts;
mod roles;
pub mod state;
pub mod status;
pub mod up;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use self::brokers::Brokers;
use self::parts::Database;
pub use self::parts::{Mq, Shape};
pub use self::state::{Home, Part, State};
use crate::servers::identity::{Identity, wait_gone, working_in};
use crate::servers::kafka::Distribution;
use crate::servers::port::{Port, is_free};
use crate::servers::process::Life;
use crate::servers::{Redis, Server, Service, ServiceSettings};

/// Programs that a stack's processes run, as the kernel names them.
const PROGRAMS: [&str; 6] = ["postgres", "redis-server", "java", "stack", "bonus", "orders"];

/// In the order of flow. A primary before its standby, which it gives its last words.
const DOWNWARDS: [Part; 9] = [
    Part::Orders,
    Part::Bonus,
    Part::Kafka3,
    Part::Kafka2,
    Part::Kafka,
    Part::Redis,
    Part::PostgresAddress,
    Part::Postgres,
    Part::Postgres2,
];

/// Which ports a stack takes when nothing of it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ports {
    /// The usual ones, or free ones where those are taken.
    Standard,
    Free,
}

pub struct LocalStack {
    pub home: Home,
    ports: Ports,
    state: Mutex<State>,
    pub shape: Shape,
    pub(crate) postgres: Database,
    pub redis: Redis,
    /// If it is the message queue.
    kafka: Option<Brokers>,
    pub bonus: Service,
    pub orders: Service,
}

impl LocalStack {
    /// Starts nothing. What of it runs already is taken over, and the rest will come up on the ports it had.
    /// `kafka`: what is to run as Kafka; see [`distribution`].
    pub fn open(
        home: Home,
        shape: Shape,
        kafka: Option<Distribution>,
        ports: Ports,
        life: Life,
    ) -> Result<Self> {
        let state = home.load();
        let alive = state.is_alive();
        let port = |part: Part| match state.parts.get(&part) {
            Some(entry) if alive => Ok(Port::fixed(entry.port)),
            _ => match part.standard_port(shape) {
                Some(number) if ports == Ports::Standard && is_free(number) => Ok(Port::fixed(number)),
                _ => Port::free(),
            },
        };
        let several = |parts: &[Part]| -> Result<Vec<Port>> {
            let there = shape.parts();
            parts.iter().filter(|part| there.contains(part)).map(|part| port(*part)).collect()
        };
        let brokers = several(&[Part::Kafka, Part::Kafka2, Part::Kafka3])?;
        let controllers = (0..brokers.len())
            .map(|place| match state.controller_ports.get(place) {
                Some(number) if alive => Ok(Port::fixed(*number)),
                _ => Port::free(),
            })
            .collect::<Result<Vec<_>>>()?;
        let directory = home.directory.clone();
        let controller_ports = controllers.iter().map(Port::number).collect();
        let mut next = State { controller_ports, shape, primary: state.primary, ..State::default() };
        let databases = several(&[Part::Postgres, Part::Postgres2, Part::PostgresAddress])?;
        let kafka =
            kafka.map(|kafka| Brokers::new(&directory, kafka, brokers, controllers, life)).transpose()?;
        let stack = Self {
            postgres: Database::new(&directory, shape, databases, state.primary, life)?,
            redis: Redis::new(&directory, port(Part::Redis)?, None, None, life)?,
            kafka,
            bonus: Service::new(&directory, ServiceSettings::bonus()?, port(Part::Bonus)?, life)?,
            orders: Service::new(&directory, ServiceSettings::orders()?, port(Part::Orders)?, life)?,
            state: Mutex::new(State::default()),
            home,
            shape,
            ports,
        };
        for part in shape.parts() {
            let process =
                state.parts.get(&part).and_then(|entry| entry.process).filter(|process| process.is_alive());
            if let Some(process) = process {
                stack.server(part)?.attach(process);
            }
            next.parts.insert(part, state::Entry { port: stack.port(part)?, process });
        }
        *stack.state() = next;
        Ok(stack)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn brokers(&self) -> Result<&Brokers> {
        self.kafka
            .as_ref()
            .with_context(|| format!("this stack has no Kafka: it was made with {}", self.shape))
    }

    pub fn server(&self, part: Part) -> Result<&Server> {
        Ok(match part {
            Part::Postgres => self.postgres.server(0),
            Part::Postgres2 => self.postgres.server(1),
            Part::PostgresAddress => self.postgres.address(),
            Part::Redis => &self.redis,
            Part::Kafka => self.brokers()?.node(0),
            Part::Kafka2 => self.brokers()?.node(1),
            Part::Kafka3 => self.brokers()?.node(2),
            Part::Bonus => &self.bonus,
            Part::Orders => &self.orders,
        })
    }

    /// What of it runs, in the order in which it is started.
    pub(crate) fn processes(&self) -> Vec<Identity> {
        let parts = self.shape.parts().into_iter();
        parts.filter_map(|part| self.server(part).ok()?.identity()).collect()
    }

    pub fn port(&self, part: Part) -> Result<u16> {
        Ok(match part {
            Part::Postgres => self.postgres.server(0).port(),
            Part::Postgres2 => self.postgres.server(1).port(),
            Part::PostgresAddress => self.postgres.port(),
            Part::Redis => self.redis.port(),
            Part::Kafka => self.brokers()?.port(0),
            Part::Kafka2 => self.brokers()?.port(1),
            Part::Kafka3 => self.brokers()?.port(2),
            Part::Bonus => self.bonus.port(),
            Part::Orders => self.orders.port(),
        })
    }

    /// Starts a part, or thaws it, waits until it is ready, and says how long that took.
    pub fn start(&self, part: Part) -> Result<Duration> {
        let begin = Instant::now();
        let server = self.server(part)?;
        if server.identity().is_some_and(Identity::is_frozen) {
            server.thaw()?;
        }
        if server.identity().is_none() {
            self.configure(part);
            if part == Part::PostgresAddress {
                self.postgres.lead()?;
            }
            server.launch()?;
            // Before it is ready: whatever happens next, the process is on record.
            self.record(part)?;
        }
        server.wait_ready().with_context(|| format!("{part} did not come up"))?;
        // The embedded stand-in for Kafka chooses its own port.
        let (port, mut state) = (self.port(part)?, self.state());
        if let Some(entry) = state.parts.get_mut(&part).filter(|entry| entry.port != port) {
            entry.port = port;
            self.home.save(&state)?;
        }
        Ok(begin.elapsed())
    }

    /// Which process a part is, and which Postgres is the primary.
    fn record(&self, part: Part) -> Result<()> {
        let mut state = self.state();
        if let Some(entry) = state.parts.get_mut(&part) {
            entry.process = self.server(part)?.identity();
        }
        state.primary = self.postgres.place_of_primary();
        self.home.save(&state)
    }

    fn configure(&self, part: Part) {
        let (service, prefix) = match part {
            Part::Orders => (&self.orders, "ORDERS"),
            Part::Bonus => (&self.bonus, "BONUS"),
            _ => return,
        };
        service.set("DATABASE_URL", roles::as_role(&self.postgres.url(), &format!("{part}_service")));
        let mq = self.shape.mq.name();
        service.set("ORDERS_MQ", mq);
        service.set("BONUS_MQ", mq);
        if let Some(kafka) = &self.kafka {
            for (variable, value) in kafka.settings(prefix) {
                service.set(&variable, value);
            }
        }
        service.set("REDIS_URL", self.redis.url());
        service.set("BONUS_URL", self.bonus.url());
        service.set("LOG_FORMAT", "pretty");
        // docs/try-it.md crashes an actor from outside.
        service.set("ENABLE_FAULTS", "1");
        // The same member after every restart: it gets its partitions back at once.
        service.set("BONUS_INSTANCE_ID", "bonus-1");
    }
}

/// What is to run as Kafka, unless Redis is the message queue; and why that is a stand-in, if it is one unasked.
pub(crate) fn distribution(mq: Mq) -> Result<(Option<Distribution>, Option<String>)> {
    match mq {
        Mq::Redis => Ok((None, None)),
        Mq::Kafka => {
            let (kafka, reason) = Distribution::choose()?;
            Ok((Some(kafka), reason))
        }
    }
}

/// The message queue, for wherever results are shown.
pub(crate) fn label(kafka: Option<&Distribution>) -> String {
    kafka.map_or_else(|| "Redis Streams".to_owned(), Distribution::label)
}

/// Stops all parts that the stack's state names, in the order of flow, and whatever else an earlier run left behind.
pub fn down(home: &Home, told: impl Fn(Part, &str)) -> Result<()> {
    let mut state = home.load();
    for part in DOWNWARDS {
        let process =
            state.parts.get(&part).and_then(|entry| entry.process).filter(|process| process.is_alive());
        let Some(process) = process else { continue };
        told(part, stop(part, process, state.shape));
    }
    kill_strays(home, &State::default());
    for entry in state.parts.values_mut() {
        entry.process = None;
    }
    if state.parts.is_empty() { Ok(()) } else { home.save(&state) }
}

fn stop(part: Part, process: Identity, shape: Shape) -> &'static str {
    use nix::sys::signal::Signal;
    let (signal, patience) = match part {
        // Does not wait for clients to go.
        Part::Postgres | Part::Postgres2 => (Signal::SIGINT, Duration::from_secs(20)),
        // The last of several brokers ask a majority of controllers for leave, which there is not any more.
        Part::Kafka | Part::Kafka2 | Part::Kafka3 if shape.brokers > 1 => {
            (Signal::SIGTERM, Duration::from_secs(5))
        }
        _ => (Signal::SIGTERM, Duration::from_secs(25)),
    };
    let tree = process.tree();
    process.signal(signal);
    process.thaw_tree();
    let stopped = wait_gone(&tree, patience);
    process.kill_tree();
    if stopped { "stopped" } else { "killed: it did not stop in time" }
}

/// Kills what works in the stack's directories and is not on record.
fn kill_strays(home: &Home, state: &State) -> usize {
    let known: Vec<Identity> =
        state.parts.values().filter_map(|entry| entry.process).flat_map(Identity::tree).collect();
    let directories = home.directories();
    let found = directories.iter().flat_map(|directory| working_in(directory, &PROGRAMS));
    let own = std::process::id();
    let is_own = |process: &Identity| u32::try_from(process.pid).is_ok_and(|pid| pid == own);
    let strays: Vec<Identity> =
        found.filter(|process| !known.contains(process) && !is_own(process)).collect();
    for stray in &strays {
        stray.kill_tree();
    }
    strays.len()
}
