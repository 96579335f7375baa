//! How much a client may take: requests of a caller, and of an address without a good token.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod support;

use std::net::IpAddr;

use futures_util::future::join_all;
use reqwest::{Client, Response};
use serde_json::Value;
use stack::access::Issuer;
use stack::servers::ServiceSettings;
use support::{Orders, Stage, eventually};
use uuid::Uuid;

/// Two requests a second, and five at once.
fn scant(settings: ServiceSettings) -> ServiceSettings {
    settings.with("ORDERS_RATE_LIMIT_PER_SECOND", "2").with("ORDERS_RATE_LIMIT_BURST", "5")
}

/// A service that asks for tokens.
async fn guarded(stage: &Stage) -> (Orders, Issuer) {
    let issuer = Issuer::of_ed25519().unwrap();
    let settings = issuer.required(stage.settings("guarded"), "ORDERS", stage.directory.path()).unwrap();
    (stage.start_with(scant(settings)).await, issuer)
}

fn customer(issuer: &Issuer) -> String {
    issuer.token(&Uuid::new_v4().to_string(), &["customer"]).unwrap()
}

/// A client whose address is this one of the loopback network.
fn from(address: &str) -> Client {
    let address: IpAddr = address.parse().unwrap();
    stack::http_client().local_address(address).build().unwrap()
}

/// Sends so many requests together, and returns the statuses that came, and the last refusal.
async fn many(
    requests: usize,
    request: impl Fn() -> reqwest::RequestBuilder,
) -> (Vec<u16>, Option<Response>) {
    let answers = join_all((0..requests).map(|_| request().send())).await;
    let (mut statuses, mut refusal) = (Vec::new(), None);
    for answer in answers.into_iter().map(Result::unwrap) {
        statuses.push(answer.status().as_u16());
        if answer.status() == 429 {
            refusal = Some(answer);
        }
    }
    (statuses, refusal)
}

fn count(statuses: &[u16], wanted: u16) -> usize {
    statuses.iter().filter(|status| **status == wanted).count()
}

async fn refused(orders: &Orders, operator: &str, by: &str) -> f64 {
    let request = orders.http.get(orders.url("/metrics")).bearer_auth(operator);
    let scraped = request.send().await.unwrap().text().await.unwrap();
    let of = format!("orders_http_rate_limited_total{{by=\"{by}\"}}");
    let line = scraped.lines().find_map(|line| line.strip_prefix(&of));
    line.unwrap_or_else(|| panic!("no {of} in {scraped}")).trim().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_who_asks_too_often_is_refused_and_nobody_else() {
    let stage = Stage::new().await;
    let (orders, issuer) = guarded(&stage).await;
    let (greedy, modest) = (customer(&issuer), customer(&issuer));
    let list = |token: &str| orders.http.get(orders.url("/api/orders")).bearer_auth(token);
    let (statuses, refusal) = many(100, || list(&greedy)).await;
    assert!(count(&statuses, 200) >= 5, "{statuses:?}");
    assert!(count(&statuses, 429) > 50, "{statuses:?}");
    let refusal = refusal.unwrap();
    assert_eq!(refusal.headers()["content-type"], "application/problem+json");
    let seconds: u64 = refusal.headers()["retry-after"].to_str().unwrap().parse().unwrap();
    assert_eq!(seconds, 1, "half a second, rounded up");
    let problem: Value = refusal.json().await.unwrap();
    assert_eq!(problem["type"], "urn:orders:problem:too-many-requests");
    assert!(problem["detail"].as_str().unwrap().contains("after 1 second(s)"), "{problem}");

    assert_eq!(list(&modest).send().await.unwrap().status(), 200, "another caller at the same address");
    for probe in ["/livez", "/readyz"] {
        let (statuses, _) = many(50, || orders.http.get(orders.url(probe)).bearer_auth(&greedy)).await;
        assert_eq!(count(&statuses, 200), 50, "{probe}: {statuses:?}");
    }
    let operator = issuer.token("operator", &["operator"]).unwrap();
    assert!(refused(&orders, &operator, "caller").await > 50.0);
    let elsewhere = from("127.0.0.2").get(orders.url("/api/orders")).bearer_auth(&greedy);
    let (statuses, _) = many(20, || elsewhere.try_clone().unwrap()).await;
    assert!(count(&statuses, 429) > 5, "the same caller at another address: {statuses:?}");
    eventually("the caller is let in again", async || {
        (list(&greedy).send().await.unwrap().status() == 200).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_tries_tokens_is_refused_by_address_and_good_callers_are_not() {
    let stage = Stage::new().await;
    let (orders, issuer) = guarded(&stage).await;
    let (statuses, _) = many(100, || orders.http.get(orders.url("/api/orders")).bearer_auth("guess")).await;
    assert!(count(&statuses, 401) >= 5 && count(&statuses, 429) > 50, "{statuses:?}");
    let (statuses, _) = many(20, || orders.http.get(orders.url("/api/orders"))).await;
    assert!(count(&statuses, 429) > 5, "without a token at all: {statuses:?}");
    let good = orders.http.get(orders.url("/api/orders")).bearer_auth(customer(&issuer));
    assert_eq!(good.send().await.unwrap().status(), 200);
    let guess = from("127.0.0.2").get(orders.url("/api/orders")).bearer_auth("guess");
    assert_eq!(guess.send().await.unwrap().status(), 401, "another address");
    assert_eq!(orders.get("/livez").await.0, 200);
    let (statuses, _) = many(20, || orders.http.get(orders.url("/api-docs/openapi.json"))).await;
    assert!(count(&statuses, 429) > 5, "for everybody, and no probe: {statuses:?}");
    let operator = issuer.token("operator", &["operator"]).unwrap();
    assert!(refused(&orders, &operator, "address").await > 50.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_tokens_there_is_a_limit_only_if_it_is_set_and_then_by_address() {
    let stage = Stage::new().await;
    let orders = stage.start().await;
    let (statuses, _) = many(500, || orders.http.get(orders.url("/api/outbox"))).await;
    // Not all find a connection to the database.
    assert_eq!(count(&statuses, 429), 0, "{statuses:?}");
    drop(orders);
    let orders = stage.start_with(scant(stage.settings("limited"))).await;
    let (statuses, _) = many(100, || orders.http.get(orders.url("/api/outbox"))).await;
    assert!(count(&statuses, 200) >= 5 && count(&statuses, 429) > 50, "{statuses:?}");
    let elsewhere = from("127.0.0.2").get(orders.url("/api/outbox")).send().await.unwrap();
    assert_eq!(elsewhere.status(), 200);
    let (statuses, _) = many(50, || orders.http.get(orders.url("/readyz"))).await;
    assert_eq!(count(&statuses, 200), 50, "{statuses:?}");
}
