//! Finds the files a source's globs stand for.
//!
//! The walk begins at each glob's fixed prefix, goes no deeper than the glob can match and visits a bounded number of
//! directories. Compressed rotations are never new files.

use std::{
    ffi::OsStr,
    io,
    path::{Path, PathBuf},
};

use crate::{
    limits::{GLOB_DIRECTORIES_MAX, READERS_MAX},
    plan::{FileInput, source::PathGlob},
    ring::{Meta, Ring},
};

/// A file a glob matched.
#[derive(Clone, Debug)]
pub struct Found {
    pub path: PathBuf,
    pub meta: Meta,
}

/// What one walk over all globs of a source saw.
#[derive(Debug, Default)]
pub struct Walk {
    pub found: Vec<Found>,
    /// Directories visited: where new names may appear.
    pub directories: Vec<PathBuf>,
    /// In words, what could not be looked at.
    pub troubles: Vec<String>,
    /// Something failed that may work at the next look: what was not found may be there all the same.
    pub unsure: bool,
}

/// Endings of rotated files that were compressed: their content was read before.
const COMPRESSED: [&str; 6] = ["gz", "zst", "xz", "bz2", "lz4", "Z"];

/// Walks all globs of `input`.
pub fn discover<R: Ring>(ring: &mut R, input: &FileInput) -> Walk {
    let mut walk = Walk::default();
    for glob in &input.paths {
        walk_glob(ring, input, glob, &mut walk);
    }
    walk.found.sort_by(|a, b| a.path.cmp(&b.path));
    walk.found.dedup_by(|a, b| a.path == b.path);
    walk.directories.sort();
    walk.directories.dedup();
    walk
}

fn walk_glob<R: Ring>(ring: &mut R, input: &FileInput, glob: &PathGlob, walk: &mut Walk) {
    let mut todo = vec![(glob.base.clone(), 0usize)];
    let mut visited = 0;
    while let Some((directory, depth)) = todo.pop() {
        visited += 1;
        if visited > GLOB_DIRECTORIES_MAX {
            walk.troubles.push(format!("{}: more than {GLOB_DIRECTORIES_MAX} directories; narrow it", glob.pattern));
            return;
        }
        let entries = match ring.list(&directory, READERS_MAX) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                // Made later, perhaps: watch the deepest directory that exists.
                if let Some(parent) = directory.ancestors().skip(1).find(|up| ring.stat_path(up).is_ok()) {
                    walk.directories.push(parent.to_owned());
                }
                continue;
            }
            Err(error) => {
                walk.unsure |= may_pass(&error);
                walk.troubles.push(format!("{}: {error}", directory.display()));
                continue;
            }
        };
        for entry in entries {
            let path = directory.join(&entry.name);
            if entry.directory {
                if depth + 1 < glob.depth {
                    todo.push((path, depth + 1));
                }
            } else if glob.matcher.is_match(&path) && !input.exclude.is_match(&path) && !is_compressed(&path) {
                match ring.stat_path(&path) {
                    Ok(meta) if meta.regular => walk.found.push(Found { path, meta }),
                    Ok(_) => {}
                    Err(error) => walk.unsure |= may_pass(&error),
                }
            }
        }
        walk.directories.push(directory);
    }
}

/// Whether a failure says nothing about what is there: neither that it is gone nor that it is not for us.
pub fn may_pass(error: &io::Error) -> bool {
    !matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied | io::ErrorKind::NotADirectory)
}

/// Whether `name` is `live` with a rotation mark behind it.
pub fn is_rotation_of(name: &OsStr, live: &OsStr) -> bool {
    let mark = name.as_encoded_bytes().strip_prefix(live.as_encoded_bytes());
    mark.is_some_and(|mark| matches!(mark.first(), Some(b'.' | b'-' | b'_' | b'~')))
}

/// Whether the name says that this is a rotated file that was compressed.
pub fn is_compressed(path: &Path) -> bool {
    path.extension().and_then(OsStr::to_str).is_some_and(|ending| COMPRESSED.contains(&ending))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rotation_names() {
        for (name, live, expected) in [
            ("a.log.1", "a.log", true),
            ("a.log-20260224", "a.log", true),
            ("a.log", "a.log", false),
            ("a.logger", "a.log", false),
            ("b.log.1", "a.log", false),
        ] {
            assert_eq!(is_rotation_of(OsStr::new(name), OsStr::new(live)), expected, "{name} of {live}");
        }
    }

    #[test]
    fn compressed_rotations_are_not_new_files() {
        assert!(is_compressed(Path::new("/x/a.log.2.gz")));
        assert!(!is_compressed(Path::new("/x/a.log.2")));
    }
}
