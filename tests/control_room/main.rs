//! The control room as a browser shows it, in front of real servers.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

mod page;
mod queue;
mod standings;
#[path = "../support/mod.rs"]
mod support;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use fantoccini::Locator;
use page::{Device, Page};
use serde_json::{Value, json};
use stack::access::Issuer;
use stack::servers::{Service, ServiceSettings};
use support::fragile::{Fragile, blocking, fragile, ten_orders};
use support::{Orders, Stage, an_order, eventually};

fn bonus_settings(stage: &Stage) -> ServiceSettings {
    ServiceSettings::bonus()
        .unwrap()
        .with("DATABASE_URL", &stage.database_url)
        .with("KAFKA_BROKERS", &stage.servers.kafka)
        .with("ORDERS_TOPIC", &stage.topic)
        .with("BONUS_GROUP_ID", &stage.topic)
}

fn start(stage: &Stage, settings: ServiceSettings) -> Service {
    blocking(|| Service::start(stage.directory.path(), settings))
}

async fn with_bonus(stage: &Stage) -> (Orders, Service) {
    let bonus = start(stage, bonus_settings(stage));
    (stage.start_with(stage.settings("orders").with("BONUS_URL", bonus.url())).await, bonus)
}

const FIRST_ORDER: &str = "#orders tbody:nth-of-type(1)";
const FIRST_PUBLICATION: &str = "#orders tbody:nth-of-type(1) td:nth-child(5)";
const FIRST_STAGE: &str = "#orders .events li:nth-child(1) .stage";
const SECOND_STAGE: &str = "#orders .events li:nth-child(2) .stage";

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_and_its_recovery_are_shown_as_they_happen() {
    let fragile = fragile().await;
    let Fragile { kafka, stage, directory, .. } = &fragile;
    let (orders, _bonus) = with_bonus(stage).await;
    let page = Page::open(&orders, directory.path(), Device::Desk).await;
    page.reads("#breaker", "Closed").await;
    page.reads("#mq", "Kafka").await;
    page.reads("#connection", "Live").await;
    page.reads("#backlog", "0").await;
    ten_orders(&orders).await;
    page.reads(FIRST_PUBLICATION, "published").await;
    page.reads("#points", "400").await;
    assert!(page.all("#outages li").await.is_empty());
    assert!(page.text("#countdown").await.unwrap().is_empty());

    blocking(|| kafka.kill());
    ten_orders(&orders).await;
    page.reads("#breaker", "Open").await;
    page.shows("#meaning", |text| text.starts_with("Kafka does not accept events")).await;
    let backlog = page.number_exceeds("#backlog", 19.0).await;
    ten_orders(&orders).await;
    page.number_exceeds("#backlog", backlog).await;
    page.number_exceeds("#attempt", 1.0).await;
    page.shows("#countdown", |text| text.starts_with("in ") && text.ends_with(" s")).await;
    page.reads("#place", "Redis").await;
    page.shows("#outages li:nth-child(1)", |text| text.starts_with("for ") && text.contains("failed: "))
        .await;
    page.reads(FIRST_PUBLICATION, "2 waiting").await;
    page.reads("#failed", "0").await;

    // Whoever comes in the middle sees the beginning.
    page.client.refresh().await.unwrap();
    page.reads("#breaker", "Open").await;
    page.shows("#outages li:nth-child(1)", |text| text.starts_with("for ")).await;
    page.click(&format!("{FIRST_ORDER} button")).await;
    page.reads(FIRST_STAGE, "waiting").await;

    blocking(|| kafka.start_again());
    page.reads("#breaker", "Closed").await;
    page.reads("#backlog", "0").await;
    page.shows("#outages li:nth-child(1)", |text| text.starts_with("lasted ")).await;
    page.reads(FIRST_STAGE, "credited +40").await;
    page.reads(SECOND_STAGE, "published").await;
    page.reads(FIRST_PUBLICATION, "published").await;
    page.reads("#points", "1,200").await;
    page.client.refresh().await.unwrap();
    page.shows("#outages li:nth-child(1)", |text| text.starts_with("lasted ")).await;
    let outages_drawn = page.all("#chart-backlog .outage, #timeline .broken").await.len();
    assert_eq!(outages_drawn, 2, "once in the chart, once in the strip");
    assert_eq!(page.complaints().await, Vec::<String>::new());
}

/// The request arrives and the answer does not, as in a network that breaks just then.
#[tokio::test(flavor = "multi_thread")]
async fn a_command_without_an_answer_is_sent_again_and_done_once() {
    let stage = Stage::new().await;
    let orders = stage.start().await;
    let page = Page::open(&orders, stage.directory.path(), Device::Desk).await;
    page.reads("#connection", "Live").await;
    page.evaluate(
        "const sent = window.fetch;
         window.lost = 0;
         window.fetch = async (path, request) => {
           const answer = await sent(path, request);
           if (request?.method !== 'POST' || window.lost > 1) return answer;
           window.lost += 1;
           throw new TypeError('network error');
         };",
    )
    .await;
    page.click("#create").await;
    page.shows("#sent", |text| text.contains("accepted in")).await;
    assert_eq!(page.evaluate("return window.lost").await, 2);
    assert_eq!(stage.events().await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_it_offers_is_done() {
    let stage = Stage::new().await;
    let (orders, _bonus) = with_bonus(&stage).await;
    let page = Page::open(&orders, stage.directory.path(), Device::Desk).await;
    page.reads("#no-orders", "None yet. The button above creates one.").await;

    // By keyboard, as everything can be.
    page.evaluate("document.getElementById('create').focus()").await;
    page.client.active_element().await.unwrap().send_keys("\u{e007}").await.unwrap();
    page.shows("#sent", |text| text.contains("accepted in")).await;
    page.reads(FIRST_PUBLICATION, "published").await;
    assert_eq!(stage.events().await, 1);
    page.click(&format!("{FIRST_ORDER} button")).await;
    page.reads(FIRST_STAGE, "credited +40").await;
    for (step, status) in [("pay", "paid"), ("ship", "shipped"), ("complete", "completed")] {
        page.click(&format!("#orders .steps button[data-key={step}]")).await;
        page.reads(&format!("{FIRST_ORDER} td:nth-child(2)"), status).await;
    }
    page.reads("#orders .events li:nth-child(4) .stage", "credited +100").await;
    assert!(page.all("#orders .steps button").await.is_empty(), "nothing follows a completed order");

    page.click("#burst").await;
    page.shows("#sent", |text| text.starts_with("200 of 200 orders accepted")).await;
    assert_eq!(stage.events().await, 204);
    page.reads(FIRST_STAGE, "credited +40").await;
    page.reads("#backlog", "0").await;

    page.click("button[aria-label='Crash projector']").await;
    page.reads("#sent", "projector has been crashed").await;
    page.shows("#actors tr[data-key=projector] td:nth-child(3)", |restarts| restarts == "1").await;
    page.reads("#actors tr[data-key=projector] td:nth-child(2)", "running").await;
    assert_eq!(orders.actor("projector").await["restarts"], 1);
    let focused = page.evaluate("return document.activeElement.getAttribute('aria-label')").await;
    assert_eq!(focused, "Crash projector", "what has the focus keeps it while the page changes");
    assert_eq!(page.complaints().await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn it_asks_for_a_token_and_offers_what_the_role_may() {
    let stage = Stage::new().await;
    let issuer = Issuer::of_ed25519().unwrap();
    let settings = issuer.required(stage.settings("orders"), "ORDERS", stage.directory.path()).unwrap();
    let orders = stage.start_with(settings).await;
    let admin = issuer.token("kim", &["admin"]).unwrap();
    let created = orders.http.post(orders.url("/api/orders")).bearer_auth(&admin).json(&an_order());
    assert_eq!(created.send().await.unwrap().status(), 201);

    let page = Page::open(&orders, stage.directory.path(), Device::Desk).await;
    let sign_in = async |role: &str| {
        let token = issuer.token(&uuid::Uuid::new_v4().to_string(), &[role]).unwrap();
        let field = page.client.wait().for_element(Locator::Css("#token")).await.unwrap();
        // As it is pasted from a text: with a character that no header can have.
        field.send_keys(&format!("\u{2026}{token}\u{e007}")).await.unwrap();
    };
    page.reads("#connection", "Sign in with a token of an operator").await;
    sign_in("customer").await;
    page.shows("#connection", |text| text.contains("one of the roles operator admin")).await;
    sign_in("operator").await;
    page.reads("#connection", "Live").await;
    page.click(&format!("{FIRST_ORDER} button")).await;
    page.shows("#orders .events li:nth-child(1)", |text| text.contains("OrderCreated")).await;
    assert!(page.all("#orders .steps button").await.is_empty(), "neither pay nor cancel");
    for hidden in ["#create", "#burst", "#sign-in", "#links"] {
        assert_eq!(page.text(hidden).await.as_deref(), Some(""), "{hidden}");
    }
    assert!(page.all("button[aria-label^=Crash]").await.is_empty());
    // The tab keeps the token.
    page.client.refresh().await.unwrap();
    page.reads("#connection", "Live").await;
    page.click("#sign-out").await;
    page.reads("#connection", "Sign in with a token of an operator").await;
    sign_in("admin").await;
    page.reads("#connection", "Live").await;
    page.click(&format!("{FIRST_ORDER} button")).await;
    page.click("#orders .steps button[data-key=pay]").await;
    page.reads(&format!("{FIRST_ORDER} td:nth-child(2)"), "paid").await;
    page.click("#create").await;
    page.shows("#sent", |text| text.contains("accepted in")).await;
    page.click("button[aria-label='Crash projector']").await;
    page.reads("#sent", "projector has been crashed").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_phone_shows_it_in_one_column_and_faults_only_where_enabled() {
    let stage = Stage::new().await;
    // Nobody listens there.
    let settings =
        stage.settings("orders").with("ENABLE_FAULTS", "false").with("BONUS_URL", "http://127.0.0.1:9");
    let orders = stage.start_with(settings).await;
    let order_id = orders.create().await;
    orders.command(order_id, "pay").await;
    let page = Page::open(&orders, stage.directory.path(), Device::Phone).await;
    page.reads("#breaker", "Closed").await;
    page.shows("#bonus", |text| text.starts_with("Not reachable")).await;
    page.shows("#actors tr[data-key=journal]", |text| text.contains("running")).await;
    assert!(page.all("button[aria-label^=Crash]").await.is_empty());
    page.click(&format!("{FIRST_ORDER} button")).await;
    page.reads(FIRST_STAGE, "published").await;
    page.shows("#orders .history", |text| text.contains("The bonus service does not answer")).await;
    let sizes = page.evaluate("return [innerWidth, document.documentElement.scrollWidth]").await;
    assert_eq!(sizes, json!([390, 390]), "nothing is wider than the screen");
    let lefts = page
        .evaluate("return [...document.querySelectorAll('.charts figure')].map(f => f.getBoundingClientRect().left)")
        .await;
    assert!(lefts.as_array().unwrap().windows(2).all(|pair| pair[0] == pair[1]), "one column: {lefts}");
    assert_eq!(page.complaints().await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_says_that_the_service_is_gone_and_comes_back_by_itself() {
    let stage = Stage::new().await;
    let orders = stage.start().await;
    let page = Page::open(&orders, stage.directory.path(), Device::Desk).await;
    page.reads("#connection", "Live").await;
    page.evaluate("document.documentElement.dataset.same = 'page'").await;
    orders.blocking(|service| service.kill());
    page.reads("#connection", "Connection lost, trying again").await;
    orders.blocking(|service| service.start_again().map(drop));
    page.shows("#connection", |text| text.starts_with("Live; the service was restarted at ")).await;
    assert_eq!(page.evaluate("return document.documentElement.dataset.same").await, "page");
    orders.blocking(|service| service.freeze());
    page.reads("#connection", "Connection lost, trying again").await;
    orders.blocking(|service| service.thaw());
    page.shows("#connection", |text| text.starts_with("Live")).await;
    page.reads("#breaker", "Closed").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn swagger_ui_works_under_its_policy() {
    let stage = Stage::new().await;
    let orders = stage.start().await;
    let answer = orders.http.get(orders.url("/swagger-ui/")).send().await.unwrap();
    let policy = answer.headers()["content-security-policy"].to_str().unwrap();
    assert!(policy.contains("script-src 'self';") && policy.contains("frame-ancestors 'none'"), "{policy}");
    assert_eq!(answer.headers()["x-frame-options"], "DENY");
    let page = Page::open(&orders, stage.directory.path(), Device::Desk).await;
    page.client.goto(&orders.url("/swagger-ui/")).await.unwrap();
    page.shows("#operations-orders-create_order", |text| text.contains("/api/orders")).await;
    page.shows(".auth-wrapper .authorize", |text| text.contains("Authorize")).await;
    // Asks the service itself.
    page.click("#operations-operations-is_alive .opblock-summary-control").await;
    page.click("#operations-operations-is_alive .try-out__btn").await;
    page.click("#operations-operations-is_alive .execute").await;
    page.shows("#operations-operations-is_alive .live-responses-table tbody .response-col_status", |text| {
        text.starts_with("200")
    })
    .await;
    assert_eq!(page.complaints().await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_loads_nothing_from_elsewhere() {
    let stage = Stage::new().await;
    let orders = stage.start().await;
    let page = orders.http.get(orders.url("/dashboard")).send().await.unwrap();
    let policy = page.headers()["content-security-policy"].to_str().unwrap().to_owned();
    assert!(policy.starts_with("default-src 'none';") && !policy.contains("unsafe"), "{policy}");
    let html = page.text().await.unwrap();
    let links = html.split(['"', '\'']).filter(|text| text.starts_with("/dashboard/"));
    let mut assets: Vec<String> = links.map(str::to_owned).collect();
    let (_, script) = orders.get("/dashboard/app.js").await;
    let imports = script.as_str().unwrap().split('"').filter(|text| text.starts_with("./"));
    assets.extend(imports.map(|name| name.replace("./", "/dashboard/")));
    assert!(assets.len() > 6, "{assets:?}");
    for asset in &assets {
        let answer = orders.http.get(orders.url(asset)).send().await.unwrap();
        assert_eq!(answer.status(), 200, "{asset}");
        assert_eq!(answer.headers()["x-content-type-options"], "nosniff");
        let text = answer.text().await.unwrap().replace("http://www.w3.org/2000/svg", "");
        assert!(!text.contains("://"), "{asset} names another place");
    }
    assert_eq!(orders.get("/dashboard/nothing.js").await.0, 404);
    assert_eq!(orders.get(&format!("/dashboard/orders/{}", uuid::Uuid::new_v4())).await.0, 404);
    assert_eq!(orders.post("/dashboard", json!({})).await.0, 405);
}

/// The next message of the feed: its name and content.
async fn message(feed: &mut reqwest::Response, rest: &mut String) -> Option<(String, Value)> {
    loop {
        if let Some((message, after)) = rest.split_once("\n\n") {
            let (event, data) = message.split_once('\n').unwrap();
            let content = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
            let found = (event.strip_prefix("event: ").unwrap().to_owned(), content);
            *rest = after.to_owned();
            return Some(found);
        }
        let chunk = feed.chunk().await.ok()??;
        rest.push_str(std::str::from_utf8(&chunk).unwrap());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_feed_tells_the_past_then_the_present_and_does_not_hold_up_a_stop() {
    let stage = Stage::new().await;
    let orders = stage.start().await;
    for _ in 0..5 {
        orders.post("/api/orders", an_order()).await;
    }
    let past = eventually("the past holds five commands", async || {
        let mut feed = orders.http.get(orders.url("/dashboard/feed")).send().await.unwrap();
        let (name, welcome) = message(&mut feed, &mut String::new()).await.unwrap();
        assert_eq!((name.as_str(), &welcome["faults"]), ("welcome", &Value::from(true)));
        let past = welcome["past"].as_array().unwrap().clone();
        past.iter().any(|point| point["p99_ms"].as_f64() > Some(0.0)).then_some(past)
    })
    .await;
    let commands: f64 = past.iter().filter_map(|point| point["commands_per_second"].as_f64()).sum();
    // A sample that a loaded machine takes late covers more than its second, and shows a lower rate.
    assert!((1.0..=6.5).contains(&commands), "about five commands, one second each: {commands}");

    let mut feed = orders.http.get(orders.url("/dashboard/feed")).send().await.unwrap();
    let mut rest = String::new();
    message(&mut feed, &mut rest).await.unwrap();
    let (name, snapshot) = message(&mut feed, &mut rest).await.unwrap();
    assert_eq!((name.as_str(), &snapshot["point"]["breaker"]), ("snapshot", &Value::from("closed")));
    assert_eq!(snapshot["orders"].as_array().unwrap().len(), 5);
    let begun = Instant::now();
    orders.blocking(|service| service.stop());
    assert!(begun.elapsed() < Duration::from_secs(6), "the stop took {:?}", begun.elapsed());
    while message(&mut feed, &mut rest).await.is_some() {}
    assert!(orders.log().contains("Stopped"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_does_not_answer_is_said_to_be_unknown() {
    let directory = tempfile::TempDir::new().unwrap();
    let postgres = blocking(|| stack::servers::Postgres::start(directory.path()));
    let stage = Stage::on(support::Servers { postgres: postgres.url(), ..support::Servers::shared() }).await;
    let orders = stage.start().await;
    let page = Page::open(&orders, directory.path(), Device::Desk).await;
    page.reads("#backlog", "0").await;
    blocking(|| postgres.freeze());
    page.shows("#notice", |text| text.starts_with("The database does not answer")).await;
    page.reads("#backlog", "–").await;
    page.reads("#connection", "Live").await;
    blocking(|| postgres.thaw());
    page.reads("#backlog", "0").await;
    assert!(page.text("#notice").await.unwrap().is_empty());
}

/// `make screenshots`: a minute of calm, an outage and its recovery under a steady load, for the README.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "it takes two minutes and writes docs/*.png"]
async fn screenshots() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
    let picture = |name: &str| -> PathBuf { docs.join(name) };
    let fragile = fragile().await;
    let Fragile { kafka, stage, directory, .. } = &fragile;
    let (orders, _bonus) = with_bonus(stage).await;
    let page = Page::open(&orders, directory.path(), Device::Desk).await;
    page.reads("#breaker", "Closed").await;
    load_for(&orders, Duration::from_secs(40)).await;
    blocking(|| kafka.kill());
    load_for(&orders, Duration::from_secs(25)).await;
    page.reads("#breaker", "Open").await;
    page.click("#orders tbody:nth-of-type(2) button").await;
    page.reads(FIRST_STAGE, "waiting").await;
    page.screenshot(&picture("control-room-outage.png")).await;
    blocking(|| kafka.start_again());
    page.reads("#breaker", "Closed").await;
    load_for(&orders, Duration::from_secs(15)).await;
    page.shows(FIRST_STAGE, |stage| stage.starts_with("credited")).await;
    page.screenshot(&picture("control-room-recovered.png")).await;
}

/// About twenty orders a second, half of them paid.
async fn load_for(orders: &Orders, duration: Duration) {
    let begun = Instant::now();
    let mut pace = tokio::time::interval(Duration::from_millis(50));
    while begun.elapsed() < duration {
        pace.tick().await;
        let order_id = orders.create().await;
        if rand::random() {
            orders.command(order_id, "pay").await;
        }
    }
}
