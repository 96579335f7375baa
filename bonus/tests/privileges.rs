//! What roles of least privilege may and may not in the schema of bonus, and that such a role is enough to serve.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

mod support;

use std::collections::BTreeMap;

use serde_json::Value;
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use support::command::run_with;
use support::grants::{documented, granted};
use support::kafka::produce;
use support::process::Bonus;
use support::{World, event, events, eventually};
use uuid::Uuid;

/// Of docs/security.md.
const HEADING: &str = "### Tables and functions of the bonus service";

/// A role's name, and the URL by which it connects.
type Role = (String, String);

/// A world whose schema `bonus migrate` has made, and its roles.
struct Roles {
    world: World,
    owner: Role,
    service: Role,
    reading: Role,
}

async fn run(world: &World, statement: &str) {
    sqlx::raw_sql(AssertSqlSafe(statement.to_owned())).execute(&mut world.connect().await).await.unwrap();
}

async fn role(world: &World, purpose: &str) -> Role {
    let role = format!("{purpose}_{}", Uuid::now_v7().simple());
    run(world, &format!("CREATE ROLE {role} LOGIN PASSWORD 'secret'")).await;
    let (_, place) = world.database_url.split_once('@').unwrap();
    let url = format!("postgresql://{role}:secret@{place}");
    (role, url)
}

async fn roles() -> Roles {
    let world = World::new().await;
    let (owner, service) = (role(&world, "owner").await, role(&world, "service").await);
    let reading = role(&world, "reading").await;
    run(&world, &format!("CREATE SCHEMA bonus AUTHORIZATION {}", owner.0)).await;
    let roles = Roles { world, owner, service, reading };
    assert!(!roles.migrate().await["migrations"].as_array().unwrap().is_empty());
    let again = roles.migrate().await;
    assert_eq!((&again["migrations"], &again["grants"]), (&Value::from([""; 0]), &Value::from([""; 0])));
    roles
}

impl Roles {
    async fn migrate(&self) -> Value {
        let arguments = ["migrate", "--json", "--grant-to", &self.service.0, "--read-only", &self.reading.0];
        run_with(&self.world, &[("DATABASE_URL", &self.owner.1)], &arguments).await.ended(0)
    }

    async fn connect(&self, (_, url): &Role) -> PgConnection {
        let mut connection = PgConnection::connect(url).await.unwrap();
        sqlx::raw_sql("SET search_path TO bonus").execute(&mut connection).await.unwrap();
        connection
    }
}

#[tokio::test]
async fn the_catalogue_has_what_the_document_says_and_events_are_written_by_the_append_alone() {
    let roles = roles().await;
    let service = documented(HEADING, 1);
    assert!(service.len() > 25 && service["customer_event"].len() == 1, "{service:?}");
    assert_eq!(granted(&mut roles.world.connect().await, "bonus", &roles.service.0).await, service);
    assert_eq!(
        granted(&mut roles.world.connect().await, "bonus", &roles.reading.0).await,
        documented(HEADING, 2)
    );
    assert_eq!(granted(&mut roles.world.connect().await, "bonus", "PUBLIC").await, BTreeMap::new());

    let of_events = |table: &str| {
        [
            format!("INSERT INTO {table} SELECT * FROM {table}"),
            format!("UPDATE {table} SET customer_id = customer_id"),
            format!("DELETE FROM {table}"),
            format!("TRUNCATE {table} CASCADE"),
            format!("ALTER TABLE {table} ADD COLUMN more text"),
            format!("DROP TABLE {table} CASCADE"),
        ]
    };
    let mut statements = [of_events("customer_event"), of_events("command_receipt")].concat();
    statements.extend(
        ["UPDATE ledger SET points = 0", "DELETE FROM ledger", "UPDATE policy SET vip_points = 1"]
            .map(str::to_owned),
    );
    for statement in statements {
        for (role, expected) in
            [(&roles.owner, None), (&roles.service, Some("42501")), (&roles.reading, Some("42501"))]
        {
            let mut connection = roles.connect(role).await;
            let mut transaction = connection.begin().await.unwrap();
            let done = sqlx::raw_sql(AssertSqlSafe(statement.clone())).execute(&mut *transaction).await;
            let refusal = done.err().and_then(|error| Some(error.as_database_error()?.code()?.into_owned()));
            assert_eq!(refusal.as_deref(), expected, "{}: {statement}", role.0);
        }
    }
}

#[tokio::test]
async fn a_role_that_serves_is_enough_and_check_says_what_it_is() {
    let roles = roles().await;
    let Roles { world, service, .. } = &roles;
    let settings = [("DATABASE_URL", service.1.as_str())];
    let bonus = Bonus::start_with(world, &settings).await;
    bonus.becomes_ready().await;
    // Gold: the changes are events.
    let customer = Uuid::now_v7();
    let created: Vec<_> = (0..8).map(|_| event("OrderCreated", Uuid::now_v7(), 1, customer)).collect();
    produce(world, &created).await;
    world.points_become(&BTreeMap::from([(customer, 320)])).await;
    events::journal_has(world, 2).await;
    eventually("published", async || {
        let waiting: i64 = sqlx::query_scalar("SELECT count(*) FROM outbox_message")
            .fetch_one(&mut roles.connect(&roles.reading).await)
            .await
            .unwrap();
        if waiting == 0 { Ok(()) } else { Err(format!("{waiting} wait")) }
    })
    .await;
    // Dashboards read what is derived, too.
    let points: i64 = sqlx::query_scalar("SELECT sum(points)::bigint FROM ledger_entry")
        .fetch_one(&mut roles.connect(&roles.reading).await)
        .await
        .unwrap();
    assert_eq!(points, 320);
    for arguments in [&["rebuild", "--json"][..], &["rebuild", "--policy", "2", "--json"]] {
        run_with(world, &settings, arguments).await.ended(0);
    }

    let finding = async |settings: &[(&str, &str)], name: &str| -> Value {
        let check: Value =
            serde_json::from_str(&run_with(world, settings, &["check", "--json"]).await.out).unwrap();
        let found = check["checks"].as_array().unwrap().iter().find(|finding| finding["name"] == name);
        found.unwrap_or_else(|| panic!("no {name} in {check}")).clone()
    };
    assert_eq!(finding(&settings, "role").await["status"], "ok");
    assert_eq!(finding(&settings, "privileges").await["status"], "ok");
    assert_eq!(finding(&[("DATABASE_URL", &roles.owner.1)], "role").await["status"], "warn");
    run(world, &format!("REVOKE INSERT ON ledger FROM {}", service.0)).await;
    let lacking = finding(&settings, "privileges").await;
    let advice = lacking["advice"].as_str().unwrap();
    assert!(advice.contains(&format!("GRANT INSERT ON ledger TO {}", service.0)), "{lacking}");
}

#[tokio::test]
async fn a_start_that_may_not_migrate_says_what_to_do() {
    let world = World::without_kafka().await;
    let service = role(&world, "service").await;
    let started = async |url: &str, mode: &str| {
        let settings = [
            ("DATABASE_URL", url),
            ("BONUS_AUTH", "off"),
            ("BONUS_HTTP_ADDR", "127.0.0.1:0"),
            ("BONUS_MIGRATE", mode),
        ];
        run_with(&world, &settings, &["serve"]).await
    };
    for (url, mode, why) in [
        (&service.1, "auto", "run `bonus migrate`"),
        (&service.1, "off", "run `bonus migrate`"),
        (&world.database_url, "off", "told not to migrate"),
    ] {
        let ran = started(url, mode).await;
        let said = format!("{}{}", ran.out, ran.err);
        assert!(ran.code == 1 && said.contains(why), "{why}: {said}");
    }
    let made: bool = sqlx::query_scalar("SELECT to_regnamespace('bonus') IS NOT NULL")
        .fetch_one(&mut world.connect().await)
        .await
        .unwrap();
    assert!(!made, "nothing was changed");
}
