//! Supervision: one for one, with back-off, visible.
//!
//! actix's own `Supervisor` restarts an actor that stops by itself. An actor whose handler panics is gone for good, and every
//! sender gets "closed". So the [`Guardian`] owns a factory for each long-lived actor. Each actor holds a [`Lifeline`], whose drop
//! notifies the Guardian, also while a panic unwinds. Callers hold a [`Child`]: a name that finds the present address. (The tree
//! and the one-for-one strategy are Erlang/OTP's; the names are Akka's.)
//!
//! A long-lived task is supervised in the same way ([`Supervise::task`]). A part may consist of several things, such as an actor
//! and the thread that feeds it. Then the one that ends last holds the lifeline, so that the old part is gone before the new one
//! starts.
//!
//! A panic loses the message being handled and those queued behind it. Their senders get [`ActorGone`] at once. Nothing committed
//! is lost, and no other actor is affected.

mod child;
mod dashboard;
mod guardian;
mod part;
mod vitals;

pub use child::{ActorGone, Child, Crash, Handling, Lifeline};
pub use guardian::{CrashChild, GetActors, Guardian, GuardianSettings, StopRestarting};
pub use part::Supervise;
pub use vitals::{ActorReport, State, Vitals};
