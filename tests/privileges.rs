//! What roles of least privilege may and may not in Postgres, and that `orders migrate` and `orders check` say so.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

mod support;

use std::collections::BTreeMap;

use serde_json::Value;
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use stack::servers::ServiceSettings;
use support::grants::{documented, granted};
use support::ran::{Ran, ended, without_terminal};
use support::{Servers, Stage};
use tokio::process::Command;
use uuid::Uuid;

/// An append of one event; $1 its order.
const APPEND: &str = "SELECT conflicted FROM public.append_order_events(
    '{0}', ARRAY[gen_random_uuid()], ARRAY[$1::uuid], '{1}', '{OrderCreated}', '{\"{}\"}', '{\"{}\"}', ARRAY[now()],
    '{}', '{}', '{}', '{}', '{}', '{}', '{}', false)";

async fn execute(stage: &Stage, statement: &str) {
    sqlx::raw_sql(AssertSqlSafe(statement.to_owned())).execute(&stage.database).await.unwrap();
}

/// Exit code, standard output and standard error of the binary in the stage's environment.
async fn run(stage: &Stage, url: &str, arguments: &[&str]) -> (i32, String, String) {
    let ServiceSettings { program, environment, .. } = stage.settings("cli");
    let mut command = Command::new(program);
    command.args(arguments).envs(environment).env("ENABLE_FAULTS", "false");
    command.env("ORDERS_HTTP_ADDR", "127.0.0.1:0").env("DATABASE_URL", url);
    let Ran { code, out, err } = ended(without_terminal(&mut command)).await;
    (code, out, err)
}

/// Status, message and advice.
async fn finding(stage: &Stage, url: &str, name: &str) -> (String, String, String) {
    let (_, out, err) = run(stage, url, &["check", "--json"]).await;
    let check: Value = serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}{err}"));
    let checks = check["checks"].as_array().unwrap();
    let found = checks.iter().find(|finding| finding["name"] == name);
    let found = found.unwrap_or_else(|| panic!("no {name} in {check}"));
    let text = |field: &str| found[field].as_str().unwrap_or_default().to_owned();
    (text("status"), text("message"), text("advice"))
}

/// A role's name, and the URL by which it connects.
type Role = (String, String);

/// A stage that `orders migrate` has made, and its roles.
struct Roles {
    stage: Stage,
    owner: Role,
    service: Role,
    reading: Role,
    /// May connect, as every role may.
    stranger: Role,
}

async fn roles() -> Roles {
    let stage = Stage::new().await;
    let (owner, service) = (stage.role("owner").await, stage.role("service").await);
    let (reading, stranger) = (stage.role("reading").await, stage.role("stranger").await);
    execute(&stage, &format!("GRANT CREATE, USAGE ON SCHEMA public TO {}", owner.0)).await;
    let roles = Roles { stage, owner, service, reading, stranger };
    let done = roles.migrate(&[]).await;
    assert!(!done["migrations"].as_array().unwrap().is_empty(), "{done}");
    roles
}

impl Roles {
    /// `orders migrate` as the owner, with grants for both roles.
    async fn migrate(&self, more: &[&str]) -> Value {
        let arguments = ["migrate", "--json", "--grant-to", &self.service.0, "--read-only", &self.reading.0];
        let (code, out, err) = run(&self.stage, &self.owner.1, &[&arguments, more].concat()).await;
        assert_eq!(code, 0, "{err}");
        serde_json::from_str(&out).unwrap()
    }
}

/// What `statement` comes to for a role, in a transaction that is rolled back: a SQLSTATE, or nothing if it is carried out.
async fn refusal(connection: &mut PgConnection, statement: &str) -> Option<String> {
    let mut transaction = connection.begin().await.unwrap();
    let done = sqlx::raw_sql(AssertSqlSafe(statement.to_owned())).execute(&mut *transaction).await;
    transaction.rollback().await.unwrap();
    done.err().map(|error| error.as_database_error().unwrap().code().unwrap().into_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn migrate_makes_the_tables_and_grants_and_a_second_time_does_nothing() {
    let stage = Stage::new().await;
    let (owner, service) = (stage.role("owner").await, stage.role("service").await);
    execute(&stage, &format!("GRANT CREATE, USAGE ON SCHEMA public TO {}", owner.0)).await;
    let tables = async || -> i64 {
        let count =
            "SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'";
        sqlx::query_scalar(count).fetch_one(&stage.database).await.unwrap()
    };
    let (code, out, _) = run(&stage, &owner.1, &["migrate", "--dry-run", "--grant-to", &service.0]).await;
    assert!(code == 0 && out.contains("migration 11 (append as owner)"), "{out}");
    assert_eq!(tables().await, 0, "a dry run changes nothing");

    // Nothing is changed for the sake of a role that cannot be granted to.
    let (code, _, err) = run(&stage, &owner.1, &["migrate", "--grant-to", "no_such_role"]).await;
    assert!(code == 1 && err.contains("CREATE ROLE no_such_role LOGIN"), "{err}");
    assert_eq!(tables().await, 0);

    let (code, out, err) = run(&stage, &owner.1, &["migrate", "--grant-to", &service.0]).await;
    assert_eq!(code, 0, "{err}");
    assert!(err.contains("migration 1001 (order summary rebuilt): applied in"), "{err}");
    let granted = format!("GRANT SELECT ON TABLE public.order_event TO {}", service.0);
    assert!(out.contains(&granted) && out.contains("The schema is of version 1001"), "{out}");
    let (_, out, err) = run(&stage, &owner.1, &["migrate", "--grant-to", &service.0]).await;
    assert_eq!(out, "The schema is of version 1001, and nothing is to do\n", "{err}");

    // What was given besides is taken back.
    execute(
        &stage,
        &format!(
            "GRANT INSERT, DELETE ON order_event TO {}; GRANT SELECT ON order_event TO PUBLIC",
            service.0
        ),
    )
    .await;
    let (_, out, _) = run(&stage, &owner.1, &["migrate", "--grant-to", &service.0]).await;
    for revoked in [
        format!("DELETE, INSERT ON TABLE public.order_event FROM {}", service.0),
        "SELECT ON TABLE public.order_event FROM PUBLIC".to_owned(),
    ] {
        assert!(out.contains(&format!("REVOKE {revoked}")), "{out}");
    }

    for (url, grant_to, why) in [
        (&owner.1, &owner.0, "Name another role"),
        // What it asks for is not its own to give.
        (&service.1, &stage.role("other").await.0, "this role may not do that"),
    ] {
        let (code, _, err) = run(&stage, url, &["migrate", "--grant-to", grant_to]).await;
        assert!(code == 1 && err.contains(why), "{why}: {err}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_catalogue_has_what_the_document_says() {
    let roles = roles().await;
    let heading = "### Tables and functions of the order service";
    let (service, reading) = (documented(heading, 1), documented(heading, 2));
    assert!(service.len() > 15 && service["order_event"].len() == 1, "{service:?}");
    assert_eq!(granted(&roles.stage.database, "public", &roles.service.0).await, service);
    assert_eq!(granted(&roles.stage.database, "public", &roles.reading.0).await, reading);
    assert_eq!(granted(&roles.stage.database, "public", "PUBLIC").await, BTreeMap::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_but_the_append_writes_events() {
    let roles = roles().await;
    let statements = |table: &str| {
        [
            format!("INSERT INTO {table} SELECT * FROM {table}"),
            format!("UPDATE {table} SET order_id = order_id"),
            format!("DELETE FROM {table}"),
            format!("TRUNCATE {table} CASCADE"),
            format!("ALTER TABLE {table} ADD COLUMN more text"),
            format!("ALTER TABLE {table} DISABLE TRIGGER USER"),
            format!("CREATE RULE other AS ON INSERT TO {table} DO INSTEAD NOTHING"),
            format!("CREATE INDEX other ON {table} (order_id)"),
            format!("DROP TABLE {table} CASCADE"),
        ]
    };
    let mut tried = 0;
    for table in ["order_event", "command_receipt"] {
        for statement in statements(table) {
            // It is refused for want of a privilege, not for anything else.
            let mut owner = PgConnection::connect(&roles.owner.1).await.unwrap();
            assert_eq!(refusal(&mut owner, &statement).await, None, "{statement}");
            for (role, url) in [&roles.service, &roles.reading, &roles.stranger] {
                let mut connection = PgConnection::connect(url).await.unwrap();
                let refusal = refusal(&mut connection, &statement).await;
                assert_eq!(refusal.as_deref(), Some("42501"), "{role}: {statement}");
                tried += 1;
            }
        }
    }
    assert_eq!(tried, 2 * 9 * 3);
}

/// The owner's rights are those of the append alone, and only for who may call it.
#[tokio::test(flavor = "multi_thread")]
async fn a_role_reads_or_appends_as_it_was_granted() {
    let roles = roles().await;
    let append = APPEND.replace("$1", "gen_random_uuid()");
    let checked = append.replace("append_order_events", "append_order_events_checked");
    let (may, may_not) = (None, Some("42501"));
    for (statement, service, reading, stranger) in [
        (append.as_str(), may, may_not, may_not),
        (checked.as_str(), may_not, may_not, may_not),
        ("SELECT * FROM order_event, command_receipt, outbox_message, order_summary", may, may, may_not),
        ("SELECT publisher_lease_key()", may, may, may_not),
        ("UPDATE publisher_cursor SET moved_at = now()", may, may_not, may_not),
        ("DELETE FROM order_summary", may, may_not, may_not),
        ("TRUNCATE order_summary_rebuilt", may, may_not, may_not),
        ("TRUNCATE order_summary", may_not, may_not, may_not),
        ("DELETE FROM discarded_event", may_not, may_not, may_not),
        ("UPDATE _sqlx_migrations SET success = false", may_not, may_not, may_not),
        ("CREATE TABLE public.another ()", may_not, may_not, may_not),
        ("CREATE SCHEMA another", may_not, may_not, may_not),
        ("ALTER FUNCTION append_order_events SECURITY INVOKER", may_not, may_not, may_not),
    ] {
        for ((role, url), expected) in
            [(&roles.service, service), (&roles.reading, reading), (&roles.stranger, stranger)]
        {
            let mut connection = PgConnection::connect(url).await.unwrap();
            assert_eq!(refusal(&mut connection, statement).await.as_deref(), expected, "{role}: {statement}");
        }
    }
}

/// Where the next append of this session goes: rows in the real table, and in tables of the same name that were put in its way; and whether
/// a function of the caller's was called with the owner's rights.
async fn led(stage: &Stage, session: &mut PgConnection) -> [i64; 4] {
    sqlx::query(APPEND).bind(Uuid::now_v7()).execute(&mut *session).await.unwrap();
    let count = |table: &str| format!("SELECT count(*) FROM {table}");
    let temporary =
        sqlx::query_scalar(AssertSqlSafe(count("pg_temp.order_event"))).fetch_one(session).await.unwrap();
    let mut counts = [0, temporary, 0, 0];
    for (place, table) in [(0, "public.order_event"), (2, "trap.order_event"), (3, "trap.called")] {
        counts[place] =
            sqlx::query_scalar(AssertSqlSafe(count(table))).fetch_one(&stage.database).await.unwrap();
    }
    counts
}

/// The role that serves puts tables and functions of its own in the way: in temporary tables, in a schema that comes first in its search path,
/// and in the deployment's own schema, where it may create as everybody may in `public` before Postgres 15.
#[tokio::test(flavor = "multi_thread")]
async fn the_append_is_not_led_to_objects_of_its_caller() {
    let roles = roles().await;
    let (stage, (service, url)) = (&roles.stage, &roles.service);
    execute(
        stage,
        &format!("CREATE SCHEMA trap AUTHORIZATION {service}; GRANT CREATE ON SCHEMA public TO {service}"),
    )
    .await;
    let mut session = PgConnection::connect(url).await.unwrap();
    let trap = "CREATE TABLE trap.called (by text);
        GRANT INSERT ON trap.called TO PUBLIC; GRANT USAGE ON SCHEMA trap TO PUBLIC;
        CREATE FUNCTION public.cardinality(text[]) RETURNS int LANGUAGE plpgsql AS $$
            BEGIN INSERT INTO trap.called VALUES (current_user); RETURN 0; END $$;
        CREATE FUNCTION public.pg_identify_object(regclass, regclass, int, OUT type text, OUT schema text, OUT name text, OUT identity text)
            LANGUAGE plpgsql AS $$ BEGIN INSERT INTO trap.called VALUES (current_user); schema := 'public'; END $$;
        CREATE FUNCTION trap.append_lock_key() RETURNS bigint LANGUAGE plpgsql AS $$
            BEGIN INSERT INTO trap.called VALUES (current_user); RETURN 1; END $$;
        CREATE TABLE trap.order_event (LIKE public.order_event);
        CREATE TEMPORARY TABLE order_event (LIKE public.order_event);
        GRANT ALL ON trap.order_event, pg_temp.order_event TO PUBLIC;
        SET search_path = pg_temp, trap, public, pg_catalog";
    sqlx::raw_sql(trap).execute(&mut session).await.unwrap();
    assert_eq!(led(stage, &mut session).await, [1, 0, 0, 0]);

    // The traps are good: without a path of its own the function goes to the temporary table, and calls what it should not.
    execute(stage, "ALTER FUNCTION append_order_events RESET search_path").await;
    let [real, temporary, _, called] = led(stage, &mut session).await;
    assert_eq!((real, temporary), (1, 1));
    assert!(called > 0);
    let by: String =
        sqlx::query_scalar("SELECT DISTINCT by FROM trap.called").fetch_one(&stage.database).await.unwrap();
    assert_eq!(by, roles.owner.0, "with the rights of the owner");
    // What is polymorphic would be called in the deployment's own schema too.
    execute(stage, "DELETE FROM trap.called; SET search_path = public; SELECT cardinality('{a}'::text[]); RESET search_path").await;
    let called: i64 =
        sqlx::query_scalar("SELECT count(*) FROM trap.called").fetch_one(&stage.database).await.unwrap();
    assert_eq!(called, 1);
}

/// What instances of the version before need goes on while the new version's migrations are applied.
#[tokio::test(flavor = "multi_thread")]
async fn a_role_that_could_append_before_the_grants_still_can() {
    let stage = Stage::new().await;
    orders::migration::MIGRATIONS.run_to(10, &stage.database).await.unwrap();
    let (role, url) = stage.role("former").await;
    execute(
        &stage,
        &format!("GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {role}"),
    )
    .await;
    let mut session = PgConnection::connect(&url).await.unwrap();
    let append = async |session: &mut PgConnection| -> Vec<i32> {
        sqlx::query_scalar(APPEND).bind(Uuid::now_v7()).fetch_one(session).await.unwrap()
    };
    append(&mut session).await;
    orders::migration::MIGRATIONS.run(&stage.database).await.unwrap();
    append(&mut session).await;
    let _: i64 = sqlx::query_scalar("SELECT publisher_lease_key()").fetch_one(&mut session).await.unwrap();
    assert_eq!(stage.events().await, 2);
    assert_eq!(granted(&stage.database, "public", "PUBLIC").await, BTreeMap::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_that_serves_is_enough_and_check_says_what_it_is() {
    let roles = roles().await;
    let (stage, (service, url)) = (&roles.stage, &roles.service);
    let orders = stage.start_with(stage.settings("orders").with("DATABASE_URL", url)).await;
    let order_id = orders.create().await;
    orders.command(order_id, "pay").await;
    stage.outbox_empties().await;
    assert_eq!(stage.assert_published_in_order().await, 0);
    for name in ["role", "privileges", "schema"] {
        assert_eq!(finding(stage, url, name).await.0, "ok", "{name}");
    }
    let (status, message, _) = finding(stage, &roles.owner.1, "role").await;
    assert!(status == "warn" && message.contains("owns the tables"), "{message}");
    let (status, message, _) = finding(stage, &stage.database_url, "role").await;
    assert!(status == "warn" && message.contains("is a superuser"), "{message}");
    let (status, message, _) = finding(stage, &roles.reading.1, "privileges").await;
    assert!(status == "fail" && message.contains("EXECUTE on append_order_events"), "{message}");

    execute(
        stage,
        &format!("REVOKE SELECT ON command_receipt FROM {service}; GRANT DELETE ON order_event TO {service}"),
    )
    .await;
    let (status, message, advice) = finding(stage, url, "privileges").await;
    assert_eq!((status.as_str(), message), ("fail", format!("{service} lacks SELECT on command_receipt")));
    assert!(advice.contains(&format!("GRANT SELECT ON command_receipt TO {service}")), "{advice}");
    let (status, message, _) = finding(stage, url, "role").await;
    assert!(status == "warn" && message.ends_with("DELETE on order_event"), "{message}");
    assert!(!roles.migrate(&[]).await["grants"].as_array().unwrap().is_empty());
    assert_eq!(finding(stage, url, "privileges").await.0, "ok");
    assert_eq!(finding(stage, url, "role").await.0, "ok");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_may_not_migrate_changes_nothing_and_says_what_to_do() {
    let stage = Stage::new().await;
    let (role, url) = stage.role("service").await;
    let (code, _, err) = run(&stage, &url, &["serve"]).await;
    assert!(code == 1 && err.contains("run `orders migrate` as the role that is to own them"), "{err}");
    let (status, message, _) = finding(&stage, &url, "privileges").await;
    assert!(status == "fail" && message.contains("may not migrate the schema"), "{message}");

    // It might create, and does not own what is there.
    orders::migration::MIGRATIONS.run_to(10, &stage.database).await.unwrap();
    execute(
        &stage,
        &format!("GRANT ALL ON SCHEMA public TO {role}; GRANT SELECT ON _sqlx_migrations TO {role}"),
    )
    .await;
    let (code, _, err) = run(&stage, &url, &["serve"]).await;
    assert!(code == 1 && err.contains(&format!("the role {role} does not own them")), "{err}");
    assert!(err.contains("from migration 11 (append as owner) on"), "{err}");

    // The owner is told not to.
    let (code, _, err) = run(&stage, &stage.database_url, &["serve", "--migrate", "off"]).await;
    assert!(
        code == 1 && err.contains("told not to migrate") && err.contains("run `orders migrate`"),
        "{err}"
    );
    let applied: i64 =
        sqlx::query_scalar("SELECT count(*) FROM _sqlx_migrations").fetch_one(&stage.database).await.unwrap();
    assert_eq!(applied, 10);
    let (code, _, err) = run(&stage, &stage.database_url, &["migrate"]).await;
    assert_eq!(code, 0, "{err}");
    let orders = stage.start_with(stage.settings("orders").with("ORDERS_MIGRATE", "off")).await;
    orders.create().await;

    execute(&stage, &format!("ALTER ROLE {role} SET lock_timeout = '1s'")).await;
    let (status, message, _) = finding(&stage, &url, "sessions").await;
    assert_eq!((status.as_str(), message.as_str()), ("warn", "role sets lock_timeout=1s"));
}

/// The stage that the failures run on.
#[tokio::test(flavor = "multi_thread")]
async fn a_stage_with_roles_serves_as_one_that_owns_nothing() {
    let stage = Stage::with_roles(Servers::shared()).await;
    assert_eq!(finding(&stage, &stage.service_url, "role").await.0, "ok");
}
