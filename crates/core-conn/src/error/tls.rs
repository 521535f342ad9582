//! Why client and server could not agree on a TLS session.

/// What is wrong between client and server when TLS fails. None of it goes away by trying again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// No trusted CA signed the server's certificate.
    #[error("no trusted CA signed the server's certificate")]
    UnknownIssuer,
    /// The server's certificate has expired.
    #[error("the server's certificate has expired")]
    Expired,
    /// The server's certificate is not valid yet; or this machine's clock is wrong.
    #[error("the server's certificate is not valid yet")]
    NotYetValid,
    /// The server's certificate is for other names than the one that was asked for.
    #[error("the server's certificate is not for `{0}`")]
    WrongName(String),
    /// Something else is wrong with the server's certificate.
    #[error("the server's certificate can't be accepted: {0}")]
    Certificate(String),
    /// The server asks for a client certificate, and there is none.
    #[error("the server asks for a client certificate")]
    ClientCertificateRequired,
    /// The server does not accept the client certificate.
    #[error("the server refuses the client certificate: {0}")]
    ClientCertificateRefused(String),
    /// Whoever answers does not speak TLS.
    #[error("no TLS is spoken there")]
    NotTls,
    /// Anything else.
    #[error("{0}")]
    Other(String),
}
