//! A client that sends bit by bit. `tests/hostile.rs` of the order service has the rest: the limits are the same code.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::time::Duration;

use support::World;
use support::process::Bonus;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{interval, timeout};

/// The head of the second request on a connection, which nothing in actix limits.
#[tokio::test]
async fn a_head_that_never_ends_is_cut_off() {
    let world = World::new().await;
    let bonus = Bonus::start(&world).await;
    let address = bonus.url.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    let mut answer = [0; 4_096];
    let length = stream.read(&mut answer).await.unwrap();
    assert!(answer[..length].starts_with(b"HTTP/1.1 200"));
    stream.write_all(b"GET /livez HTTP/1.1\r\nx-slow: ").await.unwrap();
    let (mut reader, mut writer) = stream.into_split();
    let mut ticks = interval(Duration::from_millis(500));
    let dripping = tokio::spawn(async move {
        loop {
            ticks.tick().await;
            if writer.write_all(b"x").await.is_err() {
                break;
            }
        }
    });
    let ended = timeout(Duration::from_secs(30), reader.read(&mut answer)).await;
    // A reset, because not everything was read, is an end too.
    assert!(matches!(ended, Ok(Ok(0) | Err(_))), "it is still served: {ended:?}");
    dripping.abort();
    assert_eq!(bonus.get("/api/summary").await.0, 200);
}
