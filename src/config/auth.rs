//! Settings of who may ask.

kit::auth_settings!(AuthSettings, "ORDERS");
