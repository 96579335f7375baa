//! What a service answered, and whether it is documented.

use anyhow::{Context, ensure};
use reqwest::Response;
use serde_json::Value;

use super::{Document, Operation, PROBLEM_JSON, schema};

/// An answer to a request.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: String,
}

/// Headers that an answer may have and its document need not name: they belong to HTTP.
const OF_HTTP: [&str; 6] = [
    "content-length",
    "content-type",
    "date",
    "connection",
    "transfer-encoding",
    // For browsers, on every answer alike.
    "x-content-type-options",
];
/// Documented headers that an answer may lack.
const OPTIONAL: [&str; 2] = ["idempotent-replayed", "www-authenticate"];

impl Answer {
    pub async fn of(response: Response) -> anyhow::Result<Self> {
        let status = response.status().as_u16();
        let headers = response.headers().iter();
        let headers = headers.map(|(name, value)| Ok((name.to_string(), value.to_str()?.to_owned())));
        let headers = headers.collect::<anyhow::Result<_>>()?;
        Ok(Self { status, headers, body: response.text().await? })
    }

    /// Of the bytes on a connection that has ended.
    pub fn parse(bytes: &str) -> anyhow::Result<Self> {
        let (head, body) = bytes.split_once("\r\n\r\n").with_context(|| format!("no answer: {bytes:?}"))?;
        let mut lines = head.lines();
        let status = lines.next().and_then(|line| line.split(' ').nth(1)).context("no status line")?;
        let headers = lines.filter_map(|line| line.split_once(": "));
        let headers = headers.map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())).collect();
        Ok(Self { status: status.parse()?, headers, body: body.to_owned() })
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    /// The last part of a problem's type, as in `malformed-id`.
    pub fn problem(&self) -> Option<String> {
        let problem: Value = serde_json::from_str(&self.body).ok()?;
        Some(problem["type"].as_str()?.rsplit(':').next()?.to_owned())
    }
}

impl Document {
    /// Whether this answer to the operation is a documented one. The error names what is not.
    pub fn check(&self, operation: Operation<'_>, answer: &Answer) -> anyhow::Result<()> {
        let status = answer.status;
        let described = &operation.described["responses"][status.to_string()];
        ensure!(described.is_object(), "{}: {status} is not documented: {}", operation.id, answer.body);
        self.check_headers(described, answer).with_context(|| format!("{}: {status}", operation.id))?;
        self.check_body(described, answer).with_context(|| format!("{}: {status}", operation.id))
    }

    fn check_headers(&self, described: &Value, answer: &Answer) -> anyhow::Result<()> {
        let documented = described["headers"].as_object();
        for (name, header) in documented.into_iter().flatten() {
            let name = name.to_ascii_lowercase();
            let Some(value) = answer.header(&name) else {
                ensure!(OPTIONAL.contains(&name.as_str()), "{name} is documented and missing");
                continue;
            };
            let number = value.parse::<i64>().ok().filter(|_| header["schema"]["type"] == "integer");
            let value = number.map_or_else(|| Value::from(value), Value::from);
            let found = schema::mismatches(&self.0, &header["schema"], &value);
            ensure!(found.is_empty(), "{name}: {found:?}");
        }
        for (name, _) in answer.headers.iter().filter(|(name, _)| !OF_HTTP.contains(&name.as_str())) {
            let is_documented =
                documented.is_some_and(|of| of.keys().any(|key| key.eq_ignore_ascii_case(name)));
            ensure!(is_documented, "the header {name} is not documented");
        }
        Ok(())
    }

    fn check_body(&self, described: &Value, answer: &Answer) -> anyhow::Result<()> {
        let Some(content) = described["content"].as_object() else {
            ensure!(answer.body.is_empty(), "a body is not documented: {}", answer.body);
            return Ok(());
        };
        let media = answer.header("content-type").unwrap_or_default();
        let media = media.split(';').next().unwrap_or_default();
        let described = content.get(media).with_context(|| format!("{media:?} is not documented"))?;
        if !media.ends_with("json") {
            return Ok(());
        }
        let value: Value = serde_json::from_str(&answer.body)?;
        let found = schema::mismatches(&self.0, &described["schema"], &value);
        ensure!(found.is_empty(), "{found:?}: {value}");
        if media == PROBLEM_JSON {
            let kind = answer.problem().unwrap_or_default();
            let example = &described["examples"][&kind]["value"];
            ensure!(example.is_object(), "the problem {kind} is not documented: {value}");
            for field in ["type", "title", "status"] {
                ensure!(
                    example[field] == value[field],
                    "{kind}: its {field} is documented otherwise: {value}"
                );
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn document() -> Document {
        let problem = json!({ "type": "urn:x:problem:gone", "title": "Gone", "status": 404 });
        Document::new(json!({ "paths": { "/a": { "get": { "operationId": "read_a", "responses": {
            "200": {
                "headers": { "ETag": { "schema": { "type": "string", "pattern": "^\"[0-9]+\"$" } } },
                "content": { "application/json": { "schema": { "type": "object", "required": ["n"], "properties": { "n": { "type": "integer" } } } } },
            },
            "204": {},
            "404": { "content": { "application/problem+json": {
                "schema": { "type": "object" },
                "examples": { "gone": { "value": problem } },
            } } },
        } } } } }))
    }

    fn answer(status: u16, media: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let headers = headers.iter().copied().chain([("content-type", media)]);
        let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        Answer { status, headers, body: body.to_owned() }
    }

    /// Each lie about the document is found, and the truth is not.
    #[test]
    fn what_is_not_documented_is_found() {
        let (json, problem, etag) = ("application/json", PROBLEM_JSON, [("etag", "\"1\"")]);
        let gone = r#"{"type":"urn:x:problem:gone","title":"Gone","status":404}"#;
        let table = [
            (answer(200, json, &etag, r#"{"n":1}"#), None),
            (answer(204, "", &[], ""), None),
            (answer(404, problem, &[], gone), None),
            (answer(500, json, &[], "{}"), Some("500 is not documented")),
            (answer(200, json, &[], r#"{"n":1}"#), Some("etag is documented and missing")),
            (answer(200, json, &[("etag", "1")], r#"{"n":1}"#), Some("does not fit pattern")),
            (answer(200, json, &[etag[0], ("x-new", "1")], r#"{"n":1}"#), Some("x-new is not documented")),
            (answer(200, "text/plain", &etag, "1"), Some("\"text/plain\" is not documented")),
            (answer(200, json, &etag, "{}"), Some("lacks n")),
            (answer(200, json, &etag, r#"{"n":1,"m":2}"#), Some("has m")),
            (answer(204, json, &[], "{}"), Some("a body is not documented")),
            (
                answer(404, problem, &[], &gone.replace("gone", "lost")),
                Some("the problem lost is not documented"),
            ),
            (
                answer(404, problem, &[], &gone.replace("Gone", "Lost")),
                Some("its title is documented otherwise"),
            ),
        ];
        let document = document();
        let operation = document.operation("read_a").unwrap();
        for (answer, expected) in table {
            let found = document.check(operation, &answer).map_err(|error| format!("{error:#}"));
            match expected {
                None => assert_eq!(found, Ok(()), "{answer:?}"),
                Some(words) => assert!(
                    found.as_ref().is_err_and(|found| found.contains(words)),
                    "{found:?} of {answer:?}"
                ),
            }
        }
    }
}
