//! One of our own services, as a process.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Result, bail};

use super::port::Port;
use super::process::{Launch, Life};
use super::server::{Recipe, Server};
use crate::certificates::Identity;
use crate::place;

/// Which service, and how it is configured.
#[derive(Debug, Clone)]
pub struct ServiceSettings {
    /// Also names its log: two instances need two names.
    pub name: String,
    pub program: PathBuf,
    /// The variable that tells it where to listen.
    pub address_variable: &'static str,
    pub environment: BTreeMap<String, String>,
}

impl ServiceSettings {
    /// The order service: `ORDERS_BIN`, or as it was built. On a loopback address everybody may do everything.
    pub fn orders() -> Result<Self> {
        Ok(Self::of("orders", "ORDERS_BIN", "ORDERS_HTTP_ADDR")?.with("ORDERS_AUTH", "off"))
    }

    /// The bonus service: `BONUS_BIN`, or as it was built. Likewise.
    pub fn bonus() -> Result<Self> {
        Ok(Self::of("bonus", "BONUS_BIN", "BONUS_HTTP_ADDR")?.with("BONUS_AUTH", "off"))
    }

    fn of(name: &str, program_variable: &str, address_variable: &'static str) -> Result<Self> {
        let program = place::workspace_program(name, program_variable)?;
        Ok(Self { name: name.to_owned(), program, address_variable, environment: BTreeMap::new() })
    }

    /// Served by TLS with this certificate. `prefix` is that of its settings.
    #[must_use]
    pub fn encrypted(self, prefix: &str, identity: &Identity) -> Self {
        self.with(&format!("{prefix}_TLS_CERT_FILE"), identity.certificate.display().to_string())
            .with(&format!("{prefix}_TLS_KEY_FILE"), identity.key.display().to_string())
    }

    #[must_use]
    pub fn with(mut self, variable: &str, value: impl Into<String>) -> Self {
        self.environment.insert(variable.to_owned(), value.into());
        self
    }
}

/// The variable that tells it where its operators are served.
fn operators_variable(address_variable: &str) -> String {
    address_variable.replace("HTTP_ADDR", "ADMIN_ADDR")
}

/// By which the service is asked: it is served by TLS if it has a certificate.
fn scheme(environment: &BTreeMap<String, String>) -> &'static str {
    let is_certificate = |variable: &str| ["ORDERS_TLS_CERT_FILE", "BONUS_TLS_CERT_FILE"].contains(&variable);
    if environment.keys().any(|variable| is_certificate(variable)) { "https" } else { "http" }
}

type Environment = Arc<Mutex<BTreeMap<String, String>>>;

fn open(environment: &Environment) -> MutexGuard<'_, BTreeMap<String, String>> {
    environment.lock().unwrap_or_else(PoisonError::into_inner)
}

pub struct Service {
    server: Server,
    port: u16,
    operators_variable: String,
    /// Its claim, if it has one.
    _operators: Option<Port>,
    environment: Environment,
}

impl Service {
    /// On a free port, logging below `directory/logs`; waits until it says that it is ready. Ends with this value.
    pub fn start(directory: &Path, settings: ServiceSettings) -> Result<Self> {
        let service = Self::new(directory, settings, Port::free()?, None, Life::Owned)?;
        service.start_again()?;
        Ok(service)
    }

    /// `operators`: where they are served apart from everybody else.
    pub(crate) fn new(
        directory: &Path,
        settings: ServiceSettings,
        port: Port,
        operators: Option<Port>,
        life: Life,
    ) -> Result<Self> {
        std::fs::create_dir_all(directory)?;
        let (log, number) = (directory.join("logs").join(format!("{}.log", settings.name)), port.number());
        let mut variables = settings.environment;
        variables.insert(settings.address_variable.to_owned(), format!("127.0.0.1:{number}"));
        let operators_variable = operators_variable(settings.address_variable);
        if let Some(port) = &operators {
            variables.insert(operators_variable.clone(), format!("127.0.0.1:{}", port.number()));
        }
        let environment = Arc::new(Mutex::new(variables));
        let recipe = ServiceRecipe {
            name: settings.name,
            program: settings.program,
            environment: Arc::clone(&environment),
            directory: directory.to_owned(),
            log: log.clone(),
            port,
        };
        let server = Server::new(recipe, life, log);
        Ok(Self { server, port: number, operators_variable, _operators: operators, environment })
    }

    /// Sets an environment variable, from the next start on.
    pub fn set(&self, variable: &str, value: impl Into<String>) {
        open(&self.environment).insert(variable.to_owned(), value.into());
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn url(&self) -> String {
        format!("{}://127.0.0.1:{}", scheme(&open(&self.environment)), self.port)
    }

    /// Where its operators are served: at the same address if they have none of their own.
    pub fn operators_url(&self) -> String {
        let environment = open(&self.environment);
        let apart = environment.get(&self.operators_variable);
        let apart = apart.map(|address| format!("{}://{address}", scheme(&environment)));
        drop(environment);
        apart.unwrap_or_else(|| self.url())
    }
}

impl Deref for Service {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}

struct ServiceRecipe {
    name: String,
    program: PathBuf,
    environment: Environment,
    directory: PathBuf,
    log: PathBuf,
    port: Port,
}

impl Recipe for ServiceRecipe {
    fn name(&self) -> &str {
        &self.name
    }

    fn prepare(&self) -> Result<()> {
        Ok(())
    }

    fn launch(&self) -> Result<Launch> {
        Ok(Launch {
            program: self.program.clone(),
            arguments: Vec::new(),
            environment: open(&self.environment).clone().into_iter().collect(),
            directory: self.directory.clone(),
            log: self.log.clone(),
            user: None,
        })
    }

    fn probe(&self) -> Result<()> {
        let url = format!("{}://127.0.0.1:{}/readyz", scheme(&open(&self.environment)), self.port.number());
        super::ask(Duration::from_secs(2), async move {
            // Nothing secret is sent, and the certificate may be for whatever name.
            let client = crate::http_client().tls_danger_accept_invalid_certs(true).build()?;
            let answer = client.get(&url).send().await?;
            if !answer.status().is_success() {
                bail!("{url} answers {}", answer.status());
            }
            Ok(())
        })
    }
}
