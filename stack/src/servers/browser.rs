//! A browser without a window, driven over WebDriver: Debian's Chromium behind its chromedriver.

use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::port::Port;
use super::process::{Launch, Life};
use super::server::{Recipe, Server};
use crate::place;

pub struct Browser {
    server: Server,
    port: u16,
}

impl Browser {
    /// On a free port, logging below `directory/logs`. Ends with this value, and so do the browsers that it has started.
    pub fn start(directory: &Path) -> Result<Self> {
        let program = place::on_path("chromedriver").context(
            "chromedriver is not installed (Debian: the package chromium-driver); `make deps` helps",
        )?;
        let (log, port) = (directory.join("logs/chromedriver.log"), Port::free()?);
        let number = port.number();
        let recipe = BrowserRecipe { program, directory: directory.to_owned(), log: log.clone(), port };
        let browser = Self { server: Server::new(recipe, Life::Owned, log), port: number };
        browser.start_again()?;
        Ok(browser)
    }

    /// Where sessions are asked for.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}

impl Deref for Browser {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}

struct BrowserRecipe {
    program: PathBuf,
    directory: PathBuf,
    log: PathBuf,
    port: Port,
}

impl Recipe for BrowserRecipe {
    fn name(&self) -> &str {
        "chromedriver"
    }

    fn prepare(&self) -> Result<()> {
        Ok(std::fs::create_dir_all(&self.directory)?)
    }

    fn launch(&self) -> Result<Launch> {
        // Profiles of browsers that are killed would be left behind in the machine's own temporary directory.
        let temporary = ("TMPDIR".to_owned(), self.directory.display().to_string());
        Ok(Launch {
            program: self.program.clone(),
            arguments: vec![format!("--port={}", self.port.number())],
            environment: vec![temporary],
            directory: self.directory.clone(),
            log: self.log.clone(),
            user: None,
        })
    }

    fn probe(&self) -> Result<()> {
        let url = format!("http://127.0.0.1:{}/status", self.port.number());
        super::ask(Duration::from_secs(2), async move {
            let answer = crate::http_client().build()?.get(&url).send().await?;
            if !answer.status().is_success() {
                bail!("{url} answers {}", answer.status());
            }
            Ok(())
        })
    }
}
