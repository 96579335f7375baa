//! Why an encrypted link did not come about, in words that say what to change.

use std::error::Error;
use std::fmt;

use rustls::{AlertDescription, CertificateError, Error as TlsError};

use super::cause::cause;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    UnknownAuthority,
    Expired,
    NotYetValid,
    OtherHost,
    /// What answers speaks something else.
    NoTls,
    /// It wants a client's certificate, another one, or none of ours.
    ClientRefused,
    /// Any other defect of the other side's certificate.
    BadCertificate,
}

impl Fault {
    /// Looks for it in an error and its causes.
    pub fn of(error: &(dyn Error + 'static)) -> Option<Self> {
        match cause(error)? {
            TlsError::InvalidCertificate(defect) => Some(match defect {
                CertificateError::UnknownIssuer | CertificateError::BadSignature => Self::UnknownAuthority,
                CertificateError::Expired | CertificateError::ExpiredContext { .. } => Self::Expired,
                CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                    Self::NotYetValid
                }
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                    Self::OtherHost
                }
                _ => Self::BadCertificate,
            }),
            TlsError::InvalidMessage(_) => Some(Self::NoTls),
            TlsError::AlertReceived(
                AlertDescription::CertificateRequired
                | AlertDescription::BadCertificate
                | AlertDescription::CertificateExpired
                | AlertDescription::CertificateUnknown
                | AlertDescription::UnknownCA
                | AlertDescription::AccessDenied,
            ) => Some(Self::ClientRefused),
            _ => None,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::UnknownAuthority => "its certificate is signed by an authority that is not trusted",
            Self::Expired => "its certificate has expired",
            Self::NotYetValid => "its certificate is not valid yet",
            Self::OtherHost => "its certificate is for another host's name",
            Self::NoTls => "what answers there speaks no TLS",
            Self::ClientRefused => "it does not take this client's certificate, or wants one",
            Self::BadCertificate => "its certificate cannot be used",
        })
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    fn wrapped(error: TlsError) -> io::Error {
        io::Error::other(io::Error::new(io::ErrorKind::InvalidData, error))
    }

    #[test]
    fn a_fault_is_found_however_deep() {
        for (error, fault) in [
            (TlsError::InvalidCertificate(CertificateError::UnknownIssuer), Some(Fault::UnknownAuthority)),
            (TlsError::InvalidCertificate(CertificateError::Expired), Some(Fault::Expired)),
            (TlsError::InvalidCertificate(CertificateError::NotValidForName), Some(Fault::OtherHost)),
            (TlsError::InvalidCertificate(CertificateError::Revoked), Some(Fault::BadCertificate)),
            (TlsError::AlertReceived(AlertDescription::CertificateRequired), Some(Fault::ClientRefused)),
            (TlsError::AlertReceived(AlertDescription::InternalError), None),
            (TlsError::DecryptError, None),
        ] {
            assert_eq!(Fault::of(&wrapped(error.clone())), fault, "{error}");
            assert_eq!(Fault::of(&error), fault, "{error}");
        }
        assert_eq!(Fault::of(&io::Error::other("no TLS at all")), None);
    }
}
