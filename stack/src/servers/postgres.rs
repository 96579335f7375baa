//! PostgreSQL from the installed binaries, in a data directory of its own.

use std::fs;
use std::io::Write;
use std::ops::Deref;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sys::signal::Signal;
use nix::unistd::{User, geteuid};
use sqlx::{Connection, PgConnection};

use super::identity::is_dead;
use super::port::Port;
use super::process::{Launch, Life};
use super::server::{Recipe, Server};
use crate::place;

/// Role, password and database are all of this name.
const APP: &str = "app";

pub struct Postgres {
    server: Server,
    port: u16,
}

impl Postgres {
    /// On a free port, with its data in `directory/postgres`; waits until it answers queries. Ends with this value.
    ///
    /// As root it runs as another user; then `directory` is opened for that user to pass through, or, if one of the
    /// directories above it is closed, the data are put below `/var/tmp`.
    pub fn start(directory: &Path) -> Result<Self> {
        let postgres = Self::new(directory, Port::free()?, Life::Owned)?;
        postgres.start_again()?;
        Ok(postgres)
    }

    pub(crate) fn new(directory: &Path, port: Port, life: Life) -> Result<Self> {
        let user = unprivileged_user()?;
        let home = data_home(directory, user)?;
        let log = directory.join("logs/postgres.log");
        let (binaries, number) = (binaries()?, port.number());
        let recipe = PostgresRecipe { binaries, data: home.join("postgres"), log: log.clone(), port, user };
        Ok(Self { server: Server::new(recipe, life, log), port: number })
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Of the database `app`, as its superuser.
    pub fn url(&self) -> String {
        url(self.port, APP)
    }
}

impl Deref for Postgres {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}

fn url(port: u16, database: &str) -> String {
    format!("postgresql://{APP}:{APP}@127.0.0.1:{port}/{database}")
}

struct PostgresRecipe {
    binaries: PathBuf,
    data: PathBuf,
    log: PathBuf,
    port: Port,
    user: Option<(u32, u32)>,
}

impl PostgresRecipe {
    fn run(&self, program: &str, arguments: &[&str], input: &str) -> Result<()> {
        let mut command = Command::new(self.binaries.join(program));
        command
            .args(arguments)
            .current_dir(self.data.parent().unwrap_or(&self.data))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        if let Some((user, group)) = self.user {
            command.uid(user).gid(group);
        }
        let mut child = command.spawn().with_context(|| format!("cannot run {program}"))?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(input.as_bytes())?;
        }
        let output = child.wait_with_output()?;
        if !output.status.success() {
            bail!("{program} failed: {}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(())
    }
}

impl PostgresRecipe {
    /// A killed server leaves its lock file, and Postgres believes it for as long as the kernel lists the pid: init may
    /// take seconds to reap it.
    fn remove_dead_lock(&self) -> Result<()> {
        let file = self.data.join("postmaster.pid");
        let lock = fs::read_to_string(&file).unwrap_or_default();
        match lock.lines().next().and_then(|pid| pid.parse().ok()) {
            Some(pid) if is_dead(pid) => Ok(fs::remove_file(&file)?),
            _ => Ok(()),
        }
    }
}

impl Recipe for PostgresRecipe {
    fn name(&self) -> &str {
        "postgres"
    }

    fn prepare(&self) -> Result<()> {
        if self.data.join("PG_VERSION").exists() {
            return self.remove_dead_lock();
        }
        // Made under another name, so that one which was cut short is never taken for a whole one.
        let draft = self.data.with_extension("new");
        if draft.exists() {
            fs::remove_dir_all(&draft)?;
        }
        fs::create_dir_all(&draft)?;
        fs::set_permissions(&draft, fs::Permissions::from_mode(0o700))?;
        if let Some((user, group)) = self.user {
            chown(&draft, Some(user), Some(group))?;
        }
        let path = draft.to_string_lossy().into_owned();
        let initdb = ["-D", &path, "-U", APP, "--auth=trust", "-E", "UTF8", "--locale=C", "--no-sync"];
        self.run("initdb", &initdb, "")?;
        let statements = format!("CREATE DATABASE {APP}\nALTER ROLE {APP} PASSWORD '{APP}'\n");
        self.run("postgres", &["--single", "-D", &path, "postgres"], &statements)?;
        fs::rename(&draft, &self.data)?;
        Ok(())
    }

    fn launch(&self) -> Result<Launch> {
        let settings = [
            format!("port={}", self.port.number()),
            "listen_addresses=127.0.0.1".into(),
            "unix_socket_directories=".into(),
            "fsync=on".into(),
            "synchronous_commit=on".into(),
            "max_connections=300".into(),
            "logging_collector=off".into(),
        ];
        let mut arguments = vec!["-D".to_owned(), self.data.to_string_lossy().into_owned()];
        arguments.extend(settings.into_iter().flat_map(|setting| ["-c".to_owned(), setting]));
        Ok(Launch {
            program: self.binaries.join("postgres"),
            arguments,
            environment: Vec::new(),
            directory: self.data.clone(),
            log: self.log.clone(),
            user: self.user,
        })
    }

    fn probe(&self) -> Result<()> {
        let url = url(self.port.number(), APP);
        super::ask(Duration::from_secs(2), async move {
            let mut connection = PgConnection::connect(&url).await?;
            sqlx::query("SELECT 1").execute(&mut connection).await?;
            Ok(connection.close().await?)
        })
    }

    /// Does not wait for clients to go; each is told.
    fn stop_signal(&self) -> Signal {
        Signal::SIGINT
    }

    /// Gives its shared memory back, which a killed one cannot.
    fn drop_signal(&self) -> Option<Signal> {
        Some(Signal::SIGQUIT)
    }
}

/// The directory of the server's programs: on the PATH, else the newest of Debian's.
pub(crate) fn binaries() -> Result<PathBuf> {
    if let Some(initdb) = place::on_path("initdb") {
        // `postgres` finds its files relative to itself, and may be linked alone into a common directory.
        let real = fs::canonicalize(&initdb)?;
        if let Some(directory) = real.parent().filter(|directory| directory.join("postgres").exists()) {
            return Ok(directory.to_owned());
        }
    }
    let version = |path: &PathBuf| path.file_name().and_then(|name| name.to_str()?.parse::<u32>().ok());
    fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.join("bin/initdb").exists())
        .max_by_key(version)
        .map(|path| path.join("bin"))
        .context("PostgreSQL's server programs are not installed (Debian: the package postgresql); `make deps` helps")
}

/// PostgreSQL refuses to run as root.
fn unprivileged_user() -> Result<Option<(u32, u32)>> {
    if !geteuid().is_root() {
        return Ok(None);
    }
    for name in ["postgres", "nobody"] {
        if let Some(user) = User::from_name(name)? {
            return Ok(Some((user.uid.as_raw(), user.gid.as_raw())));
        }
    }
    bail!(
        "PostgreSQL does not run as root, and there is neither a user postgres nor a user nobody to run it as"
    )
}

/// Where the data go: into `directory`, if the server's user gets there.
fn data_home(directory: &Path, user: Option<(u32, u32)>) -> Result<PathBuf> {
    fs::create_dir_all(directory)?;
    let directory = fs::canonicalize(directory)?;
    if user.is_none() {
        return Ok(directory);
    }
    let passable = |path: &Path| fs::metadata(path).is_ok_and(|metadata| metadata.mode() & 0o001 != 0);
    if directory.ancestors().skip(1).all(passable) {
        let mode = fs::metadata(&directory)?.mode();
        fs::set_permissions(&directory, fs::Permissions::from_mode(mode | 0o011))?;
        return Ok(directory);
    }
    let home = elsewhere(&directory);
    fs::create_dir_all(&home)?;
    fs::set_permissions(&home, fs::Permissions::from_mode(0o755))?;
    Ok(home)
}

/// The directory that stands in for one whose ancestors the server's user may not pass.
pub(crate) fn elsewhere(directory: &Path) -> PathBuf {
    // FNV-1a: the name must stay the same over versions of the compiler, which std's hasher does not promise.
    let hash =
        directory.as_os_str().as_encoded_bytes().iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
        });
    PathBuf::from(format!("/var/tmp/orders-stack-{hash:016x}"))
}
