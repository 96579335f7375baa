//! Settings of Postgres.

kit::postgres_settings!(Postgres, "ORDERS");
