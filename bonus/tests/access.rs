//! Who may do what: the table of docs/security.md, tried cell by cell.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use std::collections::BTreeMap;
use std::process::Command;

use bonus::http::access::ENDPOINTS;
use kit::auth::{Grant, Permission};
use kit::http::{Endpoint, Side, documentation};
use stack::access::{Row, Trial, rows};
use support::guard::Guard;
use support::kafka::produce;
use support::process::Bonus;
use support::{World, event};
use uuid::Uuid;

const DOCUMENT: &str = include_str!("../../docs/security.md");

fn table() -> Vec<Row> {
    rows(DOCUMENT, "### Bonus service").unwrap()
}

/// As the document has it.
fn row(endpoint: &Endpoint) -> Row {
    let cell = |grant: fn(&Permission) -> Grant| match endpoint.permission.as_ref().map(grant) {
        None | Some(Grant::All) => "all".to_owned(),
        Some(Grant::Own) => "own".to_owned(),
        Some(Grant::Nothing) => "–".to_owned(),
    };
    Row {
        method: endpoint.methods[0].to_owned(),
        path: endpoint.path.to_owned(),
        apart: endpoint.side == Side::Operators,
        everybody: endpoint.permission.is_none(),
        roles: [cell(|of| of.customer), cell(|of| of.operator), cell(|of| of.admin)],
    }
}

/// The routes are made from the same constants: what they lack is not served.
#[test]
fn the_table_of_bonus_has_every_endpoint() {
    let served: Vec<Row> = ENDPOINTS.iter().chain(&documentation::ENDPOINTS).map(row).collect();
    assert_eq!(table(), served);
}

#[tokio::test]
async fn every_cell_of_the_table_of_bonus_and_every_defect_of_a_token() {
    let world = World::new().await;
    // Another process makes the schema, and credits.
    let _open = Bonus::start_ready(&world).await;
    let guard = Guard::start_with(&world, &[("BONUS_ADMIN_ADDR", "127.0.0.1:0")]).await;
    let operators = guard.bonus.logged("The bonus service listens for operators").await;
    let operators = operators["url"].as_str().unwrap().trim_end_matches('/');
    let (customer, http) = (Uuid::now_v7(), support::http());
    let subject = customer.to_string();
    let names = [
        ("{customer_id}", subject.clone()),
        ("{order_id}", Uuid::now_v7().to_string()),
        ("{id}", Uuid::now_v7().to_string()),
        ("{_:.*}", "index.html".to_owned()),
    ];
    let trial =
        Trial { http: &http, url: operators, issuer: &guard.issuer, subject: &subject, names: &names };
    let requests = trial.all(&table()).await.unwrap_or_else(|error| panic!("{error:#}"));
    assert!(requests > 500, "{requests} requests");
    let trial = Trial { url: &guard.bonus.url, ..trial };
    trial.addresses(&table(), operators).await.unwrap_or_else(|error| panic!("{error:#}"));

    produce(&world, &[event("OrderCreated", Uuid::now_v7(), 1, customer)]).await;
    world.points_become(&BTreeMap::from([(customer, 40)])).await;
    let status = async |who: &str, role: &str, of: Uuid, what: &str| {
        let token = guard.issuer.token(who, &[role]).unwrap();
        let request = http.get(format!("{}/api/bonuses/{of}{what}", guard.bonus.url)).bearer_auth(token);
        request.send().await.unwrap().status().as_u16()
    };
    for what in ["", "/ledger"] {
        assert_eq!(status(&subject, "customer", customer, what).await, 200);
        assert_eq!(status("kim", "operator", customer, what).await, 200);
        let stranger = Uuid::now_v7();
        // The same for one that is there and one that is not.
        assert_eq!(status(&stranger.to_string(), "customer", customer, what).await, 403);
        assert_eq!(status(&subject, "customer", stranger, what).await, 403);
        assert_eq!(status(&stranger.to_string(), "customer", stranger, what).await, 404);
    }
}

#[test]
fn a_start_of_bonus_that_does_not_say_who_may_ask_ends() {
    let off = ("BONUS_AUTH", "off");
    for (settings, says) in [
        (vec![], "BONUS_AUTH is not set. Choose: BONUS_AUTH=jwt"),
        (vec![off, ("BONUS_HTTP_ADDR", "0.0.0.0:0")], "BONUS_AUTH_OFF_EVERYWHERE=true"),
        (vec![off, ("BONUS_ADMIN_ADDR", "0.0.0.0:0")], "BONUS_AUTH_OFF_EVERYWHERE=true"),
        (vec![("BONUS_AUTH", "jwt")], "BONUS_AUTH_JWKS"),
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bonus"));
        let output = command.env_remove("BONUS_AUTH").envs(settings.iter().copied()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{settings:?}: {said}");
        assert!(said.contains(says), "{settings:?}: {said}");
    }
}

/// Of the order service the same is tested by `tests/clients.rs` in full.
#[tokio::test]
async fn a_caller_who_asks_too_often_is_refused_and_nobody_else() {
    let world = World::new().await;
    let scant = [("BONUS_RATE_LIMIT_PER_SECOND", "1"), ("BONUS_RATE_LIMIT_BURST", "3")];
    let guard = Guard::start_with(&world, &scant).await;
    let (http, url) = (support::http(), |path: &str| format!("{}{path}", guard.bonus.url));
    let token = |subject: &str| guard.issuer.token(subject, &["operator"]).unwrap();
    let ask = async |path: &str, token: &str| {
        http.get(url(path)).bearer_auth(token).send().await.unwrap().status().as_u16()
    };
    let mut statuses = Vec::new();
    for _ in 0..50 {
        statuses.push(ask("/api/actors", &token("greedy")).await);
    }
    assert!(statuses.starts_with(&[200, 200, 200]) && statuses.contains(&429), "{statuses:?}");
    assert_eq!(ask("/api/actors", &token("modest")).await, 200);
    for _ in 0..50 {
        assert_eq!(ask("/livez", "").await, 200);
    }
    let scraped = http.get(url("/metrics")).bearer_auth(token("modest")).send().await.unwrap();
    let scraped = scraped.text().await.unwrap();
    let counted = scraped.lines().any(|line| {
        line.strip_prefix("bonus_http_rate_limited_total{by=\"caller\"} ").is_some_and(|count| count != "0")
    });
    assert!(counted, "{scraped}");
}
