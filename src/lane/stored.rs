//! Descriptors kept by the service manager: what they are called there, and how they come back.
//!
//! A deleted file that a flow still needs would be gone with this process. So its descriptor is given to the manager
//! under a name that says which file of which source it is, and taken back at the next start. The name is not trusted
//! beyond that: the file is opened like any other, and the checkpoint must know its head.

use std::{
    ffi::OsString,
    fmt::Write,
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::{Path, PathBuf},
};

use crate::{
    model::{FileIdentity, ObjectId},
    os::store::NAME_BYTES_MAX,
    ring::{Handle, Ring},
};

const PREFIX: &str = "corelane";

/// A file whose descriptor outlived the process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    pub source: ObjectId,
    pub identity: FileIdentity,
    /// The path it was read under, or the end of it.
    pub path: PathBuf,
}

/// One that came back, still open, under the name it has with the manager.
#[derive(Debug)]
pub struct Inherited {
    pub stored: Stored,
    pub name: String,
    pub handle: Handle,
}

impl Stored {
    /// Its name with the manager: at most `NAME_BYTES_MAX` of what a name may hold.
    pub fn name(&self) -> String {
        let FileIdentity { device, inode, generation, head_bytes, head_hash } = self.identity;
        let source = self.source.0;
        let mut name = format!("{PREFIX}.{source:x}.{device:x}.{inode:x}.{generation:x}.{head_bytes:x}.{head_hash:x}.");
        let path = escaped(&self.path);
        // The end of a path tells more than its beginning. A cut escape is no escape: it is left away.
        let mut from = path.len().saturating_sub(NAME_BYTES_MAX - name.len());
        if let Some(cut) = (1..3).find(|back| from >= *back && path.as_bytes().get(from - back) == Some(&b'%')) {
            from += 3 - cut;
        }
        name.push_str(&path[from.min(path.len())..]);
        name
    }

    /// What a name says; `None` for names that are not ours.
    pub fn parse(name: &str) -> Option<Self> {
        let mut parts = name.splitn(8, '.');
        (parts.next()? == PREFIX).then_some(())?;
        let mut number = || u64::from_str_radix(parts.next()?, 16).ok();
        let source = ObjectId(number()?);
        let (device, inode, generation) = (number()?, number()?, number()?);
        let (head_bytes, head_hash) = (u32::try_from(number()?).ok()?, number()?);
        let identity = FileIdentity { device, inode, generation, head_bytes, head_hash };
        Some(Self { source, identity, path: unescaped(parts.next()?) })
    }
}

/// The lane that carries the source of a stored descriptor, by its name; the first for names that are not ours.
pub fn lane_of(name: &str, lanes: u16) -> u16 {
    Stored::parse(name).map_or(0, |stored| (stored.source.0 % u64::from(lanes.max(1))) as u16)
}

/// Takes what the manager has kept. What is not ours is let go.
pub fn take_back<R: Ring>(ring: &mut R) -> Vec<Inherited> {
    let mut all = Vec::new();
    for (name, handle) in ring.inherited() {
        match Stored::parse(&name) {
            Some(stored) => all.push(Inherited { stored, name, handle }),
            None => {
                ring.close(handle);
                tracing::debug!("a stored descriptor of an unknown name: {name}");
            }
        }
    }
    all
}

/// Only letters, digits and `/._-` stand for themselves.
fn escaped(path: &Path) -> String {
    let mut out = String::new();
    for byte in path.as_os_str().as_bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'_' | b'-' => out.push(char::from(*byte)),
            // Writing to a string cannot fail.
            other => _ = write!(out, "%{other:02x}"),
        }
    }
    out
}

fn unescaped(text: &str) -> PathBuf {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let escape = bytes.get(at + 1..at + 3).filter(|_| bytes[at] == b'%');
        let value = escape.and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        out.push(value.unwrap_or(bytes[at]));
        at += if value.is_some() { 3 } else { 1 };
    }
    PathBuf::from(OsString::from_vec(out))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::os::store::is_name;

    fn stored(path: &Path) -> Stored {
        let identity = FileIdentity { device: 1, inode: u64::MAX, generation: 3, head_bytes: 256, head_hash: u64::MAX };
        Stored { source: ObjectId(u64::MAX), identity, path: path.to_owned() }
    }

    #[test]
    fn a_name_says_which_file_it_is() {
        let one = stored(Path::new("/var/log/app/a b:c.log"));
        let name = one.name();
        assert_eq!(
            name,
            "corelane.ffffffffffffffff.1.ffffffffffffffff.3.100.ffffffffffffffff./var/log/app/a%20b%3ac.log"
        );
        assert_eq!(Stored::parse(&name), Some(one));
        assert_eq!(Stored::parse("listening-socket"), None);
    }

    proptest! {
        #[test]
        fn any_path_makes_a_name_the_manager_takes(bytes in proptest::collection::vec(1u8.., 1..300)) {
            let one = stored(Path::new(&OsString::from_vec(bytes)));
            let name = one.name();
            prop_assert!(is_name(&name), "{name}");
            let back = Stored::parse(&name).expect("ours");
            prop_assert_eq!(back.identity, one.identity);
            let (whole, end) = (one.path.as_os_str().as_bytes(), back.path.as_os_str().as_bytes());
            prop_assert!(whole.ends_with(end), "{name}");
        }
    }
}
