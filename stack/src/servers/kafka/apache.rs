//! The broker's configuration, its formatting and its command line.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Result, bail};

use super::Bootstrap;
use super::files::{Archive, KafkaFiles, Manner};
use super::security::{ListenerSecurity, Security};
use crate::servers::port::Port;
use crate::servers::process::Launch;
use crate::servers::server::Recipe;

const SETTINGS: &str = include_str!("../../../kafka/server.properties");
const LOGGING: &str = include_str!("../../../kafka/log4j2.properties");
/// Any 16 bytes in base64; data of another cluster are refused by it.
const CLUSTER_ID: &str = "b3JkZXJzLXN0YWNrLTAwMQ";
const BROKER: &str = "kafka.Kafka";
/// The protocol, and the name of a main listener that has it.
const PLAIN: &str = "PLAINTEXT";
/// Of a broker behind the others: next to nothing while they want the cores.
const NICENESS: u8 = 19;
/// Of a broker that works alone.
const HEAP_MIB: u16 = 512;

/// A further listener. Its clients may be told another address than its own: that of a relay in front of it.
#[derive(Debug)]
pub struct Door {
    pub port: Port,
    pub advertised: u16,
    pub security: ListenerSecurity,
}

impl Door {
    /// On a free port.
    pub fn secured(security: ListenerSecurity) -> Result<Self> {
        let port = Port::free()?;
        Ok(Self { advertised: port.number(), port, security })
    }
}

/// A node's place in its cluster.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) id: i32,
    /// Of a node that is a controller, too.
    pub(super) controller_port: Option<Port>,
    /// All controllers: `id@host:port`, divided by commas.
    pub(super) voters: String,
    /// Lines of `server.properties` that go before ours.
    pub(super) settings: String,
    pub(super) heap_mib: u16,
}

impl Node {
    /// The only one there is.
    pub(super) fn alone(controller_port: Port) -> Self {
        let voters = format!("1@127.0.0.1:{}", controller_port.number());
        Self {
            id: 1,
            controller_port: Some(controller_port),
            voters,
            settings: String::new(),
            heap_mib: HEAP_MIB,
        }
    }
}

pub(super) struct Apache {
    /// Of the part, for messages.
    pub(super) name: String,
    pub(super) files: KafkaFiles,
    pub(super) home: PathBuf,
    pub(super) log: PathBuf,
    pub(super) port: Port,
    pub(super) node: Node,
    pub(super) bootstrap: Bootstrap,
    pub(super) doors: Vec<Door>,
    pub(super) security: Security,
}

impl Apache {
    fn java(&self, main: &str, arguments: &[&str]) -> Vec<String> {
        let logging = format!("-Dlog4j2.configurationFile={}", self.home.join("log4j2.properties").display());
        let libraries = self.files.libraries.join("*").to_string_lossy().into_owned();
        let heap = format!("-Xmx{}m", self.node.heap_mib);
        let machine = [&heap, "-XX:+UseSerialGC", "-XX:+ExitOnOutOfMemoryError"];
        let compiler = match self.files.manner {
            Manner::Plain | Manner::Behind => Some("-XX:TieredStopAtLevel=1"),
            Manner::Compiled => None,
        };
        let archive = match &self.files.archive {
            Archive::Use(file) if file.exists() => Some(format!("-XX:SharedArchiveFile={}", file.display())),
            Archive::Write(file) if main == BROKER => {
                Some(format!("-XX:ArchiveClassesAtExit={}", file.display()))
            }
            _ => None,
        };
        let line = machine.into_iter().chain(compiler).chain(archive.as_deref());
        let line = line.chain([&logging, "-cp", &libraries, main]);
        line.chain(arguments.iter().copied()).map(str::to_owned).collect()
    }

    fn settings_file(&self) -> PathBuf {
        self.home.join("server.properties")
    }

    /// The main listener, and the doors.
    fn listeners(&self) -> Vec<Listener<'_>> {
        let security = &self.security.listener;
        let name = if security.protocol() == PLAIN { PLAIN } else { "MAIN" };
        let (port, trust) = (self.port.number(), self.security.client.authority.as_deref());
        let main = Listener { name: name.to_owned(), port, advertised: port, security, trust };
        let mut listeners = vec![main];
        for (number, Door { port, advertised, security }) in self.doors.iter().enumerate() {
            let (name, port, advertised) = (format!("DOOR{number}"), port.number(), *advertised);
            listeners.push(Listener { name, port, advertised, security, trust: None });
        }
        listeners
    }

    /// The lines of `server.properties` that are this node's own.
    fn own_settings(&self, data: &Path) -> String {
        let listeners = self.listeners();
        let join = |part: &dyn Fn(&Listener<'_>) -> String| -> String {
            listeners.iter().map(part).collect::<Vec<_>>().join(",")
        };
        let controller = self.node.controller_port.as_ref().map(Port::number);
        let roles = if controller.is_some() { "broker,controller" } else { "broker" };
        let controller = controller.map(|port| format!(",CONTROLLER://127.0.0.1:{port}")).unwrap_or_default();
        let main = listeners.first().map(|main| main.name.as_str()).unwrap_or_default();
        let security: String = listeners
            .iter()
            .map(|of| of.security.lines(&of.name, &self.home, of.trust, &self.security.users))
            .collect();
        format!(
            "process.roles={roles}\n\
             node.id={}\n\
             listeners={}{controller}\n\
             advertised.listeners={}\n\
             listener.security.protocol.map=CONTROLLER:{PLAIN},{}\n\
             inter.broker.listener.name={main}\n\
             {}{security}\
             controller.quorum.voters={}\n\
             log.dirs={}\n",
            self.node.id,
            join(&|of| format!("{}://127.0.0.1:{}", of.name, of.port)),
            join(&|of| format!("{}://127.0.0.1:{}", of.name, of.advertised)),
            join(&|of| format!("{}:{}", of.name, of.security.protocol())),
            self.security.between_brokers(),
            self.node.voters,
            data.display()
        )
    }
}

struct Listener<'a> {
    name: String,
    port: u16,
    advertised: u16,
    security: &'a ListenerSecurity,
    /// What the broker trusts where it is a client of this listener.
    trust: Option<&'a Path>,
}

impl Recipe for Apache {
    fn name(&self) -> &str {
        &self.name
    }

    fn prepare(&self) -> Result<()> {
        let data = self.home.join("data");
        fs::create_dir_all(&self.home)?;
        fs::write(
            self.settings_file(),
            format!("{SETTINGS}{}{}", self.node.settings, self.own_settings(&data)),
        )?;
        fs::write(self.home.join("log4j2.properties"), LOGGING)?;
        for listener in self.listeners() {
            listener.security.prepare(&listener.name, &self.home)?;
        }
        if data.join("meta.properties").exists() {
            return Ok(());
        }
        let settings = self.settings_file().to_string_lossy().into_owned();
        let credentials = self.security.credentials();
        let format = ["format", "--ignore-formatted", "-t", CLUSTER_ID, "-c", &settings];
        let format: Vec<&str> = format.into_iter().chain(credentials.iter().map(String::as_str)).collect();
        let output = Command::new(&self.files.java)
            .args(self.java("kafka.tools.StorageTool", &format))
            .stdin(Stdio::null())
            .output()?;
        if !output.status.success() {
            let (said, erred) =
                (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
            bail!("Kafka's storage tool failed:\n{said}{erred}");
        }
        Ok(())
    }

    fn launch(&self) -> Result<Launch> {
        let (java, arguments) =
            (&self.files.java, self.java(BROKER, &[&self.settings_file().to_string_lossy()]));
        let (program, arguments) = match self.files.manner {
            Manner::Plain | Manner::Compiled => (java.clone(), arguments),
            // It becomes Java: the process stays the same.
            Manner::Behind => {
                let nice = ["-n".to_owned(), NICENESS.to_string(), java.to_string_lossy().into_owned()];
                (PathBuf::from("nice"), nice.into_iter().chain(arguments).collect())
            }
        };
        Ok(Launch {
            program,
            arguments,
            environment: Vec::new(),
            directory: self.home.clone(),
            log: self.log.clone(),
            user: None,
        })
    }

    fn probe(&self) -> Result<()> {
        self.bootstrap.probe(&self.security.client)
    }
}
