//! Whose the processors' time is while something is measured. It tells what limits a figure.

use std::time::Duration;

use anyhow::{Context, Result};

use super::report::{Figure, Target};
use crate::servers::Server;
use crate::servers::identity::{Identity, processors};

/// A program, alone or with its children.
struct Part {
    name: &'static str,
    process: Identity,
    has_children: bool,
    /// Of each round, for each command.
    microseconds: Vec<f64>,
}

impl Part {
    fn used(&self) -> Duration {
        match self.has_children {
            true => self.process.tree().into_iter().map(Identity::processor_time).sum(),
            false => self.process.processor_time(),
        }
    }
}

pub(super) struct Processors {
    parts: Vec<Part>,
    /// Of each round, of all cores.
    busy_percent: Vec<f64>,
}

impl Processors {
    /// Of this process, which makes the load, with programs it waited for; and of servers.
    pub(super) fn of(servers: &[(&'static str, &Server)]) -> Result<Self> {
        let me =
            Identity::of(i32::try_from(std::process::id())?).context("/proc does not list this process")?;
        let part =
            |name, process, has_children| Part { name, process, has_children, microseconds: Vec::new() };
        let mut parts = Vec::new();
        for (name, server) in servers {
            parts.push(part(*name, server.identity().with_context(|| format!("{name} has ended"))?, true));
        }
        parts.push(part("the generator", me, false));
        Ok(Self { parts, busy_percent: Vec::new() })
    }

    /// One round: does `work`, which says how many commands it made.
    pub(super) async fn watch<T>(
        &mut self,
        work: impl Future<Output = Result<T>>,
        commands: impl Fn(&T) -> f64,
    ) -> Result<T> {
        let before: Vec<Duration> = self.parts.iter().map(Part::used).collect();
        let (busy, there) = processors();
        let done = work.await?;
        let (busy_after, there_after) = processors();
        self.busy_percent.push((busy_after - busy).div_duration_f64(there_after - there) * 100.0);
        for (part, before) in self.parts.iter_mut().zip(before) {
            let used = part.used().saturating_sub(before);
            part.microseconds.push(used.as_secs_f64() * 1e6 / commands(&done));
        }
        Ok(done)
    }

    /// All rounds: each part's time, beside the same part of a reference.
    pub(super) fn figures(&self, row: u8, what: &str, against: Option<(&str, &Self)>) -> Vec<Figure> {
        let of_reference = |name: &str| {
            let (against, reference) = against?;
            let part = reference.parts.iter().find(|part| part.name == name)?;
            Some((against, part.microseconds.as_slice()))
        };
        let part = |part: &Part| {
            let name = format!("processor time of {what}: {}", part.name);
            let reference = of_reference(part.name).unwrap_or(("", &[]));
            Figure::of(row, name, "µs", &part.microseconds, reference, Target::Shown)
        };
        let reference = against.map_or(("", [].as_slice()), |(name, of)| (name, of.busy_percent.as_slice()));
        let busy = format!("cores busy with {what}");
        let busy = Figure::of(row, busy, "%", &self.busy_percent, reference, Target::Shown);
        self.parts.iter().map(part).chain([busy]).collect()
    }
}
