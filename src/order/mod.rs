//! The order aggregate: pure rules, no IO, no clock, no randomness.
//!
//! A [`Command`] asked of an [`Order`] at a given time becomes either the events that happened or a
//! [`Rejection`] ([`decide`]); an event moves an order to its next state ([`evolve`]). Everything else in
//! this service exists to run these two functions safely. The split is Jérémie Chassaing's decider.
//!
//! ```text
//! created ──pay──> paid ──ship──> shipped ──complete──> completed
//!    └──────cancel───┴──> cancelled
//! ```

mod aggregate;
mod command;
mod decide;
mod event;
mod state;
mod value;
pub mod wire;

pub use command::Command;
pub use decide::{Rejection, decide};
pub use event::{EventData, OrderEvent};
pub use kit::value::{InvalidValue, ShortText};
pub use state::{Order, Placed, Status, evolve};
pub use value::{Currency, CustomerId, Item, Items, OrderId, Quantity, Sku, UnitPrice};
