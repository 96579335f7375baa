//! OpenAPI documents against what is answered, for the tests of both services.
//!
//! - [`Document::faults`]: whether a document is one that a client can be generated from.
//! - [`Document::check`]: whether an answer is a documented one: status, headers, media type, body, kind of problem.
//! - [`provoke`]: requests that every operation has to refuse, made from the document itself.
//! - [`Coverage`]: which documented answers have been seen.
//! - [`collection`]: requests to play with, made from the documents.

mod answer;
pub mod collection;
mod coverage;
pub mod provoke;
mod schema;
mod sound;

use serde_json::Value;

pub use self::answer::Answer;
pub use self::coverage::Coverage;

/// An OpenAPI 3.1 document.
pub struct Document(Value);

/// One operation of it.
#[derive(Clone, Copy)]
pub struct Operation<'a> {
    pub id: &'a str,
    /// In capitals.
    pub method: &'static str,
    pub path: &'a str,
    pub described: &'a Value,
}

const METHODS: [(&str, &str); 5] =
    [("get", "GET"), ("post", "POST"), ("put", "PUT"), ("patch", "PATCH"), ("delete", "DELETE")];
pub const PROBLEM_JSON: &str = "application/problem+json";

impl Document {
    pub fn new(document: Value) -> Self {
        Self(document)
    }

    pub fn operations(&self) -> impl Iterator<Item = Operation<'_>> {
        self.0["paths"].as_object().into_iter().flatten().flat_map(|(path, item)| {
            METHODS.iter().filter_map(move |(name, method)| {
                let described = item.get(name)?;
                let id = described["operationId"].as_str().unwrap_or_default();
                Some(Operation { id, method, path, described })
            })
        })
    }

    /// The operation of this id, which must be there.
    pub fn operation(&self, id: &str) -> anyhow::Result<Operation<'_>> {
        let mut operations = self.operations();
        operations.find(|operation| operation.id == id).ok_or_else(|| anyhow::anyhow!("no operation {id}"))
    }

    /// What is wrong with `value` as one of the schema of this name; empty when nothing is.
    pub fn mismatches(&self, schema: &str, value: &Value) -> Vec<String> {
        let schema = &self.0["components"]["schemas"][schema];
        schema::mismatches(&self.0, schema, value)
    }

    /// What is wrong with `value` as a body of this operation.
    pub fn body_mismatches(&self, operation: Operation<'_>, value: &Value) -> Vec<String> {
        schema::mismatches(&self.0, operation.body().unwrap_or(&Value::Null), value)
    }
}

impl<'a> Operation<'a> {
    pub fn has_body(&self) -> bool {
        self.described.get("requestBody").is_some()
    }

    /// The schema of its body, if it takes one.
    pub fn body(&self) -> Option<&'a Value> {
        self.described.pointer("/requestBody/content/application~1json/schema")
    }

    /// Its parameters that are in `place`: `path`, `query` or `header`.
    pub fn parameters(&self, place: &str) -> impl Iterator<Item = &Value> {
        let all = self.described["parameters"].as_array().into_iter().flatten();
        all.filter(move |parameter| parameter["in"] == place)
    }
}
