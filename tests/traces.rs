//! Traces, as a collector receives them from both services: `docs/traces.md` is what they must look like.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

#[path = "support/collector.rs"]
mod collector;
mod support;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use collector::{Collector, Span};
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use serde_json::json;
use sqlx::AssertSqlSafe;
use stack::certificates::{Authority, Validity};
use stack::servers::{Service, ServiceSettings};
use stack::tls::Front;
use support::fragile::{Fragile, blocking, fragile};
use support::{Orders, Stage, an_order, eventually};
use uuid::Uuid;

const CALLER: &str = "b7ad6b7169203331";

fn traced(settings: ServiceSettings, endpoint: &str) -> ServiceSettings {
    settings
        .with("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
        .with("OTEL_BSP_SCHEDULE_DELAY", "100")
        // A proxy of the machine's is not for its own addresses.
        .with("NO_PROXY", "127.0.0.1,localhost")
}

/// The bonus service as it was built, on the same stage.
async fn bonus(stage: &Stage, endpoint: Option<&str>) -> Service {
    let settings = ServiceSettings::bonus()
        .unwrap()
        .with("DATABASE_URL", &stage.database_url)
        .with("KAFKA_BROKERS", &stage.servers.kafka)
        .with("ORDERS_TOPIC", &stage.topic)
        .with("BONUS_GROUP_ID", &stage.topic);
    let settings = endpoint.map_or(settings.clone(), |endpoint| traced(settings, endpoint));
    blocking(|| Service::start(stage.directory.path(), settings))
}

/// A new order, and how the request's caller named the trace.
async fn create(orders: &Orders, flags: &str) -> (Uuid, String) {
    let trace = Uuid::new_v4().simple().to_string();
    let traceparent = format!("00-{trace}-{CALLER}-{flags}");
    let request = orders.http.post(orders.url("/api/orders")).header("traceparent", traceparent);
    let answer = request.json(&an_order()).send().await.unwrap();
    assert_eq!(answer.status(), 201);
    let order: serde_json::Value = answer.json().await.unwrap();
    (order["order_id"].as_str().unwrap().parse().unwrap(), trace)
}

async fn traceparent_of(stage: &Stage, order_id: Uuid) -> String {
    let query = "SELECT metadata::jsonb ->> 'traceparent' FROM order_event WHERE order_id = $1";
    sqlx::query_scalar(AssertSqlSafe(query)).bind(order_id).fetch_one(&stage.database).await.unwrap()
}

async fn credited(stage: &Stage, order_id: Uuid) {
    let query = "SELECT count(*) FROM bonus.ledger WHERE order_id = $1";
    eventually("the order is credited", async || {
        let rows = sqlx::query_scalar(query).bind(order_id).fetch_one(&stage.database).await;
        (rows.unwrap_or(0_i64) == 1).then_some(())
    })
    .await;
}

/// The spans of a created order, from the request to the credit, checked as far as no outage changes them.
struct Journey {
    request: Span,
    create: Span,
    append: Span,
    send: Span,
    credit: Span,
    batch: Span,
    attempt: Span,
}

async fn journey(collector: &Collector, stage: &Stage, order_id: Uuid, trace: &str) -> Journey {
    let name = |operation: &str| format!("{operation} {}", stage.topic);
    let batch_name = name("process");
    let credit = collector.span(trace, &name("credit")).await;
    let batch = collector
        .span_where("the batch's span", |span| span.name == batch_name && credit.links_to(span))
        .await;
    let attempt = collector.span_where("the write of the batch", |span| span.parent == batch.id).await;
    let send_name = name("send");
    let journey = Journey {
        request: collector.span(trace, "POST /api/orders").await,
        create: collector.span(trace, &name("create")).await,
        append: collector.span(trace, "SELECT append_order_events").await,
        send: collector
            .span_where("the send", |span| span.trace == trace && span.name == send_name && !span.failed)
            .await,
        credit,
        batch,
        attempt,
    };
    journey.relations();
    journey.attributes(stage, order_id);
    let context = format!("00-{trace}-{}-01", journey.create.id);
    assert_eq!(traceparent_of(stage, order_id).await, context, "the event holds the context that created it");
    for message in stage.messages().await.iter().filter(|message| message.order_id == order_id) {
        assert!(
            message.headers.contains(&("traceparent".to_owned(), context.clone())),
            "and so does the message"
        );
    }
    journey
}

impl Journey {
    fn all(&self) -> [&Span; 7] {
        [&self.request, &self.create, &self.append, &self.send, &self.credit, &self.batch, &self.attempt]
    }

    fn relations(&self) {
        let Self { request, create, append, send, credit, batch, attempt } = self;
        let kinds = self.all().map(|span| (span.service.as_str(), span.kind));
        let expected = [
            ("orders", SpanKind::Server),
            ("orders", SpanKind::Producer),
            ("orders", SpanKind::Client),
            ("orders", SpanKind::Client),
            ("bonus", SpanKind::Consumer),
            ("bonus", SpanKind::Consumer),
            ("bonus", SpanKind::Client),
        ];
        assert_eq!(kinds, expected);
        let parents = [CALLER, &request.id, &create.id, &create.id, &create.id, "", &batch.id];
        assert_eq!(self.all().map(|span| span.parent.as_str()), parents);
        assert_ne!(batch.trace, request.trace, "the batch has a trace of its own");
        assert_eq!(attempt.trace, batch.trace);
        assert!(
            send.links_to(create)
                && credit.links_to(create)
                && credit.links_to(batch)
                && batch.links_to(create)
        );
        assert!(request.start <= create.start && create.start <= append.start);
        assert!(append.end <= create.end && create.end <= request.end);
        assert!(send.start >= append.end, "nothing is sent before it is committed");
        assert!(credit.start >= send.start && credit.end >= attempt.end);
        assert!(self.all().iter().all(|span| !span.failed));
        assert!(self.all().iter().all(|span| span.schema_url.ends_with("/schemas/1.42.0")));
    }

    fn attributes(&self, stage: &Stage, order_id: Uuid) {
        let order_id = order_id.to_string();
        let event_id = self.create.attribute("messaging.message.id");
        for (span, expected) in [
            (
                &self.request,
                &[
                    ("http.request.method", "POST"),
                    ("http.route", "/api/orders"),
                    ("http.response.status_code", "201"),
                    ("url.path", "/api/orders"),
                    ("url.scheme", "http"),
                    ("server.address", "127.0.0.1"),
                ][..],
            ),
            (&self.create, &[("messaging.operation.type", "create")]),
            (
                &self.append,
                &[
                    ("db.system.name", "postgresql"),
                    ("db.stored_procedure.name", "append_order_events"),
                    ("db.query.summary", "SELECT append_order_events"),
                ],
            ),
            (
                &self.send,
                &[
                    ("messaging.operation.type", "send"),
                    ("messaging.message.id", event_id),
                    ("messaging.kafka.message.key", &order_id),
                ],
            ),
            (
                &self.credit,
                &[
                    ("messaging.operation.type", "process"),
                    ("messaging.operation.name", "credit"),
                    ("messaging.message.id", event_id),
                    ("messaging.kafka.message.key", &order_id),
                    ("bonus.message.content", "valued"),
                ],
            ),
            (
                &self.batch,
                &[("messaging.operation.type", "process"), ("messaging.consumer.group.name", &stage.topic)],
            ),
            (&self.attempt, &[("db.system.name", "postgresql")]),
        ] {
            for (key, value) in expected {
                assert_eq!(span.attribute(key), *value, "{key} of {}", span.name);
            }
        }
        for span in [&self.create, &self.send, &self.credit, &self.batch] {
            assert_eq!(span.attribute("messaging.system"), "kafka");
            assert_eq!(span.attribute("messaging.destination.name"), stage.topic);
        }
        let place = |span: &Span| {
            ["messaging.destination.partition.id", "messaging.kafka.offset"]
                .map(|key| span.attribute(key).to_owned())
        };
        assert_eq!(place(&self.send), place(&self.credit), "what was written is what was read");
        assert!(
            self.batch.attribute("messaging.batch.message_count").parse::<usize>().unwrap()
                >= self.batch.links.len()
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_trace_from_the_request_to_the_credit() {
    let (stage, collector) = (Stage::new().await, Collector::start());
    let orders = stage.start_with(traced(stage.settings("orders"), &collector.endpoint)).await;
    let _bonus = bonus(&stage, Some(&collector.endpoint)).await;
    let (order_id, trace) = create(&orders, "01").await;
    let journey = journey(&collector, &stage, order_id, &trace).await;
    assert!(!journey.send.attributes.contains_key("orders.publisher.retry_attempt"));

    // A refusal creates nothing, and is no error of the service.
    let refused = orders.http.post(orders.url(&format!("/api/orders/{order_id}/ship"))).json(&json!({}));
    assert_eq!(refused.send().await.unwrap().status(), 409);
    let refused = collector.span_where("the refusal", |span| span.name == "POST /api/orders/{id}/ship").await;
    assert_eq!((refused.attribute("http.response.status_code"), refused.failed), ("409", false));
    assert_eq!(refused.parent, "", "a request without a trace begins one");
    assert!(!collector.spans().iter().any(|span| span.parent == refused.id));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_trace_across_an_outage_of_kafka() {
    let fragile = fragile().await;
    let (Fragile { kafka, stage, .. }, collector) = (&fragile, Collector::start());
    let orders = stage.start_with(traced(stage.settings("orders"), &collector.endpoint)).await;
    let _bonus = bonus(stage, Some(&collector.endpoint)).await;
    // The topic is there before the outage, so that the bonus service knows it.
    orders.create().await;
    stage.outbox_empties().await;
    blocking(|| kafka.kill());
    let (order_id, trace) = create(&orders, "01").await;
    let committed = Instant::now();
    orders.breaker_is("open").await;
    // The one who publishes in the end is not the one who took the command.
    orders.blocking(|service| service.stop());
    orders.blocking(|service| service.start_again());
    let waited_ms_min = committed.elapsed().as_millis();
    blocking(|| kafka.start_again());
    stage.outbox_empties().await;
    let journey = journey(&collector, stage, order_id, &trace).await;
    let waited_ms: u128 = journey.send.attribute("orders.outbox.waited_ms").parse().unwrap();
    assert!(waited_ms >= waited_ms_min, "{waited_ms} of {waited_ms_min}");
    let send = format!("send {}", stage.topic);
    let sends: Vec<Span> =
        collector.spans().into_iter().filter(|span| span.trace == trace && span.name == send).collect();
    for failed in sends.iter().filter(|span| span.failed) {
        assert!(failed.links_to(&journey.create) && failed.end <= journey.send.start);
        assert!(!failed.attribute("error.type").is_empty());
    }
    assert!(
        sends.iter().any(|span| span.failed),
        "the attempt that the outage ended is seen too: {sends:#?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_callers_choice_of_what_is_recorded_holds() {
    let (stage, collector) = (Stage::new().await, Collector::start());
    let orders = stage.start_with(traced(stage.settings("orders"), &collector.endpoint)).await;
    let _bonus = bonus(&stage, Some(&collector.endpoint)).await;
    let (unsampled, silent) = create(&orders, "00").await;
    let traceparent = traceparent_of(&stage, unsampled).await;
    assert!(
        traceparent.starts_with(&format!("00-{silent}-")) && traceparent.ends_with("-00"),
        "{traceparent}"
    );
    credited(&stage, unsampled).await;
    // Whatever was sent of the first is here before the second's end.
    let (sampled, heard) = create(&orders, "01").await;
    journey(&collector, &stage, sampled, &heard).await;
    let recorded: Vec<Span> = collector.spans().into_iter().filter(|span| span.trace == silent).collect();
    assert!(recorded.is_empty(), "{recorded:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_settings_nothing_is_exported_and_the_callers_context_is_passed_on() {
    let (stage, collector) = (Stage::new().await, Collector::start());
    // The endpoint alone is not enough when the SDK is disabled.
    let disabled = traced(stage.settings("orders"), &collector.endpoint).with("OTEL_SDK_DISABLED", "true");
    let orders = stage.start_with(disabled).await;
    let bonus = bonus(&stage, None).await;
    let (with, trace) = create(&orders, "01").await;
    let without = orders.create().await;
    credited(&stage, with).await;
    credited(&stage, without).await;
    let messages: BTreeMap<Uuid, Option<String>> = stage
        .messages()
        .await
        .into_iter()
        .map(|message| {
            let header = message.headers.iter().find(|(key, _)| key == "traceparent");
            (message.order_id, header.map(|(_, value)| value.clone()))
        })
        .collect();
    assert_eq!(messages[&with], Some(format!("00-{trace}-{CALLER}-01")));
    assert_eq!(messages[&without], None);
    // Stopping sends what is left.
    orders.blocking(|service| service.stop());
    blocking(|| bonus.stop());
    assert!(collector.spans().is_empty(), "{:#?}", collector.spans());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_away_costs_a_line_in_the_log() {
    let stage = Stage::new().await;
    // Nothing listens there.
    let orders = stage.start_with(traced(stage.settings("orders"), "http://127.0.0.1:9")).await;
    for _ in 0..20 {
        orders.create().await;
    }
    stage.outbox_empties().await;
    let line = "Spans cannot be exported";
    eventually("the log says so", async || orders.log().contains(line).then_some(())).await;
    orders.create().await;
    let begun = Instant::now();
    orders.blocking(|service| service.stop());
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    assert!(orders.log().contains("Stopped"), "an orderly end");
    assert_eq!(orders.log().matches(line).count(), 1, "{}", orders.log());
}

/// Certificates as the collector's and the service's own.
#[tokio::test(flavor = "multi_thread")]
async fn traces_go_by_https_and_a_refusal_says_why() {
    let (stage, collector) = (Stage::new().await, Collector::start());
    let folder = stage.directory.path().join("certificates");
    let authority = Authority::new(&folder.join("ours")).unwrap();
    let stranger = Authority::new(&folder.join("strangers")).unwrap();
    let plain: SocketAddr = collector.endpoint.trim_start_matches("http://").parse().unwrap();
    let identity = |of: &Authority, validity| of.server("collector", &["localhost"], validity).unwrap();
    let good = Front::start(&identity(&authority, Validity::Valid), Some(&authority), plain).await.unwrap();
    let unknown = Front::start(&identity(&stranger, Validity::Valid), None, plain).await.unwrap();
    let expired = Front::start(&identity(&authority, Validity::Expired), None, plain).await.unwrap();
    let own = authority.client("orders", Validity::Valid).unwrap();
    let text = |path: &Path| path.display().to_string();
    let trusting = |name: &str, endpoint: String| {
        let settings = traced(stage.settings(name), &endpoint);
        settings.with("OTEL_EXPORTER_OTLP_CERTIFICATE", text(authority.file()))
    };

    let settings = trusting("encrypted", format!("https://localhost:{}", good.port()))
        .with("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", text(&own.certificate))
        .with("OTEL_EXPORTER_OTLP_CLIENT_KEY", text(&own.key));
    let orders = stage.start_with(settings).await;
    let (_, trace) = create(&orders, "01").await;
    collector.span(&trace, "POST /api/orders").await;
    drop(orders);

    for (name, host, port, says) in [
        (
            "unknown",
            "localhost",
            unknown.port(),
            "an authority that is not trusted: name its authority in OTEL_EXPORTER_OTLP_CERTIFICATE",
        ),
        ("expired", "localhost", expired.port(), "its certificate has expired"),
        ("other", "127.0.0.1", good.port(), "another host's name"),
        ("plain", "localhost", plain.port(), "speaks no TLS"),
        ("anonymous", "localhost", good.port(), "does not take this client's certificate, or wants one"),
    ] {
        let orders = stage.start_with(trusting(name, format!("https://{host}:{port}"))).await;
        orders.create().await;
        eventually("the log says that spans are lost", async || {
            orders.log().contains("Spans cannot be exported").then_some(())
        })
        .await;
        assert!(orders.log().contains(says), "{name}: {}", orders.log());
    }
}

/// A short process loses no span: a stop sends what is left.
#[tokio::test(flavor = "multi_thread")]
async fn a_stop_sends_what_is_left() {
    let (stage, collector) = (Stage::new().await, Collector::start());
    let patient =
        traced(stage.settings("orders"), &collector.endpoint).with("OTEL_BSP_SCHEDULE_DELAY", "3600000");
    let orders = stage.start_with(patient).await;
    let (_, trace) = create(&orders, "01").await;
    stage.outbox_empties().await;
    assert!(collector.spans().is_empty(), "nothing is due for an hour");
    orders.blocking(|service| service.stop());
    for name in
        ["POST /api/orders".to_owned(), format!("create {}", stage.topic), format!("send {}", stage.topic)]
    {
        collector.span(&trace, &name).await;
    }
}
