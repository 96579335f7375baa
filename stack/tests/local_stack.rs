//! `stack up` and what one does with it, on a stack of this test's own.
#![allow(clippy::unwrap_used)]

mod support;

use std::process::Command;

use sqlx::{Connection, PgConnection};
use stack::local::{Home, Part, Shape, State};

const NAME: &str = "up-test";
const SEVERAL: &str = "up-several-test";

/// Each stack wants the usual ports, and looks at the beginning which of them are free.
static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

fn run(arguments: &[&str]) -> String {
    said(support::tool().args(["--stack", NAME]), arguments)
}

fn said(tool: &mut Command, arguments: &[&str]) -> String {
    let output = tool.args(arguments).output().unwrap();
    let said =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{arguments:?}: {said}");
    said
}

/// As which roles the services have sessions.
fn roles(home: &Home) -> Vec<String> {
    let url = format!("postgresql://app:app@127.0.0.1:{}/app", home.load().parts[&Part::Postgres].port);
    let roles = "SELECT DISTINCT usename::text FROM pg_stat_activity WHERE application_name IN ('orders', 'bonus') ORDER BY 1";
    let asked = async {
        let mut connection = PgConnection::connect(&url).await.unwrap();
        sqlx::query_scalar(roles).fetch_all(&mut connection).await.unwrap()
    };
    tokio::runtime::Runtime::new().unwrap().block_on(asked)
}

#[test]
fn up_is_idempotent_parts_die_and_return_and_down_leaves_nothing() {
    let _alone = ALONE.blocking_lock();
    let home = Home::named(NAME).unwrap();
    run(&["down", "--wipe"]);
    let said = run(&["up"]);
    assert_eq!(said.matches("ready in").count(), 5, "{said}");
    let first = home.load();
    assert_eq!(roles(&home), ["bonus_service", "orders_service"], "they own nothing");
    let said = run(&["up"]);
    assert_eq!(said.matches("was running").count(), 5, "{said}");

    for part in ["kafka", "postgres", "orders"] {
        run(&["kill", part]);
        assert!(run(&["status"]).contains("down"));
        run(&["start", part]);
    }
    run(&["freeze", "redis"]);
    assert!(run(&["status"]).contains("frozen"));
    run(&["thaw", "redis"]);

    // Somebody kills a part behind our back: up brings back that part alone.
    let processes = |state: State| state.parts.into_values().filter_map(|entry| entry.process);
    home.load().parts[&Part::Bonus].process.unwrap().kill_tree();
    let said = run(&["up"]);
    assert_eq!((said.matches("ready in").count(), said.matches("was running").count()), (1, 4), "{said}");
    let last = home.load();
    for part in Shape::default().parts() {
        assert_eq!(first.parts[&part].port, last.parts[&part].port, "{part} has moved");
    }

    run(&["down", "--wipe"]);
    assert!(processes(first).chain(processes(last)).all(|process| !process.is_alive()));
    assert!(!home.directory.exists());
}

/// It takes a port of its own choice, and only then is that known.
#[test]
fn status_tells_where_the_stand_in_for_kafka_is() {
    let _alone = ALONE.blocking_lock();
    let run = |arguments: &[&str]| {
        said(support::tool().env("KAFKA", "embedded").args(["--stack", "embedded-test"]), arguments)
    };
    run(&["down", "--wipe"]);
    let up = run(&["up"]);
    let address = up.lines().find_map(|line| line.trim().strip_prefix("Kafka ")).unwrap().trim();
    let status = run(&["status"]);
    run(&["down", "--wipe"]);
    let line = status.lines().find(|line| line.trim().starts_with("kafka")).unwrap();
    assert!(line.contains(address), "{address}: {line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_standby_takes_over_behind_the_same_address_and_one_of_three_brokers_is_away() {
    use sqlx::{Connection, PgConnection};
    let _alone = ALONE.lock().await;
    let home = Home::named(SEVERAL).unwrap();
    let several = |arguments: &[&str]| said(support::tool().args(["--stack", SEVERAL]), arguments);
    several(&["down", "--wipe"]);
    let mut wanted = support::tool();
    let up = said(wanted.env("REPLICAS", "1").env("BROKERS", "3").args(["--stack", SEVERAL]), &["up"]);
    assert_eq!(up.matches("ready in").count(), 9, "{up}");
    let state = home.load();
    let address = state.parts[&Part::PostgresAddress].port;
    let url = format!("postgresql://app:app@127.0.0.1:{address}/app");
    let server = async || {
        let mut connection = PgConnection::connect(&url).await.unwrap();
        sqlx::query_scalar::<_, i32>("SELECT inet_server_port()").fetch_one(&mut connection).await.unwrap()
    };
    let mut connection = PgConnection::connect(&url).await.unwrap();
    sqlx::raw_sql("CREATE TABLE kept AS SELECT 1 AS n").execute(&mut connection).await.unwrap();
    assert_eq!(server().await, i32::from(state.parts[&Part::Postgres].port));

    several(&["kill", "kafka-2"]);
    // There and back: the former primary has become a standby that can be promoted.
    for primary in [Part::Postgres2, Part::Postgres] {
        several(&["postgres-failover"]);
        assert_eq!(server().await, i32::from(state.parts[&primary].port));
        let status = several(&["status"]);
        let line = status.lines().find(|line| line.contains("primary")).unwrap();
        assert!(line.trim_start().starts_with(primary.name()), "{status}");
        let mut connection = PgConnection::connect(&url).await.unwrap();
        sqlx::query("INSERT INTO kept VALUES (2)").execute(&mut connection).await.unwrap();
        let kept: i32 =
            sqlx::query_scalar("SELECT min(n) FROM kept").fetch_one(&mut connection).await.unwrap();
        assert_eq!(kept, 1);
    }
    several(&["start", "kafka-2"]);
    let output = support::tool().args(["--stack", SEVERAL, "up"]).env("REPLICAS", "0").output().unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains("REPLICAS=1 BROKERS=3"), "{output:?}");
    several(&["down", "--wipe"]);
    assert!(!home.directory.exists());
}
