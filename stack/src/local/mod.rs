//! A whole stack: Postgres, Redis, Kafka and both services, on ports and in a directory of its own.

pub mod exec;
pub mod logs;
pub mod state;
pub mod status;
pub mod up;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

pub use self::state::{Home, Part, State};
use crate::servers::identity::{Identity, wait_gone, working_in};
use crate::servers::kafka::Distribution;
use crate::servers::port::{Port, is_free};
use crate::servers::process::Life;
use crate::servers::{Kafka, Postgres, Redis, Server, Service, ServiceSettings};

/// Programs that a stack's processes run, as the kernel names them.
const PROGRAMS: [&str; 5] = ["postgres", "redis-server", "java", "bonus", "orders"];

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
    pub postgres: Postgres,
    pub redis: Redis,
    pub kafka: Kafka,
    pub bonus: Service,
    pub orders: Service,
}

impl LocalStack {
    /// Starts nothing. What of it runs already is taken over, and the rest will come up on the ports it had.
    pub fn open(home: Home, kafka: Distribution, ports: Ports, life: Life) -> Result<Self> {
        let state = home.load();
        let alive = state.is_alive();
        let port = |part: Part| match state.parts.get(&part) {
            Some(entry) if alive => Ok(Port::fixed(entry.port)),
            _ if ports == Ports::Standard && is_free(part.standard_port()) => {
                Ok(Port::fixed(part.standard_port()))
            }
            _ => Port::free(),
        };
        let controller_port = if alive { Port::fixed(state.controller_port) } else { Port::free()? };
        let directory = home.directory.clone();
        let mut next = State { controller_port: controller_port.number(), ..State::default() };
        let stack = Self {
            postgres: Postgres::new(&directory, port(Part::Postgres)?, life)?,
            redis: Redis::new(&directory, port(Part::Redis)?, life)?,
            kafka: Kafka::new(&directory, kafka, port(Part::Kafka)?, controller_port, life)?,
            bonus: Service::new(&directory, ServiceSettings::bonus()?, port(Part::Bonus)?, life)?,
            orders: Service::new(&directory, ServiceSettings::orders()?, port(Part::Orders)?, life)?,
            state: Mutex::new(State::default()),
            home,
            ports,
        };
        for part in Part::ALL {
            let process =
                state.parts.get(&part).and_then(|entry| entry.process).filter(|process| process.is_alive());
            if let Some(process) = process {
                stack.server(part).attach(process);
            }
            next.parts.insert(part, state::Entry { port: stack.port(part), process });
        }
        *stack.state() = next;
        Ok(stack)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn server(&self, part: Part) -> &Server {
        match part {
            Part::Postgres => &self.postgres,
            Part::Redis => &self.redis,
            Part::Kafka => &self.kafka,
            Part::Bonus => &self.bonus,
            Part::Orders => &self.orders,
        }
    }

    pub fn port(&self, part: Part) -> u16 {
        match part {
            Part::Postgres => self.postgres.port(),
            Part::Redis => self.redis.port(),
            Part::Kafka => self.kafka.port(),
            Part::Bonus => self.bonus.port(),
            Part::Orders => self.orders.port(),
        }
    }

    /// Starts a part, or thaws it, waits until it is ready, and says how long that took.
    pub fn start(&self, part: Part) -> Result<Duration> {
        let begin = Instant::now();
        let server = self.server(part);
        if server.identity().is_some_and(Identity::is_frozen) {
            server.thaw()?;
        }
        if server.identity().is_none() {
            self.configure(part);
            server.launch()?;
            let mut state = self.state();
            // Before it is ready: whatever happens next, the process is on record.
            if let Some(entry) = state.parts.get_mut(&part) {
                entry.process = server.identity();
            }
            self.home.save(&state)?;
        }
        server.wait_ready().with_context(|| format!("{part} did not come up"))?;
        // The embedded stand-in for Kafka chooses its own port.
        let mut state = self.state();
        if let Some(entry) = state.parts.get_mut(&part).filter(|entry| entry.port != self.port(part)) {
            entry.port = self.port(part);
            self.home.save(&state)?;
        }
        Ok(begin.elapsed())
    }

    fn configure(&self, part: Part) {
        let service = match part {
            Part::Orders => &self.orders,
            Part::Bonus => &self.bonus,
            Part::Postgres | Part::Redis | Part::Kafka => return,
        };
        service.set("DATABASE_URL", self.postgres.url());
        service.set("KAFKA_BROKERS", self.kafka.brokers());
        service.set("REDIS_URL", self.redis.url());
        service.set("BONUS_URL", self.bonus.url());
        service.set("LOG_FORMAT", "pretty");
        // What the README lets people play with: crashing an actor from outside.
        service.set("ENABLE_FAULTS", "1");
        // The same member after every restart: it gets its partitions back at once.
        service.set("BONUS_INSTANCE_ID", "bonus-1");
    }
}

/// Stops all parts that the stack's state names, in the order of flow, and whatever else an earlier run left behind.
pub fn down(home: &Home, told: impl Fn(Part, &str)) -> Result<()> {
    let mut state = home.load();
    for part in [Part::Orders, Part::Bonus, Part::Kafka, Part::Redis, Part::Postgres] {
        let process =
            state.parts.get(&part).and_then(|entry| entry.process).filter(|process| process.is_alive());
        let Some(process) = process else { continue };
        told(part, stop(part, process));
    }
    kill_strays(home, &State::default());
    for entry in state.parts.values_mut() {
        entry.process = None;
    }
    if state.parts.is_empty() { Ok(()) } else { home.save(&state) }
}

fn stop(part: Part, process: Identity) -> &'static str {
    use nix::sys::signal::Signal;
    let (signal, patience) = match part {
        // Does not wait for clients to go.
        Part::Postgres => (Signal::SIGINT, Duration::from_secs(20)),
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
    let strays: Vec<Identity> = found.filter(|process| !known.contains(process)).collect();
    for stray in &strays {
        stray.kill_tree();
    }
    strays.len()
}
