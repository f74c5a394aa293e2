//! A TLS bundle document → `TlsBundle`: the PEMs parse, the key is the certificate's, the chain is in order. A bundle
//! without certificate and key holds an authority alone.
//!
//! What is wrong is named with its field and its place in the PEM; nothing of a private key ever gets into a text.

use std::sync::Arc;

use aws_lc_rs::digest;
use rustls::{RootCertStore, crypto::aws_lc_rs::sign::any_supported_type, sign::CertifiedKey};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem, pem::PemObject};
use serde::Deserialize;
use serde_json::Value;
use x509_parser::{certificate::X509Certificate, prelude::FromDer};

use super::Findings;
use crate::{
    config::document::{Object, TlsBundleDocument},
    model::Nanos,
    plan::{Secret, TlsBundle},
};

/// What a read shows of a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFacts {
    pub subject: String,
    pub issuer: String,
    pub not_before: Nanos,
    pub not_after: Nanos,
    /// Of the DER, in lower-case hex.
    pub sha256: String,
}

pub fn compile(object: &Object, findings: &mut Findings<'_>) -> Option<TlsBundle> {
    let fields = Value::Object(object.document.fields().clone());
    // The error of serde is not shown: it may quote a value.
    let Ok(document) = TlsBundleDocument::deserialize(&fields) else {
        findings.add("", "cannot be read");
        return None;
    };
    let authorities = certificates("caPem", &document.ca_pem, findings);
    // Without a certificate of our own it says whom to trust, and no more.
    let authority_only = document.cert_pem.trim().is_empty() && document.key_pem.trim().is_empty();
    let (chain, key) = match authority_only {
        true => (None, None),
        false => (certificates("certPem", &document.cert_pem, findings), private_key(&document.key_pem, findings)),
    };
    let mut roots = RootCertStore::empty();
    for (index, authority) in authorities.iter().flatten().enumerate() {
        if let Err(error) = roots.add(authority.clone()) {
            findings.add("caPem", format!("`caPem`: certificate {} cannot be an authority: {error}", index + 1));
        }
    }
    if let (Some(chain), Some(key)) = (&chain, key) {
        check_chain(chain, findings);
        check_key(chain, &key, findings);
    }
    Some(TlsBundle {
        name: document.name,
        ca_pem: document.ca_pem,
        cert_pem: document.cert_pem,
        key_pem: Secret::new(document.key_pem),
    })
}

/// Facts of the first certificate of a PEM; `None` when there is none to read.
pub fn certificate_facts(pem: &str) -> Option<CertificateFacts> {
    let der = CertificateDer::pem_slice_iter(pem.as_bytes()).next()?.ok()?;
    let (_, certificate) = X509Certificate::from_der(&der).ok()?;
    let hash = digest::digest(&digest::SHA256, &der);
    Some(CertificateFacts {
        subject: certificate.subject().to_string(),
        issuer: certificate.issuer().to_string(),
        not_before: nanos(certificate.validity().not_before.timestamp()),
        not_after: nanos(certificate.validity().not_after.timestamp()),
        sha256: hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect(),
    })
}

/// Certificates may run to the year 9999 (RFC 5280 §4.1.2.5), nanoseconds do not: saturates.
fn nanos(seconds: i64) -> Nanos {
    Nanos(seconds.saturating_mul(1_000_000_000))
}

fn certificates(field: &str, text: &str, findings: &mut Findings<'_>) -> Option<Vec<CertificateDer<'static>>> {
    if text.trim().is_empty() {
        findings.add(field, format!("`{field}` is missing"));
        return None;
    }
    if text.contains("PRIVATE KEY-----") {
        findings.add(field, format!("`{field}` has a private key in it, which belongs into `keyPem`"));
        return None;
    }
    let mut found = Vec::new();
    for (index, item) in CertificateDer::pem_slice_iter(text.as_bytes()).enumerate() {
        let place = index + 1;
        match item {
            Err(error) => {
                findings.add(field, format!("`{field}`: PEM block {place} does not parse: {}", pem_fault(&error)));
                return None;
            }
            Ok(der) => match X509Certificate::from_der(&der) {
                Ok(_) => found.push(der),
                Err(_) => {
                    findings.add(field, format!("`{field}`: certificate {place} is not an X.509 certificate"));
                    return None;
                }
            },
        }
    }
    if found.is_empty() {
        findings.add(field, format!("`{field}` has no certificate in it (`-----BEGIN CERTIFICATE-----`)"));
        return None;
    }
    Some(found)
}

fn private_key(text: &str, findings: &mut Findings<'_>) -> Option<PrivateKeyDer<'static>> {
    if text.trim().is_empty() {
        findings.add("keyPem", "`keyPem` is missing");
        return None;
    }
    if text.contains("BEGIN ENCRYPTED PRIVATE KEY") || text.contains("Proc-Type: 4,ENCRYPTED") {
        findings.add("keyPem", "`keyPem` is encrypted; give it without a passphrase");
        return None;
    }
    match PrivateKeyDer::from_pem_slice(text.as_bytes()) {
        Ok(key) => Some(key),
        Err(pem::Error::NoItemsFound) => {
            findings.add("keyPem", "`keyPem` has no private key in it (`-----BEGIN PRIVATE KEY-----`)");
            None
        }
        Err(error) => {
            findings.add("keyPem", format!("`keyPem` does not parse: {}", pem_fault(&error)));
            None
        }
    }
}

/// A PEM fault in words that quote nothing of the text.
fn pem_fault(error: &pem::Error) -> &'static str {
    match error {
        pem::Error::MissingSectionEnd { .. } => "its `-----END …-----` line is missing",
        pem::Error::IllegalSectionStart { .. } => "its `-----BEGIN …-----` line is malformed",
        pem::Error::Base64Decode(_) => "it is not base64",
        pem::Error::SectionTooLarge => "it is too large",
        pem::Error::NoItemsFound => "there is nothing in it",
        _ => "it cannot be read",
    }
}

/// Each certificate must be issued by the next one (RFC 8446 §4.4.2).
fn check_chain(chain: &[CertificateDer<'static>], findings: &mut Findings<'_>) {
    let parsed: Vec<_> = chain.iter().filter_map(|der| X509Certificate::from_der(der).ok()).collect();
    for (index, pair) in parsed.windows(2).enumerate() {
        let (lower, upper) = (&pair[0].1, &pair[1].1);
        if lower.issuer() != upper.subject() {
            let text = format!(
                "`certPem`: certificate {} was issued by \"{}\", but the next one is \"{}\"; \
                 the certificate comes first, then its issuer, and so on",
                index + 1,
                lower.issuer(),
                upper.subject()
            );
            findings.add("certPem", text);
            return;
        }
    }
}

fn check_key(chain: &[CertificateDer<'static>], key: &PrivateKeyDer<'static>, findings: &mut Findings<'_>) {
    let Ok(signer) = any_supported_type(key) else {
        findings.add("keyPem", "`keyPem` is not a key that TLS can use (RSA from 2048 bits, ECDSA, Ed25519)");
        return;
    };
    let pair = CertifiedKey::new(chain.to_vec(), Arc::clone(&signer));
    if pair.keys_match().is_err() {
        findings.add("keyPem", "`keyPem` does not match the first certificate of `certPem`");
    }
}
