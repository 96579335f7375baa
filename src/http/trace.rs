//! The span of a request: `POST /api/orders/{id}/pay`, by the HTTP semantic conventions.

use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::USER_AGENT;
use actix_web::http::{Method, StatusCode};
use actix_web::middleware::Next;
use actix_web::{Error, HttpMessage, HttpRequest};
use opentelemetry::KeyValue;
use opentelemetry::trace::{Span as _, SpanContext, SpanKind, Status};

use super::request;
use crate::telemetry::traces::{self, Span, Traces, attribute};

/// The context that commands of this request belong to: its span, or without spans the caller's own.
pub(super) fn context(request: &HttpRequest) -> Option<SpanContext> {
    match traces::on() {
        Some(_) => request.extensions().get().cloned(),
        None => request::traceparent(request.headers()),
    }
}

/// Middleware; only there when traces are on.
pub(super) async fn traced(
    request: ServiceRequest,
    next: Next<impl MessageBody>,
) -> Result<ServiceResponse<impl MessageBody>, Error> {
    let Some(traces) = traces::on() else { return next.call(request).await };
    let mut span = begin(traces, &request);
    request.extensions_mut().insert(span.span_context().clone());
    let answer = next.call(request).await;
    let status =
        answer.as_ref().map_or_else(|error| error.as_response_error().status_code(), ServiceResponse::status);
    answered(&mut span, status);
    answer
}

fn begin(traces: &Traces, request: &ServiceRequest) -> Span {
    let method = match *request.method() {
        Method::GET
        | Method::HEAD
        | Method::POST
        | Method::PUT
        | Method::PATCH
        | Method::DELETE
        | Method::OPTIONS => request.method().as_str(),
        _ => "_OTHER",
    };
    let route = request.match_pattern().unwrap_or_default();
    let attributes = [
        KeyValue::new(attribute::HTTP_REQUEST_METHOD, method.to_owned()),
        KeyValue::new(attribute::HTTP_ROUTE, route.clone()),
        KeyValue::new(attribute::URL_PATH, request.path().to_owned()),
        KeyValue::new(attribute::URL_SCHEME, request.connection_info().scheme().to_owned()),
    ];
    // The conventions' value for an unknown method.
    let verb = if method == "_OTHER" { "HTTP" } else { method };
    let parent = request::traceparent(request.headers());
    let mut span = traces.start(format!("{verb} {route}"), SpanKind::Server, parent.as_ref(), attributes);
    let connection = request.connection_info();
    let (address, port) = connection.host().rsplit_once(':').unwrap_or((connection.host(), ""));
    span.set_attribute(KeyValue::new(attribute::SERVER_ADDRESS, address.to_owned()));
    if let Ok(port) = port.parse::<i64>() {
        span.set_attribute(KeyValue::new(attribute::SERVER_PORT, port));
    }
    if let Some(agent) = request.headers().get(USER_AGENT).and_then(|agent| agent.to_str().ok()) {
        span.set_attribute(KeyValue::new(attribute::USER_AGENT_ORIGINAL, agent.to_owned()));
    }
    span
}

/// A refusal is no error of the span; only a fault of the service is.
fn answered(span: &mut Span, status: StatusCode) {
    span.set_attribute(KeyValue::new(attribute::HTTP_RESPONSE_STATUS_CODE, i64::from(status.as_u16())));
    if status.is_server_error() {
        span.set_attribute(KeyValue::new(attribute::ERROR_TYPE, status.as_str().to_owned()));
        span.set_status(Status::error(""));
    }
}
