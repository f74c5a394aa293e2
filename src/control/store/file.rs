//! Private files and directories that a crash leaves whole.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{Read, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::Path,
};

use rustix::fs::FlockOperation;

use crate::{
    fault::{Fault, Kind},
    limits,
};

/// Makes a directory, and those above it, that only its owner can enter.
///
/// # Errors
/// It cannot be made.
pub fn make_private_directory(path: &Path) -> Result<(), Fault> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|error| {
        Fault::io(path.display().to_string(), &error).way_out("is the state directory yours to write?")
    })
}

/// Writes a file of mode 0600 so that a crash leaves either the old content or the new: beside its place, synced,
/// renamed, directory synced.
///
/// # Errors
/// Nothing is at `path` that was not there before.
pub fn write_durably(path: &Path, bytes: &[u8]) -> Result<(), Fault> {
    let fault = |error: &std::io::Error| Fault::io(path.display().to_string(), error);
    let beside = path.with_extension("tmp");
    let write = || -> std::io::Result<()> {
        let _ = fs::remove_file(&beside);
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&beside, path)?;
        File::open(path.parent().unwrap_or(Path::new("/")))?.sync_all()
    };
    write().map_err(|error| {
        let _ = fs::remove_file(&beside);
        fault(&error)
    })
}

/// Makes a directory this process's alone, as long as the file returned is open.
///
/// # Errors
/// Another process has it, or it cannot be written.
pub fn lock(directory: &Path) -> Result<File, Fault> {
    let path = directory.join("lock");
    let place = || path.display().to_string();
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(|error| Fault::io(place(), &error))?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => {
            Err(Fault::new(Kind::Conflict, place(), "the state directory is in use by another corelane")
                .way_out("stop it, or give this one a `--state-dir` of its own"))
        }
        Err(error) => Err(Fault::io(place(), &error.into())),
    }
}

/// Reads a file of the store, as far as one may be long.
///
/// # Errors
/// It is not there or cannot be read.
pub fn read(path: &Path) -> Result<Vec<u8>, Fault> {
    let fault = |error: &std::io::Error| Fault::io(path.display().to_string(), error);
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(|error| fault(&error))?;
    file.take(limits::STORE_BYTES_MAX as u64 + 1).read_to_end(&mut bytes).map_err(|error| fault(&error))?;
    Ok(bytes)
}
