//! Traces of a command: `docs/traces.md` lists the spans.

use engine::aggregate::Aggregate;
pub use engine::traces::{Span, Traces, attribute, failed, format, on, parse};
use kit::settings::TraceSettings;
pub use kit::traces::Flush;
use kit::traces::Service;

use crate::order::Order;

/// The SDK's default; no span of this service has so many.
const LINKS_MAX: u32 = 128;

/// Switches traces on if an endpoint is set. Called once, by the process.
pub fn start(settings: &TraceSettings, system: &'static str, topic: &str) -> anyhow::Result<Flush> {
    let (name, version) = (env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"));
    let (tracer, flush) = kit::traces::start(settings, Service { name, version, links_max: LINKS_MAX })?;
    if let Some(tracer) = tracer {
        engine::traces::start(tracer, Order::NAME, system, topic);
    }
    Ok(flush)
}

#[cfg(test)]
mod tests {
    use kit::traces::SCHEMA_URL;

    #[test]
    fn the_document_names_the_version_of_the_conventions() {
        let version = SCHEMA_URL.rsplit('/').next().unwrap();
        let document = include_str!("../../docs/traces.md");
        assert!(document.contains(&format!("semantic conventions {version}")), "{version}");
    }
}
