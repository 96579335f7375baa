//! From the bytes of a body to checked values. Parsing goes on after an error, so that every wrong field is named.

use std::collections::HashSet;
use std::fmt;
use std::ops::ControlFlow;

use deserr::errors::helpers::did_you_mean;
use deserr::errors::json::value_kinds_description_json;
use deserr::{DeserializeError, Deserr, ErrorKind, IntoValue, MergeWithError, ValuePointerRef};
use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use super::problem::{FieldError, Problem};
use crate::order::InvalidValue;

/// What is wrong with a body, field by field.
#[derive(Debug)]
pub(super) struct FieldErrors(Vec<FieldError>);

pub(super) fn parse<T: Deserr<FieldErrors>>(text: &[u8]) -> Result<T, Problem> {
    let malformed = |error| Problem::bad_request("malformed-json", format!("The body is not JSON: {error}."));
    serde_json::from_slice::<NamedOnce>(text).map_err(malformed)?;
    let value: Value = serde_json::from_slice(text).map_err(malformed)?;
    deserr::deserialize(value).map_err(|FieldErrors(errors)| Problem::invalid(errors))
}

impl FieldErrors {
    /// The errors so far and one more; parsing goes on.
    fn and(
        errors: Option<Self>,
        place: ValuePointerRef<'_>,
        message: impl fmt::Display,
    ) -> ControlFlow<Self, Self> {
        let mut errors = errors.map_or_else(Vec::new, |FieldErrors(errors)| errors);
        errors.push(FieldError { field: path(place), message: message.to_string() });
        ControlFlow::Continue(Self(errors))
    }
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
    fn merge(errors: Option<Self>, Self(more): Self, _: ValuePointerRef<'_>) -> ControlFlow<Self, Self> {
        let mut errors = errors.map_or_else(Vec::new, |FieldErrors(errors)| errors);
        errors.extend(more);
        ControlFlow::Continue(Self(errors))
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

/// Any JSON, as long as no object names a field twice: a [`Value`] would keep the last one without a word.
struct NamedOnce;

impl<'de> Deserialize<'de> for NamedOnce {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Self)
    }
}

impl<'de> Visitor<'de> for NamedOnce {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self, E> {
        Ok(Self)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self, E> {
        Ok(Self)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self, E> {
        Ok(Self)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self, E> {
        Ok(Self)
    }

    fn visit_str<E>(self, _: &str) -> Result<Self, E> {
        Ok(Self)
    }

    fn visit_unit<E>(self) -> Result<Self, E> {
        Ok(Self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut values: A) -> Result<Self, A::Error> {
        while values.next_element::<Self>()?.is_some() {}
        Ok(Self)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Self, A::Error> {
        let mut names = HashSet::new();
        while let Some((name, Self)) = fields.next_entry::<String, Self>()? {
            if let Some(twice) = names.replace(name) {
                return Err(A::Error::custom(format_args!("the field {twice:?} is there twice")));
            }
        }
        Ok(Self)
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

    #[test]
    fn broken_json_is_told_from_wrong_json() {
        for broken in
            ["{", "[] trailing", r#"{"currency":"EUR","currency":"EUR"}"#, r#"{"a":[{"b":1,"b":1}]}"#]
        {
            assert_eq!(errors(broken), (400, vec![]), "{broken}");
        }
    }
}
