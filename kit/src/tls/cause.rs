//! The error of TLS among the causes of another one.

use std::error::Error;
use std::io;
use std::sync::Arc;

use rustls::Error as TlsError;

/// An error of IO does not tell its content as its cause, and the redis crate has it behind an `Arc`.
pub(super) fn cause<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a TlsError> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<TlsError>() {
            return Some(found);
        }
        if let Some(inner) = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            return cause(inner);
        }
        if let Some(inner) = error.downcast_ref::<Arc<dyn Error + Send + Sync>>() {
            return cause(&**inner);
        }
        next = error.source();
    }
    None
}
