//! JSON against a schema, as far as our documents use schemas. A keyword that is not known here is a mismatch, never passed over.

use chrono::DateTime;
use regex_lite::Regex;
use serde_json::Value;
use uuid::Uuid;

/// What only informs.
const ANNOTATIONS: [&str; 6] = ["description", "title", "example", "examples", "default", "deprecated"];

/// What is wrong with `value`; empty when it is as described.
pub(super) fn mismatches(document: &Value, schema: &Value, value: &Value) -> Vec<String> {
    let mut check = Check { document, found: Vec::new() };
    check.value(schema, value, "$");
    check.found
}

struct Check<'a> {
    document: &'a Value,
    found: Vec<String>,
}

impl Check<'_> {
    fn wrong(&mut self, at: &str, what: impl std::fmt::Display) {
        self.found.push(format!("{at} {what}"));
    }

    fn value(&mut self, schema: &Value, value: &Value, at: &str) {
        let Some(keywords) = schema.as_object() else {
            return self.wrong(at, format_args!("has no schema, but {schema}"));
        };
        for (keyword, wanted) in keywords {
            match keyword.as_str() {
                "$ref" => self.reference(wanted, value, at),
                "oneOf" => self.alternatives(wanted, value, at),
                "type" => self.kind(wanted, value, at),
                "enum" => {
                    if !wanted.as_array().is_some_and(|values| values.contains(value)) {
                        self.wrong(at, format_args!("is {value}, not one of {wanted}"));
                    }
                }
                "format" => self.format(wanted, value, at),
                "pattern" | "minLength" | "maxLength" => self.text(keyword, wanted, value, at),
                "minimum" | "maximum" => self.number(keyword, wanted, value, at),
                "minItems" | "maxItems" => self.length(keyword, wanted, value, at),
                "items" => {
                    for (n, value) in value.as_array().into_iter().flatten().enumerate() {
                        self.value(wanted, value, &format!("{at}[{n}]"));
                    }
                }
                "required" => {
                    for name in wanted.as_array().into_iter().flatten().filter_map(Value::as_str) {
                        if value.is_object() && value.get(name).is_none() {
                            self.wrong(at, format_args!("lacks {name}"));
                        }
                    }
                }
                "properties" => self.properties(wanted, value, at),
                "additionalProperties" if *wanted == false => {
                    if !keywords.contains_key("properties")
                        && value.as_object().is_some_and(|of| !of.is_empty())
                    {
                        self.wrong(at, "has fields, and there are none");
                    }
                }
                known if ANNOTATIONS.contains(&known) => {}
                unknown => self.wrong(at, format_args!("is described by {unknown}, which is not looked at")),
            }
        }
    }

    fn reference(&mut self, reference: &Value, value: &Value, at: &str) {
        let target = reference.as_str().and_then(|place| self.document.pointer(place.strip_prefix('#')?));
        match target {
            Some(schema) => self.value(&schema.clone(), value, at),
            None => self.wrong(at, format_args!("refers to {reference}, which is not there")),
        }
    }

    fn alternatives(&mut self, schemas: &Value, value: &Value, at: &str) {
        let fits = |schema: &&Value| mismatches(self.document, schema, value).is_empty();
        let fitting = schemas.as_array().into_iter().flatten().filter(fits).count();
        if fitting != 1 {
            self.wrong(at, format_args!("is {fitting} of the alternatives {schemas}: {value}"));
        }
    }

    fn kind(&mut self, wanted: &Value, value: &Value, at: &str) {
        let kind = match value {
            Value::Null => "null",
            Value::Bool(_) => "boolean",
            Value::Number(number) if number.is_i64() || number.is_u64() => "integer",
            Value::Number(_) => "number",
            Value::String(_) => "string",
            Value::Array(_) => "array",
            Value::Object(_) => "object",
        };
        let is = |name: &Value| *name == kind || *name == "number" && kind == "integer";
        if !is(wanted) && !wanted.as_array().is_some_and(|names| names.iter().any(is)) {
            self.wrong(at, format_args!("is {kind}, not {wanted}: {value}"));
        }
    }

    fn format(&mut self, wanted: &Value, value: &Value, at: &str) {
        let Some(text) = value.as_str() else { return };
        let fits = match wanted.as_str() {
            Some("uuid") => Uuid::try_parse(text).is_ok(),
            Some("date-time") => DateTime::parse_from_rfc3339(text).is_ok(),
            _ => false,
        };
        if !fits {
            self.wrong(at, format_args!("is no {wanted}: {text:?}"));
        }
    }

    fn text(&mut self, keyword: &str, wanted: &Value, value: &Value, at: &str) {
        let Some(text) = value.as_str() else { return };
        let length = text.chars().count() as u64;
        let fits = match (keyword, wanted) {
            ("pattern", Value::String(pattern)) => {
                Regex::new(pattern).is_ok_and(|regex| regex.is_match(text))
            }
            ("minLength", wanted) => wanted.as_u64().is_some_and(|least| length >= least),
            (_, wanted) => wanted.as_u64().is_some_and(|most| length <= most),
        };
        if !fits {
            self.wrong(at, format_args!("does not fit {keyword} {wanted}: {text:?}"));
        }
    }

    fn number(&mut self, keyword: &str, wanted: &Value, value: &Value, at: &str) {
        let (Some(number), Some(bound)) = (value.as_f64(), wanted.as_f64()) else { return };
        if keyword == "minimum" && number < bound || keyword == "maximum" && number > bound {
            self.wrong(at, format_args!("is beyond the {keyword} of {wanted}: {value}"));
        }
    }

    fn length(&mut self, keyword: &str, wanted: &Value, value: &Value, at: &str) {
        let (Some(values), Some(bound)) = (value.as_array(), wanted.as_u64()) else { return };
        let length = values.len() as u64;
        if keyword == "minItems" && length < bound || keyword == "maxItems" && length > bound {
            self.wrong(at, format_args!("has {length} items, {keyword} is {wanted}"));
        }
    }

    /// Every field is a described one, whether others are forbidden or not: what is answered and not described is a fault.
    fn properties(&mut self, wanted: &Value, value: &Value, at: &str) {
        for (name, value) in value.as_object().into_iter().flatten() {
            match wanted.get(name) {
                Some(schema) => self.value(schema, value, &format!("{at}.{name}")),
                None => self.wrong(at, format_args!("has {name}, which is not described")),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_not_as_described_is_named() {
        let document = json!({ "components": { "schemas": { "Name": { "type": "string", "pattern": "^[a-z]+$", "maxLength": 3 } } } });
        let name = json!({ "$ref": "#/components/schemas/Name" });
        let object = json!({ "type": "object", "required": ["n"], "properties": { "n": { "type": "integer", "minimum": 1, "maximum": 2 } } });
        let table = [
            (name.clone(), json!("abc"), None),
            (name.clone(), json!("ABC"), Some("pattern")),
            (name.clone(), json!("abcd"), Some("maxLength")),
            (name.clone(), json!(7), Some("is integer")),
            (json!({ "$ref": "#/components/schemas/Gone" }), json!(1), Some("not there")),
            (json!({ "oneOf": [name, { "type": "null" }] }), json!(null), None),
            (json!({ "oneOf": [{ "type": "null" }] }), json!(1), Some("0 of the alternatives")),
            (object.clone(), json!({ "n": 2 }), None),
            (object.clone(), json!({}), Some("lacks n")),
            (object.clone(), json!({ "n": 3 }), Some("maximum")),
            (object.clone(), json!({ "n": 0 }), Some("minimum")),
            (object, json!({ "n": 1, "m": 1 }), Some("has m")),
            (json!({ "type": ["string", "null"], "enum": ["a"] }), json!("b"), Some("not one of")),
            (json!({ "type": "string", "format": "uuid" }), json!("x"), Some("no \"uuid\"")),
            (
                json!({ "type": "array", "maxItems": 1, "items": { "type": "boolean" } }),
                json!([true, true]),
                Some("2 items"),
            ),
            (json!({ "type": "array", "items": { "type": "boolean" } }), json!([1]), Some("$[0] is integer")),
            (
                json!({ "type": "object", "additionalProperties": false }),
                json!({ "a": 1 }),
                Some("there are none"),
            ),
            (json!({ "type": "string", "contentEncoding": "base64" }), json!("a"), Some("not looked at")),
        ];
        for (schema, value, expected) in table {
            let found = mismatches(&document, &schema, &value);
            match expected {
                None => assert!(found.is_empty(), "{schema} {value}: {found:?}"),
                Some(words) => {
                    assert!(found.iter().any(|found| found.contains(words)), "{schema} {value}: {found:?}")
                }
            }
        }
    }
}
