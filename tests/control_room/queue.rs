//! The page of a service whose message queue is Redis.

use stack::servers::Redis;
use tempfile::TempDir;

use super::page::{Device, Page};
use super::support::fragile::{blocking, ten_orders};
use super::support::{Servers, Stage};
use super::{bonus_settings, start};

#[tokio::test(flavor = "multi_thread")]
async fn the_page_names_redis_where_redis_is_the_message_queue() {
    let directory = TempDir::new().unwrap();
    let redis = blocking(|| Redis::start(directory.path()));
    // Nobody listens there.
    let kafka = "127.0.0.1:1".to_owned();
    let stage = Stage::on(Servers { kafka, redis: redis.url(), ..Servers::shared() }).await;
    let bonus = bonus_settings(&stage).with("BONUS_MQ", "redis").with("REDIS_URL", redis.url());
    let bonus = start(&stage, bonus);
    let settings = stage.settings("orders").with("ORDERS_MQ", "redis").with("BONUS_URL", bonus.url());
    let orders = stage.start_with(settings).await;
    let page = Page::open(&orders, directory.path(), Device::Desk).await;
    page.reads("#mq", "Redis").await;
    page.reads("#breaker", "Closed").await;
    ten_orders(&orders).await;
    page.reads("#points", "400").await;
    page.reads("#bonus", "Crediting published events").await;

    blocking(|| redis.kill());
    ten_orders(&orders).await;
    page.reads("#breaker", "Open").await;
    page.shows("#meaning", |text| text.starts_with("Redis does not accept events")).await;
    page.reads("#place", "memory").await;
    page.shows("#bonus", |text| text.ends_with("Redis unreachable")).await;

    blocking(|| redis.start_again());
    page.reads("#breaker", "Closed").await;
    page.reads("#points", "800").await;
    page.reads("#bonus", "Crediting published events").await;
    assert_eq!(page.complaints().await, Vec::<String>::new());
}
