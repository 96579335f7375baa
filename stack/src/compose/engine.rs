//! `docker compose`, as a person would type it: a project of its own, on ports of its own.

use std::os::unix::process::CommandExt;
use std::process::{Command, Output, Stdio};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;

use crate::place;
use crate::servers::port::Port;
use crate::servers::process::spawn_recorded;

pub(super) const SERVICES: [&str; 5] = ["postgres", "redis", "kafka", "orders", "bonus"];

/// The project that has to be removed if this process ends early.
static UNFINISHED: Mutex<Option<String>> = Mutex::new(None);

/// What answers, with its versions; why nothing does, otherwise.
pub(super) fn find() -> Result<String> {
    let told = |arguments: &[&str]| -> Result<String> {
        let output = docker(arguments).output().context("there is no program `docker`")?;
        let said = text(&output.stderr);
        ensure!(output.status.success(), "`docker {}`: {}", arguments.join(" "), said.trim());
        Ok(text(&output.stdout).trim().to_owned())
    };
    let engine = told(&["version", "--format", "{{.Server.Version}}"])?;
    let compose = told(&["compose", "version", "--short"])?;
    Ok(format!("Docker engine {engine}, compose {compose}"))
}

/// A container as the engine sees it.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Container {
    #[serde(rename = "State")]
    state: State,
    #[serde(rename = "RestartCount")]
    pub(super) restarts: u32,
    #[serde(rename = "Image")]
    pub(super) image: String,
}

#[derive(Debug, Clone, Deserialize)]
struct State {
    #[serde(rename = "Pid")]
    pid: u32,
    #[serde(rename = "Health")]
    health: Option<Health>,
}

#[derive(Debug, Clone, Deserialize)]
struct Health {
    #[serde(rename = "Status")]
    status: String,
}

impl Container {
    pub(super) fn health(&self) -> &str {
        self.state.health.as_ref().map_or("without a health check", |health| &health.status)
    }
}

pub(super) struct Project {
    pub(super) name: String,
    ports: Vec<(&'static str, Port)>,
}

impl Project {
    pub(super) fn new() -> Result<Self> {
        let name = format!("orders-test-{}", std::process::id());
        let published = SERVICES.into_iter().chain(["orders_admin", "bonus_admin"]);
        let ports = published.map(|name| Ok((name, Port::free()?))).collect::<Result<_>>()?;
        *UNFINISHED.lock().unwrap_or_else(PoisonError::into_inner) = Some(name.clone());
        Ok(Self { name, ports })
    }

    /// `127.0.0.1:port` of a service, or of its operators' side (`orders_admin`).
    pub(super) fn address(&self, published: &str) -> String {
        let port =
            self.ports.iter().find(|(name, _)| *name == published).map_or(0, |(_, port)| port.number());
        format!("127.0.0.1:{port}")
    }

    pub(super) fn output(&self, arguments: &[&str]) -> Result<Output> {
        let mut command = compose(&self.name);
        for (name, port) in &self.ports {
            command.env(format!("{}_PORT", name.to_uppercase()), port.number().to_string());
        }
        ended(command.args(arguments))
    }

    /// What it prints, standard output and error; an error if it fails.
    pub(super) fn run(&self, arguments: &[&str]) -> Result<String> {
        let output = self.output(arguments)?;
        let said = text(&output.stdout) + &text(&output.stderr);
        if !output.status.success() {
            bail!("`docker compose {}` failed ({}):\n{said}", arguments.join(" "), output.status);
        }
        Ok(said)
    }

    pub(super) fn container(&self, service: &str) -> Result<Container> {
        let id = self.run(&["ps", "--all", "--quiet", service])?;
        let id = id.lines().next().with_context(|| format!("there is no container of {service}"))?;
        let output = ended(&mut docker(&["inspect", id]))?;
        let containers: Vec<Container> = serde_json::from_slice(&output.stdout)?;
        containers.into_iter().next().with_context(|| format!("{service}: {}", text(&output.stderr)))
    }

    /// SIGKILL to a container's first process, as a crash would end it: after `docker kill` the engine restarts nothing, and
    /// inside the container the signal does not reach that process. So it comes from a container that sees all processes.
    pub(super) fn crash(&self, service: &str) -> Result<()> {
        let container = self.container(service)?;
        let kill = format!("kill -9 {}", container.state.pid);
        let arguments =
            ["run", "--rm", "--pid=host", "--user=0", "--entrypoint=bash", &container.image, "-c", &kill];
        let output = ended(&mut docker(&arguments))?;
        ensure!(output.status.success(), "`{kill}`: {}", text(&output.stderr));
        Ok(())
    }

    /// What is left of the project, by kind.
    pub(super) fn remains(&self) -> Result<String> {
        let label = format!("label=com.docker.compose.project={}", self.name);
        let mut remains = String::new();
        for kind in ["container", "volume", "network"] {
            let mut arguments = vec![kind, "ls", "--quiet", "--filter", &label];
            arguments.extend((kind == "container").then_some("--all"));
            let output = ended(&mut docker(&arguments))?;
            ensure!(output.status.success(), "docker {kind} ls: {}", text(&output.stderr));
            remains.extend(text(&output.stdout).lines().map(|name| format!("{kind} {name} ")));
        }
        Ok(remains)
    }
}

impl Drop for Project {
    fn drop(&mut self) {
        remove_remains();
    }
}

/// Removes the project's containers, volumes, networks and images, if there is one. What the builds have cached stays.
pub fn remove_remains() {
    let name = UNFINISHED.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(name) = name {
        let _ = compose(&name).args(["down", "--volumes", "--rmi", "local", "--timeout", "2"]).output();
    }
}

/// Runs a command to its end, or until this process ends.
fn ended(command: &mut Command) -> Result<Output> {
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    tokio::task::block_in_place(|| spawn_recorded(command)?.wait_with_output()).context("cannot run docker")
}

fn compose(project: &str) -> Command {
    let root = place::repository();
    let mut command = docker(&["compose", "--project-name", project, "--progress", "plain", "--file"]);
    command.arg(root.join("docker-compose.yml")).env_remove("COMPOSE_PROFILES").current_dir(root);
    command
}

/// In a group of its own: Ctrl-C at the terminal is for us, who then remove what there is.
fn docker(arguments: &[&str]) -> Command {
    let mut command = Command::new("docker");
    command.args(arguments).stdin(Stdio::null()).process_group(0);
    command
}

pub(super) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
