//! Who may do what: the table of docs/security.md, tried cell by cell, and what a customer can learn of others.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

mod support;

use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use kit::auth::{Grant, Permission};
use kit::http::{Endpoint, Side, documentation};
use orders::http::access::ENDPOINTS;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use stack::access::{Algorithm, Issuer, Row, Trial, rows};
use stack::servers::ServiceSettings;
use support::{Orders, Stage, an_order, eventually};
use tokio::time::timeout;
use uuid::Uuid;

const DOCUMENT: &str = include_str!("../docs/security.md");

fn table() -> Vec<Row> {
    rows(DOCUMENT, "### Order service").unwrap()
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
fn the_table_has_every_endpoint() {
    let served: Vec<Row> = ENDPOINTS.iter().chain(&documentation::ENDPOINTS).map(row).collect();
    assert_eq!(table(), served);
}

/// A route that is not made by `kit::http::resource` would be open to everybody.
#[test]
fn every_route_is_made_by_the_one_function_that_asks() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut open = vec![root.join("src/http"), root.join("bonus/src/http")];
    let mut files = 0;
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                files += 1;
                for other in ["web::resource", "web::scope", "Resource::new", "Scope::new", "#[get", "#[post"]
                {
                    assert!(!text.contains(other), "{} has {other}", path.display());
                }
                assert!(
                    !text.contains(".route(\""),
                    "{} has a route of the application itself",
                    path.display()
                );
            }
        }
    }
    assert!(files > 20, "{files} files were found");
}

/// A service that asks for tokens.
struct Guarded {
    orders: Orders,
    issuer: Issuer,
}

impl Guarded {
    async fn start(stage: &Stage) -> Self {
        Self::of(stage, Issuer::new().unwrap(), stage.settings("guarded")).await
    }

    async fn of(stage: &Stage, issuer: Issuer, settings: ServiceSettings) -> Self {
        let settings = issuer.required(settings, "ORDERS", stage.directory.path()).unwrap();
        Self { orders: stage.start_with(settings).await, issuer }
    }

    fn customer(&self) -> Caller<'_> {
        let id = Uuid::new_v4();
        Caller { id, token: self.issuer.token(&id.to_string(), &["customer"]).unwrap(), orders: &self.orders }
    }

    fn with_role(&self, role: &str) -> Caller<'_> {
        let id = Uuid::new_v4();
        Caller { id, token: self.issuer.token("kim", &[role]).unwrap(), orders: &self.orders }
    }
}

struct Caller<'a> {
    id: Uuid,
    token: String,
    orders: &'a Orders,
}

impl Caller<'_> {
    async fn ask(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<Value>,
    ) -> (StatusCode, Value) {
        let mut request = self.orders.http.request(method, self.orders.url(path)).bearer_auth(&self.token);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer = request.send().await.unwrap();
        let status = answer.status();
        (status, serde_json::from_str(&answer.text().await.unwrap()).unwrap_or_default())
    }

    async fn get(&self, path: &str) -> (StatusCode, Value) {
        self.ask(Method::GET, path, &[], None).await
    }

    async fn post(&self, path: &str) -> (StatusCode, Value) {
        self.ask(Method::POST, path, &[], Some(json!({}))).await
    }

    fn order_of(customer_id: Uuid) -> Value {
        let mut order = an_order();
        order["customer_id"] = json!(customer_id);
        order
    }

    async fn create(&self, key: Option<&str>) -> Value {
        let key = key.map(|key| ("idempotency-key", key));
        let headers: Vec<_> = key.into_iter().collect();
        let (status, order) =
            self.ask(Method::POST, "/api/orders", &headers, Some(Self::order_of(self.id))).await;
        assert_eq!(status, 201, "{order}");
        order
    }
}

fn kind(problem: &Value) -> &str {
    problem["type"].as_str().unwrap_or_default().rsplit(':').next().unwrap_or_default()
}

/// Values for the names in paths.
fn nothing_there() -> [(&'static str, String); 4] {
    [
        ("{id}", Uuid::new_v4().to_string()),
        ("{name}", "nobody".to_owned()),
        ("{asset}", "style.css".to_owned()),
        ("{_:.*}", "index.html".to_owned()),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn every_cell_of_the_table_and_every_defect_of_a_token() {
    let stage = Stage::new().await;
    let guarded = Guarded::start(&stage).await;
    let subject = Uuid::new_v4().to_string();
    let url = guarded.orders.url("");
    let trial = Trial {
        http: &guarded.orders.http,
        url: &url,
        issuer: &guarded.issuer,
        subject: &subject,
        names: &nothing_there(),
    };
    let requests = trial.all(&table()).await.unwrap_or_else(|error| panic!("{error:#}"));
    assert!(requests > 1_000, "{requests} requests");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_for_operators_is_on_their_address_alone() {
    let stage = Stage::new().await;
    let settings = stage.settings("guarded").with("ORDERS_ADMIN_ADDR", "127.0.0.1:0");
    let guarded = Guarded::of(&stage, Issuer::of_ed25519().unwrap(), settings).await;
    let subject = Uuid::new_v4().to_string();
    let url = guarded.orders.url("");
    let (http, issuer, names) = (&guarded.orders.http, &guarded.issuer, &nothing_there());
    let trial = Trial { http, url: &url, issuer, subject: &subject, names };
    let operators = guarded.orders.operators();
    trial.addresses(&table(), &operators).await.unwrap_or_else(|error| panic!("{error:#}"));
    let hidden = http.get(format!("{url}/metrics")).send().await.unwrap().text().await.unwrap();
    let unknown = http.get(format!("{url}/nothing")).send().await.unwrap().text().await.unwrap();
    assert_eq!(hidden.replace("metrics", "nothing"), unknown, "what is hidden is as what is not there");
    // Neither whose order it is nor who asks depends on the address.
    let customer = guarded.customer();
    let order = customer.create(None).await;
    let read = |token: String| {
        let request = http.get(format!("{operators}/api/orders/{}", order["order_id"].as_str().unwrap()));
        async move { request.bearer_auth(token).send().await.unwrap().status() }
    };
    assert_eq!(read(customer.token.clone()).await, 200);
    assert_eq!(read(guarded.customer().token).await, 404);
}

/// Whatever is asked of another one's order is answered as for one that is not there.
#[tokio::test(flavor = "multi_thread")]
async fn an_order_of_another_customer_is_not_there() {
    let stage = Stage::new().await;
    let guarded = Guarded::start(&stage).await;
    let (owner, stranger) = (guarded.customer(), guarded.customer());
    let (operator, admin) = (guarded.with_role("operator"), guarded.with_role("admin"));
    let order = owner.create(None).await;
    let (id, nowhere) = (order["order_id"].as_str().unwrap(), Uuid::new_v4().to_string());

    let stale: &[(&str, &str)] = &[("if-match", "\"7\"")];
    let keyed: &[(&str, &str)] = &[("idempotency-key", "k")];
    let requests = [
        (Method::GET, "", &[][..]),
        (Method::GET, "/events", &[]),
        (Method::POST, "/pay", &[]),
        (Method::POST, "/pay", stale),
        (Method::POST, "/pay", keyed),
        (Method::POST, "/cancel", &[]),
        (Method::POST, "/cancel", stale),
    ];
    for (method, what, headers) in requests {
        let ask = async |id: &str| {
            stranger.ask(method.clone(), &format!("/api/orders/{id}{what}"), headers, None).await
        };
        let (theirs, none) = (ask(id).await, ask(&nowhere).await);
        assert_eq!(theirs, none, "{method} {what} {headers:?}");
        assert_eq!((theirs.0.as_u16(), kind(&theirs.1)), (404, "order-not-found"));
    }
    let path = |what: &str| format!("/api/orders/{id}{what}");
    for caller in [&owner, &operator, &admin] {
        assert_eq!(caller.get(&path("")).await, (StatusCode::OK, order.clone()));
        assert_eq!(caller.get(&path("/events")).await.0, 200);
    }
    assert_eq!(owner.post(&path("/pay")).await.0, 200);
    assert_eq!(owner.post(&path("/ship")).await.0, 403);
    assert_eq!(operator.post(&path("/ship")).await.0, 200);
    assert_eq!(admin.post(&path("/complete")).await.0, 200);
    assert_eq!(stranger.post(&path("/pay")).await.0, 404, "a rule that would refuse is not asked");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_customer_creates_and_lists_their_own_orders() {
    let stage = Stage::new().await;
    let guarded = Guarded::start(&stage).await;
    let (one, other) = (guarded.customer(), guarded.customer());
    let (admin, operator) = (guarded.with_role("admin"), guarded.with_role("operator"));
    let (order, _) = (one.create(None).await, other.create(None).await);
    let foreign = Some(Caller::order_of(other.id));
    let (status, problem) = one.ask(Method::POST, "/api/orders", &[], foreign.clone()).await;
    assert_eq!((status.as_u16(), kind(&problem)), (403, "foreign-customer"));
    assert_eq!(admin.ask(Method::POST, "/api/orders", &[], foreign).await.0, 201);
    let listed = async |caller: &Caller<'_>, expected: usize| {
        eventually("the list has caught up", async || {
            let (status, page) = caller.get("/api/orders").await;
            assert_eq!(status, 200, "{page}");
            let orders = page["orders"].as_array().unwrap().clone();
            (page["lag_events"] == 0 && orders.len() == expected).then_some(orders)
        })
        .await
    };
    listed(&operator, 3).await;
    assert_eq!(listed(&one, 1).await[0]["order_id"], order["order_id"]);
    let (status, problem) = one.get(&format!("/api/orders?customer_id={}", other.id)).await;
    assert_eq!((status.as_u16(), kind(&problem)), (403, "foreign-customer"));
    assert_eq!(one.get(&format!("/api/orders?customer_id={}", one.id)).await.0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idempotency_key_belongs_to_its_caller() {
    let stage = Stage::new().await;
    let open = stage.start().await;
    let create = async || {
        let order = Caller::order_of(Uuid::nil());
        let request = open.http.post(open.url("/api/orders")).header("idempotency-key", "same");
        let answer = request.json(&order).send().await.unwrap();
        assert_eq!(answer.status(), 201);
        serde_json::from_str::<Value>(&answer.text().await.unwrap()).unwrap()["order_id"].clone()
    };
    let before = create().await;
    let guarded = Guarded::start(&stage).await;
    let (one, other) = (guarded.customer(), guarded.customer());
    let (first, second) = (one.create(Some("same")).await, other.create(Some("same")).await);
    assert_ne!(first["order_id"], second["order_id"]);
    assert_eq!(one.create(Some("same")).await, first);
    assert_eq!(other.create(Some("same")).await, second);
    assert_eq!(create().await, before, "keys of nobody stay as they are");
}

/// Of an order with an event that this version does not know, its customer is told that it cannot be read, and nobody else.
#[tokio::test(flavor = "multi_thread")]
async fn an_unreadable_order_is_its_customers_too() {
    let stage = Stage::new().await;
    let guarded = Guarded::start(&stage).await;
    let (owner, stranger) = (guarded.customer(), guarded.customer());
    let order = owner.create(None).await;
    let id: Uuid = order["order_id"].as_str().unwrap().parse().unwrap();
    let held = stage.hold_appends().await;
    let unknown = "INSERT INTO order_event (seq, event_id, order_id, version, event_type, payload, metadata, occurred_at)
         SELECT (SELECT max(seq) FROM order_event) + 1, gen_random_uuid(), $1, 2, 'OrderRefunded', $2::json, '{}', now()";
    let payload = json!({ "event_type": "OrderRefunded", "order_id": id, "version": 2 }).to_string();
    sqlx::query(unknown).bind(id).bind(payload).execute(&stage.database).await.unwrap();
    held.rollback().await.unwrap();
    let stale: &[(&str, &str)] = &[("if-match", "\"2\"")];
    for (method, what, headers) in [(Method::GET, "", &[][..]), (Method::POST, "/pay", stale)] {
        let path = format!("/api/orders/{id}{what}");
        let (status, problem) = owner.ask(method.clone(), &path, headers, None).await;
        assert_eq!((status.as_u16(), kind(&problem)), (500, "unreadable-history"));
        let (status, problem) = stranger.ask(method, &path, headers, None).await;
        assert_eq!((status.as_u16(), kind(&problem)), (404, "order-not-found"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_published_later_is_known_when_a_token_names_it() {
    let stage = Stage::new().await;
    let guarded = Guarded::of(&stage, Issuer::of_ed25519().unwrap(), stage.settings("guarded")).await;
    let renewed = Issuer::of_ed25519().unwrap();
    let (before, after) = (guarded.issuer.token("kim", &["operator"]), renewed.token("kim", &["operator"]));
    let status = async |token: &anyhow::Result<String>| {
        let request = guarded.orders.http.get(guarded.orders.url("/api/outbox"));
        request.bearer_auth(token.as_ref().unwrap()).send().await.unwrap().status().as_u16()
    };
    assert_eq!((status(&before).await, status(&after).await), (200, 401));
    renewed.publish(stage.directory.path()).unwrap();
    eventually("the new key is known", async || (status(&after).await == 200).then_some(())).await;
    assert_eq!(status(&before).await, 401, "the former one is not");
}

/// An answer that does not end by itself is read by who was good at its beginning.
#[tokio::test(flavor = "multi_thread")]
async fn the_control_rooms_feed_ends_with_its_token() {
    let stage = Stage::new().await;
    let settings = stage.settings("guarded").with("ORDERS_AUTH_LEEWAY_SECONDS", "0");
    let guarded = Guarded::of(&stage, Issuer::of_ed25519().unwrap(), settings).await;
    let mut claims = Issuer::claims("kim", &["operator"]);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    claims["exp"] = json!(now + 3);
    let token = guarded.issuer.sign(Algorithm::EdDSA, &claims).unwrap();
    let ask = || guarded.orders.http.get(guarded.orders.url("/dashboard/feed")).bearer_auth(&token).send();
    let feed = ask().await.unwrap();
    assert_eq!(feed.status(), 200);
    let heard = timeout(Duration::from_secs(20), feed.text()).await.expect("the feed ends").unwrap();
    assert!(heard.contains("event: snapshot"), "{heard}");
    let (status, problem) = {
        let answer = ask().await.unwrap();
        (answer.status(), answer.text().await.unwrap())
    };
    assert!(status == 401 && problem.contains("has expired"), "{problem}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_for_development_is_made_on_the_command_line() {
    let stage = Stage::new().await;
    let secret = stage.directory.path().join("secret");
    std::fs::write(&secret, "a secret of more than thirty-two bytes\n").unwrap();
    let settings = [
        ("ORDERS_AUTH", "jwt"),
        ("ORDERS_AUTH_HS256_SECRET_FILE", secret.to_str().unwrap()),
        ("ORDERS_AUTH_ISSUER", "development"),
        ("ORDERS_AUTH_AUDIENCE", "orders"),
    ];
    let of = |settings: ServiceSettings, (name, value): (&str, &str)| settings.with(name, value);
    let orders = stage.start_with(settings.into_iter().fold(stage.settings("orders"), of)).await;
    let made = |role: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_orders"));
        let output = command.args(["token", "--role", role]).envs(settings).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    for (role, expected) in [("operator", 200), ("customer", 403)] {
        let request = orders.http.get(orders.url("/api/outbox")).bearer_auth(made(role));
        assert_eq!(request.send().await.unwrap().status(), expected, "{role}");
    }
    assert!(!orders.log().contains("thirty-two"), "the secret is in the log");
}

/// Settings that leave the service open, or half closed, end the start; none of them waits for a server.
#[test]
fn a_start_that_does_not_say_who_may_ask_ends() {
    let off = ("ORDERS_AUTH", "off");
    let everywhere = ("ORDERS_HTTP_ADDR", "0.0.0.0:0");
    let hush = ("ORDERS_AUTH_HS256_SECRET", "hush-hush");
    let jwt = [("ORDERS_AUTH", "jwt"), ("ORDERS_AUTH_ISSUER", "i"), ("ORDERS_AUTH_AUDIENCE", "a")];
    let with = |more: (&'static str, &'static str)| [&jwt[..], &[more]].concat();
    for (settings, says) in [
        (vec![], "ORDERS_AUTH is not set. Choose: ORDERS_AUTH=jwt"),
        (vec![off, everywhere], "ORDERS_AUTH_OFF_EVERYWHERE=true"),
        (vec![off, ("ORDERS_ADMIN_ADDR", "0.0.0.0:0")], "ORDERS_AUTH_OFF_EVERYWHERE=true"),
        (jwt.to_vec(), "ORDERS_AUTH_JWKS"),
        (with(("ORDERS_AUTH_JWKS", "/nowhere/jwks.json")), "/nowhere/jwks.json"),
        (with(hush), "9 bytes"),
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_orders"));
        let output = command.env_remove("ORDERS_AUTH").envs(settings.iter().copied()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{settings:?}: {said}");
        let all = format!("{said}{}", String::from_utf8_lossy(&output.stdout));
        assert!(said.contains(says) && !all.contains("hush-hush"), "{settings:?}: {said}");
    }
    let help = Command::new(env!("CARGO_BIN_EXE_orders")).args(["serve", "--help"]).envs([hush]).output();
    let help = String::from_utf8(help.unwrap().stdout).unwrap();
    assert!(help.contains("ORDERS_AUTH_HS256_SECRET") && !help.contains("hush-hush"));
}
