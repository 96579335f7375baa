//! A client of the bonus service. That may be down, slow, or of a newer version.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;

use chrono::{DateTime, Utc};
use kit::auth::TOKEN_BYTES_MAX;
use kit::files::read;
use kit::tls::{Fault, authorities, http_client, is_loopback};
use reqwest::Client;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tracing::{debug, warn};
use uuid::Uuid;

use crate::config::Config;

const TIMEOUT: Duration = Duration::from_secs(2);
/// A service takes none that is larger; with the line break that editors add.
const FILE_BYTES_MAX: usize = TOKEN_BYTES_MAX + 2;

/// `GET /api/summary` of the bonus service; fields that are not shown are not read.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Summary {
    accounts: i64,
    points: i64,
    credited_events: i64,
    lag_messages: i64,
    consumer: String,
    /// The message queue in use; the other one is absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    kafka: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    redis: Option<String>,
    /// A version of the bonus service that does not tell the rest has no grades either.
    grades: Option<Grades>,
    vip: Option<i64>,
    /// The newest first.
    #[serde(default)]
    latest_changes: Vec<Change>,
}

/// Accounts of each grade.
#[derive(Debug, Serialize, Deserialize)]
struct Grades {
    bronze: i64,
    silver: i64,
    gold: i64,
    platinum: i64,
}

/// A grade or VIP that a customer has gained or lost.
#[derive(Debug, Serialize, Deserialize)]
struct Change {
    customer_id: Uuid,
    event_type: String,
    grade: Option<String>,
    occurred_at: DateTime<Utc>,
}

/// `GET /api/orders/{id}/ledger`, likewise.
#[derive(Debug, Deserialize)]
struct OrderLedger {
    entries: Vec<Entry>,
}

#[derive(Debug, Deserialize)]
struct Entry {
    event_id: Uuid,
    points: i64,
}

#[derive(Clone)]
pub struct BonusClient {
    http: Client,
    url: String,
    token_file: Option<PathBuf>,
}

impl BonusClient {
    /// # Errors
    /// When the authority that is set cannot be used.
    pub fn new(config: &Config) -> anyhow::Result<Self> {
        let (url, token_file) = (&config.bonus_url, config.bonus_token_file.clone());
        if token_file.is_some() && url.scheme() == "http" && !is_loopback(url) {
            warn!("BONUS_TOKEN_FILE's token travels in the clear: give BONUS_URL with https");
        }
        // One connection for each request: the other side may close an idle one just when it is used again.
        let mut http = http_client().timeout(TIMEOUT).pool_max_idle_per_host(0);
        if let Some(file) = &config.bonus_ca_file {
            http = http.tls_certs_only(authorities("BONUS_CA_FILE", file)?);
        }
        Ok(Self { http: http.build()?, url: url.as_str().trim_end_matches('/').to_owned(), token_file })
    }

    /// `None` if the service does not answer.
    pub(super) async fn summary(&self) -> Option<Summary> {
        self.get("/api/summary").await
    }

    /// The points of each of the order's events that are booked; `None` if the service does not answer.
    pub(super) async fn credits(&self, order_id: Uuid) -> Option<HashMap<Uuid, i64>> {
        let OrderLedger { entries } = self.get(&format!("/api/orders/{order_id}/ledger")).await?;
        Some(entries.into_iter().map(|entry| (entry.event_id, entry.points)).collect())
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Option<T> {
        let answer = async {
            let mut request = self.http.get(format!("{}{path}", self.url));
            if let Some(path) = self.token_file.clone() {
                let token = tokio::task::spawn_blocking(move || read(&path, FILE_BYTES_MAX)).await??;
                request = request.bearer_auth(String::from_utf8(token)?.trim());
            }
            anyhow::Ok(request.send().await?.error_for_status()?.json().await?)
        };
        answer.await.inspect_err(not_asked).ok()
    }
}

fn not_asked(error: &anyhow::Error) {
    match Fault::of(&**error) {
        Some(fault) => {
            debug!("The bonus service cannot be asked: {fault} (BONUS_CA_FILE names its authority)")
        }
        None => debug!("The bonus service cannot be asked: {error:#}"),
    }
}
