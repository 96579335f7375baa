//! Redis with its append-only file on.

use std::fs;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use redis::{Client, ClientTlsConfig, TlsCertificates};
use reqwest::Url;

use super::encryption::Encryption;
use super::port::Port;
use super::process::{Launch, Life};
use super::server::{Recipe, Server};
use crate::place;

const ANSWER_PATIENCE: Duration = Duration::from_secs(1);
/// The bonus service asks groups what older versions do not tell.
const STREAMS_MAJOR_MIN: u32 = 7;

pub struct Redis {
    server: Server,
    site: Arc<Site>,
}

/// A user of Redis' access control list. Where there is one, nobody else is let in.
#[derive(Debug, Clone)]
pub struct RedisUser {
    pub name: String,
    pub password: String,
}

impl Redis {
    /// On a free port, with its data in `directory/redis`; waits until it answers. Ends with this value.
    pub fn start(directory: &Path) -> Result<Self> {
        let redis = Self::new(directory, Port::free()?, None, None, Life::Owned)?;
        redis.start_again()?;
        Ok(redis)
    }

    /// The same, for encrypted connections alone.
    pub fn start_encrypted(
        directory: &Path,
        encryption: Encryption,
        user: Option<RedisUser>,
    ) -> Result<Self> {
        let redis = Self::new(directory, Port::free()?, Some(encryption), user, Life::Owned)?;
        redis.start_again()?;
        Ok(redis)
    }

    pub(crate) fn new(
        directory: &Path,
        port: Port,
        encryption: Option<Encryption>,
        user: Option<RedisUser>,
        life: Life,
    ) -> Result<Self> {
        let program = place::on_path("redis-server")
            .context("redis-server is not installed (Debian: the package redis-server); `make deps` helps")?;
        let log = directory.join("logs/redis.log");
        let data = directory.join("redis");
        let site = Arc::new(Site { program, data, log: log.clone(), port, encryption, user });
        Ok(Self { server: Server::new(RedisRecipe(Arc::clone(&site)), life, log), site })
    }

    /// An error if the installed one is too old to be the message queue.
    pub(crate) fn require_streams() -> Result<()> {
        let program =
            place::on_path("redis-server").context("redis-server is not installed; `make deps` helps")?;
        let output = Command::new(program).arg("--version").output()?;
        let told = String::from_utf8_lossy(&output.stdout).into_owned();
        let version = told.split_whitespace().find_map(|word| word.strip_prefix("v=")).unwrap_or("unknown");
        let major = version.split('.').next().and_then(|major| major.parse::<u32>().ok());
        if major.is_none_or(|major| major < STREAMS_MAJOR_MIN) {
            bail!("redis-server is version {version}, and MQ=redis needs {STREAMS_MAJOR_MIN} or newer");
        }
        Ok(())
    }

    pub fn port(&self) -> u16 {
        self.site.port.number()
    }

    /// With the user's password, if there is a user. Over TLS [`Self::client`] and [`Self::variables`] have what is needed besides.
    pub fn url(&self) -> String {
        self.site.url()
    }

    /// A client that verifies the server, and shows its certificate if it has one.
    pub fn client(&self) -> Result<Client> {
        self.site.client()
    }

    /// What makes it a replica that reaches its primary as clients do, for `CONFIG SET`: both have the same authority and user.
    pub(crate) fn replication(&self) -> Vec<(&'static str, String)> {
        let mut settings = Vec::new();
        if self.site.encryption.is_some() {
            settings.push(("tls-replication", "yes".to_owned()));
        }
        if let Some(RedisUser { name, password }) = &self.site.user {
            settings.extend([("masteruser", name.clone()), ("masterauth", password.clone())]);
        }
        settings
    }

    /// What a service needs to reach it: `prefix` is `ORDERS` or `BONUS`.
    pub fn variables(&self, prefix: &str) -> Vec<(String, String)> {
        let mut variables = vec![("REDIS_URL".to_owned(), self.url())];
        let mut add = |name: &str, path: &Path| {
            variables.push((format!("{prefix}_REDIS_{name}"), path.to_string_lossy().into_owned()));
        };
        if let Some(encryption) = &self.site.encryption {
            add("CA_FILE", &encryption.authority);
            if let Some(client) = &encryption.client {
                add("CERT_FILE", &client.certificate);
                add("KEY_FILE", &client.key);
            }
        }
        variables
    }
}

impl Deref for Redis {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}

/// A server's files and address, whether it runs or not.
struct Site {
    program: PathBuf,
    data: PathBuf,
    log: PathBuf,
    port: Port,
    encryption: Option<Encryption>,
    user: Option<RedisUser>,
}

impl Site {
    fn url(&self) -> String {
        let scheme = if self.encryption.is_some() { "rediss" } else { "redis" };
        let url = format!("{scheme}://127.0.0.1:{}", self.port.number());
        let (Some(user), Ok(mut parsed)) = (&self.user, Url::parse(&url)) else { return url };
        let set = parsed.set_username(&user.name).and_then(|()| parsed.set_password(Some(&user.password)));
        set.map_or(url, |()| parsed.into())
    }

    fn client(&self) -> Result<Client> {
        let Some(encryption) = &self.encryption else { return Ok(Client::open(self.url())?) };
        crate::client::install_provider();
        let client_tls = match &encryption.client {
            None => None,
            Some(client) => Some(ClientTlsConfig {
                client_cert: fs::read(&client.certificate)?,
                client_key: fs::read(&client.key)?,
            }),
        };
        let certificates = TlsCertificates { client_tls, root_cert: Some(fs::read(&encryption.authority)?) };
        Ok(Client::build_with_tls(self.url(), certificates)?)
    }

    fn user_file(&self) -> PathBuf {
        self.data.join("users.acl")
    }

    fn network_arguments(&self) -> Vec<String> {
        let port = self.port.number().to_string();
        let Some(encryption) = &self.encryption else { return vec!["--port".to_owned(), port] };
        let path = |path: &Path| path.to_string_lossy().into_owned();
        let asked = if encryption.client.is_some() { "yes" } else { "no" };
        [
            ("--port", "0".to_owned()),
            ("--tls-port", port),
            ("--tls-cert-file", path(&encryption.server.certificate)),
            ("--tls-key-file", path(&encryption.server.key)),
            ("--tls-ca-cert-file", path(&encryption.authority)),
            ("--tls-auth-clients", asked.to_owned()),
        ]
        .into_iter()
        .flat_map(|(name, value)| [name.to_owned(), value])
        .collect()
    }
}

struct RedisRecipe(Arc<Site>);

impl Recipe for RedisRecipe {
    fn name(&self) -> &str {
        "redis"
    }

    fn prepare(&self) -> Result<()> {
        fs::create_dir_all(&self.0.data)?;
        if let Some(RedisUser { name, password }) = &self.0.user {
            let users = format!("user default off\nuser {name} on >{password} ~* &* +@all\n");
            fs::write(self.0.user_file(), users)?;
        }
        Ok(())
    }

    fn launch(&self) -> Result<Launch> {
        // `always`: what it has acknowledged is there after a kill. At a few writes per outage that costs nothing.
        let fixed = ["--bind", "127.0.0.1", "--appendonly", "yes", "--appendfsync", "always", "--save", ""];
        let mut arguments = fixed.map(str::to_owned).to_vec();
        arguments.extend(self.0.network_arguments());
        if self.0.user.is_some() {
            arguments.extend(["--aclfile".to_owned(), self.0.user_file().to_string_lossy().into_owned()]);
        }
        Ok(Launch {
            program: self.0.program.clone(),
            arguments,
            environment: Vec::new(),
            directory: self.0.data.clone(),
            log: self.0.log.clone(),
            user: None,
        })
    }

    fn probe(&self) -> Result<()> {
        let asked = self.0.client().and_then(|client| ping(&client));
        match asked {
            // It answers, with the certificate that a test has given it.
            Err(error) if error.to_string().contains("invalid peer certificate") => Ok(()),
            asked => asked,
        }
    }
}

fn ping(client: &Client) -> Result<()> {
    let mut connection = client.get_connection_with_timeout(ANSWER_PATIENCE)?;
    connection.set_read_timeout(Some(ANSWER_PATIENCE))?;
    let answer: String = redis::cmd("PING").query(&mut connection)?;
    if answer != "PONG" {
        bail!("Redis answers {answer}");
    }
    Ok(())
}
