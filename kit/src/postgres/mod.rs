//! Access to Postgres, the same for both services and their commands.
//!
//! - [`encryption`]: how the URL protects the link, and why it was not made.
//! - [`session`]: how a session is opened, with everything pinned that a role or a database could set otherwise.
//! - [`sqlstate`]: what a failure means for the statement that met it.
//! - [`pool`]: a few connections for statements of all kinds. A connection that met an error is dropped, never returned.
//! - [`listen`]: `LISTEN` that notices a silent server.
//! - [`pooler`]: whether a transaction pooler stands in between.
//!
//! # Three rules
//! 1. *No wait without a limit.* Each session has limits in the server, and each wait for the server has a slightly higher one in
//!    the process. So the server ends a slow statement first, and no abandoned session keeps working.
//! 2. *No connection is kept after an error that may be the server's.* A fresh one leads to the present server.
//! 3. *A wait without sending pings the server every few seconds.* Nothing else tells a dead connection from a quiet one.

pub mod encryption;
pub mod listen;
pub mod pool;
pub mod pooler;
pub mod session;
pub mod sqlstate;

pub use encryption::{link_of, options};
pub use listen::{ListenError, Listener};
pub use pool::{Pool, PoolError, PooledConnection};
pub use session::{ConnectError, Connector, Database, Purpose};
pub use sqlstate::{Meaning, meaning};
