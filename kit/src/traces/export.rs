//! Exports spans by OTLP over HTTP to a collector, from the SDK's own thread, so that no request waits for it.
//!
//! If the collector is unreachable, spans are lost and a line is logged at intervals; nothing else happens.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use opentelemetry::trace::TracerProvider;
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_otlp::{WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::resource::{EnvResourceDetector, TelemetryResourceDetector};
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider, SpanData, SpanExporter};
use reqwest::Url;
use tracing::{info, warn};
use uuid::Uuid;

use super::collector::{Certificates, Collector, LastFault};
use super::{SCHEMA_URL, Tracer, attribute};
use crate::settings::TraceSettings;

/// How long a stop waits for the last spans to be sent.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);
/// While the collector is unreachable, one line in this time is enough.
const LOG_PAUSE: Duration = Duration::from_secs(60);

/// Sends the remaining spans when it is dropped, at the end of the process.
pub struct Flush(Option<SdkTracerProvider>);

impl Drop for Flush {
    fn drop(&mut self) {
        if let Some(Err(error)) =
            self.0.as_ref().map(|provider| provider.shutdown_with_timeout(FLUSH_TIMEOUT))
        {
            warn!(%error, "The last spans did not leave in time");
        }
    }
}

/// The service that the spans are of.
#[derive(Debug, Clone, Copy)]
pub struct Service {
    /// Unless `OTEL_SERVICE_NAME` says another one.
    pub name: &'static str,
    /// Of the program.
    pub version: &'static str,
    /// Most links of a span. A span of a batch has one for every message.
    pub links_max: u32,
}

/// Returns the tracer, if an endpoint is set. Drop the flush when no more spans are made.
pub fn start(settings: &TraceSettings, service: Service) -> anyhow::Result<(Option<Tracer>, Flush)> {
    let Some(endpoint) = endpoint(settings)? else { return Ok((None, Flush(None))) };
    crate::tls::install_provider();
    let certificates = Certificates {
        trusted: set(settings.otlp_certificate.as_ref()),
        client: set(settings.otlp_client_certificate.as_ref()),
        client_key: set(settings.otlp_client_key.as_ref()),
    };
    let (collector, fault) = Collector::new(&endpoint, certificates)?;
    let otlp = opentelemetry_otlp::SpanExporter::builder().with_http().with_http_client(collector);
    let otlp = otlp.with_endpoint(&endpoint).build();
    let otlp = otlp.with_context(|| format!("traces cannot be exported to {endpoint}"))?;
    let sampler = sampler(&settings.otel_traces_sampler, settings.otel_traces_sampler_arg.as_deref())?;
    info!(endpoint, ?sampler, "Traces are exported");
    let provider = SdkTracerProvider::builder()
        .with_resource(resource(settings, service))
        .with_sampler(sampler)
        .with_batch_exporter(Exporter { otlp, endpoint, fault, away: Mutex::default() })
        .with_max_links_per_span(service.links_max)
        .build();
    let scope = InstrumentationScope::builder(service.name)
        .with_version(service.version)
        .with_schema_url(SCHEMA_URL)
        .build();
    Ok((Some(Tracer::new(provider.tracer_with_scope(scope))), Flush(Some(provider))))
}

/// By OpenTelemetry's rules an empty variable counts as not set.
fn set(value: Option<&String>) -> Option<&str> {
    value.map(|value| value.trim()).filter(|value| !value.is_empty())
}

fn endpoint(settings: &TraceSettings) -> anyhow::Result<Option<String>> {
    let base = || {
        set(settings.otlp_endpoint.as_ref()).map(|base| format!("{}/v1/traces", base.trim_end_matches('/')))
    };
    let endpoint = set(settings.otlp_traces_endpoint.as_ref()).map(str::to_owned).or_else(base);
    if settings.otel_sdk_disabled.eq_ignore_ascii_case("true") || endpoint.is_none() {
        return Ok(None);
    }
    let has_login = |url: Url| !url.username().is_empty() || url.password().is_some();
    match settings.otel_traces_exporter.as_str() {
        "otlp" | "" if endpoint.as_deref().and_then(|url| Url::parse(url).ok()).is_some_and(has_login) => {
            bail!(
                "the collector's address holds a login, which would not be sent, and would be shown: set \
             OTEL_EXPORTER_OTLP_HEADERS=authorization=Basic%20… instead"
            )
        }
        "otlp" | "" => Ok(endpoint),
        "none" => Ok(None),
        other => bail!("OTEL_TRACES_EXPORTER={other} is not known; use otlp or none"),
    }
}

fn sampler(name: &str, share: Option<&str>) -> anyhow::Result<Sampler> {
    let share = || match share.filter(|share| !share.is_empty()) {
        None => Ok(1.0),
        Some(text) => {
            let share = text.parse().ok().filter(|share| (0.0..=1.0).contains(share));
            share.with_context(|| format!("OTEL_TRACES_SAMPLER_ARG={text} is no number from 0.0 to 1.0"))
        }
    };
    let root = match name.strip_prefix("parentbased_").unwrap_or(name) {
        "always_on" | "" => Sampler::AlwaysOn,
        "always_off" => Sampler::AlwaysOff,
        "traceidratio" => Sampler::TraceIdRatioBased(share()?),
        _ => bail!("OTEL_TRACES_SAMPLER={name} is not known; use parentbased_always_on"),
    };
    let decides_alone = !name.is_empty() && !name.starts_with("parentbased_");
    Ok(if decides_alone { root } else { Sampler::ParentBased(Box::new(root)) })
}

fn resource(settings: &TraceSettings, service: Service) -> Resource {
    let resource = Resource::builder_empty()
        .with_service_name(service.name)
        .with_attributes([
            KeyValue::new(attribute::SERVICE_VERSION, service.version),
            KeyValue::new(attribute::SERVICE_INSTANCE_ID, Uuid::new_v4().to_string()),
        ])
        .with_detectors(&[Box::new(TelemetryResourceDetector), Box::new(EnvResourceDetector::new())]);
    match set(settings.otel_service_name.as_ref()) {
        Some(name) => resource.with_service_name(name.to_owned()).build(),
        None => resource.build(),
    }
}

/// The exporter. Its failures are logged here and not passed on.
#[derive(Debug)]
struct Exporter {
    otlp: opentelemetry_otlp::SpanExporter,
    endpoint: String,
    /// Why the last request did not arrive.
    fault: LastFault,
    away: Mutex<Option<CollectorOutage>>,
}

#[derive(Debug)]
struct CollectorOutage {
    since: Instant,
    logged_at: Option<Instant>,
    lost_spans: usize,
}

impl SpanExporter for Exporter {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len();
        match self.otlp.export(batch).await {
            Ok(()) => self.succeeded(),
            Err(error) => self.failed(spans, &error),
        }
        Ok(())
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.otlp.set_resource(resource);
    }
}

impl Exporter {
    fn succeeded(&self) {
        let away = self.away.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(CollectorOutage { since, lost_spans, .. }) = away {
            info!(outage_seconds = since.elapsed().as_secs(), lost_spans, "Traces are exported again");
        }
    }

    fn failed(&self, spans: usize, error: &OTelSdkError) {
        let mut away = self.away.lock().unwrap_or_else(PoisonError::into_inner);
        let away = away.get_or_insert_with(|| CollectorOutage {
            since: Instant::now(),
            logged_at: None,
            lost_spans: 0,
        });
        away.lost_spans += spans;
        if away.logged_at.is_none_or(|at| at.elapsed() >= LOG_PAUSE) {
            away.logged_at = Some(Instant::now());
            let lost_spans = away.lost_spans;
            let error = self.fault.take().unwrap_or_else(|| error.to_string());
            warn!(
                endpoint = self.endpoint,
                error, lost_spans, "Spans cannot be exported; the service goes on without"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Settings {
        #[command(flatten)]
        traces: TraceSettings,
    }

    fn endpoint_of(arguments: &[&str]) -> anyhow::Result<Option<String>> {
        // The command line wins over whatever the environment of this test holds.
        let off = [
            "service",
            "--otlp-endpoint=",
            "--otlp-traces-endpoint=",
            "--otel-sdk-disabled=",
            "--otel-traces-exporter=",
        ];
        let given = |option: &&&str| !arguments.iter().any(|argument| argument.starts_with(**option));
        let all = off.iter().filter(given).chain(arguments);
        endpoint(&Settings::try_parse_from(all).unwrap().traces)
    }

    #[test]
    fn nothing_is_exported_unless_an_endpoint_is_set() {
        assert_eq!(endpoint_of(&[]).unwrap(), None);
        let base = "--otlp-endpoint=http://c:4318/";
        assert_eq!(endpoint_of(&[base]).unwrap().as_deref(), Some("http://c:4318/v1/traces"));
        let traces = "--otlp-traces-endpoint=http://t/x";
        assert_eq!(endpoint_of(&[base, traces]).unwrap().as_deref(), Some("http://t/x"));
        assert_eq!(endpoint_of(&[base, "--otel-sdk-disabled=True"]).unwrap(), None);
        assert_eq!(endpoint_of(&[base, "--otel-traces-exporter=none"]).unwrap(), None);
        assert!(endpoint_of(&[base, "--otel-traces-exporter=zipkin"]).is_err());
    }

    #[test]
    fn a_login_in_the_address_is_refused_and_not_shown() {
        for login in ["https://me:secret@c:4318", "http://secret@c/x"] {
            let refusal = endpoint_of(&[&format!("--otlp-endpoint={login}")]).unwrap_err().to_string();
            assert!(
                refusal.contains("OTEL_EXPORTER_OTLP_HEADERS") && !refusal.contains("secret"),
                "{refusal}"
            );
        }
        assert!(endpoint_of(&["--otlp-endpoint=http://c/a@b"]).is_ok());
    }

    #[test]
    fn an_outage_of_the_collector_is_told_once_and_counted() {
        crate::tls::install_provider();
        let otlp = opentelemetry_otlp::SpanExporter::builder().with_http().build().unwrap();
        let fault = LastFault::default();
        let exporter = Exporter { otlp, endpoint: "http://c".to_owned(), fault, away: Mutex::default() };
        let failure = OTelSdkError::InternalFailure("gone".to_owned());
        let told = || exporter.away.lock().unwrap().as_ref().map(|away| (away.logged_at, away.lost_spans));
        exporter.failed(3, &failure);
        let (first, lost) = told().unwrap();
        assert!(first.is_some() && lost == 3);
        exporter.failed(4, &failure);
        assert_eq!(told(), Some((first, 7)));
        exporter.succeeded();
        assert_eq!(told(), None);
    }

    #[test]
    fn samplers_are_known_by_their_standard_names() {
        let shown = |name, share| sampler(name, share).map(|sampler| format!("{sampler:?}")).ok();
        assert_eq!(shown("", None), shown("parentbased_always_on", None));
        assert_eq!(shown("always_off", None).as_deref(), Some("AlwaysOff"));
        assert_eq!(shown("traceidratio", Some("0.25")).as_deref(), Some("TraceIdRatioBased(0.25)"));
        assert_eq!(
            shown("parentbased_traceidratio", None).as_deref(),
            Some("ParentBased(TraceIdRatioBased(1.0))")
        );
        assert_eq!(shown("traceidratio", Some("2")), None);
        assert_eq!(shown("xray", None), None);
    }
}
