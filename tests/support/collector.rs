//! An OTLP collector: takes spans over HTTP as a real one does, and keeps them.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use actix_web::web::{self, Bytes, Data};
use actix_web::{App, HttpResponse, HttpServer};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use prost::Message;

use crate::support::eventually;

/// A span as it was received, with ids in hexadecimal.
#[derive(Debug, Clone)]
pub struct Span {
    pub service: String,
    pub schema_url: String,
    pub name: String,
    pub kind: SpanKind,
    pub trace: String,
    pub id: String,
    pub parent: String,
    pub start: u64,
    pub end: u64,
    pub failed: bool,
    /// Values as text.
    pub attributes: HashMap<String, String>,
    /// Trace and span of each.
    pub links: Vec<(String, String)>,
}

impl Span {
    pub fn attribute(&self, key: &str) -> &str {
        self.attributes
            .get(key)
            .unwrap_or_else(|| panic!("{} has no {key}: {:?}", self.name, self.attributes))
    }

    pub fn links_to(&self, other: &Self) -> bool {
        self.links.contains(&(other.trace.clone(), other.id.clone()))
    }
}

type Received = Arc<Mutex<Vec<Span>>>;

/// Ends with the test's runtime.
pub struct Collector {
    pub endpoint: String,
    received: Received,
}

impl Collector {
    pub fn start() -> Self {
        let received = Received::default();
        let data = Data::new(Arc::clone(&received));
        let app = move || {
            let limit = web::PayloadConfig::new(64 << 20);
            App::new().app_data(data.clone()).app_data(limit).route("/v1/traces", web::post().to(take))
        };
        let server = HttpServer::new(app).workers(1).disable_signals().bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", server.addrs()[0]);
        tokio::spawn(server.run());
        Self { endpoint, received }
    }

    pub fn spans(&self) -> Vec<Span> {
        self.received.lock().unwrap().clone()
    }

    /// The only span of this trace and name.
    pub async fn span(&self, trace: &str, name: &str) -> Span {
        self.span_where(&format!("{name} in {trace}"), |span| span.trace == trace && span.name == name).await
    }

    pub async fn span_where(&self, what: &str, wanted: impl Fn(&Span) -> bool) -> Span {
        eventually(what, async || {
            let found: Vec<Span> = self.spans().into_iter().filter(&wanted).collect();
            assert!(found.len() < 2, "{what}: {found:#?}");
            found.into_iter().next()
        })
        .await
    }
}

async fn take(body: Bytes, received: Data<Received>) -> HttpResponse {
    let request = ExportTraceServiceRequest::decode(body).unwrap();
    for resource in request.resource_spans {
        let service = attributes(resource.resource.unwrap().attributes).remove("service.name").unwrap();
        for scope in resource.scope_spans {
            let spans = scope.spans.into_iter().map(|span| read(&service, &scope.schema_url, span));
            received.lock().unwrap().extend(spans);
        }
    }
    HttpResponse::Ok().content_type("application/x-protobuf").finish()
}

fn read(service: &str, schema_url: &str, span: opentelemetry_proto::tonic::trace::v1::Span) -> Span {
    Span {
        service: service.to_owned(),
        schema_url: schema_url.to_owned(),
        kind: span.kind(),
        trace: hex(&span.trace_id),
        id: hex(&span.span_id),
        parent: hex(&span.parent_span_id),
        start: span.start_time_unix_nano,
        end: span.end_time_unix_nano,
        failed: span.status.is_some_and(|status| status.code() == StatusCode::Error),
        attributes: attributes(span.attributes),
        links: span.links.iter().map(|link| (hex(&link.trace_id), hex(&link.span_id))).collect(),
        name: span.name,
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn attributes(given: Vec<opentelemetry_proto::tonic::common::v1::KeyValue>) -> HashMap<String, String> {
    let text = |value: Option<Value>| match value {
        Some(Value::StringValue(text)) => text,
        Some(Value::IntValue(number)) => number.to_string(),
        other => panic!("no attribute of ours is {other:?}"),
    };
    given.into_iter().map(|pair| (pair.key, text(pair.value.and_then(|value| value.value)))).collect()
}
