//! Bundles that are wrong, and the words for what a handshake can say.

use rustls_pki_types::DnsName;

use super::*;
use crate::plan::Secret;

fn certified(name: &str) -> rcgen::CertifiedKey<rcgen::KeyPair> {
    rcgen::generate_simple_self_signed(vec![name.to_owned()]).expect("rcgen makes a certificate")
}

fn bundle(ca: &str, cert: &str, key: &str) -> TlsBundle {
    TlsBundle {
        name: "b1".to_owned(),
        ca_pem: ca.to_owned(),
        cert_pem: cert.to_owned(),
        key_pem: Secret::new(key.to_owned()),
    }
}

fn fault_of(bundle: &TlsBundle) -> String {
    match client_config(Some(bundle), None, RootCertStore::empty) {
        Ok(_) => "no fault".to_owned(),
        Err(fault) => fault.to_string(),
    }
}

#[test]
fn a_wrong_bundle_is_named_with_its_field() {
    let (one, two) = (certified("a"), certified("b"));
    let (cert, key) = (one.cert.pem(), one.signing_key.serialize_pem());
    let other = two.signing_key.serialize_pem();
    assert!(client_config(Some(&bundle(&cert, &cert, &key)), None, RootCertStore::empty).is_ok());
    for (bundle, expected) in [
        (bundle(&cert, &cert, &other), "tls bundle b1: the private key does not belong to the certificate"),
        (bundle("", &cert, &key), "tls bundle b1: caPem: holds no certificate"),
        (bundle(&cert, "x", &key), "tls bundle b1: certPem: holds no certificate"),
        (bundle(&cert, &cert, &cert), "tls bundle b1: keyPem: is not a private key in PEM form"),
    ] {
        let fault = fault_of(&bundle);
        assert!(fault.starts_with(expected), "{fault}");
        assert!(!fault.contains("PRIVATE"), "{fault}");
    }
}

#[test]
fn a_system_without_certificates_says_what_to_install() {
    let fault = client_config(None, None, RootCertStore::empty).map(|_| ()).map_err(|fault| fault.to_string());
    assert!(fault.is_err_and(|text| text.contains("install ca-certificates")));
}

#[test]
fn names_and_addresses_are_server_names() {
    assert!(matches!(server_name("[::1]"), Ok(ServerName::IpAddress(_))));
    assert!(matches!(server_name("127.0.0.1"), Ok(ServerName::IpAddress(_))));
    assert!(matches!(server_name("a.example"), Ok(ServerName::DnsName(_))));
    assert!(server_name("not a name").is_err());
}

#[test]
fn the_usual_certificate_troubles_have_their_own_words() {
    let expected = ServerName::DnsName(DnsName::try_from("siem.example").expect("a name"));
    let named = |presented: &[&str]| {
        explain_certificate(&CertificateError::NotValidForNameContext {
            expected: expected.clone(),
            presented: presented.iter().map(|name| (*name).to_owned()).collect(),
        })
    };
    assert!(named(&[]).contains("a CN alone is not enough"));
    let mismatch = named(&["DnsName(\"other.example\")"]);
    assert!(mismatch.contains("other.example") && mismatch.contains("not for `siem.example`"), "{mismatch}");
    assert!(explain(&Error::AlertReceived(AlertDescription::CertificateRequired)).contains("demands a client"));
    assert!(explain_io(&io::Error::other("no TLS in here")).is_none());
}

/// FIPS 180-4's own example.
#[test]
fn sha256_is_sha256() {
    let abc = sha256(b"abc").map(|hash| hex(&hash));
    assert_eq!(abc.as_deref(), Some("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"));
}

#[test]
fn a_bundle_of_an_authority_alone_trusts_and_shows_nothing() {
    let authority = certified("ca").cert.pem();
    let config = client_config(Some(&bundle(&authority, "\n", "")), None, RootCertStore::empty).unwrap();
    assert!(!config.client_auth_cert_resolver.has_certs());
}
