//! Links to Postgres and Redis that are encrypted: what works over them, and what is refused.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod support;

use std::process::Stdio;
use std::time::Instant;

use serde_json::Value;
use stack::certificates::{Authority, Identity, THIS_MACHINE, Validity};
use stack::servers::{Encryption, Kafka, Postgres, Redis, RedisUser, ServiceSettings};
use support::fragile::{blocking, recovered, retry_is, ten_orders};
use support::{DEADLINE, Servers, Stage, eventually};
use tempfile::TempDir;
use tokio::process::Command;

const PASSWORD: &str = "s/e:c@r%e#t?";

/// A Postgres and a Redis that take encrypted connections from clients with a certificate alone, and Redis one user.
struct Encrypted {
    authority: Authority,
    client: Identity,
    postgres: Postgres,
    redis: Redis,
    directory: TempDir,
}

fn encrypted() -> anyhow::Result<Encrypted> {
    let directory = TempDir::new()?;
    let authority = Authority::new(&directory.path().join("certificates"))?;
    let client = authority.client("client", Validity::Valid)?;
    let encryption =
        |server: &str| anyhow::Ok(Encryption::of(&authority, server)?.with_client(client.clone()));
    let postgres = Postgres::start_encrypted(directory.path(), encryption("postgres")?)?;
    let user = RedisUser { name: "app".to_owned(), password: PASSWORD.to_owned() };
    let redis = Redis::start_encrypted(directory.path(), encryption("redis")?, Some(user))?;
    Ok(Encrypted { authority, client, postgres, redis, directory })
}

impl Encrypted {
    async fn stage(&self, kafka: String) -> Stage {
        Stage::on(Servers { postgres: self.postgres.url(), kafka, redis: self.redis.url() }).await
    }

    fn settings(&self, stage: &Stage) -> ServiceSettings {
        let variables = self.redis.variables("ORDERS").into_iter();
        variables.fold(stage.settings("orders"), |settings, (name, value)| settings.with(&name, value))
    }

    /// The server gets another certificate of the same authority, for these hosts.
    fn renew(&self, server: &str, hosts: &[&str], validity: Validity) -> anyhow::Result<()> {
        self.authority.server(server, hosts, validity)?;
        let server: &stack::servers::Server = if server == "redis" { &self.redis } else { &self.postgres };
        server.stop()?;
        server.start_again().map(drop)
    }

    /// A file with a password that is nobody's.
    fn wrong_password(&self) -> String {
        let file = self.directory.path().join("wrong-password");
        std::fs::write(&file, "wrong").unwrap();
        file.display().to_string()
    }

    /// Another one of the same name.
    fn stranger(&self) -> anyhow::Result<Authority> {
        Authority::new(&self.directory.path().join("stranger"))
    }
}

/// Runs `orders` to its end. Everything that it writes, and whether it was content.
async fn run(settings: &ServiceSettings, arguments: &[&str]) -> (bool, String) {
    let running = Command::new(&settings.program)
        .args(arguments)
        .envs(&settings.environment)
        .env("ORDERS_HTTP_ADDR", "127.0.0.1:0")
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(DEADLINE, running).await.unwrap().unwrap();
    let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    (output.status.success(), text)
}

/// What `orders check` finds under this name.
async fn checked(settings: &ServiceSettings, name: &str) -> Value {
    let (_, text) = run(settings, &["check", "--json"]).await;
    let report: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
    let found = report["checks"].as_array().unwrap().iter().find(|check| check["name"] == name);
    found.unwrap_or_else(|| panic!("no {name} in {text}")).clone()
}

#[track_caller]
fn assert_says(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in {text}");
    }
    assert!(!text.contains(PASSWORD), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_works_over_encrypted_links_and_renewed_certificates_are_taken() {
    let servers = blocking(encrypted);
    let kafka = blocking(|| Kafka::start(&servers.directory.path().join("kafka")));
    let stage = servers.stage(kafka.brokers()).await;
    // The password from a file, as it is; the URL has none.
    let password = servers.directory.path().join("password");
    std::fs::write(&password, format!("{PASSWORD}\n")).unwrap();
    let settings = servers
        .settings(&stage)
        .with("REDIS_URL", format!("rediss://app@127.0.0.1:{}", servers.redis.port()))
        .with("ORDERS_REDIS_PASSWORD_FILE", password.to_str().unwrap());
    let orders = stage.start_with(settings.clone()).await;
    ten_orders(&orders).await;
    stage.outbox_empties().await;
    for (name, place) in [("postgres link", "Postgres at 127.0.0.1"), ("redis link", "Redis at 127.0.0.1")] {
        let found = checked(&settings, name).await;
        assert_eq!(found["status"], "ok", "{found}");
        assert_says(found["message"].as_str().unwrap(), &[place, "encrypted, and the server is verified"]);
    }

    // The retry waits in Redis, and is told when Kafka is back.
    blocking(|| kafka.kill());
    ten_orders(&orders).await;
    retry_is(&orders, "redis", 2).await;
    blocking(|| kafka.start_again());
    recovered(&stage, &orders, Instant::now()).await;

    // The authority stays the same.
    blocking(|| servers.renew("postgres", &THIS_MACHINE, Validity::Valid));
    blocking(|| servers.renew("redis", &THIS_MACHINE, Validity::Valid));
    eventually("it is ready again", async || (orders.get("/readyz").await.0 == 200).then_some(())).await;
    blocking(|| kafka.kill());
    ten_orders(&orders).await;
    retry_is(&orders, "redis", 1).await;
    blocking(|| kafka.start_again());
    recovered(&stage, &orders, Instant::now()).await;
    assert_says(&orders.log(), &["Listening on"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_postgres_that_cannot_be_trusted_ends_the_start_with_the_reason_and_the_setting() {
    let servers = blocking(encrypted);
    let stage = servers.stage("127.0.0.1:1".to_owned()).await;
    let settings = servers.settings(&stage);
    let url = stage.database_url.clone();
    let stranger = blocking(|| servers.stranger());
    let other_client = blocking(|| stranger.client("client", Validity::Valid));
    let escaped = |path: &std::path::Path| path.to_str().unwrap().replace('/', "%2F");
    let replaced = |path: &std::path::Path, by: &std::path::Path| url.replace(&escaped(path), &escaped(by));
    let (without_client, _) = url.split_once("&sslcert").unwrap();
    let shared = format!("{}?sslmode=verify-full", Servers::shared().postgres);
    let elsewhere = url.replace("verify-full", "disable");
    for (url, parts) in [
        (
            replaced(servers.authority.file(), stranger.file()),
            ["an authority that is not trusted here", "sslrootcert in DATABASE_URL"],
        ),
        (without_client.to_owned(), ["requires a valid client certificate", "set sslcert and sslkey"]),
        (elsewhere, ["no encryption", "sslmode=verify-full"]),
        (shared, ["the server does not speak TLS, and sslmode=verify-full", "write sslmode=disable"]),
        (replaced(&servers.client.key, servers.directory.path()), ["sslcert and sslkey", "is a directory"]),
        (replaced(&servers.client.key, &other_client.key), ["sslcert and sslkey", "does not belong to"]),
    ] {
        let (well, text) = run(&settings.clone().with("DATABASE_URL", url), &["serve"]).await;
        assert!(!well, "{text}");
        assert_says(&text, &parts);
    }
    let wrong = settings.clone().with("ORDERS_DATABASE_PASSWORD_FILE", servers.wrong_password());
    let found = checked(&wrong, "postgres").await;
    assert_eq!(found["status"], "fail", "{found}");
    let parts = ["password authentication failed", "the file of …_DATABASE_PASSWORD_FILE"];
    assert_says(found["message"].as_str().unwrap(), &parts);
    let missing = settings.clone().with("ORDERS_DATABASE_PASSWORD_FILE", "/nowhere/password");
    assert_says(&run(&missing, &["serve"]).await.1, &["ORDERS_DATABASE_PASSWORD_FILE: /nowhere/password"]);

    blocking(|| servers.renew("postgres", &["db.example"], Validity::Valid));
    let parts = ["is not for 127.0.0.1, but for db.example", "a name of the certificate in DATABASE_URL"];
    assert_says(&run(&settings, &["serve"]).await.1, &parts);
    blocking(|| servers.renew("postgres", &THIS_MACHINE, Validity::Expired));
    assert_says(&run(&settings, &["serve"]).await.1, &["the server's certificate has expired", "renew it"]);
    let found = checked(&settings, "postgres").await;
    assert_says(found["message"].as_str().unwrap(), &["Postgres at 127.0.0.1", "has expired"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_cannot_be_trusted_is_an_outage_with_the_reason_and_the_setting() {
    let servers = blocking(encrypted);
    let stage = Stage::on(Servers { redis: servers.redis.url(), ..Servers::shared() }).await;
    let settings = servers.settings(&stage);
    let stranger = blocking(|| servers.stranger());
    let other_client = blocking(|| stranger.client("client", Validity::Valid));
    let path = |path: &std::path::Path| path.to_str().unwrap().to_owned();
    let without = |variables: &[&str]| {
        let mut settings = settings.clone();
        settings.environment.retain(|name, _| !variables.contains(&name.as_str()));
        settings
    };
    let identity = ["ORDERS_REDIS_CERT_FILE", "ORDERS_REDIS_KEY_FILE"];
    let with_stranger = settings.clone().with("ORDERS_REDIS_CA_FILE", path(stranger.file()));
    let plain = without(&["ORDERS_REDIS_CA_FILE", identity[0], identity[1]])
        .with("REDIS_URL", servers.redis.url().replace("rediss", "redis"));
    let shared = Servers::shared().redis.replace("redis://", "rediss://");
    let of_stranger = settings
        .clone()
        .with(identity[0], path(&other_client.certificate))
        .with(identity[1], path(&other_client.key));
    for (settings, parts) in [
        (with_stranger.clone(), ["an authority that is not trusted here", "into ORDERS_REDIS_CA_FILE"]),
        (
            without(&["ORDERS_REDIS_CA_FILE"]),
            ["an authority that is not trusted here", "into ORDERS_REDIS_CA_FILE"],
        ),
        (
            without(&identity),
            ["a client's certificate", "set ORDERS_REDIS_CERT_FILE and ORDERS_REDIS_KEY_FILE"],
        ),
        (of_stranger, ["refuses the certificate", "ORDERS_REDIS_CERT_FILE"]),
        (settings.clone().with("REDIS_URL", shared), ["does not speak TLS at this port", "see REDIS_URL"]),
        (plain, ["speaks TLS", "write rediss:// in REDIS_URL"]),
        (
            settings.clone().with("ORDERS_REDIS_PASSWORD_FILE", servers.wrong_password()),
            ["refuses the login", "the file of ORDERS_REDIS_PASSWORD_FILE"],
        ),
    ] {
        let found = checked(&settings, "redis").await;
        assert_eq!(found["status"], "fail", "{found}");
        assert_says(found["message"].as_str().unwrap(), &parts);
    }
    // Half of it, or something else, ends the start.
    for (settings, parts) in [
        (without(&identity[1..]), ["ORDERS_REDIS_CERT_FILE and ORDERS_REDIS_KEY_FILE", "need each other"]),
        (
            settings.clone().with(identity[1], path(&other_client.key)),
            ["does not belong to", "ORDERS_REDIS_KEY_FILE"],
        ),
        (
            settings.clone().with("ORDERS_REDIS_CA_FILE", path(servers.directory.path())),
            ["ORDERS_REDIS_CA_FILE", "is a directory"],
        ),
        (
            settings.clone().with("REDIS_URL", Servers::shared().redis),
            ["begins with redis://", "write rediss://"],
        ),
    ] {
        let (well, text) = run(&settings, &["serve"]).await;
        assert!(!well, "{text}");
        assert_says(&text, &parts);
    }
    let orders = stage.start_with(with_stranger).await;
    orders.create().await;
    let told = "an authority that is not trusted here";
    eventually("the log says why", async || orders.log().contains(told).then_some(())).await;
    assert_says(&orders.log(), &["The fallback worker has lost Redis", "ORDERS_REDIS_CA_FILE"]);

    blocking(|| servers.renew("redis", &["redis.example"], Validity::Valid));
    let found = checked(&settings, "redis").await;
    assert_says(
        found["message"].as_str().unwrap(),
        &["not for 127.0.0.1, but for redis.example", "REDIS_URL"],
    );
    blocking(|| servers.renew("redis", &THIS_MACHINE, Validity::Expired));
    let found = checked(&settings, "redis").await;
    assert_says(found["message"].as_str().unwrap(), &["the server's certificate has expired", "renew it"]);
}
