//! How a target is trusted over TLS, and what a failed handshake means in words.
//!
//! rustls with the aws-lc-rs provider, named explicitly so that no process-wide default decides. A target may pin its
//! peer by fingerprint (RFC 5425 §4.2.2): then exactly that certificate is taken, whoever issued it and whatever it is
//! called, and the handshake must still prove possession of its key.

use std::{error::Error as _, fmt::Write, io, sync::Arc};

use rustls::{
    AlertDescription, CertificateError, ClientConfig, DigitallySignedStruct, Error, InconsistentKeys, RootCertStore,
    SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature},
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject};

use crate::{fault::Fault, plan::TlsBundle};

/// The settings of all connections to one target.
///
/// `bundle` gives the CA that is trusted and, unless it holds nothing else, the certificate shown to the peer; without
/// one, `system` is trusted and no certificate shown. `permitted_peer`, the SHA-256 of the peer's certificate, replaces
/// chain and name checks.
///
/// # Errors
/// A bundle that does not parse or whose key does not belong to its certificate; a system without certificates.
pub fn client_config(
    bundle: Option<&TlsBundle>,
    permitted_peer: Option<[u8; 32]>,
    system: impl FnOnce() -> RootCertStore,
) -> Result<ClientConfig, Fault> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| Fault::invalid("tls", error.to_string()))?;
    let builder = match permitted_peer {
        Some(sha256) => {
            let pin = Pinned { sha256, wanted_by: "permittedPeer", provider };
            builder.dangerous().with_custom_certificate_verifier(Arc::new(pin))
        }
        None => builder.with_root_certificates(roots(bundle, system)?),
    };
    let Some(bundle) = bundle.filter(|bundle| !bundle.is_authority_only()) else {
        return Ok(builder.with_no_client_auth());
    };
    let place = place(bundle);
    let chain: Vec<_> = CertificateDer::pem_slice_iter(bundle.cert_pem.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(|error| Fault::invalid(&place, format!("certPem: {error}")))?;
    if chain.is_empty() {
        return Err(Fault::invalid(&place, "certPem: holds no certificate"));
    }
    let key = PrivateKeyDer::from_pem_slice(bundle.key_pem.reveal().as_bytes())
        .map_err(|_| Fault::invalid(&place, "keyPem: is not a private key in PEM form"))?;
    builder.with_client_auth_cert(chain, key).map_err(|error| match error {
        Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
            Fault::invalid(&place, "the private key does not belong to the certificate")
                .way_out("replace the bundle with a certificate and its own key")
        }
        other => Fault::invalid(&place, other.to_string()),
    })
}

/// The settings of a connection to a peer that shows exactly this certificate; `wanted_by` names in an error who says
/// so.
///
/// # Errors
/// The TLS library lacks what it was built with.
pub fn pinned_config(certificate: &CertificateDer<'_>, wanted_by: &'static str) -> Result<ClientConfig, Fault> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let sha256 = sha256(certificate)
        .and_then(|hash| hash.try_into().ok())
        .ok_or_else(|| Fault::invalid("tls", "SHA-256 is not built in"))?;
    let pin = Pinned { sha256, wanted_by, provider: Arc::clone(&provider) };
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| Fault::invalid("tls", error.to_string()))?;
    Ok(builder.dangerous().with_custom_certificate_verifier(Arc::new(pin)).with_no_client_auth())
}

fn place(bundle: &TlsBundle) -> String {
    format!("tls bundle {}", bundle.name)
}

fn roots(bundle: Option<&TlsBundle>, system: impl FnOnce() -> RootCertStore) -> Result<RootCertStore, Fault> {
    let Some(bundle) = bundle else {
        let roots = system();
        if roots.is_empty() {
            return Err(Fault::invalid("tls", "this system has no CA certificates")
                .way_out("install ca-certificates, or name a tlsBundle with the target's CA"));
        }
        return Ok(roots);
    };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(bundle.ca_pem.as_bytes()) {
        certificate
            .map_err(|error| error.to_string())
            .and_then(|certificate| roots.add(certificate).map_err(|error| error.to_string()))
            .map_err(|error| Fault::invalid(place(bundle), format!("caPem: {error}")))?;
    }
    if roots.is_empty() {
        return Err(Fault::invalid(place(bundle), "caPem: holds no certificate"));
    }
    Ok(roots)
}

/// The name a certificate must bear, of a host name or an IP address, brackets allowed.
///
/// # Errors
/// A text that is neither.
pub fn server_name(text: &str) -> Result<ServerName<'static>, Fault> {
    let bare = text.trim_start_matches('[').trim_end_matches(']');
    ServerName::try_from(bare.to_owned())
        .map_err(|_| Fault::invalid("serverName", format!("`{text}` is neither a host name nor an IP address")))
}

/// Takes one certificate and no other.
#[derive(Debug)]
struct Pinned {
    sha256: [u8; 32],
    wanted_by: &'static str,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let seen = sha256(end_entity);
        if seen.as_deref() == Some(&self.sha256[..]) {
            return Ok(ServerCertVerified::assertion());
        }
        let seen = hex(seen.as_deref().unwrap_or_default());
        let (wanted, by) = (hex(&self.sha256), self.wanted_by);
        Err(Error::General(format!("its certificate has the SHA-256 fingerprint {seen}, {by} wants {wanted}")))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// SHA-256 as the TLS library itself has it.
fn sha256(bytes: &[u8]) -> Option<Vec<u8>> {
    let suite = aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256.tls13()?;
    Some(suite.common.hash_provider.hash(bytes).as_ref().to_vec())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// A TLS failure in words, if `error` is one: cause first, then the way out.
pub fn explain_io(error: &io::Error) -> Option<String> {
    explain(error.get_ref()?.downcast_ref::<Error>()?).into()
}

/// What a failed handshake or session means for whoever has to mend it.
pub fn explain(error: &Error) -> String {
    match error {
        Error::InvalidCertificate(fault) => format!("TLS: {}", explain_certificate(fault)),
        Error::AlertReceived(alert) => format!("TLS: {}", explain_alert(*alert)),
        Error::General(text) => format!("TLS: {text}"),
        Error::InvalidMessage(_) => format!("TLS: the peer does not speak TLS on this port ({error})"),
        Error::PeerIncompatible(_) => format!("TLS: the peer offers nothing both can speak ({error})"),
        _ => format!("TLS: {error}"),
    }
}

fn explain_certificate(fault: &CertificateError) -> String {
    match fault {
        CertificateError::NotValidForNameContext { expected, presented } if presented.is_empty() => format!(
            "the peer's certificate bears no name in subjectAltName (a CN alone is not enough), wanted `{}`: issue it \
             with a SAN or pin it with permittedPeer",
            expected.to_str()
        ),
        CertificateError::NotValidForNameContext { expected, presented } => format!(
            "the peer's certificate is for {}, not for `{}`: is serverName right?",
            presented.join(", "),
            expected.to_str()
        ),
        CertificateError::UnknownIssuer => {
            "the peer's certificate is signed by an authority that is not trusted here: is its CA in caPem of the \
             tlsBundle?"
                .to_owned()
        }
        CertificateError::BadSignature => {
            "the peer's certificate is signed by another key than that of the authority trusted here: was a CA made \
             anew under its old name?"
                .to_owned()
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "the peer's certificate has expired: renew it, or set this machine's clock".to_owned()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "the peer's certificate is not valid yet: is this machine's clock right?".to_owned()
        }
        CertificateError::Other(other) => match other.source() {
            Some(source) => format!("the peer's certificate is not acceptable: {source}"),
            None => format!("the peer's certificate is not acceptable: {other}"),
        },
        other => format!("the peer's certificate is not acceptable: {other}"),
    }
}

/// What the peer held against us (RFC 8446 §6.2).
fn explain_alert(alert: AlertDescription) -> String {
    match alert {
        AlertDescription::CertificateRequired => {
            "the peer demands a client certificate: name a tlsBundle with certPem and keyPem".to_owned()
        }
        AlertDescription::HandshakeFailure => {
            "the peer broke off the handshake; a peer that demands a client certificate does that: name a tlsBundle"
                .to_owned()
        }
        AlertDescription::UnknownCA | AlertDescription::DecryptError => {
            "the peer does not trust the CA of our certificate: is the tlsBundle meant for this target?".to_owned()
        }
        AlertDescription::CertificateExpired => {
            "the peer says our certificate has expired: rotate the tlsBundle".into()
        }
        AlertDescription::BadCertificate
        | AlertDescription::CertificateUnknown
        | AlertDescription::UnsupportedCertificate
        | AlertDescription::CertificateRevoked
        | AlertDescription::AccessDenied => {
            format!("the peer does not accept our certificate ({alert:?}): does its permitted list hold our name?")
        }
        other => format!("the peer refused with alert {other:?}"),
    }
}

#[cfg(test)]
mod tests;
