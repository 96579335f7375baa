//! From the bytes of a body to checked values. Parsing goes on after an error, so that every wrong field is named.

mod unique_keys;

use std::fmt;
use std::ops::ControlFlow;

use deserr::errors::helpers::did_you_mean;
use deserr::errors::json::value_kinds_description_json;
use deserr::{
    DeserializeError, Deserr, ErrorKind, IntoValue, MergeWithError, ValuePointerRef, take_cf_content,
};
use serde_json::Value;

use self::unique_keys::UniqueKeys;
use super::kind::MALFORMED_JSON;
use super::problem::{FieldError, Problem};
use crate::value::InvalidValue;

/// Most wrong fields named in one answer; the rest are counted. A body of 64 kB can have twenty thousand.
const ERRORS_MAX: usize = 20;
/// Longest field path or message, in characters: either may contain text of the body.
const WORDS_MAX: usize = 200;

/// What is wrong with a body, field by field.
#[derive(Debug, Default)]
pub struct FieldErrors {
    named: Vec<FieldError>,
    /// How many more there are.
    more: usize,
}

/// # Errors
/// The answer, with every field that is wrong.
pub fn parse<T: Deserr<FieldErrors>>(text: &[u8]) -> Result<T, Problem> {
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

    pub fn one(place: ValuePointerRef<'_>, message: impl fmt::Display) -> Self {
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
