//! The spans of a batch: one for the batch in a trace of its own, and one for each message in the trace of its request.
//!
//! A span has one parent, but a batch has many messages. So the batch's span links to its messages' contexts, and each message's
//! span links to the batch's span.

use std::time::SystemTime;

use kit::traces::{Span, attribute, failed};
use opentelemetry::KeyValue;
use opentelemetry::trace::{Link, Span as _, SpanBuilder, SpanContext, SpanKind};

use crate::batch::Batch;
use crate::error::{Abandoned, LedgerError};
use crate::source::Position;
use crate::traces::{Origin, Traces, on};

/// The conventions have no attributes of Redis Streams.
const REDIS_ENTRY_ID: &str = "messaging.redis.entry.id";
const REDIS_ENTRY_KEY: &str = "messaging.redis.entry.key";
const STATEMENTS: &str = "INSERT ledger INSERT account";

/// Nothing inside: traces are off.
pub struct BatchSpan(Option<Spans>);

struct Spans {
    batch: Span,
    messages: Vec<Span>,
}

impl BatchSpan {
    pub fn begin(batch: &Batch) -> Self {
        Self(on().map(|traces| {
            let now = SystemTime::now();
            let span = traces.start(batch_span(traces, batch, now), None);
            let message = |origin: &Origin| {
                let message = message_span(traces, origin, span.span_context(), now);
                let mut message = traces.start(message, Some(&origin.context));
                if let Err(reason) = &origin.content {
                    failed(&mut message, "undecodable", reason);
                }
                message
            };
            Spans { messages: batch.origins.iter().map(message).collect(), batch: span }
        }))
    }

    /// An attempt to write `events` to the ledger.
    pub fn attempt(&self, events: usize) -> AttemptSpan {
        let spans = self.0.as_ref().filter(|_| events > 0);
        AttemptSpan(spans.zip(on()).map(|(spans, traces)| {
            traces.start(ledger_span(traces, events), Some(spans.batch.span_context()))
        }))
    }

    pub fn end<T>(self, outcome: &Result<T, Abandoned>) {
        let (Some(spans), Err(error)) = (self.0, outcome) else { return };
        for mut span in spans.messages.into_iter().chain([spans.batch]) {
            failed(&mut span, "abandoned", error);
        }
    }
}

/// Ends when it is dropped.
pub struct AttemptSpan(Option<Span>);

impl AttemptSpan {
    pub fn failed(self, error: &LedgerError) {
        if let Some(mut span) = self.0 {
            failed(&mut span, error.kind(), error);
        }
    }
}

impl LedgerError {
    /// Its `error.type`.
    fn kind(&self) -> &'static str {
        match self {
            Self::UnknownPolicy(_) => "policy",
            Self::Connect(_) | Self::Pool(_) | Self::Postgres(_) | Self::Outbox(_) => "postgres",
            Self::Migration(_) | Self::MayNotCreate { .. } | Self::SharedSessions => "migration",
            Self::Timeout(_) => "timeout",
        }
    }
}

/// `process` is the conventions' type of both. The name distinguishes the batch from one message.
fn messaging(traces: &Traces, operation: &'static str, start: SystemTime) -> (SpanBuilder, Vec<KeyValue>) {
    let topic = &traces.config.topics.orders_topic;
    let span = SpanBuilder::from_name(format!("{operation} {topic}"))
        .with_kind(SpanKind::Consumer)
        .with_start_time(start);
    let attributes = vec![
        KeyValue::new(attribute::MESSAGING_SYSTEM, traces.config.topics.mq.value()),
        KeyValue::new(attribute::MESSAGING_OPERATION_NAME, operation),
        KeyValue::new(attribute::MESSAGING_OPERATION_TYPE, "process"),
        KeyValue::new(attribute::MESSAGING_DESTINATION_NAME, topic.clone()),
        KeyValue::new(attribute::MESSAGING_CONSUMER_GROUP_NAME, traces.config.group_id.clone()),
        KeyValue::new(attribute::MESSAGING_CLIENT_ID, "bonus"),
    ];
    (span, attributes)
}

fn batch_span(traces: &Traces, batch: &Batch, start: SystemTime) -> SpanBuilder {
    let (span, mut attributes) = messaging(traces, "process", start);
    let messages = i64::try_from(batch.messages).unwrap_or(i64::MAX);
    attributes.push(KeyValue::new(attribute::MESSAGING_BATCH_MESSAGE_COUNT, messages));
    let link = |origin: &Origin| Link::with_context(origin.context.clone());
    span.with_attributes(attributes).with_links(batch.origins.iter().map(link).collect())
}

fn message_span(traces: &Traces, origin: &Origin, batch: &SpanContext, start: SystemTime) -> SpanBuilder {
    let (span, mut attributes) = messaging(traces, "credit", start);
    attributes.extend([
        KeyValue::new(attribute::MESSAGING_DESTINATION_PARTITION_ID, origin.partition.to_string()),
        match origin.position {
            Position::Offset(offset) => KeyValue::new(attribute::MESSAGING_KAFKA_OFFSET, offset),
            Position::Entry(id) => KeyValue::new(REDIS_ENTRY_ID, id.to_string()),
        },
    ]);
    let key = match origin.position {
        Position::Offset(_) => attribute::MESSAGING_KAFKA_MESSAGE_KEY,
        Position::Entry(_) => REDIS_ENTRY_KEY,
    };
    let named = [(attribute::MESSAGING_MESSAGE_ID, &origin.event_id), (key, &origin.order_id)];
    attributes.extend(named.into_iter().filter_map(|(key, value)| Some(KeyValue::new(key, value.clone()?))));
    attributes.push(KeyValue::new(
        "bonus.message.content",
        origin.content.as_ref().map_or("undecodable", |content| content),
    ));
    let links = [origin.context.clone(), batch.clone()].map(Link::with_context).to_vec();
    span.with_attributes(attributes).with_links(links)
}

fn ledger_span(traces: &Traces, events: usize) -> SpanBuilder {
    let database = &traces.config.database.postgres.database_url.0;
    let namespace =
        format!("{}|{}", database.get_database().unwrap_or_default(), traces.config.database.db_schema);
    SpanBuilder::from_name(STATEMENTS).with_kind(SpanKind::Client).with_attributes([
        KeyValue::new(attribute::DB_SYSTEM_NAME, "postgresql"),
        KeyValue::new(attribute::DB_NAMESPACE, namespace),
        KeyValue::new(attribute::DB_QUERY_SUMMARY, STATEMENTS),
        KeyValue::new(attribute::SERVER_ADDRESS, database.get_host().to_owned()),
        KeyValue::new(attribute::SERVER_PORT, i64::from(database.get_port())),
        KeyValue::new("bonus.ledger.events", i64::try_from(events).unwrap_or(i64::MAX)),
    ])
}
