//! In place of `brokers`, in a tool that is built without Kafka: there are none.

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, bail};

use crate::secured::Secured;
use crate::servers::process::Life;
use crate::servers::{Link, Server};
use crate::topic::{Published, PublishedChange};

pub(super) enum Brokers {}

impl Brokers {
    pub(super) async fn behind(
        _: &Path,
        _: usize,
        _: usize,
        _: Option<&Secured>,
        _: Life,
    ) -> Result<(Self, Vec<Vec<Link>>)> {
        bail!("this tool was built without Kafka: use MQ=redis, or build it with the feature `kafka`")
    }

    pub(super) fn node(&self, _: usize) -> Option<&Server> {
        match *self {}
    }

    pub(super) fn settings(&self, _: &str) -> Vec<(String, String)> {
        match *self {}
    }

    pub(super) fn settings_by(_: &[Link], _: Option<&Secured>, _: &str) -> Result<Vec<(String, String)>> {
        Ok(Vec::new())
    }

    pub(super) fn set_quota(&self, _: Option<f64>) -> Result<()> {
        match *self {}
    }

    pub(super) fn wait_in_sync(&self, _: Duration) -> Result<()> {
        match *self {}
    }

    pub(super) fn read(&self) -> Result<Vec<Published>> {
        match *self {}
    }

    pub(super) fn read_changes(&self) -> Result<Vec<PublishedChange>> {
        match *self {}
    }

    pub(super) fn count(&self, _: &str) -> Result<u64> {
        match *self {}
    }

    pub(super) fn read_and_delete(&self) -> Result<Vec<Published>> {
        match *self {}
    }
}
