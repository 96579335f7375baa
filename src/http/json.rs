//! From the bytes of a body to checked values. Parsing goes on after an error, so that every wrong field is named.

mod unique_keys;

use std::fmt;
use std::ops::ControlFlow;

use deserr::errors::helpers::did_you_mean;
use deserr::errors::json::value_kinds_description_json;
use deserr::{
    DeserializeError, Deserr, ErrorKind, IntoValue, MergeWithError, ValuePointerRef, take_cf_content,
};
use kit::http::{FieldError, MALFORMED_JSON, Problem};
use serde_json::Value;

use self::unique_keys::UniqueKeys;
use crate::order::InvalidValue;

/// Most wrong fields named in one answer; the rest are counted. A body of 64 kB can have twenty thousand.
const ERRORS_MAX: usize = 20;
/// Longest field path or message, in characters: either may contain text of the body.
const WORDS_MAX: usize = 200;

/// What is wrong with a body, field by field.
#[derive(Debug, Default)]
pub(super) struct FieldErrors {
    named: Vec<FieldError>,
    /// How many more there are.
    more: usize,
}

pub(super) fn parse<T: Deserr<FieldErrors>>(text: &[u8]) -> Result<T, Problem> {
    let malformed = |error| Problem::new(&MALFORMED_JSON, format!("The body is not JSON: {error}."));
    serde_json::from_slice::<UniqueKeys>(text).map_err(malformed)?;
    let mut value: Value = serde_json::from_slice(text).map_err(malformed)?;
    whole_numbers(&mut value);
    deserr::deserialize(value).map_err(|FieldErrors { named, more }| Problem::invalid_fields(named, more))
}

/// A number without a fraction is an integer, however it is written: `2.0`, `1e3`. So says JSON Schema, which the documentation is written in.
/// Larger ones, which a float does not hold exactly, stay what they are.
fn whole_numbers(value: &mut Value) {
    const EXACT_MAX: f64 = 9_007_199_254_740_991.0;
    match value {
        Value::Number(number) if number.is_f64() => {
            let float = number.as_f64().filter(|float| float.fract() == 0.0 && float.abs() <= EXACT_MAX);
            #[expect(clippy::cast_possible_truncation, reason = "it is whole, and within what an i64 holds")]
            if let Some(float) = float {
                *value = Value::from(float as i64);
            }
        }
        Value::Array(values) => values.iter_mut().for_each(whole_numbers),
        Value::Object(fields) => fields.values_mut().for_each(whole_numbers),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

impl FieldErrors {
    /// The errors so far and one more; parsing goes on.
    fn and(
        errors: Option<Self>,
        place: ValuePointerRef<'_>,
        message: impl fmt::Display,
    ) -> ControlFlow<Self, Self> {
        let mut errors = errors.unwrap_or_default();
        if errors.named.len() < ERRORS_MAX {
            let (field, message) = (shortened(path(place)), shortened(message.to_string()));
            errors.named.push(FieldError { field, message });
        } else {
            errors.more += 1;
        }
        ControlFlow::Continue(errors)
    }

    pub(super) fn one(place: ValuePointerRef<'_>, message: impl fmt::Display) -> Self {
        take_cf_content(Self::and(None, place, message))
    }
}

fn shortened(mut words: String) -> String {
    if let Some((end, _)) = words.char_indices().nth(WORDS_MAX) {
        words.truncate(end);
        words.push('…');
    }
    words
}

/// As in `items[0].quantity`; `.` is the body itself.
fn path(place: ValuePointerRef<'_>) -> String {
    match place {
        ValuePointerRef::Origin => ".".to_owned(),
        ValuePointerRef::Key { key, prev } if prev.is_origin() => key.to_owned(),
        ValuePointerRef::Key { key, prev } => format!("{}.{key}", path(*prev)),
        ValuePointerRef::Index { index, prev } => format!("{}[{index}]", path(*prev)),
    }
}

impl DeserializeError for FieldErrors {
    fn error<V: IntoValue>(
        errors: Option<Self>,
        error: ErrorKind<'_, V>,
        place: ValuePointerRef<'_>,
    ) -> ControlFlow<Self, Self> {
        match error {
            ErrorKind::MissingField { field } => Self::and(errors, place.push_key(field), "is missing"),
            ErrorKind::UnknownKey { key, accepted } => {
                let known = if accepted.is_empty() { "none".to_owned() } else { accepted.join(", ") };
                let message = format!("is not known; {}known here: {known}", did_you_mean(key, accepted));
                Self::and(errors, place.push_key(key), message)
            }
            ErrorKind::IncorrectValueKind { actual, accepted } => {
                let [wanted, was] = [accepted, &[actual.kind()]].map(value_kinds_description_json);
                Self::and(errors, place, format!("must be {wanted}, was {was}"))
            }
            ErrorKind::UnknownValue { accepted, .. } => {
                Self::and(errors, place, format!("must be one of {}", accepted.join(", ")))
            }
            ErrorKind::BadSequenceLen { actual, expected } => {
                let length = deserr::Sequence::len(&actual);
                Self::and(errors, place, format!("must hold {expected} values, held {length}"))
            }
            ErrorKind::Unexpected { msg } => Self::and(errors, place, msg),
        }
    }
}

impl MergeWithError<FieldErrors> for FieldErrors {
    fn merge(errors: Option<Self>, other: Self, _: ValuePointerRef<'_>) -> ControlFlow<Self, Self> {
        let mut errors = errors.unwrap_or_default();
        errors.named.extend(other.named);
        errors.more += other.more + errors.named.len().saturating_sub(ERRORS_MAX);
        errors.named.truncate(ERRORS_MAX);
        ControlFlow::Continue(errors)
    }
}

/// The domain's own rules, each at the field it is about.
impl MergeWithError<InvalidValue> for FieldErrors {
    fn merge(
        errors: Option<Self>,
        error: InvalidValue,
        place: ValuePointerRef<'_>,
    ) -> ControlFlow<Self, Self> {
        Self::and(errors, place, error)
    }
}

#[cfg(test)]
mod tests {
    use super::super::dto::CreateOrder;
    use super::*;

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
