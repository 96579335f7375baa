//! How much a client may take, and which pages may ask: requests of a caller, of an address without a good token, and of other origins.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod support;

use std::net::IpAddr;
use std::process::Command;

use futures_util::future::join_all;
use reqwest::{Client, Method, Response};
use serde_json::Value;
use stack::access::Issuer;
use stack::servers::ServiceSettings;
use support::{Orders, Stage, an_order, eventually};
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

const SHOP: &str = "https://shop.example";

/// As a browser asks before a command of a page of this origin.
fn preflight(orders: &Orders, origin: &str, method: &str, headers: &str) -> reqwest::RequestBuilder {
    let request = orders.http.request(Method::OPTIONS, orders.url("/api/orders")).header("Origin", origin);
    request.header("Access-Control-Request-Method", method).header("Access-Control-Request-Headers", headers)
}

fn create(orders: &Orders, origin: &str) -> reqwest::RequestBuilder {
    let request = orders.http.post(orders.url("/api/orders")).json(&an_order());
    request.header("Origin", origin).header("Sec-Fetch-Site", "cross-site")
}

fn header<'a>(answer: &'a Response, name: &str) -> &'a str {
    answer.headers().get(name).map_or("", |value| value.to_str().unwrap())
}

/// What a browser needs to keep the answers for two origins apart, and nothing that lets cookies in.
fn is_for(answer: &Response, origin: &str) {
    assert_eq!(header(answer, "access-control-allow-origin"), origin, "{answer:?}");
    assert!(header(answer, "vary").contains("Origin"), "{answer:?}");
    assert_eq!(header(answer, "access-control-allow-credentials"), "", "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_configured_origins_may_ask() {
    let stage = Stage::new().await;
    let settings =
        stage.settings("orders").with("ORDERS_CORS_ORIGINS", format!("http://localhost:8080,{SHOP}"));
    let orders = stage.start_with(settings).await;
    for origin in [SHOP, "http://localhost:8080"] {
        let answer =
            preflight(&orders, origin, "POST", "authorization,content-type,idempotency-key,if-match");
        let answer = answer.send().await.unwrap();
        assert_eq!(answer.status(), 200);
        is_for(&answer, origin);
        let allowed = header(&answer, "access-control-allow-headers").to_ascii_lowercase();
        for name in ["authorization", "content-type", "idempotency-key", "if-match"] {
            assert!(allowed.contains(name), "{name}: {allowed}");
        }
        let answer = create(&orders, origin).send().await.unwrap();
        assert_eq!(answer.status(), 201);
        is_for(&answer, origin);
        let exposed = header(&answer, "access-control-expose-headers").to_ascii_lowercase();
        for name in ["etag", "location", "retry-after"] {
            assert!(exposed.contains(name), "{name}: {exposed}");
        }
        let nowhere = orders.http.get(orders.url("/nowhere")).header("Origin", origin).send().await.unwrap();
        assert_eq!(nowhere.status(), 404);
        is_for(&nowhere, origin);
    }
    let own = orders.http.post(orders.url("/api/orders")).header("Origin", orders.service.url());
    assert_eq!(own.json(&an_order()).send().await.unwrap().status(), 201, "its own page's");
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_other_origins_may_not() {
    let stage = Stage::new().await;
    let orders = stage.start_with(stage.settings("orders").with("ORDERS_CORS_ORIGINS", SHOP)).await;
    let refused = async |request: reqwest::RequestBuilder, allowed: &str| {
        let answer = request.send().await.unwrap();
        assert_eq!(header(&answer, "access-control-allow-origin"), allowed, "{answer:?}");
        assert_eq!(answer.status(), 403, "{answer:?}");
        assert_eq!(header(&answer, "content-type"), "application/problem+json");
        assert_eq!(answer.json::<Value>().await.unwrap()["type"], "urn:orders:problem:cross-origin");
    };
    for origin in ["https://evil.example", "http://shop.example", "https://shop.example:8443", "null"] {
        refused(preflight(&orders, origin, "POST", "content-type"), "").await;
        refused(create(&orders, origin), "").await;
        let read = orders.http.get(orders.url("/api/orders")).header("Origin", origin).send().await.unwrap();
        assert_eq!((read.status().as_u16(), header(&read, "access-control-allow-origin")), (200, ""));
        assert!(header(&read, "vary").contains("Origin"), "{read:?}");
    }
    refused(preflight(&orders, SHOP, "DELETE", "content-type"), "").await;
    refused(preflight(&orders, SHOP, "POST", "x-anything"), "").await;
    let elsewhere = preflight(&orders, SHOP, "POST", "content-type").header("Host", "evil.example");
    assert_eq!(elsewhere.send().await.unwrap().status(), 421);
    assert_eq!(stage.events().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_origins_no_page_of_another_one_may_ask() {
    let stage = Stage::new().await;
    let orders = stage.start().await;
    let answer = preflight(&orders, SHOP, "POST", "content-type").send().await.unwrap();
    assert_eq!((answer.status().as_u16(), header(&answer, "access-control-allow-origin")), (405, ""));
    assert_eq!(create(&orders, SHOP).send().await.unwrap().status(), 403);
    for wrong in ["*", "shop.example", "https://shop.example/", "https://Shop.example"] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_orders"));
        let output = command.env("ORDERS_AUTH", "off").env("ORDERS_CORS_ORIGINS", wrong).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && said.contains("--cors-origins"), "{wrong}: {said}");
    }
}
