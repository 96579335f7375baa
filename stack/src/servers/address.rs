//! An address that stays while the server behind it is replaced: a [`Link`] in a process of this tool, led by a file.

use std::fs;
use std::net::TcpStream;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::link::{Link, Passage};
use super::port::Port;
use super::process::{Launch, Life};
use super::server::{Recipe, Server};
use crate::place;

/// Between two looks at the file.
const LOOK_PAUSE: Duration = Duration::from_millis(50);

pub(crate) struct Address {
    server: Server,
    port: u16,
    file: PathBuf,
}

impl Address {
    /// Below `directory`. Leads nowhere before [`Self::point_at`].
    pub(crate) fn new(name: &str, directory: &Path, port: Port, life: Life) -> Result<Self> {
        let home = directory.join(name);
        fs::create_dir_all(&home)?;
        let (file, log) = (home.join("port"), directory.join("logs").join(format!("{name}.log")));
        let number = port.number();
        let recipe =
            AddressRecipe { name: name.to_owned(), home, file: file.clone(), log: log.clone(), port };
        Ok(Self { server: Server::new(recipe, life, log), port: number, file })
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Leads new connections to this port, and ends those there are.
    pub(crate) fn point_at(&self, port: u16) -> Result<()> {
        let draft = self.file.with_extension("new");
        fs::write(&draft, port.to_string())?;
        Ok(fs::rename(draft, &self.file)?)
    }
}

impl Deref for Address {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}

struct AddressRecipe {
    name: String,
    home: PathBuf,
    file: PathBuf,
    log: PathBuf,
    port: Port,
}

impl Recipe for AddressRecipe {
    fn name(&self) -> &str {
        &self.name
    }

    fn prepare(&self) -> Result<()> {
        Ok(())
    }

    fn launch(&self) -> Result<Launch> {
        let file = self.file.to_string_lossy().into_owned();
        Ok(Launch {
            program: place::workspace_program("stack", "STACK_BIN")?,
            arguments: vec!["address".to_owned(), self.port.number().to_string(), file],
            environment: Vec::new(),
            directory: self.home.clone(),
            log: self.log.clone(),
            user: None,
        })
    }

    fn probe(&self) -> Result<()> {
        TcpStream::connect(("127.0.0.1", self.port.number()))
            .map(drop)
            .with_context(|| format!("nobody listens on port {}", self.port.number()))
    }
}

fn target(file: &Path) -> Result<u16> {
    let text = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    text.trim().parse().with_context(|| format!("{} holds no port: {text:?}", file.display()))
}

/// Is the address in this process, until it is killed: relays `port` to wherever `file` says.
pub async fn run_address(port: u16, file: &Path) -> Result<()> {
    let mut server = target(file)?;
    let link = Link::open(Port::fixed(port), server).await?;
    println!("port {port} leads to port {server}");
    loop {
        tokio::time::sleep(LOOK_PAUSE).await;
        let wanted = target(file)?;
        if wanted == 0 {
            bail!("{} leads nowhere", file.display());
        }
        if wanted != server {
            server = wanted;
            link.redirect(server);
            link.set(Passage::Cut);
            link.set(Passage::Open);
            println!("port {port} leads to port {server}");
        }
    }
}
