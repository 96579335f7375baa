//! Links to Postgres and Redis that are encrypted.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod support;

use stack::certificates::{Authority, Validity};
use stack::servers::{Encryption, Postgres, Redis, RedisUser};
use support::command::run_with;
use support::eventually;
use support::histories;
use support::streams::RedisWorld;
use tempfile::TempDir;

#[tokio::test]
async fn points_are_credited_over_encrypted_links_and_a_server_of_a_strange_authority_ends_the_start() {
    let directory = TempDir::new().unwrap();
    let authority = Authority::new(&directory.path().join("certificates")).unwrap();
    let client = authority.client("client", Validity::Valid).unwrap();
    let encryption = |server| Encryption::of(&authority, server).unwrap().with_client(client.clone());
    let postgres = Postgres::start_encrypted(directory.path(), encryption("postgres")).unwrap();
    let user = RedisUser { name: "bonus".to_owned(), password: "s/e:c@r%e#t?".to_owned() };
    let redis = Redis::start_encrypted(directory.path(), encryption("redis"), Some(user)).unwrap();
    let stranger = Authority::new(&directory.path().join("stranger")).unwrap();

    let world = RedisWorld::on(redis, directory).await;
    let (events, expected) = histories(60, 6);
    world.publish(&events);
    let (url, mut variables) = (postgres.url(), world.redis.variables("BONUS"));
    variables.push(("DATABASE_URL".to_owned(), url.clone()));
    variables.push(("BONUS_MQ".to_owned(), "redis".to_owned()));
    variables.push(("BONUS_AUTH".to_owned(), "off".to_owned()));
    let settings: Vec<(&str, &str)> = variables.iter().map(|(name, value)| (&**name, &**value)).collect();
    let bonus = world.start_with(&settings).await;
    bonus.becomes_ready().await;
    let points: i64 = expected.values().sum();
    eventually("all is credited", async || {
        let summary = bonus.get("/api/summary").await.1;
        if summary["points"] == points { Ok(()) } else { Err(summary.to_string()) }
    })
    .await;
    let report = run_with(&world, &settings, &["check", "--json"]).await.ended(0);
    for name in ["postgres link", "redis link"] {
        let checks = report["checks"].as_array().unwrap();
        let found = checks.iter().find(|check| check["name"] == name).unwrap();
        let message = found["message"].as_str().unwrap();
        assert!(message.contains("encrypted, and the server is verified"), "{report}");
    }

    let escaped = |path: &std::path::Path| path.to_str().unwrap().replace('/', "%2F");
    let strange = url.replace(&escaped(authority.file()), &escaped(stranger.file()));
    let settings =
        [&settings[..], &[("DATABASE_URL", &strange), ("BONUS_HTTP_ADDR", "127.0.0.1:0")]].concat();
    let ran = run_with(&world, &settings, &["serve"]).await;
    assert_eq!(ran.code, 1, "{}{}", ran.out, ran.err);
    for part in ["an authority that is not trusted here", "sslrootcert in DATABASE_URL"] {
        assert!(ran.err.contains(part), "{}{}", ran.out, ran.err);
    }
}
