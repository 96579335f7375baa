//! Reading a request: body, preconditions, idempotency key, trace context. Each fault gets its own answer.

use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;

use actix_web::dev::Payload;
use actix_web::error::PayloadError;
use actix_web::http::StatusCode;
use actix_web::http::header::{CONTENT_TYPE, HeaderMap, IF_MATCH};
use actix_web::web::Bytes;
use actix_web::{FromRequest, HttpRequest};
use serde::de::value::MapAccessDeserializer;
use serde::de::{DeserializeOwned, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::dto::IntoCommand;
use super::problem::{FieldError, Problem};
use crate::actor::{IdempotencyKey, Trace};

/// Longest idempotency key, in characters.
const KEY_LENGTH_MAX: usize = 255;

/// A JSON body, checked field by field. An absent body counts as `{}`, and so does `null`.
pub(super) struct Body<T>(pub(super) T);

impl<T: IntoCommand + DeserializeOwned + 'static> FromRequest for Body<T> {
    type Error = Problem;
    type Future = Pin<Box<dyn Future<Output = Result<Self, Problem>>>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let content_type = content_type(request.headers());
        let bytes = Bytes::from_request(request, payload);
        Box::pin(async move {
            let bytes = bytes.await.map_err(unreadable)?;
            let text: &[u8] = if bytes.is_empty() || &bytes[..] == b"null" { b"{}" } else { &bytes };
            if !bytes.is_empty() && !content_type.is_some_and(|is_json| is_json) {
                return Err(Problem::new(
                    StatusCode::UNSUPPORTED_MEDIA_TYPE,
                    "unsupported-media-type",
                    "The body is not JSON",
                    "Send the body with Content-Type: application/json.",
                ));
            }
            parse(text).map(Body)
        })
    }
}

/// A JSON object and nothing else: serde takes an array of the fields' values for a struct, too.
pub(super) struct Object<T>(pub(super) T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Fields(PhantomData)).map(Self)
    }
}

struct Fields<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for Fields<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<M: MapAccess<'de>>(self, fields: M) -> Result<T, M::Error> {
        T::deserialize(MapAccessDeserializer::new(fields))
    }
}

/// Whether the body claims to be JSON; `None` when it claims nothing.
fn content_type(headers: &HeaderMap) -> Option<bool> {
    let value = headers.get(CONTENT_TYPE)?.to_str().unwrap_or_default();
    let essence = value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    Some(essence == "application/json" || essence.ends_with("+json"))
}

fn unreadable(error: actix_web::Error) -> Problem {
    match error.as_error::<PayloadError>() {
        Some(PayloadError::Overflow) => Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "body-too-large",
            "The body is too large",
            "Send a smaller body: an order holds at most 100 items.",
        ),
        _ => Problem::bad_request("unreadable-body", format!("The body did not arrive whole: {error}.")),
    }
}

fn parse<T: IntoCommand + DeserializeOwned>(text: &[u8]) -> Result<T, Problem> {
    let mut json = serde_json::Deserializer::from_slice(text);
    let Object(body): Object<T> = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let message = error.inner().to_string();
        match error.inner().classify() {
            serde_json::error::Category::Data => {
                let field = field_at_fault(error.path().to_string(), &message);
                Problem::invalid(vec![FieldError { field, message }])
            }
            _ => Problem::bad_request("malformed-json", format!("The body is not JSON: {message}.")),
        }
    })?;
    json.end().map_err(|error| {
        Problem::bad_request("malformed-json", format!("The body is not one JSON value: {error}."))
    })?;
    body.validate().map_err(|report| {
        let errors = report.iter().map(|(path, error)| FieldError {
            field: path.to_string(),
            message: error.message().to_string(),
        });
        Problem::invalid(errors.collect())
    })?;
    Ok(body)
}

/// Serde places a missing field at the object that lacks it; the caller is told the field itself.
fn field_at_fault(path: String, message: &str) -> String {
    let missing = message.strip_prefix("missing field `").and_then(|rest| rest.split('`').next());
    match missing {
        Some(field) if path == "." => field.to_owned(),
        Some(field) => format!("{path}.{field}"),
        None => path,
    }
}

/// `If-Match: "3"`. `*` matches any version.
pub(super) fn expected_version(headers: &HeaderMap) -> Result<Option<i64>, Problem> {
    let Some(value) = headers.get(IF_MATCH) else { return Ok(None) };
    let value = value.to_str().unwrap_or_default().trim();
    if value == "*" {
        return Ok(None);
    }
    let version =
        value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).and_then(|text| text.parse().ok());
    version.map(Some).ok_or_else(|| {
        Problem::bad_request(
            "invalid-if-match",
            "If-Match takes one ETag as it was answered, such as \"3\" with its quotes.",
        )
    })
}

/// The key, with a fingerprint of what is asked under it.
pub(super) fn idempotency_key<T: IntoCommand>(
    request: &HttpRequest,
    body: &T,
) -> Result<Option<IdempotencyKey>, Problem> {
    let Some(value) = request.headers().get("Idempotency-Key") else { return Ok(None) };
    let key = value.to_str().unwrap_or_default().trim();
    if key.is_empty() || key.len() > KEY_LENGTH_MAX {
        let detail = format!("Idempotency-Key takes 1 to {KEY_LENGTH_MAX} visible ASCII characters.");
        return Err(Problem::bad_request("invalid-idempotency-key", detail));
    }
    let mut hash = Sha256::new();
    hash.update(request.path());
    hash.update([0]);
    // As parsed, so that white space and the order of fields make no difference.
    hash.update(serde_json::to_vec(body).unwrap_or_default());
    Ok(Some(IdempotencyKey { key: key.to_owned(), fingerprint: hash.finalize().into() }))
}

/// The caller's trace context, or a new one; W3C says to start anew when it cannot be read.
pub(super) fn trace(headers: &HeaderMap) -> Trace {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let traceparent =
        text("traceparent").filter(|value| is_traceparent(value)).map_or_else(new_traceparent, str::to_owned);
    let correlation_id = text("X-Correlation-Id")
        .filter(|id| !id.is_empty() && id.len() <= KEY_LENGTH_MAX)
        .map_or_else(|| Uuid::now_v7().to_string(), str::to_owned);
    Trace { correlation_id, traceparent: Some(traceparent) }
}

fn is_traceparent(value: &str) -> bool {
    let parts: Vec<&str> = value.split('-').collect();
    let hex = |part: &str, length| {
        part.len() == length && part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    };
    let something = |part: &str| part.bytes().any(|byte| byte != b'0');
    matches!(parts[..], [version, trace, span, flags]
        if version == "00" && hex(trace, 32) && hex(span, 16) && hex(flags, 2) && something(trace) && something(span))
}

fn new_traceparent() -> String {
    let (trace, span) = (Uuid::new_v4().simple().to_string(), Uuid::new_v4().simple().to_string());
    format!("00-{trace}-{}-00", &span[..16])
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::{HeaderName, HeaderValue};

    use super::super::dto::CreateOrder;
    use super::*;

    fn errors(body: &str) -> (u16, Vec<String>) {
        let problem = parse::<CreateOrder>(body.as_bytes()).err().unwrap();
        (problem.status, problem.errors.into_iter().map(|error| error.field).collect())
    }

    #[test]
    fn every_wrong_field_is_named() {
        let body = r#"{"customer_id":"0198c5a4-6f5e-7d2e-9d1c-3b8f5f2f7a10","currency":"EURO",
            "items":[{"sku":"a b","quantity":0,"unit_price_minor":-1}]}"#;
        let (status, mut fields) = errors(body);
        fields.sort();
        assert_eq!(status, 422);
        assert_eq!(fields, ["currency", "items[0].quantity", "items[0].sku", "items[0].unit_price_minor"]);
    }

    #[test]
    fn a_missing_field_is_named_and_an_array_is_no_object() {
        let customer = r#""customer_id":"0198c5a4-6f5e-7d2e-9d1c-3b8f5f2f7a10""#;
        let fields = |rest: &str| errors(&format!("{{{customer},{rest}}}")).1;
        assert_eq!(fields(r#""items":[]"#), ["currency"]);
        assert_eq!(
            fields(r#""currency":"EUR","items":[{"sku":"a","quantity":1}]"#),
            ["items[0].unit_price_minor"]
        );
        assert_eq!(fields(r#""currency":"EUR","items":[["a",1,1]]"#), ["items[0]"]);
        assert_eq!(
            errors(r#"["0198c5a4-6f5e-7d2e-9d1c-3b8f5f2f7a10","EUR",[]]"#),
            (422, vec![".".to_owned()])
        );
    }

    #[test]
    fn broken_json_is_told_from_wrong_json() {
        assert_eq!(errors("{").0, 400);
        assert_eq!(errors("[] trailing").0, 422);
        assert_eq!(errors(r#"{"customer_id":1}"#), (422, vec!["customer_id".to_owned()]));
    }

    #[test]
    fn trace_context_is_kept_only_if_it_is_one() {
        let good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let mut headers = HeaderMap::new();
        let name = HeaderName::from_static("traceparent");
        headers.insert(name.clone(), HeaderValue::from_static(good));
        assert_eq!(trace(&headers).traceparent.as_deref(), Some(good));
        headers.insert(
            name,
            HeaderValue::from_static("00-00000000000000000000000000000000-b7ad6b7169203331-01"),
        );
        let fresh = trace(&headers).traceparent.unwrap();
        assert!(is_traceparent(&fresh), "{fresh}");
        assert!(is_traceparent(good) && !is_traceparent("01-xyz"));
    }
}
