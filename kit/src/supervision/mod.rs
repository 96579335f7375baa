//! Supervision: one for one, with back-off, visible.
//!
//! actix's own `Supervisor` restarts an actor that stops by itself; one whose handler panics is gone for good, and
//! every sender gets "closed". So here the [`Guardian`] owns a factory for each long-lived actor, and each actor holds a
//! [`Lifeline`] whose drop, during a panic's unwinding too, tells the Guardian. Callers hold a [`Child`]: a name that
//! finds the present address. (The tree and the one-for-one strategy are Erlang/OTP's; the names are Akka's.)
//!
//! A long-lived task is supervised likewise ([`Supervise::task`]). A part that is more than one thing, such as an actor with a
//! thread that feeds it, gives the lifeline to whichever of them ends last: then the old part is gone before the new one starts.
//!
//! What a panic costs: the message in hand and those queued behind it; their senders learn it at once ([`Gone`]).
//! What it does not cost: anything committed, or any other actor.

mod child;
mod dashboard;
mod guardian;
mod part;
mod vitals;

pub use child::{Child, Crash, Gone, Handling, Lifeline};
pub use guardian::{CrashChild, Guardian, GuardianSettings, Report, StopRestarting};
pub use part::Supervise;
pub use vitals::{ActorReport, State, Vitals};
