//! Passwords are in the environment, and nowhere else: not in logs, answers, metrics, help or errors, whatever fails.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod support;

use std::process::Stdio;

use stack::servers::{Kafka, Postgres, Redis, Service, ServiceSettings};
use support::fragile::{blocking, retry_is, ten_orders};
use support::{Servers, Stage, eventually};
use tempfile::TempDir;
use tokio::process::Command;

/// What must be nowhere; each also as it is written in a URL.
const POSTGRES_PASSWORD: [&str; 2] = ["pg/Geheim:1@x", "pg%2FGeheim%3A1%40x"];
const REDIS_PASSWORD: [&str; 2] = ["re/Geheim:2@%x", "re%2FGeheim%3A2%40%25x"];
const COLLECTOR_TOKEN: [&str; 2] = ["ot/Geheim:3", "ot%2FGeheim%3A3"];

struct Place {
    what: String,
    text: String,
}

fn assert_without_secrets(places: &[Place]) {
    for Place { what, text } in places {
        assert!(!text.is_empty(), "{what} is empty");
        for secret in [POSTGRES_PASSWORD, REDIS_PASSWORD, COLLECTOR_TOKEN].concat() {
            let line = text.lines().find(|line| line.contains(secret));
            assert_eq!(line, None, "{what} shows {secret}");
        }
    }
}

/// Everything that a command writes.
async fn output(settings: &ServiceSettings, variables: &[(&str, &str)], arguments: &[&str]) -> Place {
    let ran = Command::new(&settings.program)
        .args(arguments)
        .envs(&settings.environment)
        .envs(variables.iter().copied())
        .stdin(Stdio::null())
        .output()
        .await
        .unwrap();
    let text = [ran.stdout, ran.stderr].concat();
    Place { what: format!("{} {arguments:?}", settings.name), text: String::from_utf8(text).unwrap() }
}

async fn answers(url: &str, paths: &[&str]) -> Vec<Place> {
    let client = stack::http_client().build().unwrap();
    let mut places = Vec::new();
    for path in paths {
        let what = format!("{url}{path}");
        let text = client.get(&what).send().await.unwrap().text().await.unwrap();
        places.push(Place { what, text });
    }
    places
}

/// Redis keeps its users in memory: a restart forgets this one.
fn let_in(redis: &Redis) -> anyhow::Result<()> {
    let mut connection = redis::Client::open(redis.url())?.get_connection()?;
    let password = format!(">{}", REDIS_PASSWORD[0]);
    Ok(redis::cmd("ACL")
        .arg(&["SETUSER", "app", "on", &password, "~*", "&*", "+@all"])
        .exec(&mut connection)?)
}

/// Both services' settings, with a password for each server, on a collector that is away, logging more than anybody wants.
fn settings(stage: &Stage, postgres: &Postgres, redis: &Redis) -> [ServiceSettings; 2] {
    let (_, database) = stage.database_url.rsplit_once('/').unwrap();
    let database_url =
        format!("postgresql://secretive:{}@127.0.0.1:{}/{database}", POSTGRES_PASSWORD[1], postgres.port());
    let redis_url = format!("redis://app:{}@127.0.0.1:{}", REDIS_PASSWORD[1], redis.port());
    let collector = format!("authorization=Bearer%20{}", COLLECTOR_TOKEN[1]);
    let bonus = ServiceSettings::bonus()
        .unwrap()
        .with("KAFKA_BROKERS", &stage.servers.kafka)
        .with("ORDERS_TOPIC", &stage.topic);
    [stage.settings("orders"), bonus].map(|settings| {
        settings
            .with("DATABASE_URL", &database_url)
            .with("REDIS_URL", &redis_url)
            .with("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
            .with("OTEL_EXPORTER_OTLP_HEADERS", &collector)
            .with("OTEL_BSP_SCHEDULE_DELAY", "200")
            .with("RUST_LOG", "trace")
    })
}

/// Starts that are refused: the port is none.
async fn refusals(settings: &ServiceSettings) -> Vec<Place> {
    let mut places = Vec::new();
    for variable in ["DATABASE_URL", "REDIS_URL"] {
        let wrong = settings.environment[variable].replace("127.0.0.1:", "127.0.0.1:x");
        let refused = output(settings, &[(variable, &wrong)], &["serve"]).await;
        assert!(refused.text.starts_with(&format!("error: {variable}: ")), "{}", refused.text);
        places.push(refused);
    }
    places
}

#[tokio::test(flavor = "multi_thread")]
async fn no_password_is_shown_whatever_fails() {
    let directory = TempDir::new().unwrap();
    let kafka = blocking(|| Kafka::start(&directory.path().join("kafka")));
    let redis = blocking(|| Redis::start(&directory.path().join("redis")));
    let postgres = blocking(|| Postgres::start(&directory.path().join("postgres")));
    let role = format!("CREATE ROLE secretive SUPERUSER LOGIN PASSWORD '{}'", POSTGRES_PASSWORD[0]);
    blocking(|| postgres.execute(&[&role]));
    blocking(|| let_in(&redis));
    let servers = Servers { postgres: postgres.url(), kafka: kafka.brokers(), redis: redis.url() };
    let stage = Stage::on(servers).await;
    let [of_orders, of_bonus] = settings(&stage, &postgres, &redis);
    let orders = stage.start_with(of_orders.clone()).await;
    let bonus = blocking(|| Service::start(stage.directory.path(), of_bonus.clone()));

    // Each server away under load, and Redis back without the user.
    ten_orders(&orders).await;
    stage.outbox_empties().await;
    blocking(|| kafka.kill());
    ten_orders(&orders).await;
    retry_is(&orders, "redis", 1).await;
    blocking(|| redis.kill());
    blocking(|| redis.start_again());
    retry_is(&orders, "memory", 1).await;
    let mut places = answers(&orders.url(""), &["/api/outbox", "/api/actors", "/readyz", "/metrics"]).await;
    places.push(output(&of_orders, &[], &["check"]).await);
    places.push(output(&of_orders, &[], &["outbox", "status"]).await);
    places.push(output(&of_bonus, &[("BONUS_MQ", "redis")], &["check"]).await);
    blocking(|| let_in(&redis));
    blocking(|| kafka.start_again());
    stage.outbox_empties().await;
    blocking(|| postgres.kill());
    eventually("it is noticed", async || (orders.get("/readyz").await.0 == 503).then_some(())).await;
    places.extend(answers(&orders.url(""), &["/readyz", "/api/orders", "/api/actors", "/dashboard"]).await);
    places.extend(answers(&bonus.url(), &["/readyz", "/api/summary", "/api/actors", "/metrics"]).await);
    for settings in [&of_orders, &of_bonus] {
        places.push(output(settings, &[], &["check"]).await);
        places.push(output(settings, &[], &["--help"]).await);
        places.push(output(settings, &[], &["serve", "--help"]).await);
        places.extend(refusals(settings).await);
    }
    let log = orders.log();
    for part in ["Password authentication failed", "Spans cannot be exported", "Breaker open"] {
        assert!(log.contains(part), "{part} is not in the log: it had no occasion to show a password");
    }
    let of_bonus = std::fs::read_to_string(bonus.log()).unwrap();
    places.extend(
        [("orders' log", log), ("bonus' log", of_bonus)]
            .map(|(what, text)| Place { what: what.to_owned(), text }),
    );
    assert_without_secrets(&places);
}
