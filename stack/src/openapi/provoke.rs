//! Requests that every operation of its kind has to refuse in the same way, in either service.

use std::time::Duration;

use anyhow::{Context, bail};
use futures_util::future::try_join_all;
use reqwest::{Client, Method, RequestBuilder};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{Answer, Document, Operation};

/// Longer than a service waits for a body; a loaded machine gets more.
const ANSWER_MAX: Duration = Duration::from_secs(60);
/// Of requests to a service that takes one a second: on a slow machine a few of them are answered.
const ATTEMPTS_MAX: usize = 100;

/// A service that is asked.
pub struct Provocation<'a> {
    pub http: &'a Client,
    /// `http://127.0.0.1:3001`
    pub url: &'a str,
    /// A value for each name in a path; `{id}`, say, with an id that nothing has.
    pub names: &'a [(&'a str, String)],
    /// An instance that asks for tokens, as the other one does not.
    pub guarded: Guarded<'a>,
    /// One that also takes a single request a second.
    pub limited: &'a str,
}

#[derive(Clone, Copy)]
pub struct Guarded<'a> {
    pub url: &'a str,
    /// A good one of a caller who may do nothing.
    pub token: &'a str,
}

/// What came of it.
pub struct Provoked {
    pub operation: String,
    /// The kind of problem that was to be answered.
    pub expected: &'static str,
    pub answer: Answer,
}

impl Provocation<'_> {
    /// Provokes each refusal in each operation that it can be provoked in.
    pub async fn all(&self, document: &Document) -> anyhow::Result<Vec<Provoked>> {
        let of_each = document.operations().map(|operation| self.of(operation));
        Ok(try_join_all(of_each).await?.into_iter().flatten().collect())
    }

    async fn of(&self, operation: Operation<'_>) -> anyhow::Result<Vec<Provoked>> {
        let path = self
            .names
            .iter()
            .fold(operation.path.to_owned(), |path, (name, value)| path.replace(name, value));
        let request = || self.request(operation, &path);
        let mut provoked = Vec::new();
        let mut asked = vec![("unknown-host", request()?.header("host", "evil.example"))];
        if operation.method != "GET" {
            asked.push(("cross-origin", request()?.header("origin", "http://evil.example")));
        }
        if operation.parameters("path").any(|parameter| parameter["schema"]["format"] == "uuid") {
            let start = operation.path.split('{').next().unwrap_or_default();
            let end = operation.path.rsplit('}').next().unwrap_or_default();
            asked.push(("malformed-id", self.request(operation, &format!("{start}no-uuid{end}"))?));
        }
        if operation.parameters("query").next().is_some() {
            asked.push(("malformed-query", self.request(operation, &format!("{path}?colour=red"))?));
        }
        if operation.has_body() {
            let json = || Ok::<_, anyhow::Error>(request()?.header("content-type", "application/json"));
            asked.push(("malformed-json", json()?.body("{")));
            asked.push(("repeated-header", json()?.header("content-type", "text/plain").body("{}")));
            asked.push(("body-too-large", json()?.body(" ".repeat(70_000))));
            asked.push(("invalid-fields", json()?.body("[]")));
            asked
                .push(("unsupported-media-type", request()?.header("content-type", "text/plain").body("{}")));
        }
        if operation.described["security"].is_array() {
            let Guarded { url, token } = self.guarded;
            let request = || request_of(self.http, operation, &format!("{url}{path}"));
            asked.push(("missing-token", request()?));
            asked.push(("invalid-token", request()?.bearer_auth("garbage")));
            asked.push(("insufficient-role", request()?.bearer_auth(token)));
            provoked.push(self.one_too_many(operation, &path).await?);
        }
        for (expected, request) in asked {
            let answer = Answer::of(request.send().await?).await?;
            provoked.push(Provoked { operation: operation.id.to_owned(), expected, answer });
        }
        if operation.has_body() {
            for (expected, body) in [("unreadable-body", "no size\r\n"), ("request-timeout", "1\r\n{\r\n")] {
                let answer = self.chunked(operation, &path, body).await?;
                provoked.push(Provoked { operation: operation.id.to_owned(), expected, answer });
            }
        }
        Ok(provoked)
    }

    /// Asks until it is refused as too often.
    async fn one_too_many(&self, operation: Operation<'_>, path: &str) -> anyhow::Result<Provoked> {
        for _ in 0..ATTEMPTS_MAX {
            let request = request_of(self.http, operation, &format!("{}{path}", self.limited))?;
            let answer = Answer::of(request.bearer_auth(self.guarded.token).send().await?).await?;
            if answer.status == 429 {
                return Ok(Provoked {
                    operation: operation.id.to_owned(),
                    expected: "too-many-requests",
                    answer,
                });
            }
        }
        bail!("{} is not refused", operation.id)
    }

    fn request(&self, operation: Operation<'_>, path: &str) -> anyhow::Result<RequestBuilder> {
        request_of(self.http, operation, &format!("{}{path}", self.url))
    }

    /// Sends the beginning of a body without a length, and no more.
    async fn chunked(&self, operation: Operation<'_>, path: &str, body: &str) -> anyhow::Result<Answer> {
        let address = self.url.strip_prefix("http://").context("an address by http")?;
        let mut stream = TcpStream::connect(address).await?;
        let request = format!(
            "{} {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n{body}",
            operation.method
        );
        stream.write_all(request.as_bytes()).await?;
        let mut bytes = Vec::new();
        // An end with a reset is an end: not everything was read.
        let _ =
            timeout(ANSWER_MAX, stream.read_to_end(&mut bytes)).await.context("the connection stays open")?;
        Answer::parse(&String::from_utf8_lossy(&bytes))
            .with_context(|| format!("{} {path}", operation.method))
    }
}

fn request_of(http: &Client, operation: Operation<'_>, url: &str) -> anyhow::Result<RequestBuilder> {
    Ok(http.request(Method::from_bytes(operation.method.as_bytes())?, url))
}
