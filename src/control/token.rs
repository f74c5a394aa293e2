//! Bearer tokens: JWT (RFC 7519), RS256 only, keyed by `kid`.
//!
//! Whoever asks is known by a key an operator put where `key_ring` reads them; what they may do stands in `roles`. Any
//! other algorithm is refused before a key is looked at, `none` above all (RFC 8725 §3.1).

pub mod key_ring;

pub use key_ring::KeyRing;

use jsonwebtoken::{Algorithm, EncodingKey, Header, Validation, decode, decode_header, encode, errors::ErrorKind};
use serde::{Deserialize, Serialize};

use super::keys::ROOT_KID;
use crate::{
    fault::{Fault, Kind},
    limits,
};

/// May read and change everything.
pub const ROLE_ADMIN: &str = "system:cluster-admin";
/// May read everything.
pub const ROLE_VIEWER: &str = "system:viewer";

/// A token to be made.
#[derive(Clone, Debug)]
pub struct Grant {
    /// `<scope>:<credential>`.
    pub kid: String,
    pub subject: String,
    pub roles: Vec<String>,
    pub seconds: u64,
}

impl Grant {
    /// All rights, as `system:root`.
    pub fn root(seconds: u64) -> Self {
        Self { kid: ROOT_KID.to_owned(), subject: "root".to_owned(), roles: vec![ROLE_ADMIN.to_owned()], seconds }
    }
}

/// Whoever a token stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    pub subject: String,
    pub kid: String,
    roles: Vec<String>,
}

impl Caller {
    /// A user of this machine, who may read.
    pub fn local(uid: u32) -> Self {
        Self { subject: format!("uid {uid}"), kid: "local:socket".to_owned(), roles: vec![ROLE_VIEWER.to_owned()] }
    }

    pub fn may_change(&self) -> bool {
        self.roles.iter().any(|role| role == ROLE_ADMIN)
    }

    pub fn may_read(&self) -> bool {
        self.may_change() || self.roles.iter().any(|role| role == ROLE_VIEWER)
    }

    /// For the history and the log: `root (system:root)`.
    pub fn describe(&self) -> String {
        let printable: String = self.subject.chars().filter(|letter| !letter.is_control()).take(64).collect();
        format!("{printable} ({})", self.kid)
    }
}

#[derive(Deserialize, Serialize)]
struct Claims {
    sub: String,
    exp: u64,
    roles: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    iat: Option<u64>,
}

/// Makes a token, signed by an RSA private key in PEM.
///
/// # Errors
/// The key is not one, or the kid is malformed.
pub fn mint(grant: &Grant, key_pem: &[u8]) -> Result<String, Fault> {
    if !is_kid(&grant.kid) {
        return Err(Fault::invalid("kid", format!("{:?} is not `<scope>:<credential>`", grant.kid)));
    }
    let key = EncodingKey::from_rsa_pem(key_pem)
        .map_err(|_| Fault::invalid("signing key", "is not an RSA private key in PEM"))?;
    let now = jiff::Timestamp::now().as_second().unsigned_abs();
    let claims = Claims {
        sub: grant.subject.clone(),
        exp: now.saturating_add(grant.seconds),
        roles: grant.roles.clone(),
        iat: Some(now),
    };
    let header = Header { kid: Some(grant.kid.clone()), ..Header::new(Algorithm::RS256) };
    encode(&header, &claims, &key)
        .map_err(|error| Fault::new(Kind::Internal, "token", format!("could not be signed: {error}")))
}

/// Why a token is not taken. For the access log alone: who asks is told nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    NoToken,
    Malformed,
    /// Another algorithm than RS256.
    Algorithm,
    /// A header that must be understood and is not (RFC 7515 §4.1.11).
    Critical,
    UnknownKey,
    Signature,
    Expired,
    NotYet,
    /// A claim is missing or of another type.
    Claims,
}

impl Refusal {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NoToken => "no token",
            Self::Malformed => "malformed token",
            Self::Algorithm => "algorithm not RS256",
            Self::Critical => "unknown critical header",
            Self::UnknownKey => "unknown key id",
            Self::Signature => "bad signature",
            Self::Expired => "token expired",
            Self::NotYet => "token not valid yet",
            Self::Claims => "claims missing or malformed",
        }
    }
}

/// Who sent this token.
///
/// # Errors
/// It is not one this node takes.
pub fn verify(token: &str, ring: &KeyRing) -> Result<Caller, Refusal> {
    if token.len() > limits::TOKEN_BYTES_MAX {
        return Err(Refusal::Malformed);
    }
    let header = decode_header(token).map_err(|error| match error.kind() {
        // `none`, and whatever else has no name here.
        ErrorKind::Json(_) if token.matches('.').count() == 2 => Refusal::Algorithm,
        _ => Refusal::Malformed,
    })?;
    if header.alg != Algorithm::RS256 {
        return Err(Refusal::Algorithm);
    }
    if header.crit.is_some() {
        return Err(Refusal::Critical);
    }
    let kid = header.kid.filter(|kid| is_kid(kid)).ok_or(Refusal::UnknownKey)?;
    let key = ring.key(&kid).ok_or(Refusal::UnknownKey)?;
    let mut validation = Validation::new(Algorithm::RS256);
    validation.set_required_spec_claims(&["exp", "sub"]);
    validation.validate_nbf = true;
    validation.validate_aud = false;
    validation.leeway = limits::TOKEN_LEEWAY_SECONDS;
    let claims = decode::<Claims>(token, key, &validation).map_err(|error| match error.kind() {
        ErrorKind::ExpiredSignature => Refusal::Expired,
        ErrorKind::ImmatureSignature => Refusal::NotYet,
        ErrorKind::InvalidSignature => Refusal::Signature,
        _ => Refusal::Claims,
    })?;
    let Claims { sub, roles, .. } = claims.claims;
    if sub.is_empty() { Err(Refusal::Claims) } else { Ok(Caller { subject: sub, kid, roles }) }
}

/// `<scope>:<credential>`, both of `[A-Za-z0-9._-]`.
pub(crate) fn is_kid(kid: &str) -> bool {
    let good = |part: &str| {
        (1..=128).contains(&part.len())
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
    };
    kid.split_once(':').is_some_and(|(scope, credential)| good(scope) && good(credential))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
    use jsonwebtoken::Algorithm;
    use rcgen::{KeyPair, PKCS_RSA_SHA256, RsaKeySize};
    use serde_json::{Value, json};

    use super::*;

    struct World {
        _place: tempfile::TempDir,
        ring: KeyRing,
        private: String,
        public: String,
    }

    fn world() -> World {
        let place = tempfile::tempdir().unwrap();
        let pair = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap();
        fs::write(place.path().join("system_root.pem"), pair.public_key_pem()).unwrap();
        fs::write(place.path().join("garbage.pem"), "no key").unwrap();
        let ring = KeyRing::open(vec![place.path().to_owned()]);
        World { _place: place, ring, private: pair.serialize_pem(), public: pair.public_key_pem() }
    }

    fn now() -> u64 {
        jiff::Timestamp::now().as_second().unsigned_abs()
    }

    fn signed(world: &World, algorithm: Algorithm, kid: Option<&str>, claims: &Value) -> String {
        let key = match algorithm {
            // The public key as a shared secret: the classic confusion of algorithms.
            Algorithm::HS256 => EncodingKey::from_secret(world.public.as_bytes()),
            _ => EncodingKey::from_rsa_pem(world.private.as_bytes()).unwrap(),
        };
        let header = Header { kid: kid.map(str::to_owned), ..Header::new(algorithm) };
        encode(&header, claims, &key).unwrap()
    }

    #[test]
    fn a_minted_token_is_taken() {
        let world = world();
        let token = mint(&Grant::root(60), world.private.as_bytes()).unwrap();
        let caller = verify(&token, &world.ring).expect("a good token");
        assert!(caller.may_change() && caller.may_read());
        assert_eq!(caller.describe(), "root (system:root)");
        let viewer = Grant { roles: vec![ROLE_VIEWER.into()], ..Grant::root(60) };
        let caller = verify(&mint(&viewer, world.private.as_bytes()).unwrap(), &world.ring).unwrap();
        assert!(caller.may_read() && !caller.may_change());
    }

    #[test]
    fn every_other_token_is_refused() {
        let world = world();
        let good = json!({"sub": "a", "exp": now() + 60, "roles": [ROLE_ADMIN]});
        let kid = Some(ROOT_KID);
        let without = |name: &str| {
            let mut claims = good.clone();
            claims.as_object_mut().unwrap().remove(name);
            claims
        };
        let with = |name: &str, value: Value| {
            let mut claims = good.clone();
            claims[name] = value;
            claims
        };
        assert!(verify(&signed(&world, Algorithm::RS256, kid, &good), &world.ring).is_ok());
        for (why, algorithm, kid, claims, expected) in [
            ("RS384", Algorithm::RS384, kid, good.clone(), Refusal::Algorithm),
            ("PS256", Algorithm::PS256, kid, good.clone(), Refusal::Algorithm),
            ("HS256", Algorithm::HS256, kid, good.clone(), Refusal::Algorithm),
            ("no kid", Algorithm::RS256, None, good.clone(), Refusal::UnknownKey),
            ("unknown kid", Algorithm::RS256, Some("system:other"), good.clone(), Refusal::UnknownKey),
            ("kid with a path", Algorithm::RS256, Some("../system:root"), good.clone(), Refusal::UnknownKey),
            ("kid without scope", Algorithm::RS256, Some("system_root"), good.clone(), Refusal::UnknownKey),
            ("expired", Algorithm::RS256, kid, with("exp", json!(now() - 120)), Refusal::Expired),
            ("not yet", Algorithm::RS256, kid, with("nbf", json!(now() + 120)), Refusal::NotYet),
            ("no exp", Algorithm::RS256, kid, without("exp"), Refusal::Claims),
            ("no sub", Algorithm::RS256, kid, without("sub"), Refusal::Claims),
            ("no roles", Algorithm::RS256, kid, without("roles"), Refusal::Claims),
            ("roles as a text", Algorithm::RS256, kid, with("roles", json!(ROLE_ADMIN)), Refusal::Claims),
            ("exp as a text", Algorithm::RS256, kid, with("exp", json!("tomorrow")), Refusal::Claims),
            ("empty sub", Algorithm::RS256, kid, with("sub", json!("")), Refusal::Claims),
        ] {
            let refusal = verify(&signed(&world, algorithm, kid, &claims), &world.ring).unwrap_err();
            assert_eq!(refusal, expected, "{why}");
        }
        let encode = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let none = format!("{}.{}.", encode(json!({"alg": "none", "kid": ROOT_KID})), encode(good.clone()));
        assert_eq!(verify(&none, &world.ring), Err(Refusal::Algorithm), "none");
        let mut bent = signed(&world, Algorithm::RS256, kid, &good);
        let at = bent.len() - 20;
        let other = if &bent[at..=at] == "A" { "B" } else { "A" };
        bent.replace_range(at..=at, other);
        assert_eq!(verify(&bent, &world.ring), Err(Refusal::Signature));
        let critical = Header {
            kid: Some(ROOT_KID.to_owned()),
            crit: Some(vec!["exp".to_owned()]),
            ..Header::new(Algorithm::RS256)
        };
        let key = EncodingKey::from_rsa_pem(world.private.as_bytes()).unwrap();
        let critical = jsonwebtoken::encode(&critical, &good, &key).unwrap();
        assert_eq!(verify(&critical, &world.ring), Err(Refusal::Critical));
        for text in ["", ".", "..", "a.b.c", &"x".repeat(limits::TOKEN_BYTES_MAX + 1)] {
            assert!(verify(text, &world.ring).is_err(), "{text}");
        }
    }

    #[test]
    fn clocks_may_differ_by_the_leeway_and_no_more() {
        let world = world();
        let leeway = limits::TOKEN_LEEWAY_SECONDS;
        // Far enough from the edge that the seconds of the test itself do not matter.
        for (exp, nbf, expected) in [
            (now() - leeway / 2, now(), Ok(())),
            (now() - leeway - 10, now(), Err(Refusal::Expired)),
            (now() + 60, now() + leeway / 2, Ok(())),
            (now() + 60, now() + leeway + 60, Err(Refusal::NotYet)),
        ] {
            let claims = json!({"sub": "a", "exp": exp, "nbf": nbf, "roles": [ROLE_ADMIN]});
            let token = signed(&world, Algorithm::RS256, Some(ROOT_KID), &claims);
            assert_eq!(verify(&token, &world.ring).map(|_| ()), expected);
        }
    }
}
