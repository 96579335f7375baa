//! A server's data directory: made, copied, made to follow another.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use super::APP;
use crate::servers::encryption::Encryption;
use crate::servers::identity::is_dead;
use crate::servers::port::Port;

/// Where the data come from the first time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    New,
    /// A copy of the server on this port, which it follows from then on.
    CopyOf(u16),
}

/// A server's files and address, whether it runs or not.
pub(crate) struct Site {
    pub(super) name: String,
    pub(super) binaries: PathBuf,
    pub(super) data: PathBuf,
    pub(super) log: PathBuf,
    pub(super) port: Port,
    pub(super) user: Option<(u32, u32)>,
    pub(super) origin: Origin,
    pub(super) settings: Vec<String>,
    pub(super) encryption: Option<Encryption>,
}

impl Site {
    /// Runs one of the server's programs as the server's user.
    fn run(&self, program: &str, arguments: &[&str], input: &str) -> Result<()> {
        let mut command = Command::new(self.binaries.join(program));
        command
            .args(arguments)
            .current_dir(self.data.parent().unwrap_or(&self.data))
            .envs([self.home()])
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

    /// Where libpq looks for certificates: not at home, which the server's user may not enter.
    pub(super) fn home(&self) -> (String, String) {
        ("HOME".to_owned(), self.data.to_string_lossy().into_owned())
    }

    /// A killed server leaves its lock file, and Postgres believes it for as long as the kernel lists the pid: init may
    /// take seconds to reap it.
    pub(super) fn remove_dead_lock(&self) -> Result<()> {
        let file = self.data.join("postmaster.pid");
        let lock = fs::read_to_string(&file).unwrap_or_default();
        match lock.lines().next().and_then(|pid| pid.parse().ok()) {
            Some(pid) if is_dead(pid) => Ok(fs::remove_file(&file)?),
            _ => Ok(()),
        }
    }

    /// The data directory, new.
    pub(super) fn make(&self, origin: Origin) -> Result<()> {
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
        match origin {
            Origin::New => {
                let initdb =
                    ["-D", &path, "-U", APP, "--auth=trust", "-E", "UTF8", "--locale=C", "--no-sync"];
                self.run("initdb", &initdb, "")?;
                let statements = format!("CREATE DATABASE {APP}\nALTER ROLE {APP} PASSWORD '{APP}'\n");
                self.run("postgres", &["--single", "-D", &path, "postgres"], &statements)?;
            }
            // `-R`: it is a standby, and knows of whom.
            Origin::CopyOf(port) => {
                let source = self.source(port)?;
                let copy = ["-d", &source, "-D", &path, "-R", "-X", "stream", "-c", "fast", "--no-sync"];
                self.run("pg_basebackup", &copy, "")?;
            }
        }
        fs::rename(&draft, &self.data)?;
        Ok(())
    }

    /// How a standby reaches the server on this port.
    fn source(&self, port: u16) -> Result<String> {
        let name = self.name.replace('-', "_");
        let source = format!(
            "host=127.0.0.1 port={port} user={APP} password={APP} dbname={APP} application_name={name}"
        );
        let Some(authority) = self.trust()? else { return Ok(source) };
        Ok(format!("{source} sslmode=verify-full sslrootcert='{}'", authority.display()))
    }

    /// Makes the data those of a standby of the server on this port, with what differs copied, or all if that cannot be.
    pub(super) fn follow(&self, port: u16) -> Result<()> {
        self.remove_dead_lock()?;
        let path = self.data.to_string_lossy().into_owned();
        let source = self.source(port)?;
        let rewind = ["-D", &path, "--source-server", &source, "-R", "--no-sync"];
        if self.run("pg_rewind", &rewind, "").is_ok() {
            return Ok(());
        }
        fs::remove_dir_all(&self.data)?;
        self.make(Origin::CopyOf(port))
    }
}
