//! How long users wait for their answers.

use std::time::Duration;

use anyhow::{Result, anyhow};
use hdrhistogram::Histogram;
use serde::Serialize;
use uuid::Uuid;

use super::clients::Clients;
use crate::say;

/// Users who command at the same time.
const USERS: usize = 4;

#[derive(Debug, Clone, Serialize)]
pub(crate) struct Latency {
    pub(crate) requests: u64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) max_ms: f64,
}

impl std::fmt::Display for Latency {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { p50_ms, p99_ms, .. } = self;
        write!(f, "p50 {p50_ms:.2} ms, p99 {p99_ms:.2} ms")
    }
}

/// Creates so many orders, shared out over the customers in turn; the same few users at a time whatever the number.
pub(crate) async fn create_orders(
    clients: &Clients,
    customers: &[Uuid],
    count: usize,
) -> Result<(Vec<(Uuid, Uuid)>, Latency)> {
    let users = (0..USERS).map(|user| {
        let (clients, customers) = (clients.clone(), customers.to_vec());
        tokio::spawn(async move {
            let mut created = Vec::new();
            for n in (user..count).step_by(USERS) {
                let customer = *customers.get(n % customers.len().max(1)).unwrap_or(&Uuid::nil());
                let (order, took) = clients.create(customer).await?;
                created.push((order, customer, took));
            }
            anyhow::Ok(created)
        })
    });
    let mut histogram = Histogram::<u64>::new(3)?;
    let mut orders = Vec::with_capacity(count);
    for user in futures_util::future::join_all(users).await {
        for (order, customer, took) in user.map_err(|error| anyhow!("a user's task ended: {error}"))?? {
            orders.push((order, customer));
            histogram.record(u64::try_from(took.as_micros())?)?;
        }
    }
    let milliseconds =
        |micros: u64| (Duration::from_micros(micros).as_secs_f64() * 1_000_000.0).round() / 1_000.0;
    Ok((
        orders,
        Latency {
            requests: histogram.len(),
            p50_ms: milliseconds(histogram.value_at_quantile(0.5)),
            p99_ms: milliseconds(histogram.value_at_quantile(0.99)),
            max_ms: milliseconds(histogram.max()),
        },
    ))
}

pub(super) fn show(what: &str, latency: &Latency) {
    say::answer(format!("{what:<16} {latency}, slowest {:.2} ms", latency.max_ms));
}
