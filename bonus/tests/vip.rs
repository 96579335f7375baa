//! VIP: gained and lost by events and by time. On Postgres, against the rule in `standing.rs`, and by real processes.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use bonus::changes::AccountChange;
use bonus::database;
use bonus::ledger::{self, LedgerConnection};
use bonus::message::Event;
use bonus::outbox;
use bonus::points::Valued;
use bonus::policy::{Grade, V1};
use bonus::standing::StandingChange;
use bonus::sweep::{self, Swept};
use chrono::{DateTime, SubsecRound, TimeDelta, Utc};
use kit::postgres::Purpose;
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config as Cases, RngAlgorithm, TestRng, TestRunner};
use sqlx::{Connection, PgConnection};
use support::arrivals::{any_arrivals, by_the_rules, credit_of};
use support::kafka::produce;
use support::process::Bonus;
use support::{TestEvent, World, event, eventually, migrate, migrated};
use uuid::Uuid;

const WINDOW: TimeDelta = TimeDelta::hours(30 * 24);

/// Two orders that were completed at one moment: 280 points, and either leaves too few.
fn enough(customer: Uuid, occurred_at: DateTime<Utc>) -> Vec<Event> {
    let order = || {
        let id = Uuid::now_v7();
        [(Valued::Created, 1), (Valued::Completed, 4)]
            .map(|(valued, version)| credit_of(valued, (id, version), customer, occurred_at))
    };
    [order(), order()].concat()
}

fn occurred(event: TestEvent, occurred_at: DateTime<Utc>) -> TestEvent {
    let mut event = event;
    event.value["occurred_at"] = serde_json::json!(occurred_at);
    event
}

/// The same on the topic.
fn enough_on_the_topic(customer: Uuid, occurred_at: DateTime<Utc>) -> Vec<TestEvent> {
    let order = || {
        let id = Uuid::now_v7();
        [("OrderCreated", 1), ("OrderCompleted", 4)]
            .map(|(name, version)| occurred(event(name, id, version, customer), occurred_at))
    };
    [order(), order()].concat()
}

async fn recorded(database: &mut PgConnection) -> BTreeMap<Uuid, bool> {
    let rows: Vec<(Uuid, bool)> =
        sqlx::query_as("SELECT customer_id, vip FROM account").fetch_all(database).await.unwrap();
    rows.into_iter().collect()
}

async fn recorded_becomes(world: &World, customer: Uuid, vip: bool) {
    eventually("the account's VIP status is the expected one", async || {
        let recorded = recorded(&mut world.connect().await).await;
        if recorded.get(&customer) == Some(&vip) { Ok(()) } else { Err(format!("{recorded:?}")) }
    })
    .await;
}

// --- the rule and the database ----------------------------------------------------------------------------------------

/// What the rule says of each customer of `events`.
fn expected(events: &[Event], now: DateTime<Utc>) -> BTreeMap<Uuid, Option<DateTime<Utc>>> {
    by_the_rules(&V1, events, now).into_iter().map(|(customer, (_, until))| (customer, until)).collect()
}

fn follow(followed: &mut BTreeMap<Uuid, bool>, changes: &[AccountChange]) {
    for AccountChange { customer_id, change } in changes {
        let (before, after) = match change {
            StandingChange::VipAcquired => (false, true),
            StandingChange::VipLost => (true, false),
            StandingChange::GradeAttained(_) | StandingChange::GradeLost(_) => continue,
        };
        let was = followed.insert(*customer_id, after).unwrap_or_default();
        assert_eq!(was, before, "{change:?} of {customer_id}");
    }
}

fn losses(changes: &[AccountChange]) -> usize {
    changes.iter().filter(|change| change.change == StandingChange::VipLost).count()
}

#[tokio::test]
async fn whatever_arrives_whenever_vip_is_what_the_rule_says_of_the_events_and_the_moment() {
    let (world, _) = migrated().await;
    let mut database = world.connect().await;
    let seed = Uuid::new_v4().into_bytes().repeat(2);
    println!("seed: {seed:?}");
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &seed);
    let mut runner = TestRunner::new_with_rng(Cases::default(), rng);
    let (mut vips, mut taken, mut expired) = (0, 0, 0);
    for _ in 0..150 {
        let arrivals = any_arrivals().new_tree(&mut runner).unwrap().current();
        // Each case has its own time.
        sqlx::raw_sql("TRUNCATE ledger, account").execute(&mut database).await.unwrap();
        let (mut known, mut followed): (Vec<Event>, BTreeMap<Uuid, bool>) = (Vec::new(), BTreeMap::new());
        for (batch, now, sweep) in &arrivals {
            let new: Vec<Event> = batch.iter().filter(|event| !known.contains(event)).cloned().collect();
            let credited =
                ledger::transact(&mut database, &outbox::appender(), batch, Some(*now)).await.unwrap();
            follow(&mut followed, &credited.changes);
            taken += losses(&credited.changes);
            known.extend(new.iter().cloned());
            let rule = expected(&known, *now);
            let mut in_question: BTreeSet<Uuid> = new.iter().map(|event| event.customer_id).collect();
            if *sweep {
                // One account a step; each account is due once.
                for accounts_left in (0..=2).rev() {
                    let swept = sweep::step(&mut database, &outbox::appender(), 1, Some(*now))
                        .await
                        .unwrap()
                        .unwrap();
                    follow(&mut followed, &swept.changes);
                    expired += losses(&swept.changes);
                    assert!(swept.accounts <= accounts_left, "what was swept is still due: {arrivals:#?}");
                }
                in_question = rule.keys().copied().collect();
            }
            let recorded = recorded(&mut database).await;
            for customer in in_question {
                let until = rule[&customer];
                assert_eq!(recorded[&customer], until.is_some(), "{customer} at {now}: {arrivals:#?}");
                let told = followed.get(&customer).copied().unwrap_or_default();
                assert_eq!(told, until.is_some(), "the changes of {customer} at {now}: {arrivals:#?}");
                vips += usize::from(until.is_some());
            }
            for (customer, until) in rule {
                let read: Option<DateTime<Utc>> = sqlx::query_scalar(
                    "SELECT vip_until FROM policy AS rules, vip_standing($1, $2, rules) WHERE rules.version = 1",
                )
                .bind(customer)
                .bind(now)
                .fetch_one(&mut database)
                .await
                .unwrap();
                assert_eq!(read, until, "{customer} at {now}: {arrivals:#?}");
            }
        }
        world.books_balance().await;
    }
    let happened = format!("VIP {vips} times, lost by events {taken} times, by time {expired} times");
    assert!(vips > 100 && taken > 10 && expired > 10, "too little has happened: {happened}");
    println!("{happened}");
}

/// Neither sees the other's rows while both are uncommitted; the second one decides on both.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_awards_in_two_transactions_at_once_make_a_vip() {
    let (world, config) = migrated().await;
    let (mut first, mut observer) = (world.connect().await, world.connect().await);
    let customer = Uuid::now_v7();
    let completed =
        || credit_of(Valued::Completed, (Uuid::now_v7(), 4), customer, Utc::now() - TimeDelta::hours(1));
    let mut transaction = first.begin().await.unwrap();
    let early = ledger::transact(&mut transaction, &outbox::appender(), &[completed()], None).await.unwrap();
    assert_eq!(early.changes.len(), 1, "Silver, and no VIP: {early:?}");
    let mut other =
        LedgerConnection::new(database::connector(&config.database, Purpose::Requests), outbox::appender());
    let late = completed();
    let late = tokio::spawn(async move { other.credit(&[late]).await.unwrap() });
    eventually("the second one waits for the account", async || {
        let waits: bool = sqlx::query_scalar(
            "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock')",
        )
        .fetch_one(&mut observer)
        .await
        .unwrap();
        if waits { Ok(()) } else { Err(String::new()) }
    })
    .await;
    transaction.commit().await.unwrap();
    let changes: Vec<StandingChange> =
        late.await.unwrap().changes.iter().map(|change| change.change).collect();
    assert_eq!(changes, [StandingChange::VipAcquired]);
    assert_eq!(recorded(&mut observer).await, BTreeMap::from([(customer, true)]));
}

/// Clocks are put forward in between in New York; 30 calendar days there are 719 hours.
#[tokio::test]
async fn the_window_is_the_same_whatever_the_sessions_time_zone() {
    let (world, _) = migrated().await;
    let mut database = world.connect().await;
    let (customer, occurred_at) = (Uuid::now_v7(), "2027-02-20T12:00:00Z".parse::<DateTime<Utc>>().unwrap());
    sqlx::raw_sql("SET timezone TO 'America/New_York'").execute(&mut database).await.unwrap();
    ledger::transact(&mut database, &outbox::appender(), &enough(customer, occurred_at), Some(occurred_at))
        .await
        .unwrap();
    let reviewed: DateTime<Utc> =
        sqlx::query_scalar("SELECT vip_review_at FROM account").fetch_one(&mut database).await.unwrap();
    assert_eq!(reviewed, "2027-03-22T12:00:00Z".parse::<DateTime<Utc>>().unwrap());
    let edge = occurred_at + WINDOW;
    let early = sweep::step(&mut database, &outbox::appender(), 10, Some(edge - TimeDelta::microseconds(1)))
        .await
        .unwrap();
    assert_eq!(early, Some(Swept::default()));
    let lost = AccountChange { customer_id: customer, change: StandingChange::VipLost };
    let swept = sweep::step(&mut database, &outbox::appender(), 10, Some(edge)).await.unwrap();
    assert_eq!(swept, Some(Swept { accounts: 1, changes: vec![lost] }));
}

// --- sweeps -----------------------------------------------------------------------------------------------------------

#[tokio::test]
async fn one_sweeps_at_a_time_and_nobody_waits_for_an_account() {
    let (world, _) = migrated().await;
    let (mut one, mut other) = (world.connect().await, world.connect().await);
    let long_ago = Utc::now() - TimeDelta::days(45);
    let customers = [Uuid::now_v7(), Uuid::now_v7()];
    for customer in customers {
        ledger::transact(&mut one, &outbox::appender(), &enough(customer, long_ago), Some(long_ago))
            .await
            .unwrap();
    }
    let mut sweeping = one.begin().await.unwrap();
    let swept = sweep::step(&mut sweeping, &outbox::appender(), 1, None).await.unwrap().unwrap();
    assert_eq!((swept.accounts, swept.changes.len()), (1, 1));
    assert_eq!(
        sweep::step(&mut other, &outbox::appender(), 10, None).await.unwrap(),
        None,
        "the other one has the lock"
    );
    sweeping.rollback().await.unwrap();

    let mut crediting = one.begin().await.unwrap();
    let lock = "SELECT vip FROM account WHERE customer_id = $1 FOR UPDATE";
    let vip: bool = sqlx::query_scalar(lock).bind(customers[0]).fetch_one(&mut *crediting).await.unwrap();
    assert!(vip, "what was rolled back has not happened");
    let swept = sweep::step(&mut other, &outbox::appender(), 10, None).await.unwrap().unwrap();
    assert_eq!((swept.accounts, swept.changes[0].customer_id), (1, customers[1]));
    crediting.commit().await.unwrap();
    let swept = sweep::step(&mut other, &outbox::appender(), 10, None).await.unwrap().unwrap();
    assert_eq!((swept.accounts, swept.changes[0].customer_id), (1, customers[0]));
    assert_eq!(sweep::step(&mut other, &outbox::appender(), 10, None).await.unwrap(), Some(Swept::default()));
}

/// As after 45 days without a service: more accounts are due than one step takes.
#[tokio::test]
async fn a_start_sweeps_what_became_due_while_no_instance_ran() {
    let (world, _) = migrated().await;
    let mut database = world.connect().await;
    let long_ago = Utc::now() - TimeDelta::days(45);
    let customers: Vec<Uuid> = (0..1_200).map(|_| Uuid::now_v7()).collect();
    for some in customers.chunks(200) {
        let events: Vec<Event> = some.iter().flat_map(|customer| enough(*customer, long_ago)).collect();
        let credited =
            ledger::transact(&mut database, &outbox::appender(), &events, Some(long_ago)).await.unwrap();
        // Silver, and VIP.
        assert_eq!(credited.changes.len(), some.len() * 2);
    }
    let one = Bonus::start_with(&world, &[("BONUS_SWEEP_SCHEDULE", "0 0 0 1 1 * 2099")]).await;
    let line = one.logged("VIP statuses have changed by the passing of time").await;
    assert_eq!((&line["accounts"], &line["changes"]), (&1_200.into(), &1_200.into()), "{line}");
    assert!(recorded(&mut database).await.values().all(|vip| !vip));
    assert_eq!(one.metric("bonus_standing_changes_total{change=\"vip_lost\"}").await, 1_200.0);
}

#[tokio::test]
async fn vip_ends_by_time_alone_once_with_two_instances() {
    let world = World::new().await;
    let every_second = [("BONUS_SWEEP_SCHEDULE", "* * * * * *")];
    let one = Bonus::start_with(&world, &every_second).await;
    one.becomes_ready().await;
    let other = Bonus::start_with(&world, &every_second).await;
    let customer = Uuid::now_v7();
    // Old enough to leave the window soon, and young enough to be credited before.
    let edge = Utc::now().trunc_subsecs(6) + TimeDelta::seconds(8);
    produce(&world, &enough_on_the_topic(customer, edge - WINDOW)).await;
    recorded_becomes(&world, customer, true).await;
    let (_, account) = one.get(&format!("/api/bonuses/{customer}")).await;
    let until: DateTime<Utc> = account["vip_until"].as_str().unwrap().parse().unwrap();
    assert_eq!((&account["vip"], until), (&true.into(), edge));

    recorded_becomes(&world, customer, false).await;
    assert!(Utc::now() >= edge - TimeDelta::milliseconds(100), "before its time");
    let (_, account) = other.get(&format!("/api/bonuses/{customer}")).await;
    assert_eq!((&account["vip"], &account["vip_until"]), (&false.into(), &serde_json::Value::Null));
    assert_eq!((&account["points"], &account["grade"]), (&280.into(), &"Silver".into()), "these stay");
    let lost = "bonus_standing_changes_total{change=\"vip_lost\"}";
    eventually("the loss is counted once", async || {
        let counted = one.metric(lost).await + other.metric(lost).await;
        if counted == 1.0 { Ok(()) } else { Err(format!("{counted}")) }
    })
    .await;
}

/// An event whose clock is ahead counts from its own time on, although nothing arrives then.
#[tokio::test]
async fn vip_begins_by_time_alone_when_an_event_was_dated_ahead() {
    let (world, _) = migrated().await;
    let mut database = world.connect().await;
    let (customer, now) = (Uuid::now_v7(), Utc::now().trunc_subsecs(6));
    let dated = now + TimeDelta::seconds(3);
    let credited = ledger::transact(&mut database, &outbox::appender(), &enough(customer, dated), Some(now))
        .await
        .unwrap();
    assert!(
        credited.changes.iter().all(|change| change.change == StandingChange::GradeAttained(Grade::Silver))
    );
    assert_eq!(
        sweep::step(&mut database, &outbox::appender(), 10, Some(now)).await.unwrap(),
        Some(Swept::default())
    );
    let acquired = AccountChange { customer_id: customer, change: StandingChange::VipAcquired };
    let swept = sweep::step(&mut database, &outbox::appender(), 10, Some(dated)).await.unwrap();
    assert_eq!(swept, Some(Swept { accounts: 1, changes: vec![acquired] }));
}

// --- events -----------------------------------------------------------------------------------------------------------

#[tokio::test]
async fn vip_is_gained_by_credits_and_lost_by_a_cancellation() {
    let world = World::new().await;
    let bonus = Bonus::start_ready(&world).await;
    let (customer, now) = (Uuid::now_v7(), Utc::now());
    let awards = enough_on_the_topic(customer, now);
    // Enough in all, and too long ago: no VIP.
    let old = Uuid::now_v7();
    produce(&world, &enough_on_the_topic(old, now - WINDOW)).await;
    produce(&world, &awards).await;
    recorded_becomes(&world, customer, true).await;
    recorded_becomes(&world, old, false).await;
    let acquired = bonus.metric("bonus_standing_changes_total{change=\"vip_acquired\"}").await;
    assert_eq!(acquired, 1.0, "of one of the two");

    let cancelled = awards[0].order_id;
    produce(&world, &[event("OrderCancelled", cancelled, 9, customer)]).await;
    recorded_becomes(&world, customer, false).await;
    let (_, account) = bonus.get(&format!("/api/bonuses/{customer}")).await;
    assert_eq!((&account["points"], &account["vip"]), (&140.into(), &false.into()));
    // The window has what counts: an award that comes late, below the cancellation, changes nothing.
    let late = occurred(event("OrderCompleted", cancelled, 8, customer), now);
    produce(&world, &[late, occurred(event("OrderCreated", Uuid::now_v7(), 1, old), now)]).await;
    world.points_become(&BTreeMap::from([(customer, 140), (old, 320)])).await;
    recorded_becomes(&world, customer, false).await;
    recorded_becomes(&world, old, false).await;
    let (_, ledger) = bonus.get(&format!("/api/bonuses/{customer}/ledger")).await;
    let reasons: Vec<_> =
        ledger["entries"].as_array().unwrap().iter().map(|entry| &entry["reason"]).collect();
    assert_eq!(reasons[0], "order_cancelled", "{ledger}");
    world.books_balance().await;
}

// --- upgrades ---------------------------------------------------------------------------------------------------------

/// The schema of the former version, with accounts in it, and an instance of that version that credits on beside the new one.
#[tokio::test]
async fn the_migration_carries_accounts_over_and_the_former_version_credits_on() {
    let world = World::new().await;
    let mut admin = world.connect().await;
    sqlx::raw_sql("CREATE SCHEMA bonus").execute(&mut admin).await.unwrap();
    let former = tempfile::tempdir().unwrap();
    for file in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/migrations")).unwrap() {
        let (path, name) = file.map(|file| (file.path(), file.file_name())).unwrap();
        if name.to_str().unwrap() < "0006" {
            std::fs::copy(path, Path::new(former.path()).join(name)).unwrap();
        }
    }
    let migrator = sqlx::migrate::Migrator::new(former.path()).await.unwrap();
    migrator.run(&mut admin).await.unwrap();

    let [recent, old, poor, late] = [(); 4].map(|()| Uuid::now_v7());
    let now = Utc::now().trunc_subsecs(6);
    let yesterday = now - TimeDelta::days(1);
    credit_as_before(&mut admin, &enough(recent, yesterday)).await;
    credit_as_before(&mut admin, &enough(old, now - WINDOW)).await;
    credit_as_before(&mut admin, &enough(poor, yesterday)[..3]).await;
    migrate(&world.config()).await;

    credit_as_before(&mut admin, &enough(late, yesterday)).await;
    let expected = [(recent, true), (old, false), (poor, false), (late, true)];
    assert_eq!(recorded(&mut admin).await, BTreeMap::from(expected));
    let due: Vec<Uuid> = sqlx::query_scalar("SELECT customer_id FROM account WHERE vip_review_at = $1")
        .bind(yesterday + WINDOW)
        .fetch_all(&mut admin)
        .await
        .unwrap();
    assert_eq!(due.into_iter().collect::<BTreeSet<_>>(), BTreeSet::from([recent, late]));
}

/// The call of the former version.
async fn credit_as_before(database: &mut PgConnection, events: &[Event]) {
    fn column<V>(events: &[Event], value: impl Fn(&Event) -> V) -> Vec<V> {
        events.iter().map(value).collect()
    }
    let new: i64 = sqlx::query_scalar("SELECT new_events FROM credit_events($1, $2, $3, $4, $5, $6, $7, $8)")
        .bind(column(events, |event| event.event_id))
        .bind(column(events, |event| event.order_id))
        .bind(column(events, |event| event.version))
        .bind(column(events, |event| event.customer_id))
        .bind(column(events, |event| event.valued.event_type()))
        .bind(column(events, |event| event.valued.worth(&V1)))
        .bind(column(events, |event| event.occurred_at))
        .bind(V1.version)
        .fetch_one(database)
        .await
        .unwrap();
    assert_eq!(usize::try_from(new).unwrap(), events.len());
}
