//! Why TLS failed.
//!
//! The client below gives rustls's errors as text, and where the server refuses us after the handshake, as TLS 1.3 does
//! for want of a client certificate, it may meet a reset before it reads the reason. So a connection that could not be
//! opened is followed by one of our own, which only shakes hands and listens: its error has a type.

use std::io;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio_rustls::rustls::{AlertDescription, CertificateError, Error as RustlsError};

use crate::error::{ErrorKind, TlsError};
use crate::target::Target;

/// How long the server may take to refuse us once hands are shaken.
const PATIENCE: Duration = Duration::from_millis(500);

/// What stands between us and this target, if it is TLS.
pub(crate) async fn diagnose(target: &Target) -> Option<TlsError> {
    if !target.endpoint.speaks_tls() {
        return None;
    }
    let mut stream = match target.connect().await {
        Ok(stream) => stream,
        Err(error) => match error.kind() {
            ErrorKind::Tls(why) => return Some(why.clone()),
            _ => return None,
        },
    };
    match tokio::time::timeout(PATIENCE, stream.read(&mut [0])).await {
        Ok(Err(error)) => TlsError::of(&error),
        // It closed, or waits for us to speak: not a matter of TLS.
        Ok(Ok(_)) | Err(_) => None,
    }
}

impl TlsError {
    /// What an error of a TLS stream is, if it is one of TLS.
    pub(crate) fn of(error: &io::Error) -> Option<Self> {
        Some(match super::rustls_error(error)? {
            RustlsError::InvalidCertificate(why) => Self::of_certificate(why),
            RustlsError::AlertReceived(alert) => Self::of_alert(*alert),
            RustlsError::InvalidMessage(_) => Self::NotTls,
            other => Self::Other(other.to_string()),
        })
    }

    fn of_certificate(error: &CertificateError) -> Self {
        match error {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => Self::Expired,
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                Self::NotYetValid
            }
            // The second is that of a CA with the same name and another key.
            CertificateError::UnknownIssuer | CertificateError::BadSignature => Self::UnknownIssuer,
            CertificateError::NotValidForNameContext { expected, .. } => {
                Self::WrongName(expected.to_str().into_owned())
            }
            other => Self::Certificate(other.to_string()),
        }
    }

    fn of_alert(alert: AlertDescription) -> Self {
        match alert {
            AlertDescription::CertificateRequired | AlertDescription::NoCertificate => {
                Self::ClientCertificateRequired
            }
            AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnknownCA
            // Signed by a CA that has the name of a known one, and another key.
            | AlertDescription::DecryptError
            | AlertDescription::AccessDenied => {
                Self::ClientCertificateRefused(format!("{alert:?}"))
            }
            other => Self::Other(format!("the server ended the handshake: {other:?}")),
        }
    }
}
