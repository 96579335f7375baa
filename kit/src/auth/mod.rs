//! Who asks, and what they may do. Knows no HTTP.
//!
//! A request carries a token ([`token`]), signed by a key of a set ([`keys`]) that is loaded and renewed by the [`Verifier`]. The
//! token gives an [`Identity`]; the identity and the [`Permission`] of an operation give the [`Scope`] of the request.
//!
//! | is refused | because |
//! |---|---|
//! | `none`, and every algorithm but four | a key has one algorithm, and a token's header must name it |
//! | HS256 signed with a public key | the keys of a JWKS are public ones; a secret is never taken from there |
//! | a token without `iss`, `aud` or `exp` | it would be good for other services, or for ever |
//! | a token of more than 8 KiB | before it is decoded |

mod checker;
mod choice;
mod issue;
mod keys; // PURE: which keys there are
mod permission; // PURE: roles, and what they may do
mod source;
mod token; // PURE: what a token says
mod verifier;

pub use self::choice::{AuthMode, Choice, Given, JwksUrl, JwtSettings, KeySource, Secret, listed};
pub use self::issue::{Issued, issue};
pub use self::keys::{Keys, KeysError};
pub use self::permission::{Grant, Identity, Permission, Role, Scope};
pub use self::source::SOURCE_BYTES_MAX;
pub use self::source::load;
pub use self::token::{Defect, Rules, TOKEN_BYTES_MAX};
pub use self::verifier::Verifier;
