//! Secrets sealed with the cluster key: what a store keeps of an object never has one in the clear.
//!
//! ```text
//! {"keyPem": {"sealed": "1.<key id>.<base64 of nonce, ciphertext and tag>"}}
//! ```
//! AES-256-GCM with a random nonce; kind, name and field are the associated data, so that a sealed secret cannot be put
//! into another object. The key is a file that is the same on every node and comes there out of band; two keys are
//! valid while one is being replaced. This protects the store and its backups, not a node that has the key.

#[cfg(test)]
mod tests;

use std::{
    fmt,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{Arc, RwLock},
};

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey},
    digest,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Map, Value, json};

use super::store::file::{make_private_directory, write_durably};
use crate::{
    config::{Kind, Refusal, document::schema},
    fault::{Fault, Kind as FaultKind},
    limits,
};

const VERSION: &str = "1";
const KEY_BYTES: usize = 32;
const KEY_WORD: &str = "corelane-key";

/// One cluster key.
struct Key {
    /// Eight hex digits of its hash: tells keys apart and a mistyped one from a right one.
    id: String,
    aead: RandomizedNonceKey,
}

/// The keys of one file. The first one seals, all of them open.
#[derive(Default)]
pub struct Keys(Vec<Key>);

/// The keys of this node, read again when their file changes.
#[derive(Clone, Debug)]
pub struct Keyring {
    path: Arc<Path>,
    state: Arc<RwLock<State>>,
}

#[derive(Debug, Default)]
struct State {
    keys: Arc<Keys>,
    /// Inode, size and change time of the file the keys are of.
    signature: Option<[i64; 4]>,
    /// Why there are no keys.
    trouble: Option<String>,
}

/// What this node's keys are to the secrets of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// All are open, if there are any.
    Open,
    /// All are open; one is sealed with a key that does not seal any more.
    Outdated,
    /// One stays closed.
    Closed,
}

/// A document as it came out of a store.
#[derive(Debug)]
pub struct Opened {
    /// Without the secrets that could not be opened.
    pub fields: Map<String, Value>,
    /// One for each of those.
    pub refusals: Vec<Refusal>,
    pub standing: Standing,
    /// Names of secrets that were not sealed at all.
    pub plain: Vec<String>,
}

impl Keyring {
    /// The keys in a file. A file that is missing or bad is no error: it is what a node without the key has.
    pub fn open(path: &Path) -> Self {
        let ring = Self { path: Arc::from(path), state: Arc::default() };
        ring.refresh();
        ring
    }

    /// The keys in a file, which is made if it does not exist.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn open_or_make(path: &Path) -> Result<Self, Fault> {
        if !path.exists() {
            make_private_directory(path.parent().unwrap_or(Path::new("/")))?;
            write_durably(path, new_key_file()?.as_bytes())?;
        }
        Ok(Self::open(path))
    }

    /// Looks whether the file is another; true when the keys are.
    pub fn refresh(&self) -> bool {
        let signature = std::fs::metadata(&self.path)
            .ok()
            .map(|meta| [meta.ino().cast_signed(), meta.size().cast_signed(), meta.ctime(), meta.ctime_nsec()]);
        let mut state = self.state.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        if state.signature == signature && (signature.is_some() || state.trouble.is_some()) {
            return false;
        }
        let (keys, trouble) = match Keys::read(&self.path) {
            Ok(keys) => (keys, None),
            Err(fault) => (Keys::default(), Some(fault.to_string())),
        };
        let changed = keys.ids() != state.keys.ids();
        *state = State { keys: Arc::new(keys), signature, trouble };
        changed
    }

    /// Why this node has no key; `None` when it has.
    pub fn trouble(&self) -> Option<String> {
        self.state.read().unwrap_or_else(std::sync::PoisonError::into_inner).trouble.clone()
    }

    fn keys(&self) -> Arc<Keys> {
        Arc::clone(&self.state.read().unwrap_or_else(std::sync::PoisonError::into_inner).keys)
    }

    /// A document as a store may keep it.
    ///
    /// # Errors
    /// It has a secret and this node has no key.
    pub fn seal(&self, kind: Kind, fields: &Map<String, Value>) -> Result<Map<String, Value>, Fault> {
        let keys = self.keys();
        let name = name_of(fields);
        let mut missing = false;
        let sealed = schema::map_secrets(kind.schema(), fields, &mut |field, value| {
            // What is sealed already stays as it is.
            let Some(secret) = value.as_str() else { return Some(value.clone()) };
            let sealed = keys.seal(&place(kind, name, field), secret);
            missing |= sealed.is_none();
            sealed
        });
        if !missing {
            return Ok(sealed);
        }
        let why = self.trouble().unwrap_or_default();
        let text =
            format!("{} '{name}' has a secret, and this node has no cluster key to seal it: {why}", kind.singular());
        Err(Fault::new(FaultKind::Conflict, "", text)
            .way_out("`corelane cluster-key new` makes one; every node of the cluster needs the same"))
    }

    /// A document as it was before it was sealed, as far as this node's keys reach. `name` is what the store knows it
    /// by.
    pub fn unseal(&self, kind: Kind, name: &str, fields: &Map<String, Value>) -> Opened {
        let keys = self.keys();
        let (mut refusals, mut plain, mut outdated) = (Vec::new(), Vec::new(), false);
        let fields = schema::map_secrets(kind.schema(), fields, &mut |field, value| {
            let Some(envelope) = value.get("sealed") else {
                plain.push(field.to_owned());
                return Some(value.clone());
            };
            match keys.open(&place(kind, name, field), envelope.as_str().unwrap_or_default()) {
                Ok((secret, newest)) => {
                    outdated |= !newest;
                    Some(Value::String(secret))
                }
                Err(why) => {
                    let top = field.split('.').next().unwrap_or(field);
                    refusals.push(Refusal::new(top, format!("`{field}` {why}")));
                    None
                }
            }
        });
        let standing = match (refusals.is_empty(), outdated) {
            (false, _) => Standing::Closed,
            (true, true) => Standing::Outdated,
            (true, false) => Standing::Open,
        };
        Opened { fields, refusals, standing, plain }
    }
}

impl Keys {
    /// # Errors
    /// The file is missing, readable by everyone, or has something else in it.
    pub fn read(path: &Path) -> Result<Self, Fault> {
        let place = path.display().to_string();
        Self::parse(&read_private(path)?).map_err(|cause| Fault::invalid(place, cause))
    }

    /// Lines of `corelane-key <id> <base64>`; `#` begins a comment.
    fn parse(text: &str) -> Result<Self, String> {
        let mut keys = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let line = line.split('#').next().unwrap_or_default().trim();
            if line.is_empty() {
                continue;
            }
            let bad = |what: &str| format!("line {}: {what}", index + 1);
            let [KEY_WORD, id, secret] = line.split_whitespace().collect::<Vec<_>>()[..] else {
                return Err(bad("is not `corelane-key <id> <base64>`"));
            };
            let bytes = STANDARD.decode(secret).map_err(|_| bad("the key is not base64"))?;
            let key = Key::new(&bytes).ok_or_else(|| bad("a key has 32 bytes"))?;
            if key.id != id {
                return Err(bad("the key is not the one its id names: it was mistyped or cut off"));
            }
            keys.push(key);
        }
        match keys.len() {
            0 => Err("has no key in it".to_owned()),
            1..=limits::CLUSTER_KEYS_MAX => Ok(Self(keys)),
            count => Err(format!("has {count} keys, at most {} are taken", limits::CLUSTER_KEYS_MAX)),
        }
    }

    pub fn ids(&self) -> Vec<&str> {
        self.0.iter().map(|key| key.id.as_str()).collect()
    }

    /// `None` when there is no key.
    fn seal(&self, place: &str, secret: &str) -> Option<Value> {
        let key = self.0.first()?;
        let mut bytes = secret.as_bytes().to_vec();
        let nonce = key.aead.seal_in_place_append_tag(Aad::from(place), &mut bytes).ok()?;
        let mut whole = nonce.as_ref().to_vec();
        whole.append(&mut bytes);
        Some(json!({ "sealed": format!("{VERSION}.{}.{}", key.id, STANDARD.encode(whole)) }))
    }

    /// The secret and whether the key that seals now has sealed it, or why it stays closed: a sentence without its
    /// subject.
    fn open(&self, place: &str, envelope: &str) -> Result<(String, bool), String> {
        let broken = || "is sealed in a way that cannot be read".to_owned();
        let [VERSION, id, body] = envelope.splitn(3, '.').collect::<Vec<_>>()[..] else { return Err(broken()) };
        let Some((at, key)) = self.0.iter().enumerate().find(|(_, key)| key.id == id) else {
            let shown: String = id.chars().filter(char::is_ascii_hexdigit).take(8).collect();
            return Err(format!("is sealed with the cluster key {shown}, which this node does not have"));
        };
        let mut bytes = STANDARD.decode(body).map_err(|_| broken())?;
        if bytes.len() < NONCE_LEN {
            return Err(broken());
        }
        let mut body = bytes.split_off(NONCE_LEN);
        let nonce = Nonce::try_assume_unique_for_key(&bytes).map_err(|_| broken())?;
        let plain = key.aead.open_in_place(nonce, Aad::from(place), &mut body);
        let plain = plain.map_err(|_| "was changed, or sealed for another object or field".to_owned())?;
        String::from_utf8(plain.to_vec()).map(|secret| (secret, at == 0)).map_err(|_| broken())
    }
}

impl Key {
    fn new(bytes: &[u8]) -> Option<Self> {
        let hash = digest::digest(&digest::SHA256, &[KEY_WORD.as_bytes(), bytes].concat());
        let id = hash.as_ref()[..4].iter().map(|byte| format!("{byte:02x}")).collect();
        let aead = (bytes.len() == KEY_BYTES).then(|| RandomizedNonceKey::new(&AES_256_GCM, bytes).ok())??;
        Some(Self { id, aead })
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keys({})", self.ids().join(", "))
    }
}

/// The text of a cluster key file with one new key, for `corelane cluster-key new`.
///
/// # Errors
/// There are no random numbers.
pub fn new_key_file() -> Result<String, Fault> {
    let line = new_key_line()?;
    Ok(format!("# The cluster key of Corelane: the same file on every node, readable by root only.\n{line}\n"))
}

/// The text of a key file with a new key added, which opens but does not seal yet: the first step of a rotation. When
/// every node has it, [`turned`] makes the new key the one that seals.
///
/// # Errors
/// The text is not a key file with one key.
pub fn with_new_key(text: &str) -> Result<String, Fault> {
    let keys = Keys::parse(text).map_err(|cause| Fault::invalid("cluster key", cause))?;
    if keys.0.len() >= limits::CLUSTER_KEYS_MAX {
        let text = "has two keys already";
        return Err(Fault::invalid("cluster key", text).way_out("end the rotation under way first"));
    }
    Ok(format!("{}\n{}\n", text.trim_end(), new_key_line()?))
}

/// The text of a key file with its two keys in the other order: the second step of a rotation.
///
/// # Errors
/// The text is not a key file with two keys.
pub fn turned(text: &str) -> Result<String, Fault> {
    let keys = Keys::parse(text).map_err(|cause| Fault::invalid("cluster key", cause))?;
    if keys.0.len() != limits::CLUSTER_KEYS_MAX {
        return Err(Fault::invalid("cluster key", "has one key only").way_out("add a new one first"));
    }
    let (mut lines, mut rest): (Vec<&str>, Vec<&str>) =
        text.lines().partition(|line| line.trim_start().starts_with(KEY_WORD));
    lines.reverse();
    rest.append(&mut lines);
    Ok(rest.join("\n") + "\n")
}

fn new_key_line() -> Result<String, Fault> {
    let fault = || Fault::new(FaultKind::Unavailable, "cluster key", "no random numbers");
    let mut bytes = [0; KEY_BYTES];
    getrandom::fill(&mut bytes).map_err(|_| fault())?;
    let key = Key::new(&bytes).ok_or_else(fault)?;
    Ok(format!("{KEY_WORD} {} {}", key.id, STANDARD.encode(bytes)))
}

/// A small file that only its owner and group may read.
///
/// # Errors
/// It cannot be read, or everyone can read it.
pub fn read_private(path: &Path) -> Result<String, Fault> {
    let place = || path.display().to_string();
    let meta = std::fs::metadata(path).map_err(|error| Fault::io(place(), &error))?;
    if meta.mode() & 0o007 != 0 {
        let fault = Fault::new(FaultKind::Conflict, place(), "is open to everyone on this machine");
        return Err(fault.way_out(format!("chmod 600 {}", path.display())));
    }
    if meta.len() > limits::SECRET_FILE_BYTES_MAX as u64 {
        let most = limits::SECRET_FILE_BYTES_MAX;
        return Err(Fault::invalid(place(), format!("has {} bytes, at most {most} are read", meta.len())));
    }
    std::fs::read_to_string(path).map_err(|error| Fault::io(place(), &error))
}

/// Where the keys of a node lie: as configured, else beside what the embedded store generates, else in `/etc`.
pub fn key_file(config: &crate::config::NodeConfig) -> PathBuf {
    use crate::config::{StoreKind, node::CLUSTER_KEY_FILE};
    match (&config.cluster_key, config.store) {
        (Some(path), _) => path.clone(),
        (None, StoreKind::Embedded) => config.state_dir.join("keys").join("cluster.key"),
        (None, StoreKind::Etcd) => PathBuf::from(CLUSTER_KEY_FILE),
    }
}

fn place(kind: Kind, name: &str, field: &str) -> String {
    format!("{}/{name}/{field}", kind.singular())
}

fn name_of(fields: &Map<String, Value>) -> &str {
    fields.get("name").and_then(Value::as_str).unwrap_or_default()
}
