//! The API's certificate is renewed by changing its files, and a renewal gone wrong changes nothing.

use std::fs;

use super::{
    node::{Node, STATUS, await_that, curl},
    openssl::self_signed,
};

/// Whether the API shows a certificate that this one has signed, itself as a rule.
fn shows(node: &Node, certificate: &str) -> bool {
    let bearer = format!("Authorization: Bearer {}", node.token());
    let url = format!("{}{STATUS}", node.url);
    curl(&["--cacert", certificate, "-H", &bearer, &url]).is_ok_and(|reply| reply.status == 200)
}

#[test]
fn a_renewed_certificate_is_shown_to_new_connections() {
    let place = tempfile::tempdir().unwrap();
    let path = |name: &str| place.path().join(name);
    for name in ["first", "second"] {
        self_signed(place.path(), name);
    }
    let install = |file: &str, name: &str| fs::copy(path(name), path(file)).unwrap();
    install("api.pem", "first.pem");
    install("api.key", "first.key");
    let config = format!("tls_cert = {:?}\ntls_key = {:?}\n", path("api.pem"), path("api.key"));
    let node = Node::with(&config);
    let (first, second) = (path("first.pem"), path("second.pem"));
    let (first, second) = (first.to_str().unwrap(), second.to_str().unwrap());
    assert!(shows(&node, first) && !shows(&node, second));

    // The certificate without its key: complained of, and the old pair goes on.
    install("api.pem", "second.pem");
    await_that("the complaint", || {
        let warnings = node.get(STATUS).body["warnings"].to_string();
        warnings.contains("goes on with the certificate it had") && warnings.contains("does not go with")
    });
    assert!(shows(&node, first));
    install("api.key", "second.key");
    await_that("the new certificate", || shows(&node, second));
    assert!(!shows(&node, first));
    assert_eq!(node.get(STATUS).body["warnings"], serde_json::json!([]));
    assert!(node.corelane(&["status"]).status.success(), "the command line on the node knows the new one");

    fs::write(path("api.key"), "garbage").unwrap();
    await_that("the complaint in the log", || node.log().contains("has no private key in it"));
    assert!(shows(&node, second));
    assert_eq!(node.log().matches("goes on with the certificate it had").count(), 2, "each told once");
    assert!(!node.log().contains("PRIVATE KEY-----\n"));
}
