//! Why a handshake failed. What is to be done about it is said by whoever knows the link.

use std::io;

use rustls::{AlertDescription, CertificateError, Error};

/// As a client sees it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum TlsFailure {
    #[error("the certificate is of an authority that is not trusted")]
    UnknownAuthority,
    #[error("the certificate has expired")]
    Expired,
    #[error("the certificate is not valid yet")]
    NotYetValid,
    /// With the names that it has.
    #[error("the certificate is of another host ({0})")]
    AnotherHost(String),
    #[error("there is no TLS")]
    NoTls,
    /// The server says so, or refuses a client that has none.
    #[error("a client's certificate is asked for")]
    CertificateWanted,
    #[error("the client's certificate is refused ({0})")]
    CertificateRefused(String),
    #[error("{0}")]
    Other(String),
}

impl TlsFailure {
    /// Of a link that had its connection. `with_certificate`: whether this side has one. `None`: not a matter of TLS.
    pub(super) fn of(error: &io::Error, with_certificate: bool) -> Option<Self> {
        let error = error.get_ref()?.downcast_ref::<Error>()?;
        Some(match error {
            Error::InvalidCertificate(certificate) => Self::of_certificate(certificate),
            // What answers is something else.
            Error::InvalidMessage(_) => Self::NoTls,
            Error::AlertReceived(alert) => match alert {
                AlertDescription::CertificateRequired => Self::CertificateWanted,
                // Java's way to say that it got none.
                AlertDescription::BadCertificate | AlertDescription::HandshakeFailure
                    if !with_certificate =>
                {
                    Self::CertificateWanted
                }
                AlertDescription::BadCertificate
                | AlertDescription::CertificateExpired
                | AlertDescription::CertificateRevoked
                | AlertDescription::CertificateUnknown
                | AlertDescription::UnknownCA
                | AlertDescription::UnsupportedCertificate => Self::CertificateRefused(format!("{alert:?}")),
                other => Self::Other(format!("the server ends the handshake with {other:?}")),
            },
            other => Self::Other(other.to_string()),
        })
    }

    /// Of a connection that has no TLS yet: a server that hangs up does not speak it.
    pub(super) fn of_handshake(error: &io::Error, with_certificate: bool) -> Option<Self> {
        let hung_up = matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset);
        if hung_up { Some(Self::NoTls) } else { Self::of(error, with_certificate) }
    }

    fn of_certificate(error: &CertificateError) -> Self {
        use CertificateError as Certificate;
        match error {
            // A signature that is wrong: another authority has the name of one that is trusted.
            Certificate::UnknownIssuer | Certificate::BadSignature => Self::UnknownAuthority,
            Certificate::Expired | Certificate::ExpiredContext { .. } => Self::Expired,
            Certificate::NotValidYet | Certificate::NotValidYetContext { .. } => Self::NotYetValid,
            Certificate::NotValidForName => Self::AnotherHost("none of its names is this one".to_owned()),
            Certificate::NotValidForNameContext { presented, .. } => Self::AnotherHost(presented.join(", ")),
            other => Self::Other(format!("the certificate cannot be used: {other}")),
        }
    }
}
