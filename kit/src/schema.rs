//! Schemas of texts, for OpenAPI documents.

use utoipa::openapi::schema::Object;
use utoipa::openapi::{ObjectBuilder, Type};

/// A text with one of these values.
pub fn one_of(values: &[&str]) -> Object {
    ObjectBuilder::new().schema_type(Type::String).enum_values(Some(values.iter().copied())).build()
}

/// A text that matches `pattern`.
pub fn text(pattern: &str, example: &str) -> Object {
    let text = ObjectBuilder::new().schema_type(Type::String).pattern(Some(pattern));
    text.examples([example]).build()
}
