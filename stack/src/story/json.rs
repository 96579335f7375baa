//! JSON for reading, in the order in which it was answered.

use std::fmt;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// What fits stays in one line.
const COLUMNS_MAX: usize = 100;
const INDENT: usize = 2;

/// The fields of an object, as they come. A map would sort them.
struct Fields<'a>(Vec<(String, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Fields<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;

        impl<'de> Visitor<'de> for InOrder {
            type Value = Fields<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(Fields(fields))
            }
        }

        deserializer.deserialize_map(InOrder)
    }
}

/// The text with line breaks and indents; as it is if it is no JSON.
pub(super) fn laid_out(text: &str) -> String {
    let mut out = String::new();
    lay_out(text.trim(), 0, 0, &mut out);
    out
}

/// `before`: what stands in the line already.
fn lay_out(raw: &str, depth: usize, before: usize, out: &mut String) {
    if before + raw.len() <= COLUMNS_MAX {
        return out.push_str(raw);
    }
    let (open, close, values) = if let Ok(Fields(fields)) = serde_json::from_str(raw) {
        let named = |(name, value): (String, &RawValue)| (format!("{name:?}: "), value.get().to_owned());
        ('{', '}', fields.into_iter().map(named).collect())
    } else if let Ok(values) = serde_json::from_str::<Vec<&RawValue>>(raw) {
        ('[', ']', values.into_iter().map(|value| (String::new(), value.get().to_owned())).collect())
    } else {
        return out.push_str(raw);
    };
    let values: Vec<(String, String)> = values;
    let line = |depth: usize| format!("\n{}", " ".repeat(depth * INDENT));
    out.push(open);
    for (place, (name, value)) in values.iter().enumerate() {
        *out += &line(depth + 1);
        out.push_str(name);
        // One more for the comma.
        lay_out(value, depth + 1, (depth + 1) * INDENT + name.len() + 1, out);
        if place + 1 < values.len() {
            out.push(',');
        }
    }
    *out += &line(depth);
    out.push(close);
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn what_does_not_fit_in_a_line_is_broken_and_keeps_its_order() {
        assert_eq!(laid_out(r#"{"b":1,"a":[2]}"#), r#"{"b":1,"a":[2]}"#);
        let long = "x".repeat(COLUMNS_MAX);
        let text = format!(r#"{{"b":"{long}","a":[{{"c":1}},"{long}"]}}"#);
        let expected =
            format!("{{\n  \"b\": \"{long}\",\n  \"a\": [\n    {{\"c\":1}},\n    \"{long}\"\n  ]\n}}");
        assert_eq!(laid_out(&text), expected);
        let same: Value = serde_json::from_str(&expected).unwrap();
        assert_eq!(same, serde_json::from_str::<Value>(&text).unwrap());
        assert_eq!(laid_out("no JSON"), "no JSON");
    }
}
