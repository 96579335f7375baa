//! Why an encrypted link was not made, and what to do about it.

use std::error::Error as StdError;

use rustls::{AlertDescription, CertificateError, Error};

use super::cause::cause;

/// What a link's settings are called, as prose.
#[derive(Debug, Clone, Copy)]
pub struct Settings<'a> {
    /// Where the server is, such as `REDIS_URL`.
    pub address: &'a str,
    /// The file with the authority that signs the server's certificate.
    pub authority: &'a str,
    /// The files with the certificate that we show, and its key.
    pub identity: &'a str,
}

/// What TLS has to say in `error` or its causes. `None`: that it failed has another reason.
pub fn refusal(error: &(dyn StdError + 'static), settings: &Settings<'_>) -> Option<String> {
    let Settings { address, authority, identity } = settings;
    Some(match cause(error)? {
        Error::InvalidCertificate(error) => certificate(error, settings),
        Error::InvalidMessage(_) => format!("the server does not speak TLS at this port: see {address}"),
        // The latter is TLS 1.2's word for it.
        Error::AlertReceived(AlertDescription::CertificateRequired | AlertDescription::HandshakeFailure) => {
            format!("the server asks for a client's certificate: set {identity}")
        }
        Error::AlertReceived(
            alert @ (AlertDescription::UnknownCA
            | AlertDescription::BadCertificate
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::CertificateRevoked
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::DecryptError
            | AlertDescription::AccessDenied),
        ) => format!(
            "the server refuses the certificate in {identity} ({alert:?}): give one that its authority has signed, in time"
        ),
        Error::AlertReceived(AlertDescription::ProtocolVersion) | Error::PeerIncompatible(_) => {
            "the server speaks neither TLS 1.2 nor 1.3 in a way that this service knows: allow one there"
                .to_owned()
        }
        error => format!("TLS failed: {error}. See {address}, {authority} and {identity}"),
    })
}

fn certificate(error: &CertificateError, settings: &Settings<'_>) -> String {
    let Settings { address, authority, .. } = settings;
    match error {
        // The latter: one of the same name, with another key.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => format!(
            "the server's certificate is of an authority that is not trusted here: put that authority's certificate into {authority}"
        ),
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "the server's certificate has expired: renew it there, and look at both clocks".to_owned()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "the server's certificate is not valid yet: look at both clocks".to_owned()
        }
        CertificateError::NotValidForNameContext { expected, presented } => format!(
            "the server's certificate is not for {}, but for {}: use a name of the certificate in {address}, or give the server one for this \
             name",
            expected.to_str(),
            hosts(presented),
        ),
        CertificateError::NotValidForName => {
            format!("the server's certificate is for another host than {address} has")
        }
        error if error.to_string().contains("CaUsedAsEndEntity") => format!(
            "the server shows an authority's certificate as its own: have a certificate for it signed by that authority, which goes into \
             {authority}"
        ),
        error => format!("the server's certificate cannot be used: {error}"),
    }
}

/// Each is told as its kind, with the name in brackets: `DnsName("db.example")`.
fn hosts(presented: &[String]) -> String {
    let name = |host: &String| {
        let quoted = host.split_once("(\"").and_then(|(_, rest)| rest.strip_suffix("\")"));
        quoted.unwrap_or(host).to_owned()
    };
    let names: Vec<String> = presented.iter().map(name).collect();
    if names.is_empty() { "no host".to_owned() } else { names.join(", ") }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    const SETTINGS: Settings<'_> = Settings { address: "THE_URL", authority: "THE_CA", identity: "THE_CERT" };

    #[test]
    fn the_cause_is_found_wherever_it_is() {
        let error = || Error::InvalidCertificate(CertificateError::UnknownIssuer);
        let io = io::Error::new(io::ErrorKind::InvalidData, error());
        assert!(refusal(&io, &SETTINGS).unwrap().contains("THE_CA"));
        let redis = redis::RedisError::from(io::Error::new(io::ErrorKind::InvalidData, error()));
        assert!(refusal(&redis, &SETTINGS).unwrap().contains("THE_CA"));
        let sqlx = sqlx::Error::Io(io::Error::new(io::ErrorKind::InvalidData, error()));
        assert!(refusal(&sqlx, &SETTINGS).unwrap().contains("THE_CA"));
        let deep = anyhow::Error::new(sqlx).context("outer");
        assert!(refusal(deep.as_ref(), &SETTINGS).unwrap().contains("THE_CA"));
        assert_eq!(refusal(&io::Error::from(io::ErrorKind::ConnectionRefused), &SETTINGS), None);
    }

    #[test]
    fn each_reason_names_the_setting_to_change() {
        for (error, setting) in [
            (Error::InvalidCertificate(CertificateError::NotValidForName), "THE_URL"),
            (Error::AlertReceived(AlertDescription::CertificateRequired), "THE_CERT"),
            (Error::AlertReceived(AlertDescription::UnknownCA), "THE_CERT"),
            (Error::InvalidMessage(rustls::InvalidMessage::InvalidContentType), "THE_URL"),
        ] {
            let told = refusal(&error, &SETTINGS).unwrap();
            assert!(told.contains(setting), "{told}");
        }
    }
}
