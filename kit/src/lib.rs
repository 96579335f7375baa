//! What each service needs around its domain. It knows no orders, no points, no HTTP paths and no environment.

pub mod backoff; // PURE: how long to wait
pub mod schema; // of texts, for OpenAPI documents
pub mod settings; // how values are read, and groups that both services take
pub mod telemetry; // the log, the recorder of metrics
pub mod traces; // spans, and where they go
pub mod value; // PURE: texts that cannot be invalid

mod runtime;

pub mod auth; // who asks, and what they may do
pub mod cli; // what commands answer, and how they end
pub mod files; // that settings name
pub mod http; // connections of clients
pub mod stop; // signals
pub mod supervision; // restarts, and the dashboard
pub mod tls; // what encrypted links share

pub mod kafka; // what every client is set to, a topic's id, what an error means
pub mod postgres; // sessions, and what a failure means
pub mod redis; // connections

pub use self::runtime::system;
