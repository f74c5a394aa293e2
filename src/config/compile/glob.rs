//! Globs of file sources: absolute, split where the first wildcard stands, so that a walk knows where to begin and
//! how deep to go.

use std::path::PathBuf;

use globset::{Glob, GlobBuilder, GlobSet, GlobSetBuilder};

use crate::plan::source::PathGlob;

/// One path as written. `*` and `?` do not cross a `/`; `**` does.
pub fn path(pattern: &str) -> Result<PathGlob, String> {
    let glob = parse(pattern)?;
    let parts: Vec<&str> = pattern.split('/').skip(1).collect();
    let plain = parts.iter().take(parts.len() - 1).take_while(|part| !is_wild(part)).count();
    let mut base = PathBuf::from("/");
    base.extend(&parts[..plain]);
    let depth = match parts.contains(&"**") {
        true => usize::MAX,
        false => parts.len() - plain - 1,
    };
    Ok(PathGlob { pattern: pattern.to_owned(), base, depth, matcher: glob.compile_matcher() })
}

/// The set of what is left out.
pub fn exclude(patterns: &[String]) -> Result<GlobSet, Vec<String>> {
    let mut set = GlobSetBuilder::new();
    let mut faults = Vec::new();
    for pattern in patterns {
        match parse(pattern) {
            Ok(glob) => {
                set.add(glob);
            }
            Err(text) => faults.push(text),
        }
    }
    match set.build() {
        Ok(set) if faults.is_empty() => Ok(set),
        Ok(_) => Err(faults),
        Err(error) => Err(vec![error.kind().to_string()]),
    }
}

fn parse(pattern: &str) -> Result<Glob, String> {
    if !pattern.starts_with('/') {
        return Err(format!("{pattern:?} is not absolute; it must begin with `/`"));
    }
    if pattern.ends_with('/') {
        return Err(format!("{pattern:?} names a directory; `{pattern}*` would name the files in it"));
    }
    if pattern.contains('\0') || pattern.split('/').any(|part| part == "." || part == "..") {
        return Err(format!("{pattern:?} has `.` or `..` in it; write the path without"));
    }
    if pattern.contains("//") {
        return Err(format!("{pattern:?} has an empty part (`//`)"));
    }
    GlobBuilder::new(pattern)
        .literal_separator(true)
        .backslash_escape(true)
        .build()
        .map_err(|error| format!("{pattern:?} is not a glob: {}", error.kind()))
}

fn is_wild(part: &str) -> bool {
    part.contains(['*', '?', '[', '{', '\\'])
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn a_glob_is_split_at_its_first_wildcard() {
        for (pattern, base, depth) in [
            ("/var/log/x/*.log", "/var/log/x", 0),
            ("/var/log/syslog", "/var/log", 0),
            ("/var/log/pods/*/*/*.log", "/var/log/pods", 2),
            ("/var/*/app/x.log", "/var", 2),
            ("/var/log/**/*.log", "/var/log", usize::MAX),
            ("/*.log", "/", 0),
        ] {
            let glob = path(pattern).expect(pattern);
            assert_eq!((glob.base.as_path(), glob.depth), (Path::new(base), depth), "{pattern}");
        }
    }

    #[test]
    fn a_star_does_not_cross_a_directory() {
        let glob = path("/var/log/*.log").unwrap();
        assert!(glob.matcher.is_match("/var/log/a.log"));
        assert!(!glob.matcher.is_match("/var/log/b/a.log"));
        assert!(path("/var/log/**/*.log").unwrap().matcher.is_match("/var/log/b/c/a.log"));
    }

    #[test]
    fn bad_globs_say_why() {
        for (pattern, part) in [
            ("var/log/x", "not absolute"),
            ("", "not absolute"),
            ("/var/log/", "names a directory"),
            ("/var/../x", "`..`"),
            ("/var//x", "empty part"),
            ("/var/[a", "not a glob"),
        ] {
            let refused = path(pattern).unwrap_err();
            assert!(refused.contains(part), "{pattern}: {refused}");
        }
        assert_eq!(exclude(&["x".into(), "/[".into()]).unwrap_err().len(), 2);
    }
}
