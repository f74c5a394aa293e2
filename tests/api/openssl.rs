//! Keys, certificates and tokens made by the openssl program.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::{SystemTime, UNIX_EPOCH},
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};

/// Runs openssl in `place` and gives what it wrote to stdout.
pub fn openssl(place: &Path, args: &[&str]) -> Vec<u8> {
    let output = Command::new("openssl").args(args).current_dir(place).output().expect("openssl is installed");
    assert!(output.status.success(), "openssl {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// `<name>.key` and a self-signed `<name>.pem` for 127.0.0.1.
pub fn self_signed(place: &Path, name: &str) -> (PathBuf, PathBuf) {
    let (key, cert) = (format!("{name}.key"), format!("{name}.pem"));
    let subject = format!("/CN={name}");
    let args = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "365"];
    let names = ["-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost"];
    openssl(place, &[&args[..], &names, &["-subj", &subject, "-keyout", &key, "-out", &cert]].concat());
    (place.join(cert), place.join(key))
}

/// An RSA key as `<name>.key`, its public half as `<name>.pub.pem`.
pub fn rsa(place: &Path, name: &str) -> String {
    let (key, public) = (format!("{name}.key"), format!("{name}.pub.pem"));
    openssl(place, &["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", &key]);
    openssl(place, &["pkey", "-in", &key, "-pubout", "-out", &public]);
    fs::read_to_string(place.join(public)).unwrap()
}

/// The public half of an RSA key as a JWK.
pub fn jwk(place: &Path, name: &str, kid: &str) -> Value {
    let public = format!("{name}.pub.pem");
    let text = openssl(place, &["rsa", "-pubin", "-in", &public, "-noout", "-modulus"]);
    let digits = String::from_utf8(text).unwrap().trim().trim_start_matches("Modulus=").to_owned();
    let bytes: Vec<u8> =
        (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap()).collect();
    json!({"kty": "RSA", "kid": kid, "use": "sig", "alg": "RS256", "n": URL_SAFE_NO_PAD.encode(bytes), "e": "AQAB"})
}

pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// Claims of an administrator for a minute.
pub fn claims() -> Value {
    json!({"sub": "ci", "exp": now() + 60, "roles": ["system:cluster-admin"]})
}

/// A token signed by openssl with `<name>.key`.
pub fn jwt(place: &Path, name: &str, header: &Value, claims: &Value) -> String {
    let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let message = format!("{}.{}", encode(header), encode(claims));
    let file = format!("{name}.message");
    fs::write(place.join(&file), &message).unwrap();
    let key = format!("{name}.key");
    let signature = openssl(place, &["dgst", "-sha256", "-sign", &key, "-binary", &file]);
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
}
