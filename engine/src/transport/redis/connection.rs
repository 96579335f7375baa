//! One way to connect.

use std::time::Duration;

use kit::redis::RedisServer;
use redis::RedisResult;
use redis::aio::MultiplexedConnection;

const CONNECT_PATIENCE: Duration = Duration::from_secs(1);

/// `patience`: for each answer.
pub(super) async fn connect(server: &RedisServer, patience: Duration) -> RedisResult<MultiplexedConnection> {
    server.connect(CONNECT_PATIENCE.min(patience), patience).await
}
