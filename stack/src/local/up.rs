//! `stack up`: everything started and ready, and what one can do with it.

use anyhow::{Result, anyhow, bail};

use super::{Home, LocalStack, Mq, Part, Ports, Shape, State, distribution, kill_strays, label};
use crate::place;
use crate::say;
use crate::secured::{CUSTOMER, Secured};
use crate::servers::identity::Identity;
use crate::servers::process::Life;

/// Starts what does not run, and says so part by part.
pub fn up(home: Home) -> Result<()> {
    let _lock = home.lock()?;
    let shape = shape(&home.load())?;
    let (kafka, reason) = distribution(shape.mq)?;
    if let Some(reason) = reason {
        say::note(format!("Apache Kafka cannot be had here: {reason}"));
    }
    let label = label(kafka.as_ref());
    let strays = kill_strays(&home, &home.load());
    if strays > 0 {
        say::note(format!("killed {strays} processes that an earlier run had left behind"));
    }
    let stack = LocalStack::open(home, shape, kafka, Ports::Standard, Life::Left)?;
    let before: Vec<Identity> = stack.processes();
    say::title("Starting the stack");
    let started = start_all(&stack, &label, &before);
    if let Err(error) = started {
        for process in stack.processes().iter().rev().filter(|process| !before.contains(process)) {
            process.kill_tree();
        }
        return Err(
            error.context("the stack did not come up; what this command had started is stopped again")
        );
    }
    print_addresses(&stack);
    Ok(())
}

/// As it was made, or, if there is nothing yet, as it is wanted.
fn shape(state: &State) -> Result<Shape> {
    let wanted = Shape::wanted()?;
    match wanted {
        Some(wanted) if !state.parts.is_empty() && wanted != state.shape => {
            bail!("this stack was made with {}; `make wipe` removes it and its data", state.shape)
        }
        _ if !state.parts.is_empty() => Ok(state.shape),
        wanted => Ok(wanted.unwrap_or_default()),
    }
}

/// The servers at once, then the services.
/// `mq`: the message queue's label.
pub(crate) fn start_all(stack: &LocalStack, mq: &str, before: &[Identity]) -> Result<()> {
    let start = |part: Part| {
        let took = stack.start(part)?;
        let running = stack.server(part)?.identity().is_some_and(|process| before.contains(&process));
        let how = if running { "was running".to_owned() } else { format!("ready in {}", say::seconds(took)) };
        let port = stack.port(part)?;
        let address = format!("127.0.0.1:{port}");
        let moved = stack.ports == Ports::Standard
            && part.standard_port(stack.shape).is_some_and(|standard| standard != port);
        let moved = if moved { "  (the usual port is taken)" } else { "" };
        let detail = if part == stack.shape.mq.part() { format!("  {mq}") } else { String::new() };
        say::done(part, format!("{address:<16} {how}{detail}{moved}"));
        anyhow::Ok(())
    };
    for stage in stack.shape.stages() {
        if stage.contains(&Part::Orders) {
            stack.postgres.replicate()?;
            super::roles::prepare(stack.postgres.server(stack.postgres.place_of_primary()))?;
        }
        std::thread::scope(|scope| {
            let starting: Vec<_> = stage.iter().map(|part| scope.spawn(|| start(*part))).collect();
            let started: Vec<Result<()>> = starting
                .into_iter()
                .map(|thread| thread.join().unwrap_or_else(|_| Err(anyhow!("starting panicked"))))
                .collect();
            started.into_iter().collect::<Result<()>>()
        })?;
    }
    Ok(())
}

/// What a caller needs beyond an address.
fn print_access(stack: &LocalStack, secured: &Secured) {
    let admin = secured.token("admin");
    say::title("Every link is encrypted, and callers need a token");
    for (what, value) in [
        ("customers' address", stack.orders.url()),
        ("  of the bonus service", stack.bonus.url()),
        ("the authority's certificate", secured.authority().display().to_string()),
        ("a token that may do all", admin.display().to_string()),
        ("  of an operator", secured.token("operator").display().to_string()),
        ("  of a customer", format!("{}   {CUSTOMER}", secured.token("customer").display())),
        ("for example", {
            let (authority, url) = (secured.authority(), stack.orders.operators_url());
            let token = format!("-H \"Authorization: Bearer $(cat {})\"", admin.display());
            format!("curl --cacert {} {token} {url}/api/outbox", authority.display())
        }),
    ] {
        say::line(format!("{what:<28} {value}"));
    }
}

pub(crate) fn print_addresses(stack: &LocalStack) {
    let (orders, bonus) = (stack.orders.operators_url(), stack.bonus.operators_url());
    let mq = match stack.brokers() {
        Ok(kafka) => ("Kafka", kafka.brokers()),
        Err(_) => ("  the streams", format!("{} XLEN orders.events:0", stack.redis_cli())),
    };
    say::title("The stack is up");
    for (what, address) in [
        ("control room", format!("{orders}/dashboard")),
        ("order service, Swagger UI", format!("{orders}/")),
        ("  what awaits publication", format!("{orders}/api/outbox")),
        ("  the supervision tree", format!("{orders}/api/actors")),
        ("  metrics", format!("{orders}/metrics and {bonus}/metrics")),
        ("bonus service, Swagger UI", format!("{bonus}/")),
        ("Postgres", format!("psql {}", stack.postgres.url())),
        ("Redis", stack.redis_cli()),
        mq,
        ("logs", stack.home.directory.join("logs").display().to_string()),
        ("runbook", place::repository().join("docs/operations.md").display().to_string()),
    ] {
        say::line(format!("{what:<28} {address}"));
    }
    if let Some(secured) = &stack.secured {
        print_access(stack, secured);
    }
    // Other stacks than the usual one are addressed by name.
    let suffix = if stack.home.name == "up" { String::new() } else { format!(" STACK={}", stack.home.name) };
    say::title("To play with it");
    let queue = match stack.shape.mq {
        Mq::Kafka => [
            ("make kafka-down", "kill Kafka; then command orders through Swagger"),
            ("make kafka-up", "start Kafka again; the outbox drains"),
            (
                "make kafka-freeze",
                "or only freeze it (kafka-thaw); the same for redis, postgres, orders, bonus",
            ),
        ],
        Mq::Redis => [
            ("make redis-down", "kill Redis; then command orders through Swagger"),
            ("make redis-up", "start Redis again; the outbox drains"),
            ("make redis-freeze", "or only freeze it (redis-thaw); the same for postgres, orders, bonus"),
        ],
    };
    let others = [
        ("make postgres-failover", "with REPLICAS=1: the primary dies, its standby takes over"),
        ("make status", "what runs where"),
        ("make logs", "what everything says, as it says it"),
        ("make down", "stop everything; the data stay for the next `make up`"),
    ];
    for (target, what) in queue.into_iter().chain(others) {
        say::line(format!("{:<36} {what}", format!("{target}{suffix}")));
    }
}
