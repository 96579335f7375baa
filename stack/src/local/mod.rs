//! A whole stack: Postgres, Redis, Kafka unless Redis is the message queue, and both services, on ports and in a directory of its own.

#[cfg(feature = "kafka")]
mod brokers;
#[cfg(not(feature = "kafka"))]
#[path = "no_brokers.rs"]
mod brokers;
mod ending;
#[cfg(feature = "kafka")]
pub mod exec;
pub mod failover;
pub mod logs;
pub mod parts;
pub(crate) mod roles;
mod shaped;
pub mod state;
pub mod status;
pub mod up;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use self::brokers::Brokers;
pub use self::ending::down;
pub(crate) use self::ending::kill_strays;
use self::parts::Database;
pub use self::parts::{Mq, Shape};
use self::shaped::{operators, redis, service_settings};
pub use self::state::{Home, Part, State};
use crate::secured::{Callers, Secured, redis_cli};
use crate::servers::identity::Identity;
use crate::servers::kafka::Distribution;
use crate::servers::port::{Port, is_free};
use crate::servers::process::Life;
use crate::servers::{Redis, Server, Service};

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
    /// If it was made with `SECURE=1`.
    pub(crate) secured: Option<Secured>,
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
        let secured = shape.secure.then(|| Secured::at(&directory)).transpose()?;
        let [orders_operators, bonus_operators] = operators(&state, alive, shape, ports)?;
        let operator_ports = [&orders_operators, &bonus_operators].into_iter().flatten().map(Port::number);
        let mut next = State {
            controller_ports: controllers.iter().map(Port::number).collect(),
            operator_ports: operator_ports.collect(),
            shape,
            primary: state.primary,
            ..State::default()
        };
        let databases = several(&[Part::Postgres, Part::Postgres2, Part::PostgresAddress])?;
        let kafka = kafka
            .map(|kafka| Brokers::new(&directory, kafka, secured.as_ref(), brokers, controllers, life))
            .transpose()?;
        let encryption = secured.as_ref().map(Secured::postgres);
        let (bonus, orders) =
            (service_settings(Part::Bonus, &secured)?, service_settings(Part::Orders, &secured)?);
        let stack = Self {
            postgres: Database::new(&directory, shape, databases, state.primary, encryption, life)?,
            redis: redis(&directory, shape.mq, &secured, port(Part::Redis)?, life)?,
            kafka,
            bonus: Service::new(&directory, bonus, port(Part::Bonus)?, bonus_operators, life)?,
            orders: Service::new(&directory, orders, port(Part::Orders)?, orders_operators, life)?,
            secured,
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

    /// What lets clients in to the services.
    pub(crate) fn callers(&self) -> Result<Callers> {
        Callers::of(self.secured.as_ref())
    }

    /// How an operator commands Redis.
    pub(crate) fn redis_cli(&self) -> String {
        redis_cli(&self.redis, self.secured.as_ref())
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
        for (variable, value) in self.redis.variables(prefix) {
            service.set(&variable, value);
        }
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
