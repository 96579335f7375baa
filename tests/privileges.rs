//! What a role of least privilege may and may not, and that `orders check` names it.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod support;

use std::process::Stdio;

use serde_json::Value;
use sqlx::AssertSqlSafe;
use stack::servers::ServiceSettings;
use support::{DEADLINE, Stage};
use tokio::process::Command;
use tokio::time::timeout;
use uuid::Uuid;

/// A role that may connect to the stage's database and nothing more, and the URL by which it does.
async fn role(stage: &Stage) -> (String, String) {
    let role = format!("role_{}", Uuid::new_v4().simple());
    execute(stage, &format!("CREATE ROLE {role} LOGIN PASSWORD 'secret'")).await;
    let (_, place) = stage.database_url.rsplit_once('@').unwrap();
    let url = format!("postgresql://{role}:secret@{place}");
    (role, url)
}

async fn execute(stage: &Stage, statement: &str) {
    sqlx::query(AssertSqlSafe(statement.to_owned())).execute(&stage.database).await.unwrap();
}

/// Exit code, standard output and standard error of the binary in the stage's environment.
async fn run(stage: &Stage, url: &str, arguments: &[&str]) -> (i32, String, String) {
    let ServiceSettings { program, environment, .. } = stage.settings("cli");
    let child = Command::new(program)
        .args(arguments)
        .envs(environment)
        .env("ENABLE_FAULTS", "false")
        .env("ORDERS_HTTP_ADDR", "127.0.0.1:0")
        .env("DATABASE_URL", url)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let output = timeout(DEADLINE, child.wait_with_output()).await.unwrap().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

async fn finding(stage: &Stage, url: &str, name: &str) -> (String, String) {
    let (_, out, err) = run(stage, url, &["check", "--json"]).await;
    let check: Value = serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}{err}"));
    let checks = check["checks"].as_array().unwrap();
    let found = checks.iter().find(|finding| finding["name"] == name);
    let found = found.unwrap_or_else(|| panic!("no {name} in {check}"));
    (found["status"].as_str().unwrap().to_owned(), found["message"].as_str().unwrap().to_owned())
}

/// Another role has migrated; this one may use what is there, and create nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_role_that_may_not_create_serves() {
    let stage = Stage::new().await;
    orders::migration::MIGRATIONS.run(&stage.database).await.unwrap();
    let (role, url) = role(&stage).await;
    let lacking = finding(&stage, &url, "privileges").await;
    assert_eq!(lacking.0, "fail");
    for privilege in ["INSERT on order_event", "UPDATE on publisher_cursor", "SELECT on _sqlx_migrations"] {
        assert!(lacking.1.contains(privilege), "{privilege}: {}", lacking.1);
    }
    execute(
        &stage,
        &format!("GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {role}"),
    )
    .await;
    assert_eq!(finding(&stage, &url, "privileges").await.0, "ok");

    let orders = stage.start_with(stage.settings("orders").with("DATABASE_URL", &url)).await;
    let order_id = orders.create().await;
    orders.command(order_id, "pay").await;
    stage.outbox_empties().await;
    assert_eq!(stage.assert_published_in_order().await, 0);

    execute(&stage, &format!("REVOKE INSERT ON command_receipt FROM {role}")).await;
    let (status, message) = finding(&stage, &url, "privileges").await;
    assert_eq!((status.as_str(), message), ("fail", format!("{role} lacks INSERT on command_receipt")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_that_may_not_migrate_is_told_so() {
    let stage = Stage::new().await;
    let (role, url) = role(&stage).await;
    let (code, _, err) = run(&stage, &url, &["serve"]).await;
    assert_eq!(code, 1, "{err}");
    let said = format!("GRANT CREATE, USAGE ON SCHEMA public TO {role}");
    assert!(err.contains(&said), "{said:?} is not in {err}");
    let (status, message) = finding(&stage, &url, "privileges").await;
    assert_eq!(
        (status.as_str(), message),
        ("fail", format!("{role} lacks CREATE on the schema, to migrate it"))
    );

    execute(&stage, &format!("ALTER ROLE {role} SET lock_timeout = '1s'")).await;
    let (status, message) = finding(&stage, &url, "sessions").await;
    assert_eq!((status.as_str(), message.as_str()), ("warn", "role sets lock_timeout=1s"));
}
