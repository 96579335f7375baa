//! Reading a request's headers: preconditions, idempotency key, trace context, correlation id. Each fault gets its own answer.

use actix_web::http::header::{HeaderMap, HeaderName, IF_MATCH};
use engine::IdempotencyKey;
use kit::auth::Identity;
use kit::http::{Caller, Problem, header_once};
use opentelemetry::trace::SpanContext;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::problem::{INVALID_IDEMPOTENCY_KEY, INVALID_IF_MATCH};
use crate::telemetry::traces;

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const CORRELATION_ID: HeaderName = HeaderName::from_static("x-correlation-id");
/// Longest idempotency key, in characters.
const KEY_LENGTH_MAX: usize = 255;
/// Most digits of a version in `If-Match`: so many always fit.
const VERSION_DIGITS_MAX: usize = 18;

/// `If-Match: "3"`. `*` matches any version.
pub(super) fn expected_version(headers: &HeaderMap) -> Result<Option<i64>, Problem> {
    let Some(value) = header_once(headers, &IF_MATCH)? else { return Ok(None) };
    if value == "*" {
        return Ok(None);
    }
    let digits = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    let digits = digits.filter(|digits| {
        (1..=VERSION_DIGITS_MAX).contains(&digits.len()) && digits.bytes().all(|digit| digit.is_ascii_digit())
    });
    let version = digits.and_then(|digits| digits.parse().ok());
    version.map(Some).ok_or_else(|| Problem::new(&INVALID_IF_MATCH, INVALID_IF_MATCH.example))
}

/// The key, with a fingerprint of the request: of the command's path in its canonical spelling, and of the parsed body, so that
/// white space and the order of fields make no difference.
///
/// Two callers may use the same key: the stored one is a digest of both. Without authentication it is the key as it came.
pub(super) fn idempotency_key(
    headers: &HeaderMap,
    caller: &Caller,
    place: &str,
    asked: &[u8],
) -> Result<Option<IdempotencyKey>, Problem> {
    let Some(key) = header_once(headers, &IDEMPOTENCY_KEY)? else { return Ok(None) };
    if key.is_empty() || key.len() > KEY_LENGTH_MAX {
        let detail = format!("Idempotency-Key takes 1 to {KEY_LENGTH_MAX} visible ASCII characters.");
        return Err(Problem::new(&INVALID_IDEMPOTENCY_KEY, detail));
    }
    let mut hash = Sha256::new();
    hash.update(place);
    hash.update([0]);
    hash.update(asked);
    let key = match &caller.identity {
        None => key.to_owned(),
        Some(identity) => key_of(identity, key),
    };
    Ok(Some(IdempotencyKey { key, fingerprint: hash.finalize().into() }))
}

fn key_of(identity: &Identity, key: &str) -> String {
    let mut hash = Sha256::new();
    hash.update(identity.subject.len().to_be_bytes());
    hash.update(&identity.subject);
    hash.update(key);
    format!("caller:{:x}", hash.finalize())
}

/// The caller's W3C trace context. Two that differ count as none.
pub(super) fn traceparent(headers: &HeaderMap) -> Option<SpanContext> {
    traces::parse(header_once(headers, &TRACEPARENT).ok()??)
}

/// The caller's name for what it is about, or a new one.
pub(super) fn correlation_id(headers: &HeaderMap) -> String {
    let given = header_once(headers, &CORRELATION_ID).ok().flatten();
    given
        .filter(|id| !id.is_empty() && id.len() <= KEY_LENGTH_MAX)
        .map_or_else(|| Uuid::now_v7().to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use kit::http::json::parse;

    use super::super::dto::CreateOrder;
    use super::*;

    #[test]
    fn a_key_belongs_to_its_caller() {
        let of = |subject: &str, key: &str| {
            let (subject, roles) = (subject.to_owned(), Vec::new());
            let identity = Identity { subject, roles, customer_id: None, ends_at: u64::MAX };
            key_of(&identity, key)
        };
        assert_eq!(of("a", "key"), of("a", "key"));
        assert_ne!(of("a", "key"), of("b", "key"));
        assert_ne!(of("ab", "c"), of("a", "bc"), "the border between the two counts");
        assert!(of(&"s".repeat(255), &"k".repeat(255)).len() <= KEY_LENGTH_MAX);
    }

    fn errors(body: &str) -> (u16, Vec<String>) {
        let problem = parse::<CreateOrder>(body.as_bytes()).unwrap_err();
        let mut fields: Vec<_> = problem.errors.into_iter().map(|error| error.field).collect();
        fields.sort();
        (problem.status, fields)
    }

    #[test]
    fn every_wrong_field_is_named() {
        let body = r#"{"customer_id":"0198c5a4-6f5e-7d2e-9d1c-3b8f5f2f7a10","currency":"EURO",
            "items":[{"sku":"a b","quantity":0,"unit_price_minor":-1}]}"#;
        let (status, fields) = errors(body);
        assert_eq!(status, 422);
        assert_eq!(fields, ["currency", "items[0].quantity", "items[0].sku", "items[0].unit_price_minor"]);
    }

    #[test]
    fn whatever_is_wrong_with_it() {
        let body = r#"{"currency":7,"discount":1,"voucher":2,"items":[["a",1,1],
            {"sku":null,"quantity":"2","colour":"red"},{"sku":"a","quantity":1.5,"unit_price_minor":18446744073709551615}]}"#;
        let expected = [
            "currency",
            "customer_id",
            "discount",
            "items[0]",
            "items[1].colour",
            "items[1].quantity",
            "items[1].sku",
            "items[1].unit_price_minor",
            "items[2].quantity",
            "items[2].unit_price_minor",
            "voucher",
        ];
        assert_eq!(errors(body), (422, expected.map(str::to_owned).to_vec()));
        assert_eq!(errors("[]"), (422, vec![".".to_owned()]));
        assert_eq!(errors("{}").1, ["currency", "customer_id", "items"]);
    }

    /// The answer to nonsense is no larger than the nonsense.
    #[test]
    fn of_many_errors_some_are_named_and_the_rest_counted() {
        let order = |items: String| {
            format!(
                r#"{{"customer_id":"0198c5a4-6f5e-7d2e-9d1c-3b8f5f2f7a10","currency":"EUR","items":[{items}]}}"#
            )
        };
        let unknown: Vec<String> = (0..5_000).map(|n| format!(r#""field{n}":{n}"#)).collect();
        let table = [
            (order(vec!["{}"; 20_000].join(",")), 1, None, "must hold 1 to 100 items, held 20000"),
            (order(vec!["{}"; 100].join(",")), 20, Some(280), "is missing"),
            (format!("{{{}}}", unknown.join(",")), 20, Some(4_983), "is not known"),
            (format!(r#"{{"{}":1}}"#, "x".repeat(60_000)), 4, None, "is not known"),
        ];
        for (body, named, omitted, first) in table {
            let problem = parse::<CreateOrder>(body.as_bytes()).unwrap_err();
            assert_eq!((problem.errors.len(), problem.errors_omitted), (named, omitted), "{first}");
            assert!(
                problem.errors.iter().any(|error| error.message.starts_with(first)),
                "{:?}",
                problem.errors
            );
            let total = named + usize::try_from(omitted.unwrap_or(0)).unwrap();
            assert!(problem.detail.starts_with(&format!("{total} field(s)")), "{}", problem.detail);
            let answered = serde_json::to_string(&problem).unwrap().len();
            assert!(answered < 10_000, "{answered} bytes");
        }
    }

    #[test]
    fn a_number_without_a_fraction_is_an_integer() {
        let order = |quantity: &str| {
            format!(
                r#"{{"customer_id":"0198c5a4-6f5e-7d2e-9d1c-3b8f5f2f7a10","currency":"EUR","items":[{{"sku":"a","quantity":{quantity},"unit_price_minor":1e3}}]}}"#
            )
        };
        for whole in ["2", "2.0", "20e-1"] {
            let read: CreateOrder = parse(order(whole).as_bytes()).unwrap();
            let read = serde_json::to_value(read).unwrap();
            assert_eq!(read["items"][0]["quantity"], 2, "{whole}");
            assert_eq!(read["items"][0]["unit_price_minor"], 1_000);
        }
        for wrong in ["2.5", "9007199254740993.0", "1e400", "-2.0"] {
            assert!(parse::<CreateOrder>(order(wrong).as_bytes()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn broken_json_is_told_from_wrong_json() {
        for broken in
            ["{", "[] trailing", r#"{"currency":"EUR","currency":"EUR"}"#, r#"{"a":[{"b":1,"b":1}]}"#]
        {
            assert_eq!(errors(broken), (400, vec![]), "{broken}");
        }
    }
}
