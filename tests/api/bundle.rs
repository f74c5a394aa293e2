//! TLS bundles made by openssl: what is wrong with one is named as such, its key never shows, one in use stays.

use std::{fs, path::Path};

use serde_json::{Value, json};

use super::{
    node::{BUNDLES, Node, TARGETS, await_that},
    openssl::{openssl, self_signed},
};

/// An authority `<name>.pem`, `<name>.key`.
fn authority(place: &Path, name: &str) {
    let (key, cert, subject) = (format!("{name}.key"), format!("{name}.pem"), format!("/CN={name}"));
    let args = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "365", "-keyout", &key, "-out", &cert];
    openssl(place, &[&args[..], &["-subj", &subject]].concat());
}

/// A certificate `<name>.pem` signed by `<ca>.pem`, with further lines of an extension file.
fn issue(place: &Path, name: &str, ca: &str, days: &str, extensions: &str) {
    let file = |ending: &str| format!("{name}.{ending}");
    let (key, request, cert, subject) = (file("key"), file("csr"), file("pem"), format!("/CN={name}"));
    openssl(place, &["req", "-newkey", "rsa:2048", "-nodes", "-keyout", &key, "-out", &request, "-subj", &subject]);
    fs::write(place.join(file("ext")), extensions).unwrap();
    let (ca_cert, ca_key, ext) = (format!("{ca}.pem"), format!("{ca}.key"), file("ext"));
    let by = ["-CA", &ca_cert, "-CAkey", &ca_key, "-CAcreateserial"];
    let args = ["x509", "-req", "-in", &request, "-out", &cert, "-days", days, "-extfile", &ext];
    openssl(place, &[&args[..], &by].concat());
}

fn pem(place: &Path, file: &str) -> String {
    fs::read_to_string(place.join(file)).unwrap()
}

const LEAF: &str = "subjectAltName=DNS:n1\nextendedKeyUsage=clientAuth\n";

#[test]
fn each_defect_is_named_as_such() {
    let place = tempfile::tempdir().unwrap();
    let place = place.path();
    authority(place, "ca");
    authority(place, "other");
    issue(place, "middle", "ca", "30", "basicConstraints=critical,CA:TRUE\n");
    issue(place, "n1", "ca", "365", LEAF);
    issue(place, "below", "middle", "365", LEAF);
    issue(place, "cn-only", "ca", "365", "extendedKeyUsage=clientAuth\n");
    issue(place, "server", "ca", "365", "subjectAltName=DNS:n1\nextendedKeyUsage=serverAuth\n");
    issue(place, "soon", "ca", "5", LEAF);
    // openssl x509 -days takes no past, so the end lies a day back by a negative count.
    issue(place, "ended", "ca", "-1", LEAF);
    let node = Node::start();
    let bundle = |ca: &str, cert: &str, key: &str| json!({"name": "b", "caPem": ca, "certPem": cert, "keyPem": key});
    let of = |name: &str| {
        bundle(&pem(place, "ca.pem"), &pem(place, &format!("{name}.pem")), &pem(place, &format!("{name}.key")))
    };
    let garbage = "-----BEGIN CERTIFICATE-----\n!!!!\n-----END CERTIFICATE-----\n";
    let (ca, cert, key) = (pem(place, "ca.pem"), pem(place, "n1.pem"), pem(place, "n1.key"));
    let backwards = format!("{ca}{cert}");
    for (body, part) in [
        (bundle(&ca, &cert, &pem(place, "other.key")), "`keyPem` does not match the first certificate of `certPem`"),
        (bundle(&ca, &backwards, &key), "`keyPem` does not match"),
        (bundle(&ca, &cert, ""), "`keyPem` is missing"),
        (bundle(&ca, "", &key), "`certPem` is missing"),
        (bundle("", &cert, &key), "`caPem` is missing"),
        (bundle(garbage, &cert, &key), "`caPem`: PEM block 1 does not parse"),
        (
            bundle(&ca, &cert[..cert.len() / 2], &key),
            "`certPem`: PEM block 1 does not parse: its `-----END …-----` line",
        ),
        (bundle(&ca, "hello", &key), "`certPem` has no certificate in it"),
        (bundle(&ca, &cert, "hello"), "`keyPem` has no private key in it"),
        (bundle(&ca, &format!("{cert}{key}"), &key), "`certPem` has a private key in it"),
        (bundle(&ca, &format!("{cert}{}", pem(place, "other.pem")), &key), "was issued by \"CN=ca\""),
        (of("ended"), "`certPem`: the certificate expired on"),
    ] {
        let (status, code, message) = node.send("POST", BUNDLES, &body).refusal();
        assert!((status, code) == (400, 3) && message.contains(part), "{part}: {status} {message}");
        assert!(!message.contains("MII"), "nothing of a PEM is quoted: {message}");
    }
    assert_eq!(node.revision(), 0);
    let authority_only = json!({"name": "b", "caPem": ca});
    for (body, part) in [
        (of("n1"), ""),
        (authority_only, "holds an authority alone"),
        (of("cn-only"), "bears its name only as CN=cn-only, without subjectAltName"),
        (of("server"), "not made for clients"),
        (of("below"), "issued by CN=middle, which is neither in certPem nor in caPem"),
        (of("soon"), "ends in "),
        (of("ca"), "is an authority's (CA:TRUE)"),
    ] {
        let reply = node.send("POST", BUNDLES, &body);
        let warnings = reply.body["warnings"].to_string();
        assert!(reply.status == 200 && warnings.contains(part), "{part}: {reply:?}");
        assert_eq!(part.is_empty(), reply.body.get("warnings").is_none(), "{warnings}");
        assert_eq!(node.ask("DELETE", &format!("{BUNDLES}/b"), &[]).status, 200);
    }
    assert!(!node.log().contains("PRIVATE KEY"), "no key in the log");
}

#[test]
fn a_bundle_in_use_stays_and_its_end_is_told_of() {
    let place = tempfile::tempdir().unwrap();
    let place = place.path();
    authority(place, "ca");
    issue(place, "soon", "ca", "5", LEAF);
    issue(place, "later", "ca", "300", LEAF);
    let node = Node::start();
    let fields = |name: &str| {
        json!({"caPem": pem(place, "ca.pem"), "certPem": pem(place, &format!("{name}.pem")),
               "keyPem": pem(place, &format!("{name}.key"))})
    };
    let path = format!("{BUNDLES}/b1");
    let mut bundle = fields("soon");
    bundle["name"] = json!("b1");
    let created = node.send("POST", BUNDLES, &bundle);
    let shown = openssl(place, &["x509", "-in", "soon.pem", "-noout", "-fingerprint", "-sha256"]);
    let fingerprint =
        String::from_utf8(shown).unwrap().trim().rsplit_once('=').unwrap().1.replace(':', "").to_lowercase();
    assert_eq!((created.status, created.body["sha256"].as_str()), (200, Some(fingerprint.as_str())));
    let (subject, issuer) = (&created.body["subject"], &created.body["issuer"]);
    assert_eq!((subject, issuer), (&json!("CN=soon"), &json!("CN=ca")));
    assert!(created.body["notAfter"].as_str() > created.body["notBefore"].as_str());
    let target =
        json!({"name": "siem", "type": "rsyslog", "address": "127.0.0.1:1", "tlsBundle": "b1", "enabled": true});
    assert_eq!(node.send("POST", TARGETS, &target).status, 200);
    let (status, code, message) = node.ask("DELETE", &path, &[]).refusal();
    assert_eq!((status, code, message.as_str()), (409, 6, "tls-bundle 'b1' is in use by target 'siem'"));

    let warned = |collector: &Value| collector["warnings"].to_string().contains("tls-bundle 'b1' ends in ");
    let collector = node.get("/api/v2/logs/collectors/n1").body;
    assert!(warned(&collector) && collector["certExpires"] == created.body["notAfter"], "{collector}");
    assert!(warned(&node.get("/api/v2/logs/status").body));
    await_that("the log", || node.log().contains("the certificate of tls-bundle 'b1' ends in "));
    let patched = node.send("PATCH", &path, &fields("later"));
    assert_eq!((patched.status, patched.body.get("warnings")), (200, None), "{patched:?}");
    let collector = node.get("/api/v2/logs/collectors/n1").body;
    assert!(!warned(&collector) && collector["certExpires"] == patched.body["notAfter"], "{collector}");
    for path in [path.as_str(), BUNDLES, TARGETS, "/api/v2/logs/status"] {
        let text = node.get(path).body.to_string();
        assert!(!text.contains("PRIVATE") && !text.contains("keyPem"), "{text}");
    }
    assert_eq!(node.ask("DELETE", &format!("{TARGETS}/siem"), &[]).status, 200);
    assert_eq!(node.ask("DELETE", &path, &[]).status, 200);
}

/// A key pair of the API itself is warned of like any other.
#[test]
fn the_end_of_the_api_s_own_certificate_is_told_of() {
    let place = tempfile::tempdir().unwrap();
    let (cert, key) = self_signed(place.path(), "own");
    openssl(place.path(), &["req", "-x509", "-key", "own.key", "-days", "3", "-subj", "/CN=own", "-out", "own.pem"]);
    let node = Node::with(&format!("tls_cert = {cert:?}\ntls_key = {key:?}\n"));
    let status = node.get("/api/v2/logs/status").body;
    assert!(status["warnings"].to_string().contains("the certificate of the API ends in "), "{status}");
    assert_eq!(status["collector"]["certExpires"], Value::Null, "no target shows it");
}
