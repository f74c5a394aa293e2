//! The public keys whose tokens are taken, by `kid`, read again when their files change.
//!
//! Two forms: `<scope>_<credential>.pem` with one RSA public key, and a JWKS (RFC 7517), `*.json` or `*.jwks`, in which
//! the keys say their `kid` themselves. Rotation is to put the new key beside the old one, change whoever signs, and
//! take the old one away. A file that does not parse keeps the keys it last had, for it may be half-written; a file
//! that is gone takes its keys along at once.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::DecodingKey;
use serde_json::Value;

use super::is_kid;
use crate::{fault::Fault, limits};

/// Shortest modulus RS256 may have, in bytes (RFC 7518 §3.3: 2,048 bits).
const MODULUS_BYTES_MIN: usize = 256;

/// The keys.
#[derive(Default)]
pub struct KeyRing {
    places: Vec<PathBuf>,
    files: BTreeMap<PathBuf, Read>,
    keys: BTreeMap<String, DecodingKey>,
}

/// What was read of one file.
struct Read {
    stamp: Stamp,
    keys: Vec<(String, DecodingKey)>,
}

/// What tells one state of a file from another: inode, size, and both times to the nanosecond.
type Stamp = (u64, u64, i64, i64, i64, i64);

impl KeyRing {
    /// Reads all keys. A place is a directory of files, or one JWKS file. Of two keys with one kid the one of the first
    /// place counts, within it the first file's by name.
    pub fn open(places: Vec<PathBuf>) -> Self {
        let mut ring = Self { places, ..Self::default() };
        ring.refresh();
        ring
    }

    /// Looks for changed files; cheap when there are none.
    pub fn refresh(&mut self) {
        let found: Vec<(PathBuf, Stamp)> = self.places.iter().flat_map(|place| key_files(place)).collect();
        let known = |(path, stamp): &(PathBuf, Stamp)| self.files.get(path).is_some_and(|read| read.stamp == *stamp);
        if found.len() == self.files.len() && found.iter().all(known) {
            return;
        }
        let mut before = std::mem::take(&mut self.files);
        self.keys.clear();
        for (path, stamp) in found {
            let read = match before.remove(&path) {
                Some(read) if read.stamp == stamp => read,
                last => Read { stamp, keys: read_again(&path, last) },
            };
            for (kid, key) in &read.keys {
                if self.keys.len() < limits::TOKEN_KEYS_MAX {
                    self.keys.entry(kid.clone()).or_insert_with(|| key.clone());
                }
            }
            self.files.insert(path, read);
        }
    }

    /// The key of a kid, which must be of the known form.
    pub fn key(&self, kid: &str) -> Option<&DecodingKey> {
        // A name that has no colon can only be a PEM file's.
        self.keys.get(kid).or_else(|| self.keys.get(&kid.replace(':', "_")))
    }
}

fn read_again(path: &Path, last: Option<Read>) -> Vec<(String, DecodingKey)> {
    read(path).unwrap_or_else(|fault| match last {
        Some(last) => {
            tracing::warn!("the token keys this file had before stay in force: {fault}");
            last.keys
        }
        None => {
            tracing::warn!("a file of token keys is left out: {fault}");
            Vec::new()
        }
    })
}

fn is_jwks(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending == "json" || ending == "jwks")
}

fn key_files(place: &Path) -> Vec<(PathBuf, Stamp)> {
    let stamp = |path: PathBuf| {
        let meta = fs::metadata(&path).ok().filter(fs::Metadata::is_file)?;
        let stamp = (meta.ino(), meta.size(), meta.mtime(), meta.mtime_nsec(), meta.ctime(), meta.ctime_nsec());
        Some((path, stamp))
    };
    let Ok(entries) = fs::read_dir(place) else { return stamp(place.to_owned()).into_iter().collect() };
    let mut paths: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.retain(|path| is_jwks(path) || path.extension().is_some_and(|ending| ending == "pem"));
    paths.sort();
    paths.truncate(limits::TOKEN_KEYS_MAX);
    paths.into_iter().filter_map(stamp).collect()
}

fn read(path: &Path) -> Result<Vec<(String, DecodingKey)>, Fault> {
    let place = || path.display().to_string();
    let pem = path.extension().is_some_and(|ending| ending == "pem");
    let most = if pem { limits::TOKEN_KEY_BYTES_MAX } else { limits::JWKS_BYTES_MAX };
    let fault = |error: std::io::Error| Fault::io(place(), &error);
    if fs::metadata(path).map_err(fault)?.len() > most as u64 {
        return Err(Fault::invalid(place(), format!("is larger than {most} bytes")));
    }
    let bytes = fs::read(path).map_err(fault)?;
    if pem {
        let key = DecodingKey::from_rsa_pem(&bytes)
            .map_err(|_| Fault::invalid(place(), "is not an RSA public key in PEM"))?;
        let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        return Ok(vec![(stem.replace(':', "_"), key)]);
    }
    let set: Value = serde_json::from_slice(&bytes).map_err(|_| Fault::invalid(place(), "is not JSON"))?;
    let keys = set.get("keys").and_then(Value::as_array);
    let keys = keys.ok_or_else(|| Fault::invalid(place(), "is not a JWKS: it has no list `keys`"))?;
    let mut out = Vec::new();
    for (index, key) in keys.iter().enumerate() {
        match read_jwk(key) {
            Ok(pair) => out.push(pair),
            Err(cause) => tracing::warn!("{}: key {} is left out: {cause}", place(), index + 1),
        }
    }
    Ok(out)
}

/// One RSA key of a JWKS (RFC 7517 §4, RFC 7518 §6.3.1).
fn read_jwk(key: &Value) -> Result<(String, DecodingKey), &'static str> {
    let text = |name: &str| key.get(name).and_then(Value::as_str);
    let allows = |name: &str, value: &str| key.get(name).is_none_or(|found| found.as_str() == Some(value));
    if text("kty") != Some("RSA") {
        return Err("its `kty` is not RSA");
    }
    if !allows("alg", "RS256") {
        return Err("its `alg` is not RS256");
    }
    if !allows("use", "sig") {
        return Err("its `use` is not sig");
    }
    if key.get("d").is_some() {
        return Err("it is a private key; only its public half belongs here");
    }
    let kid = text("kid").filter(|kid| is_kid(kid)).ok_or("its `kid` is not `<scope>:<credential>`")?;
    let (Some(modulus), Some(exponent)) = (text("n"), text("e")) else { return Err("it has no `n` or no `e`") };
    let bytes = URL_SAFE_NO_PAD.decode(modulus).map_err(|_| "its `n` is not base64url")?;
    if bytes.iter().skip_while(|byte| **byte == 0).count() < MODULUS_BYTES_MIN {
        return Err("it has less than 2048 bits");
    }
    let key = DecodingKey::from_rsa_components(modulus, exponent).map_err(|_| "its `n` or `e` is not base64url")?;
    Ok((kid.to_owned(), key))
}

#[cfg(test)]
mod tests {
    use rcgen::{KeyPair, PKCS_RSA_SHA256, RsaKeySize};
    use serde_json::json;

    use super::*;
    use crate::control::token::{Caller, Grant, Refusal, mint, verify};

    fn pair() -> KeyPair {
        KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap()
    }

    fn token(kid: &str, pair: &KeyPair) -> String {
        let grant = Grant { kid: kid.to_owned(), ..Grant::root(60) };
        mint(&grant, pair.serialize_pem().as_bytes()).unwrap()
    }

    /// The public half as a JWK, its numbers taken from the DER by another library.
    fn jwk(kid: &str, pair: &KeyPair) -> Value {
        use x509_parser::{prelude::FromDer, public_key::PublicKey, x509::SubjectPublicKeyInfo};
        let der = rcgen::PublicKeyData::subject_public_key_info(pair);
        let (_, info) = SubjectPublicKeyInfo::from_der(&der).unwrap();
        let PublicKey::RSA(key) = info.parsed().unwrap() else { panic!("an RSA key") };
        let modulus: Vec<u8> = key.modulus.iter().copied().skip_while(|byte| *byte == 0).collect();
        let (n, e) = (URL_SAFE_NO_PAD.encode(modulus), URL_SAFE_NO_PAD.encode(key.exponent));
        json!({"kty": "RSA", "kid": kid, "alg": "RS256", "use": "sig", "n": n, "e": e})
    }

    fn outcome(ring: &KeyRing, token: &str) -> Result<String, Refusal> {
        verify(token, ring).map(|caller: Caller| caller.kid)
    }

    #[test]
    fn a_jwks_rotates_key_by_key() {
        let place = tempfile::tempdir().unwrap();
        let file = place.path().join("keys.jwks");
        let (old, new) = (pair(), pair());
        let write = |keys: Value| fs::write(&file, json!({ "keys": keys }).to_string()).unwrap();
        write(json!([jwk("ops:old", &old)]));
        // The file itself, as well as a directory that holds it, can be named.
        for named in [file.clone(), place.path().to_owned()] {
            write(json!([jwk("ops:old", &old)]));
            let mut ring = KeyRing::open(vec![named]);
            let (first, second) = (token("ops:old", &old), token("ops:new", &new));
            assert_eq!(outcome(&ring, &first), Ok("ops:old".into()));
            assert_eq!(outcome(&ring, &second), Err(Refusal::UnknownKey));
            assert_eq!(outcome(&ring, &token("ops:old", &new)), Err(Refusal::Signature));
            write(json!([jwk("ops:old", &old), jwk("ops:new", &new)]));
            ring.refresh();
            assert!(outcome(&ring, &first).is_ok() && outcome(&ring, &second).is_ok());
            fs::write(&file, "{\"keys\": [").unwrap();
            ring.refresh();
            assert!(outcome(&ring, &first).is_ok(), "half-written: what it had before stays");
            write(json!([jwk("ops:new", &new)]));
            ring.refresh();
            assert_eq!(outcome(&ring, &first), Err(Refusal::UnknownKey));
            assert!(outcome(&ring, &second).is_ok());
        }
    }

    #[test]
    fn keys_for_something_else_are_left_out() {
        let pair = pair();
        let good = jwk("a:b", &pair);
        let with = |name: &str, value: Value| {
            let mut key = good.clone();
            key[name] = value;
            key
        };
        assert!(read_jwk(&good).is_ok());
        for (key, why) in [
            (with("kty", json!("EC")), "kty"),
            (with("alg", json!("RS512")), "alg"),
            (with("alg", json!(null)), "alg"),
            (with("use", json!("enc")), "use"),
            (with("d", json!("AQ")), "private"),
            (with("kid", json!("plain")), "kid"),
            (with("n", json!("AQAB")), "2048"),
            (with("n", json!("+/=")), "base64url"),
            (json!(3), "kty"),
        ] {
            let cause = read_jwk(&key).err().unwrap();
            assert!(cause.contains(why), "{cause}");
        }
    }

    #[test]
    fn a_removed_key_is_forgotten_and_a_new_one_known() {
        let place = tempfile::tempdir().unwrap();
        let pair = pair();
        let mut ring = KeyRing::open(vec![place.path().to_owned()]);
        let token = token("ops:ci", &pair);
        assert_eq!(outcome(&ring, &token), Err(Refusal::UnknownKey));
        let file = place.path().join("ops_ci.pem");
        fs::write(&file, pair.public_key_pem()).unwrap();
        fs::write(place.path().join("garbage.pem"), "no key").unwrap();
        ring.refresh();
        assert_eq!(outcome(&ring, &token), Ok("ops:ci".into()));
        fs::remove_file(&file).unwrap();
        ring.refresh();
        assert_eq!(outcome(&ring, &token), Err(Refusal::UnknownKey));
    }
}
