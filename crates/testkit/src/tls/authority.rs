//! Who signs certificates.

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, date_time_ymd,
};

use crate::{Error, Result};

/// A CA, with its key.
pub(super) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(super) fn new() -> Result<Authority> {
        Authority::make().map_err(wrong)
    }

    /// What says that it is one, as PEM.
    pub(super) fn certificate(&self) -> String {
        self.0.pem()
    }

    /// A certificate and its key, as PEM.
    pub(super) fn sign(
        &self,
        common_name: &str,
        names: Vec<String>,
        expired: bool,
    ) -> Result<(String, String)> {
        self.signed(common_name, names, expired).map_err(wrong)
    }

    fn make() -> Result<Authority, rcgen::Error> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "russet-testkit CA");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.not_before = date_time_ymd(2000, 1, 1);
        params.not_after = date_time_ymd(2999, 1, 1);
        Ok(Authority(CertifiedIssuer::self_signed(params, KeyPair::generate()?)?))
    }

    fn signed(
        &self,
        common_name: &str,
        names: Vec<String>,
        expired: bool,
    ) -> Result<(String, String), rcgen::Error> {
        let mut params = CertificateParams::new(names)?;
        params.distinguished_name.push(DnType::CommonName, common_name);
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.not_before = date_time_ymd(2000, 1, 1);
        params.not_after = date_time_ymd(if expired { 2001 } else { 2999 }, 1, 1);
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.0)?;
        Ok((certificate.pem(), key.serialize_pem()))
    }
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Authority")
    }
}

#[expect(clippy::needless_pass_by_value, reason = "as map_err gives it")]
fn wrong(error: rcgen::Error) -> Error {
    Error::Certificate(error.to_string())
}
