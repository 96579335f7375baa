//! A request as curl's arguments: shown as a person would type it, and sent by curl.

use std::fmt;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::json::laid_out;

/// A command that is longer is shown in several lines.
const COLUMNS_MAX: usize = 100;
/// Headers of an answer that tell something about orders. The others are not shown.
const HEADERS: [&str; 4] = ["etag", "location", "idempotent-replayed", "retry-after"];
/// Quiet, bounded, and past any proxy: what a person need not type.
const UNSEEN: [&str; 6] = ["--silent", "--show-error", "--max-time", "30", "--noproxy", "*"];

#[derive(Debug, Clone)]
pub(super) struct Request {
    /// One option with its value, or the address.
    arguments: Vec<Vec<String>>,
}

impl Request {
    pub(super) fn get(url: String) -> Self {
        Self { arguments: vec![vec!["-i".to_owned(), url]] }
    }

    pub(super) fn post(url: String, key: Option<&str>, body: &str) -> Self {
        let option = |name: &str, value: String| vec![name.to_owned(), value];
        let mut arguments = Self::get(url).arguments;
        arguments.push(option("-H", "content-type: application/json".to_owned()));
        arguments.extend(key.map(|key| option("-H", format!("idempotency-key: {key}"))));
        arguments.push(option("-d", body.to_owned()));
        Self { arguments }
    }

    pub(super) fn send(&self) -> Result<Answer> {
        let output = Command::new("curl").args(UNSEEN).args(self.arguments.iter().flatten()).output();
        let output = output.context("curl cannot be run; `make deps` installs it")?;
        if !output.status.success() {
            bail!("{self}\n{}", String::from_utf8_lossy(&output.stderr).trim());
        }
        Answer::parse(&String::from_utf8(output.stdout)?)
    }
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts: Vec<String> = self
            .arguments
            .iter()
            .map(|part| part.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" "))
            .collect();
        let line = format!("curl {}", parts.join(" "));
        if line.len() <= COLUMNS_MAX {
            f.write_str(&line)
        } else {
            write!(f, "curl {}", parts.join(" \\\n    "))
        }
    }
}

/// As a shell needs it.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:".contains(c);
    if word.chars().all(plain) { word.to_owned() } else { format!("'{}'", word.replace('\'', r"'\''")) }
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Answer {
    status_line: String,
    status: u16,
    /// Those of [`HEADERS`], in lower case.
    headers: Vec<(String, String)>,
    text: String,
    pub(super) body: Value,
}

impl Answer {
    fn parse(text: &str) -> Result<Self> {
        let (head, body) = text.split_once("\r\n\r\n").context("an answer without an end of its headers")?;
        let mut lines = head.lines();
        let status_line = lines.next().unwrap_or_default().to_owned();
        let status = status_line.split(' ').nth(1).and_then(|status| status.parse().ok());
        let status = status.with_context(|| format!("no status line: {status_line}"))?;
        let mut headers: Vec<(String, String)> = lines
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
            .filter(|(name, _)| HEADERS.contains(&name.as_str()))
            .collect();
        headers.sort_unstable();
        let value = serde_json::from_str(body).unwrap_or(Value::Null);
        Ok(Self { status_line, status, headers, text: body.to_owned(), body: value })
    }

    /// Whether it is what was expected. Places of the body are JSON pointers.
    pub(super) fn check(&self, expected: &Expected) -> Result<()> {
        let Expected { status, header, body, there } = expected;
        ensure!(self.status == *status, "expected status {status}, and the answer is\n{self}");
        if let Some((name, value)) = header {
            let found = self.headers.iter().any(|(its, of)| its == name && of == value);
            ensure!(found, "expected the header {name}: {value}, and the answer is\n{self}");
        }
        for (place, value) in body {
            let found = self.body.pointer(place).unwrap_or(&Value::Null);
            ensure!(found == value, "expected {value} at {place}, not {found}; the answer is\n{self}");
        }
        for place in there {
            ensure!(
                self.body.pointer(place).is_some(),
                "expected something at {place}; the answer is\n{self}"
            );
        }
        Ok(())
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.status_line)?;
        for (name, value) in &self.headers {
            writeln!(f, "{name}: {value}")?;
        }
        f.write_str(&laid_out(&self.text))
    }
}

/// What an answer must have.
#[derive(Debug, Clone)]
pub(super) struct Expected {
    status: u16,
    header: Option<(&'static str, &'static str)>,
    body: Vec<(&'static str, Value)>,
    there: Vec<&'static str>,
}

impl Expected {
    pub(super) fn status(status: u16) -> Self {
        Self { status, header: None, body: Vec::new(), there: Vec::new() }
    }

    pub(super) fn header(self, name: &'static str, value: &'static str) -> Self {
        Self { header: Some((name, value)), ..self }
    }

    /// This value at a place of the body. `null` is as good as nothing.
    pub(super) fn value(mut self, place: &'static str, value: impl Into<Value>) -> Self {
        self.body.push((place, value.into()));
        self
    }

    /// Something at a place of the body.
    pub(super) fn there(mut self, place: &'static str) -> Self {
        self.there.push(place);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_shown_as_a_shell_takes_it() {
        assert_eq!(Request::get("http://h:1/a".into()).to_string(), "curl -i http://h:1/a");
        assert_eq!(Request::get("http://h/a?b=c&d".into()).to_string(), "curl -i 'http://h/a?b=c&d'");
        let request = Request::post("http://h/a".into(), Some("k"), r#"{"reason":"it's late"}"#);
        let lines = [
            "curl -i http://h/a",
            "-H 'content-type: application/json'",
            "-H 'idempotency-key: k'",
            r#"-d '{"reason":"it'\''s late"}'"#,
        ];
        assert_eq!(request.to_string(), lines.join(" \\\n    "));
    }

    #[test]
    fn an_answer_that_is_not_the_expected_one_is_named() {
        let text = "HTTP/1.1 200 OK\r\nETag: \"1\"\r\nserver: x\r\n\r\n{\"status\":\"paid\",\"version\":2}";
        let answer = Answer::parse(text).unwrap();
        let shown = "HTTP/1.1 200 OK\netag: \"1\"\n{\"status\":\"paid\",\"version\":2}";
        assert_eq!(answer.to_string(), shown);
        let refusal = |expected: Expected| answer.check(&expected).map_err(|error| error.to_string());
        let ok = || Expected::status(200);
        assert_eq!(refusal(ok().header("etag", "\"1\"").value("/status", "paid").there("/version")), Ok(()));
        for (expected, why) in [
            (Expected::status(201), "expected status 201"),
            (ok().header("etag", "\"2\""), "expected the header etag: \"2\""),
            (ok().value("/version", 3), "expected 3 at /version, not 2"),
            (ok().value("/items/0", 1), "expected 1 at /items/0, not null"),
            (ok().there("/items/0"), "expected something at /items/0"),
        ] {
            let refusal = refusal(expected).unwrap_err();
            assert!(refusal.starts_with(why) && refusal.ends_with(shown), "{refusal}");
        }
    }
}
