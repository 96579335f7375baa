//! Each cell of the table, tried on a running service.

use anyhow::{Context, Result, ensure};
use futures_util::{StreamExt, TryStreamExt, stream};
use reqwest::{Client, Method, RequestBuilder, Response};
use serde_json::Value;

use super::defect::defects;
use super::issuer::{Algorithm, Issuer};
use super::table::{ROLES, Row};

/// Requests at a time.
const AT_ONCE: usize = 8;

/// A service that asks for tokens of this issuer.
pub struct Trial<'a> {
    pub http: &'a Client,
    /// `http://127.0.0.1:3001`
    pub url: &'a str,
    pub issuer: &'a Issuer,
    /// Who asks. For a customer that is the customer's id.
    pub subject: &'a str,
    /// A value for each name in a path. Nothing that is named may be there.
    pub names: &'a [(&'a str, String)],
}

impl Trial<'_> {
    /// Tries every role and every defect on each endpoint, and returns how many requests that were. The error names the first that was
    /// answered otherwise than the table says.
    pub async fn all(&self, rows: &[Row]) -> Result<usize> {
        let of_each = stream::iter(rows).map(|row| self.of(row)).buffered(AT_ONCE);
        of_each.try_fold(0, async |sum, requests| Ok(sum + requests)).await
    }

    /// Asks for each endpoint on both addresses of a service, `operators` being the other one, with a token and without: what is for operators
    /// must be on their address alone, and every other endpoint on both.
    pub async fn addresses(&self, rows: &[Row], operators: &str) -> Result<()> {
        let admin = self.issuer.token(self.subject, &["admin"])?;
        for (row, token) in rows.iter().flat_map(|row| [(row, None), (row, Some(admin.as_str()))]) {
            for (url, served) in [(self.url, !row.apart), (operators, true)] {
                let answer = self.ask_at(url, row, token).await?;
                let what = format!("{} {url}{} with {token:?}", row.method, row.path);
                // Of an endpoint that is there and does not end by itself the head is enough.
                let missing = answer.status() == 404 && answer.text().await?.contains(":problem:not-found\"");
                ensure!(missing != served, "{what} is {}served", if missing { "not " } else { "" });
            }
        }
        Ok(())
    }

    async fn of(&self, row: &Row) -> Result<usize> {
        let mut requests = 0;
        for (role, cell) in ROLES.iter().zip(&row.roles) {
            for algorithm in [Algorithm::EdDSA, Algorithm::ES256, Algorithm::RS256] {
                let token = self.issuer.sign(algorithm, &Issuer::claims(self.subject, &[role]))?;
                let answer = self.ask(row, Some(&token)).await?;
                let what = format!("{} {} as {role} by {algorithm:?}", row.method, row.path);
                self.granted(cell != "–", answer, &what).await?;
                requests += 1;
            }
            for defective in defects(self.issuer, self.subject, &[role])? {
                let answer = self.ask(row, defective.token.as_deref()).await?;
                let what = format!("{} {} as {role}: {}", row.method, row.path, defective.name);
                if row.everybody {
                    self.granted(true, answer, &what).await?;
                } else {
                    refused(answer, 401, defective.problem, defective.says).await.context(what)?;
                }
                requests += 1;
            }
        }
        let nobody = self.issuer.token(self.subject, &["accountant"])?;
        let answer = self.ask(row, Some(&nobody)).await?;
        self.granted(row.everybody, answer, &format!("{} {} without a role", row.method, row.path)).await?;
        Ok(requests + 1)
    }

    async fn granted(&self, expected: bool, answer: Response, what: &str) -> Result<()> {
        if !expected {
            return refused(answer, 403, "insufficient-role", "one of the roles")
                .await
                .context(what.to_owned());
        }
        let status = answer.status().as_u16();
        ensure!(![401, 403, 405].contains(&status), "{what} is answered {status}");
        Ok(())
    }

    async fn ask(&self, row: &Row, token: Option<&str>) -> Result<Response> {
        self.ask_at(self.url, row, token).await
    }

    async fn ask_at(&self, url: &str, row: &Row, token: Option<&str>) -> Result<Response> {
        let path = self.names.iter().fold(row.path.clone(), |path, (name, value)| path.replace(name, value));
        let method = Method::from_bytes(row.method.as_bytes())?;
        let request: RequestBuilder = self.http.request(method, format!("{url}{path}"));
        let request = match token {
            Some(token) => request.bearer_auth(token),
            None => request,
        };
        Ok(request.send().await?)
    }
}

/// With a problem, and a challenge that says how to do better.
async fn refused(answer: Response, status: u16, kind: &str, says: &str) -> Result<()> {
    let (got, challenge) = (answer.status().as_u16(), answer.headers().get("www-authenticate").cloned());
    let body = answer.text().await?;
    let problem: Value = serde_json::from_str(&body).with_context(|| format!("{got}: {body}"))?;
    ensure!(got == status && problem["status"] == status, "answered {got}, not {status}: {body}");
    ensure!(problem["type"] == format!("urn:orders:problem:{kind}"), "not {kind}: {body}");
    ensure!(problem["detail"].as_str().is_some_and(|detail| detail.contains(says)), "not {says:?}: {body}");
    let challenge = challenge.context("no challenge")?;
    ensure!(challenge.to_str()?.starts_with("Bearer"), "{challenge:?}");
    Ok(())
}
