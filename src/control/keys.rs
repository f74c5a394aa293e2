//! What a node makes for itself at its first start: a certificate for the API, a key that signs tokens, a root token.
//!
//! ```text
//! <state_dir>/keys/server.key  server.crt      the API's, self-signed; the command line pins it
//! <state_dir>/keys/system_root.key             signs tokens of kid `system:root`
//! <state_dir>/keys/public/system_root.pem      its public half, as any key directory holds them
//! <state_dir>/keys/token                       a ready token of `system:root`
//! <state_dir>/endpoint.json                    where the API is, for a command line on the same node
//! /run/corelane/api.sock                       the API's unix socket; without that directory <state_dir>/api.sock
//! ```
//! All are 0600 in directories of 0700. The token lives as long as the key beside it, which could mint another at any
//! time: an earlier end would protect nothing.

use std::{
    fs,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
};

use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, PKCS_RSA_SHA256, RsaKeySize, date_time_ymd};
use serde::{Deserialize, Serialize};

use super::{
    store::file::{make_private_directory, write_durably},
    token::{self, Grant},
};
use crate::{
    config::{NodeConfig, node::STATE_DIR},
    fault::{Fault, Kind},
};

/// The key every node has.
pub const ROOT_KID: &str = "system:root";
/// Where a running node says where its API is, besides its state directory.
pub const RUNTIME_DIR: &str = "/run/corelane";
const ENDPOINT_FILE: &str = "endpoint.json";
/// The unix socket, in the same places.
const SOCKET_FILE: &str = "api.sock";
/// Ten years: see the module doc.
const ROOT_TOKEN_SECONDS: u64 = 10 * 366 * 86_400;

/// The files of the node's own keys.
#[derive(Clone, Debug)]
pub struct Keys {
    pub server_cert: PathBuf,
    pub server_key: PathBuf,
    pub signing_key: PathBuf,
    /// Holds public keys only.
    pub public: PathBuf,
    pub token: PathBuf,
}

impl Keys {
    /// Where they lie, whether they exist or not.
    pub fn of(state_dir: &Path) -> Self {
        let keys = state_dir.join("keys");
        Self {
            server_cert: keys.join("server.crt"),
            server_key: keys.join("server.key"),
            signing_key: keys.join("system_root.key"),
            public: keys.join("public"),
            token: keys.join("token"),
        }
    }
}

/// Makes what is missing. What exists is left alone.
///
/// # Errors
/// A file cannot be written, or a key cannot be made.
pub fn ensure(config: &NodeConfig) -> Result<Keys, Fault> {
    let keys = Keys::of(&config.state_dir);
    make_private_directory(&keys.public)?;
    if config.tls_cert.is_none() && !(keys.server_cert.exists() && keys.server_key.exists()) {
        let (cert, key) = self_signed(&config.node, config.listen.ip()).map_err(|error| cannot_make(&error))?;
        write_durably(&keys.server_key, key.as_bytes())?;
        write_durably(&keys.server_cert, cert.as_bytes())?;
    }
    let public = keys.public.join("system_root.pem");
    if !(keys.signing_key.exists() && public.exists()) {
        let pair =
            KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).map_err(|error| cannot_make(&error))?;
        write_durably(&keys.signing_key, pair.serialize_pem().as_bytes())?;
        write_durably(&public, pair.public_key_pem().as_bytes())?;
        // A token of the old key would be refused.
        let _ = fs::remove_file(&keys.token);
    }
    if !keys.token.exists() {
        let key = read_text(&keys.signing_key)?;
        let token = token::mint(&Grant::root(ROOT_TOKEN_SECONDS), key.as_bytes())?;
        write_durably(&keys.token, token.as_bytes())?;
    }
    Ok(keys)
}

/// What a command line on the node needs to reach the API.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Endpoint {
    /// `https://host:port`.
    pub endpoint: String,
    /// PEM of the certificate the API shows; nothing else is trusted.
    pub certificate_pem: String,
    /// File that holds a token.
    pub token_file: PathBuf,
}

impl Endpoint {
    /// Writes it into the state directory, and into `/run/corelane` where that exists and is ours.
    ///
    /// # Errors
    /// The state directory cannot be written.
    pub fn publish(&self, config: &NodeConfig) -> Result<(), Fault> {
        let text = serde_json::to_vec(self)
            .map_err(|error| Fault::new(Kind::Internal, ENDPOINT_FILE, format!("cannot be written: {error}")))?;
        write_durably(&config.state_dir.join(ENDPOINT_FILE), &text)?;
        let runtime = Path::new(RUNTIME_DIR);
        if !config.dev && runtime.is_dir() {
            // Only a convenience: the state directory has it too.
            let _ = write_durably(&runtime.join(ENDPOINT_FILE), &text);
        }
        Ok(())
    }

    /// Reads it from a directory.
    ///
    /// # Errors
    /// It is not there, not readable, or not what a node writes.
    pub fn read(directory: &Path) -> Result<Self, Fault> {
        let path = directory.join(ENDPOINT_FILE);
        let text = read_text(&path)?;
        serde_json::from_str(&text)
            .map_err(|error| Fault::invalid(path.display().to_string(), format!("is not an endpoint file: {error}")))
    }
}

/// Where a node has its unix socket: where the group can reach it, else (a try-out, or no such directory) below its
/// state directory.
pub fn socket_path(config: &NodeConfig) -> PathBuf {
    let runtime = Path::new(RUNTIME_DIR);
    if !config.dev && runtime.is_dir() { runtime.join(SOCKET_FILE) } else { config.state_dir.join(SOCKET_FILE) }
}

/// Where a command line looks for the socket: below the state directory it was given, else in the usual places.
pub fn socket_candidates(state_dir: Option<&Path>) -> Vec<PathBuf> {
    match state_dir {
        Some(directory) => vec![directory.join(SOCKET_FILE)],
        None => [RUNTIME_DIR, STATE_DIR].map(|directory| Path::new(directory).join(SOCKET_FILE)).to_vec(),
    }
}

/// The address a client on this node reaches `listening` by.
pub fn local_url(listening: SocketAddr) -> String {
    let ip = match listening.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::from([127, 0, 0, 1]),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::from(std::net::Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    format!("https://{}", SocketAddr::new(ip, listening.port()))
}

/// Reads a small file as text.
pub(crate) fn read_text(path: &Path) -> Result<String, Fault> {
    fs::read_to_string(path).map_err(|error| Fault::io(path.display().to_string(), &error))
}

/// A certificate for the names a client may use, which every client must name or pin.
fn self_signed(node: &str, listen: IpAddr) -> Result<(String, String), rcgen::Error> {
    let mut names = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
    if crate::config::compile::address::check_host(node).is_ok() {
        names.push(node.to_owned());
    }
    if !listen.is_unspecified() {
        names.push(listen.to_string());
    }
    names.sort();
    names.dedup();
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "corelane");
    // Pinned by its bytes, so its dates decide nothing; a node whose clock is off must still be reachable.
    params.not_before = date_time_ymd(2024, 1, 1);
    params.not_after = date_time_ymd(2124, 1, 1);
    let key = KeyPair::generate()?;
    let certificate = params.self_signed(&key)?;
    Ok((certificate.pem(), key.serialize_pem()))
}

fn cannot_make(error: &rcgen::Error) -> Fault {
    Fault::new(Kind::Internal, "keys", format!("a key could not be made: {error}"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn keys_are_made_once_and_are_private() {
        let state = tempfile::tempdir().unwrap();
        let config = NodeConfig { state_dir: state.path().join("s"), ..NodeConfig::defaults() };
        let keys = ensure(&config).unwrap();
        let files = [&keys.server_cert, &keys.server_key, &keys.signing_key, &keys.token];
        let before = files.map(|path| fs::read(path).unwrap());
        for path in files {
            assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o600, "{path:?}");
        }
        ensure(&config).unwrap();
        assert_eq!(files.map(|path| fs::read(path).unwrap()), before);
    }

    #[test]
    fn a_wildcard_address_is_reached_by_loopback() {
        for (listening, url) in
            [("0.0.0.0:1", "https://127.0.0.1:1"), ("[::]:2", "https://[::1]:2"), ("10.0.0.1:3", "https://10.0.0.1:3")]
        {
            assert_eq!(local_url(listening.parse().unwrap()), url);
        }
    }
}
