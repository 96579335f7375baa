//! `stack status`, and doing something to one part.

use std::time::Instant;

use anyhow::{Context, Result, bail};
use comfy_table::{Table, presets};

use super::{Home, LocalStack, Part, Ports, State, distribution};
use crate::say;
use crate::secured::{Callers, Secured};
use crate::servers::Condition;
use crate::servers::kafka::Distribution;
use crate::servers::process::Life;

/// What is done to a part from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    Kill,
    Start,
    Freeze,
    Thaw,
}

pub fn act(home: Home, part: Part, action: Action) -> Result<()> {
    let _lock = home.lock()?;
    let state = home.load();
    if state.parts.is_empty() {
        bail!("there is no stack `{}` yet; `make up` starts one", home.name);
    }
    if !state.parts.contains_key(&part) {
        bail!("this stack has no {part}: it was made with {}", state.shape);
    }
    let kafka = distribution(state.shape.mq)?.0;
    let embedded = kafka.as_ref().is_some_and(Distribution::is_embedded);
    if part == Part::Kafka && action == Action::Kill && embedded {
        bail!(
            "the embedded stand-in for Kafka could not come back with its port and data; use freeze and thaw instead"
        );
    }
    let stack = LocalStack::open(home, state.shape, kafka, Ports::Standard, Life::Left)?;
    let server = stack.server(part)?;
    let pid = server.identity().map(|process| process.pid);
    let was = server.condition();
    let begin = Instant::now();
    match action {
        Action::Kill => server.kill()?,
        Action::Start => drop(stack.start(part)?),
        Action::Freeze => server.freeze()?,
        Action::Thaw => server.thaw()?,
    }
    let took = say::seconds(begin.elapsed());
    let pid = pid.map_or_else(String::new, |pid| format!(" (pid {pid})"));
    say::done(
        part,
        match (action, was) {
            (Action::Kill, Condition::Down) => "was not running".to_owned(),
            (Action::Kill, _) => format!("killed{pid}: SIGKILL to the process and its children"),
            (Action::Start, Condition::Running) => format!("was running{pid}"),
            (Action::Start, Condition::Frozen) => format!("thawed{pid}, and answers"),
            (Action::Start, Condition::Down) => format!("ready on 127.0.0.1:{} in {took}", stack.port(part)?),
            (Action::Freeze, _) => format!("frozen{pid}: connections stay open, nothing answers"),
            (Action::Thaw, _) => format!("thawed{pid}"),
        },
    );
    Ok(())
}

pub fn status(home: &Home) -> Result<()> {
    let state = home.load();
    if state.parts.is_empty() {
        say::line(format!("There is no stack `{}`; `make up` starts one.", home.name));
        return Ok(());
    }
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_header(["part", "condition", "address", "pid", "log"]);
    for (part, entry) in &state.parts {
        let alive = entry.process.filter(|process| process.is_alive());
        let condition = match alive {
            None => "down",
            Some(process) if process.is_frozen() => "frozen",
            Some(_) => "running",
        };
        let role = match (part, state.shape.replicas, state.primary) {
            (Part::Postgres, 1.., 0) | (Part::Postgres2, 1.., 1) => ", primary",
            (Part::Postgres | Part::Postgres2, 1.., _) => ", standby",
            _ => "",
        };
        table.add_row([
            part.name().to_owned(),
            format!("{condition}{role}"),
            format!("127.0.0.1:{}", entry.port),
            alive.map_or_else(|| "-".to_owned(), |process| process.pid.to_string()),
            home.log(*part).display().to_string(),
        ]);
    }
    say::put(table);
    if let Some(entry) = state.parts.get(&Part::Orders)
        && entry.process.is_some_and(|process| process.is_alive() && !process.is_frozen())
    {
        match outbox(home, &state, entry.port) {
            Ok(outbox) => say::put(format_args!("\noutbox: {outbox}")),
            Err(error) => say::put(format_args!("\noutbox: {error:#}")),
        };
    }
    Ok(())
}

fn outbox(home: &Home, state: &State, port: u16) -> Result<String> {
    let (scheme, callers) = match state.shape.secure {
        false => ("http", Callers::default()),
        true => ("https", Secured::at(&home.directory)?.callers()?),
    };
    let port = state.operator_ports.first().copied().unwrap_or(port);
    let url = format!("{scheme}://127.0.0.1:{port}/api/outbox");
    crate::servers::ask(std::time::Duration::from_secs(2), async move {
        let request = callers.client().build()?.get(&url);
        let answer = callers.as_operator(request, "status")?.send().await?;
        answer.text().await.with_context(|| format!("{url} does not answer"))
    })
}
