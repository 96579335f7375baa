//! Settings of what clients may take.

kit::client_settings!(ClientSettings, "BONUS");
