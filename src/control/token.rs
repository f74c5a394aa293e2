//! Bearer tokens: JWT (RFC 7519), RS256 only, keyed by `kid`.
//!
//! Whoever asks is known by a key an operator put into a directory; what they may do stands in `roles`. Any other
//! algorithm is refused before a key is looked at, `none` above all (RFC 8725 §3.1).

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, decode_header, encode};
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

/// The public keys of this node by kid, read again when their files change.
pub struct KeyRing {
    directories: Vec<PathBuf>,
    seen: Vec<(PathBuf, i64, i64, u64)>,
    keys: BTreeMap<String, DecodingKey>,
}

impl KeyRing {
    /// Reads the keys of all directories; of two keys with one kid the first directory's counts.
    pub fn open(directories: Vec<PathBuf>) -> Self {
        let mut ring = Self { directories, seen: Vec::new(), keys: BTreeMap::new() };
        ring.refresh();
        ring
    }

    /// Looks for changed files; cheap when there are none.
    pub fn refresh(&mut self) {
        let files: Vec<_> = self.directories.iter().flat_map(|directory| key_files(directory)).collect();
        if files == self.seen {
            return;
        }
        self.keys.clear();
        for (path, ..) in &files {
            match read_key(path) {
                Ok((name, key)) => {
                    self.keys.entry(name).or_insert(key);
                }
                Err(fault) => tracing::warn!("a token key is left out: {fault}"),
            }
        }
        self.seen = files;
    }

    /// Who sent this token; `None` when it is not one this node takes. Why is not told, since the asker is unknown.
    pub fn verify(&self, token: &str) -> Option<Caller> {
        if token.len() > limits::TOKEN_BYTES_MAX {
            return None;
        }
        let header = decode_header(token).ok()?;
        let kid = header.kid.filter(|kid| is_kid(kid))?;
        if header.alg != Algorithm::RS256 {
            return None;
        }
        let key = self.keys.get(&file_stem(&kid))?;
        let mut validation = Validation::new(Algorithm::RS256);
        validation.set_required_spec_claims(&["exp", "sub"]);
        validation.validate_nbf = true;
        validation.validate_aud = false;
        validation.leeway = limits::TOKEN_LEEWAY_SECONDS;
        let claims = decode::<Claims>(token, key, &validation).ok()?.claims;
        (!claims.sub.is_empty()).then_some(Caller { subject: claims.sub, kid, roles: claims.roles })
    }
}

/// `<scope>:<credential>`, both of `[A-Za-z0-9._-]`.
fn is_kid(kid: &str) -> bool {
    let good = |part: &str| {
        (1..=128).contains(&part.len())
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
    };
    kid.split_once(':').is_some_and(|(scope, credential)| good(scope) && good(credential))
}

/// The file name of a kid without its ending: `_` for `:`.
fn file_stem(kid: &str) -> String {
    kid.replace(':', "_")
}

fn key_files(directory: &Path) -> Vec<(PathBuf, i64, i64, u64)> {
    use std::os::unix::fs::MetadataExt;
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    let mut files: Vec<_> = entries
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "pem"))
        .filter_map(|path| {
            let meta = fs::metadata(&path).ok()?;
            (meta.is_file() && meta.len() <= limits::TOKEN_KEY_BYTES_MAX as u64)
                .then(|| (path, meta.mtime(), meta.ctime_nsec(), meta.ino()))
        })
        .collect();
    files.sort();
    files.truncate(limits::TOKEN_KEYS_MAX);
    files
}

fn read_key(path: &Path) -> Result<(String, DecodingKey), Fault> {
    let place = || path.display().to_string();
    let pem = fs::read(path).map_err(|error| Fault::io(place(), &error))?;
    let key =
        DecodingKey::from_rsa_pem(&pem).map_err(|_| Fault::invalid(place(), "is not an RSA public key in PEM"))?;
    let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    Ok((file_stem(stem), key))
}

#[cfg(test)]
mod tests {
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
        let caller = world.ring.verify(&token).expect("a good token");
        assert!(caller.may_change() && caller.may_read());
        assert_eq!(caller.describe(), "root (system:root)");
        let viewer = Grant { roles: vec![ROLE_VIEWER.into()], ..Grant::root(60) };
        let caller = world.ring.verify(&mint(&viewer, world.private.as_bytes()).unwrap()).unwrap();
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
        assert!(world.ring.verify(&signed(&world, Algorithm::RS256, kid, &good)).is_some());
        for (why, algorithm, kid, claims) in [
            ("RS384", Algorithm::RS384, kid, good.clone()),
            ("PS256", Algorithm::PS256, kid, good.clone()),
            ("HS256", Algorithm::HS256, kid, good.clone()),
            ("no kid", Algorithm::RS256, None, good.clone()),
            ("unknown kid", Algorithm::RS256, Some("system:other"), good.clone()),
            ("kid with a path", Algorithm::RS256, Some("../system:root"), good.clone()),
            ("kid without scope", Algorithm::RS256, Some("system_root"), good.clone()),
            ("expired", Algorithm::RS256, kid, with("exp", json!(now() - 120))),
            ("not yet", Algorithm::RS256, kid, with("nbf", json!(now() + 120))),
            ("no exp", Algorithm::RS256, kid, without("exp")),
            ("no sub", Algorithm::RS256, kid, without("sub")),
            ("no roles", Algorithm::RS256, kid, without("roles")),
            ("empty sub", Algorithm::RS256, kid, with("sub", json!(""))),
        ] {
            assert!(world.ring.verify(&signed(&world, algorithm, kid, &claims)).is_none(), "{why}");
        }
        let encode = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let none = format!("{}.{}.", encode(json!({"alg": "none", "kid": ROOT_KID})), encode(good.clone()));
        assert!(world.ring.verify(&none).is_none(), "none");
        let mut bent = signed(&world, Algorithm::RS256, kid, &good);
        let at = bent.len() - 20;
        let other = if &bent[at..=at] == "A" { "B" } else { "A" };
        bent.replace_range(at..=at, other);
        assert!(world.ring.verify(&bent).is_none(), "bent signature");
        assert!(world.ring.verify(&"x".repeat(limits::TOKEN_BYTES_MAX + 1)).is_none(), "too long");
    }

    #[test]
    fn a_removed_key_is_forgotten() {
        let mut world = world();
        let token = mint(&Grant::root(60), world.private.as_bytes()).unwrap();
        fs::remove_file(world._place.path().join("system_root.pem")).unwrap();
        world.ring.refresh();
        assert!(world.ring.verify(&token).is_none());
    }
}
