//! What operators see of an outbox, and do with it: over HTTP, by commands, by checks. The same for every service that publishes by
//! the engine's outbox.
//!
//! It knows no order and no customer: texts are written for an aggregate that is called `aggregate`, and worded for the service's, as the
//! engine's statements are. So the order service answers with an `order_id`, and the bonus service with a `customer_id`.

pub mod check; // the topic, and the retry's Redis
pub mod cli; // commands
pub mod http; // handlers, and their part of the OpenAPI document
pub mod view; // as operators see it
