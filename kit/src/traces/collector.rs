//! The HTTP client of the exporter: which authority it trusts, and why a request did not arrive, which the SDK does not pass on.

use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use reqwest::blocking::Client;
use reqwest::{Certificate, Identity, Url};
use tracing::warn;

use crate::tls::{self, Fault, pem};

const CERTIFICATE: &str = "OTEL_EXPORTER_OTLP_CERTIFICATE";
const CLIENT_CERTIFICATE: &str = "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE";
const CLIENT_KEY: &str = "OTEL_EXPORTER_OTLP_CLIENT_KEY";
/// Unless `OTEL_EXPORTER_OTLP_TIMEOUT` says something else.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Why the last request did not arrive.
#[derive(Debug, Clone, Default)]
pub(super) struct LastFault(Arc<Mutex<Option<String>>>);

impl LastFault {
    pub(super) fn take(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Files with certificates, as the settings name them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Certificates<'a> {
    pub(super) trusted: Option<&'a str>,
    pub(super) client: Option<&'a str>,
    pub(super) client_key: Option<&'a str>,
}

#[derive(Debug)]
pub(super) struct Collector {
    http: Client,
    fault: LastFault,
}

impl Collector {
    /// # Errors
    /// When certificates are named that cannot be used.
    pub(super) fn new(endpoint: &str, certificates: Certificates<'_>) -> anyhow::Result<(Self, LastFault)> {
        warn_if_plain(endpoint);
        let trusted = certificates.trusted.map(authorities).transpose()?;
        let own = match (certificates.client, certificates.client_key) {
            (None, None) => None,
            (Some(certificate), Some(key)) => Some(identity(certificate, key)?),
            _ => bail!("{CLIENT_CERTIFICATE} and {CLIENT_KEY} are needed together"),
        };
        // The client has a runtime of its own, which none may be made inside of.
        let made = std::thread::spawn(move || client(trusted, own)).join();
        let http = made.map_err(|_| anyhow!("the thread that makes the exporter's client panicked"))??;
        let fault = LastFault::default();
        Ok((Self { http, fault: fault.clone() }, fault))
    }
}

fn client(trusted: Option<Vec<Certificate>>, own: Option<Identity>) -> anyhow::Result<Client> {
    tls::install_provider();
    let mut builder = Client::builder().timeout(timeout());
    if let Some(trusted) = trusted {
        builder = builder.tls_certs_only(trusted);
    }
    if let Some(own) = own {
        builder = builder.identity(own);
    }
    Ok(builder.build()?)
}

/// By the variables that the SDK itself reads for a client of its own.
fn timeout() -> Duration {
    let set = |name: &str| std::env::var(name).ok()?.trim().parse().ok().map(Duration::from_millis);
    set("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT").or_else(|| set("OTEL_EXPORTER_OTLP_TIMEOUT")).unwrap_or(TIMEOUT)
}

fn authorities(path: &str) -> anyhow::Result<Vec<Certificate>> {
    tls::authorities(CERTIFICATE, Path::new(path))
}

fn identity(certificate: &str, key: &str) -> anyhow::Result<Identity> {
    let (certificate, key) = (Path::new(certificate), Path::new(key));
    let settings = || format!("{CLIENT_CERTIFICATE} and {CLIENT_KEY}");
    let own = pem::identity(certificate, key).with_context(settings)?;
    let both = [own.key_pem, b"\n".to_vec(), own.chain_pem].concat();
    Identity::from_pem(&both).with_context(settings)
}

fn warn_if_plain(endpoint: &str) {
    if let Ok(url) = Url::parse(endpoint)
        && url.scheme() == "http"
        && !tls::is_loopback(&url)
    {
        warn!(endpoint, "Spans travel in the clear: give the collector's address with https");
    }
}

impl HttpClient for Collector {
    fn send_bytes<'life, 'future>(
        &'life self,
        request: Request<Bytes>,
    ) -> Pin<Box<dyn Future<Output = Result<Response<Bytes>, HttpError>> + Send + 'future>>
    where
        'life: 'future,
        Self: 'future,
    {
        Box::pin(async move {
            let answer = self.http.send_bytes(request).await;
            let fault = answer.as_ref().err().map(|error| why(&**error));
            *self.fault.0.lock().unwrap_or_else(PoisonError::into_inner) = fault;
            answer
        })
    }
}

fn why(error: &(dyn std::error::Error + 'static)) -> String {
    match Fault::of(error) {
        Some(fault @ Fault::UnknownAuthority) => format!("{fault}: name its authority in {CERTIFICATE}"),
        Some(fault @ Fault::ClientRefused) => format!("{fault}: see {CLIENT_CERTIFICATE} and {CLIENT_KEY}"),
        Some(fault) => fault.to_string(),
        None => tls::chain(error),
    }
}
