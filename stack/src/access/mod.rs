//! Who may do what, for the tests of both services.
//!
//! - [`Issuer`]: keys that are made on the spot, their JSON Web Key Set, and tokens signed by them.
//! - [`defects`]: tokens that have to be refused, and what has to be said of each.
//! - [`rows`]: the table of `docs/security.md`, and [`Trial`], which tries each of its cells on a running service.

mod defect;
mod issuer;
mod table;
mod trial;

pub use self::defect::{DefectiveToken, defects};
pub use self::issuer::{AUDIENCE, Algorithm, ISSUER, Issuer};
pub use self::table::{ROLES, Row, rows};
pub use self::trial::Trial;
