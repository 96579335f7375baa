//! In place of `kafka`, in a tool that is built without it.

use anyhow::{Result, bail};

/// What runs under the name of Kafka: nothing.
#[derive(Debug, Clone)]
pub enum Distribution {}

impl Distribution {
    pub fn choose() -> Result<(Self, Option<String>)> {
        bail!("this tool was built without Kafka: use MQ=redis, or build it with the feature `kafka`")
    }

    pub fn apache() -> Result<Self> {
        Ok(Self::choose()?.0)
    }

    pub fn is_embedded(&self) -> bool {
        match *self {}
    }

    pub fn label(&self) -> String {
        match *self {}
    }
}
