//! librdkafka's mock cluster in a process of this tool: the stand-in where Apache Kafka cannot be had.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;

use super::{Bootstrap, ClientSecurity, Distribution};
use crate::place;
use crate::servers::process::Launch;
use crate::servers::server::Recipe;

pub(super) struct Embedded {
    pub(super) home: PathBuf,
    pub(super) log: PathBuf,
    pub(super) bootstrap: Bootstrap,
}

impl Recipe for Embedded {
    fn name(&self) -> &str {
        "kafka"
    }

    fn prepare(&self) -> Result<()> {
        // A former one's port would answer nobody.
        let _ = fs::remove_file(self.home.join("embedded"));
        Ok(())
    }

    fn launch(&self) -> Result<Launch> {
        Ok(Launch {
            program: place::workspace_program("stack", "STACK_BIN")?,
            arguments: vec![
                "embedded-kafka".to_owned(),
                self.home.join("embedded").to_string_lossy().into_owned(),
            ],
            environment: Vec::new(),
            directory: self.home.clone(),
            log: self.log.clone(),
            user: None,
        })
    }

    fn probe(&self) -> Result<()> {
        self.bootstrap.probe(&ClientSecurity::default())
    }
}

/// Runs the stand-in in this process until it is killed, and announces its address in `file`.
pub fn run_embedded(file: &Path) -> Result<()> {
    let cluster = rdkafka::mocking::MockCluster::new(1)?;
    let draft = file.with_extension("new");
    fs::write(&draft, cluster.bootstrap_servers())?;
    fs::rename(&draft, file)?;
    println!("{} at {}", Distribution::Embedded.label(), cluster.bootstrap_servers());
    loop {
        std::thread::park();
    }
}
