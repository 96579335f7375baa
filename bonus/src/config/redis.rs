//! Settings of Redis.

kit::redis_settings!(Redis, "BONUS");
