//! Tokens signed by openssl: keys are rotated by changing files, and what is not RS256 by a known key stays out.

use std::{fs, path::Path};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use super::{
    node::{Node, SOURCES, await_that},
    openssl::{claims, jwk, jwt, now, openssl, rsa},
};

fn header(kid: &str) -> Value {
    json!({"alg": "RS256", "typ": "JWT", "kid": kid})
}

fn status(node: &Node, method: &str, token: &str) -> u16 {
    let bearer = format!("Authorization: Bearer {token}");
    node.curl(SOURCES, &["-X", method, "-H", &bearer, "-d", "{}"]).status
}

/// A node whose key directory is `keys`, beside which keys are made.
fn node(place: &Path) -> Node {
    fs::create_dir(place.join("keys")).unwrap();
    Node::with(&format!("jwt_keys = {:?}\n", place.join("keys")))
}

#[test]
fn keys_rotate_by_files_and_by_a_jwks() {
    let place = tempfile::tempdir().unwrap();
    let place = place.path();
    let node = node(place);
    let old = rsa(place, "old");
    rsa(place, "new");
    let (first, second) =
        (jwt(place, "old", &header("ops:old"), &claims()), jwt(place, "new", &header("ops:new"), &claims()));
    assert_eq!(status(&node, "GET", &first), 401, "no key yet");
    fs::write(place.join("keys/ops_old.pem"), old).unwrap();
    await_that("the old key", || status(&node, "GET", &first) == 200);
    fs::write(place.join("keys/set.jwks"), json!({"keys": [jwk(place, "new", "ops:new")]}).to_string()).unwrap();
    await_that("the new key", || status(&node, "GET", &second) == 200);
    assert_eq!(status(&node, "GET", &first), 200, "both while rotating");
    fs::write(place.join("keys/set.jwks"), "{\"keys\": [").unwrap();
    await_that("the complaint", || node.log().contains("the token keys this file had before stay in force"));
    assert_eq!(status(&node, "GET", &second), 200);
    fs::remove_file(place.join("keys/ops_old.pem")).unwrap();
    await_that("the old key gone", || status(&node, "GET", &first) == 401);
    assert_eq!(status(&node, "GET", &second), 200);
    assert!(node.log().contains("unknown key id"), "the access log says why");
}

#[test]
fn roles_times_and_algorithms() {
    let place = tempfile::tempdir().unwrap();
    let place = place.path();
    let node = node(place);
    let public = rsa(place, "ci");
    fs::write(place.join("keys/ops_ci.pem"), &public).unwrap();
    let with = |changes: Value| {
        let mut all = claims();
        all.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        all
    };
    let signed = |claims: &Value| jwt(place, "ci", &header("ops:ci"), claims);
    await_that("the key", || status(&node, "GET", &signed(&claims())) == 200);
    for (why, claims, read, change) in [
        ("admin", claims(), 200, 400),
        ("viewer", with(json!({"roles": ["system:viewer"]})), 200, 403),
        ("no role", with(json!({"roles": []})), 403, 403),
        ("another role", with(json!({"roles": ["system:cluster-admin "]})), 403, 403),
        ("roles as a text", with(json!({"roles": "system:cluster-admin"})), 401, 401),
        ("expired", with(json!({"exp": now() - 300})), 401, 401),
        ("expired within the leeway", with(json!({"exp": now() - 5})), 200, 400),
        ("not yet", with(json!({"nbf": now() + 300})), 401, 401),
        ("a clock that is ahead by a little", with(json!({"nbf": now() + 10, "iat": now() + 10})), 200, 400),
    ] {
        let token = signed(&claims);
        assert_eq!((status(&node, "GET", &token), status(&node, "POST", &token)), (read, change), "{why}");
    }
    let encode = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let none = format!("{}.{}.", encode(json!({"alg": "none", "kid": "ops:ci"})), encode(claims()));
    let message = format!("{}.{}", encode(json!({"alg": "HS256", "kid": "ops:ci"})), encode(claims()));
    fs::write(place.join("message"), &message).unwrap();
    let secret = format!("hexkey:{}", public.bytes().map(|byte| format!("{byte:02x}")).collect::<String>());
    let mac = openssl(place, &["dgst", "-sha256", "-mac", "HMAC", "-macopt", &secret, "-binary", "message"]);
    let confused = format!("{message}.{}", URL_SAFE_NO_PAD.encode(mac));
    let embedded = json!({"alg": "RS256", "kid": "ops:none", "jwk": jwk(place, "ci", "ops:none")});
    let critical = json!({"alg": "RS256", "kid": "ops:ci", "crit": ["exp"]});
    for (why, token) in [
        ("alg none", none),
        ("the public key as a secret", confused),
        ("a key that came along", jwt(place, "ci", &embedded, &claims())),
        ("a critical header", jwt(place, "ci", &critical, &claims())),
        ("nothing", String::new()),
    ] {
        assert_eq!((status(&node, "GET", &token), status(&node, "POST", &token)), (401, 401), "{why}");
    }
    assert_eq!(node.revision(), 0);
}
