//! The TLS bundle document: a CA, a certificate chain and its private key, as raw PEM.

use serde::Deserialize;

use super::schema::{Field, Shape, answer, built};

pub(crate) const SCHEMA: &[Field] = &[
    built("name", Shape::Text),
    built("caPem", Shape::Text),
    built("certPem", Shape::Text),
    built("keyPem", Shape::Secret),
    answer("subject"),
    answer("issuer"),
    answer("notBefore"),
    answer("notAfter"),
    answer("sha256"),
    answer("warnings"),
    answer("complaints"),
    answer("managedBy"),
];

/// A bundle with its fields typed. No `Debug`: it holds a private key.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TlsBundleDocument {
    pub name: String,
    pub ca_pem: String,
    pub cert_pem: String,
    pub key_pem: String,
}
