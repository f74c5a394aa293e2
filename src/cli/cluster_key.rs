//! `cluster-key`: the file that seals the secrets of a cluster, made here and carried to every node by other means.
//!
//! Replacing it takes steps, each of which every node has before the next one is taken: `add` puts a second key into
//! the file, `turn` makes it the one that seals; when nothing is sealed with the old one any more its line goes.

use std::{
    fs::{self, OpenOptions},
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use super::{grammar::ClusterKeyNoun, print};
use crate::{
    control::{seal, store::file::write_durably},
    fault::{Fault, Kind},
};

/// # Errors
/// The file exists (`new`), is no key file, or cannot be written.
pub fn perform(noun: &ClusterKeyNoun) -> Result<(), Fault> {
    match noun {
        ClusterKeyNoun::New { file: None } => print::out(&seal::new_key_file()?),
        ClusterKeyNoun::New { file: Some(path) } => {
            write_new(path, &seal::new_key_file()?)?;
            print::note(&format!("{} is made: put it onto every node, readable by its owner only", path.display()));
            Ok(())
        }
        ClusterKeyNoun::Add { file } => {
            rewrite(file, seal::with_new_key)?;
            print::note("added: put the file onto every node, then `corelane cluster-key turn`");
            Ok(())
        }
        ClusterKeyNoun::Turn { file } => {
            rewrite(file, seal::turned)?;
            print::note("turned: put the file onto every node; the old key stays while something is sealed with it");
            Ok(())
        }
    }
}

fn rewrite(path: &Path, change: impl FnOnce(&str) -> Result<String, Fault>) -> Result<(), Fault> {
    let text = change(&seal::read_private(path)?)?;
    // Through a link: the file behind it is the one the node reads.
    let path = fs::canonicalize(path).map_err(|error| Fault::io(path.display().to_string(), &error))?;
    write_durably(&path, text.as_bytes())
}

/// Writes a file of mode 0600 that does not exist yet.
fn write_new(path: &Path, text: &str) -> Result<(), Fault> {
    let failed = |error: &std::io::Error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => {
            Fault::new(Kind::Conflict, path.display().to_string(), "exists already; a key is never overwritten")
        }
        _ => Fault::io(path.display().to_string(), error),
    };
    let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    let mut file = made.map_err(|error| failed(&error))?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(|error| failed(&error))
}
