//! A throw-away certificate authority for tests: server and client certificates as PEM.
//!
//! Keys are made anew in each run, so none has to lie in the repository. ECDSA P-256, because GnuTLS, OpenSSL and
//! rustls all take it.

use rcgen::{
    BasicConstraints, CertificateParams, DnType, Error, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};

use crate::net::ServerTls;

/// A test CA that signs server and client certificates.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

/// A certificate and its key, both PEM.
#[derive(Clone)]
pub struct Identity {
    pub cert_pem: String,
    pub key_pem: String,
}

impl Authority {
    /// # Errors
    /// The random source or the crypto library failed.
    pub fn new(common_name: &str) -> Result<Self, Error> {
        let mut params = CertificateParams::new(Vec::<String>::new())?;
        params.distinguished_name.push(DnType::CommonName, common_name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate()?;
        let pem = params.self_signed(&key)?.pem();
        Ok(Self { issuer: Issuer::new(params, key), pem })
    }

    /// The CA certificate.
    pub fn ca_pem(&self) -> &str {
        &self.pem
    }

    /// A server certificate for these DNS names and IP addresses.
    ///
    /// # Errors
    /// A name that cannot stand in a certificate.
    pub fn server(&self, names: &[&str]) -> Result<Identity, Error> {
        self.sign(names, names.first().copied().unwrap_or("server"), ExtendedKeyUsagePurpose::ServerAuth)
    }

    /// A client certificate.
    ///
    /// # Errors
    /// A name that cannot stand in a certificate.
    pub fn client(&self, common_name: &str) -> Result<Identity, Error> {
        self.sign(&[common_name], common_name, ExtendedKeyUsagePurpose::ClientAuth)
    }

    /// What a sink on loopback needs: a certificate for `localhost`, 127.0.0.1 and ::1; with `mutual` it asks clients
    /// for a certificate of this CA.
    ///
    /// # Errors
    /// As `server`.
    pub fn loopback(&self, mutual: bool) -> Result<ServerTls, Error> {
        let identity = self.server(&["localhost", "127.0.0.1", "::1"])?;
        Ok(ServerTls {
            chain_pem: identity.cert_pem,
            key_pem: identity.key_pem,
            client_ca_pem: mutual.then(|| self.pem.clone()),
            alpn: Vec::new(),
        })
    }

    fn sign(&self, names: &[&str], common_name: &str, usage: ExtendedKeyUsagePurpose) -> Result<Identity, Error> {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names)?;
        params.distinguished_name.push(DnType::CommonName, common_name);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![usage];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate()?;
        Ok(Identity { cert_pem: params.signed_by(&key, &self.issuer)?.pem(), key_pem: key.serialize_pem() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_identity_makes_an_acceptor() {
        let authority = Authority::new("test ca").unwrap();
        authority.loopback(true).unwrap().acceptor().unwrap();
    }

    #[test]
    fn a_key_of_another_certificate_is_refused() {
        let authority = Authority::new("test ca").unwrap();
        let mut tls = authority.loopback(false).unwrap();
        tls.key_pem = authority.client("other").unwrap().key_pem;
        assert!(tls.acceptor().is_err());
    }

    #[test]
    fn garbage_is_refused() {
        let authority = Authority::new("test ca").unwrap();
        let mut tls = authority.loopback(false).unwrap();
        tls.key_pem = "-----BEGIN NONSENSE-----".to_owned();
        assert!(tls.acceptor().is_err());
    }
}
