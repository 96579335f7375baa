//! In place of `brokers`, in a tool that is built without Kafka: there are none.

use std::path::Path;

use anyhow::Result;

use crate::secured::Secured;
use crate::servers::Server;
use crate::servers::kafka::Distribution;
use crate::servers::port::Port;
use crate::servers::process::Life;

pub(crate) enum Brokers {}

impl Brokers {
    pub(super) fn new(
        _: &Path,
        kafka: Distribution,
        _: Option<&Secured>,
        _: Vec<Port>,
        _: Vec<Port>,
        _: Life,
    ) -> Result<Self> {
        match kafka {}
    }

    pub fn brokers(&self) -> String {
        match *self {}
    }

    pub(super) fn settings(&self, _: &str) -> Vec<(String, String)> {
        match *self {}
    }

    pub(super) fn node(&self, _: usize) -> &Server {
        match *self {}
    }

    pub(super) fn port(&self, _: usize) -> u16 {
        match *self {}
    }
}
