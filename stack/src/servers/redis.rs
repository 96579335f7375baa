//! Redis with its append-only file on.

use std::fs;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::port::Port;
use super::process::{Launch, Life};
use super::server::{Recipe, Server};
use crate::place;

const ANSWER_PATIENCE: Duration = Duration::from_secs(1);

pub struct Redis {
    server: Server,
    port: u16,
}

impl Redis {
    /// On a free port, with its data in `directory/redis`; waits until it answers. Ends with this value.
    pub fn start(directory: &Path) -> Result<Self> {
        let redis = Self::new(directory, Port::free()?, Life::Owned)?;
        redis.start_again()?;
        Ok(redis)
    }

    pub(crate) fn new(directory: &Path, port: Port, life: Life) -> Result<Self> {
        let program = place::on_path("redis-server")
            .context("redis-server is not installed (Debian: the package redis-server); `make deps` helps")?;
        let (log, number) = (directory.join("logs/redis.log"), port.number());
        let recipe = RedisRecipe { program, data: directory.join("redis"), log: log.clone(), port };
        Ok(Self { server: Server::new(recipe, life, log), port: number })
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }
}

impl Deref for Redis {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}

struct RedisRecipe {
    program: PathBuf,
    data: PathBuf,
    log: PathBuf,
    port: Port,
}

impl Recipe for RedisRecipe {
    fn name(&self) -> &str {
        "redis"
    }

    fn prepare(&self) -> Result<()> {
        Ok(fs::create_dir_all(&self.data)?)
    }

    fn launch(&self) -> Result<Launch> {
        let port = self.port.number().to_string();
        // `always`: what it has acknowledged is there after a kill. At a few writes per outage that costs nothing.
        let arguments = [
            "--bind",
            "127.0.0.1",
            "--port",
            &port,
            "--appendonly",
            "yes",
            "--appendfsync",
            "always",
            "--save",
            "",
        ];
        Ok(Launch {
            program: self.program.clone(),
            arguments: arguments.map(str::to_owned).to_vec(),
            environment: Vec::new(),
            directory: self.data.clone(),
            log: self.log.clone(),
            user: None,
        })
    }

    fn probe(&self) -> Result<()> {
        let client = redis::Client::open(format!("redis://127.0.0.1:{}", self.port.number()))?;
        let mut connection = client.get_connection_with_timeout(ANSWER_PATIENCE)?;
        connection.set_read_timeout(Some(ANSWER_PATIENCE))?;
        let answer: String = redis::cmd("PING").query(&mut connection)?;
        if answer != "PONG" {
            bail!("Redis answers {answer}");
        }
        Ok(())
    }
}
