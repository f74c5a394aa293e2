//! The objects directory: read-only object files for hosts that are configured without an API.
//!
//! `*.yaml`, `*.yml`, `*.json` and `*.toml`, each with one or several documents: the flat object of the API plus
//! `kind: source | target | tls-bundle`. Several are YAML documents divided by `---`, a list, or a list under
//! `objects`. A file that cannot be read is one complaint with its line; its last good objects stay, and the others
//! apply.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use serde::Deserialize;
use serde_json::Value;
use xxhash_rust::xxh3::xxh3_64;

use super::{
    document::{Document, Kind, Object, Origin, spelling},
    node::line_of,
};
use crate::{limits, model::ObjectId, plan::Complaint};

/// One file as it was last seen.
#[derive(Clone, Debug)]
struct Seen {
    /// Size, inode and change times: a cheap sign that the content is another.
    signature: [i64; 5],
    content: u64,
    objects: Vec<Object>,
    complaints: Vec<Complaint>,
}

/// A directory of object files, and what was last read of it.
#[derive(Debug)]
pub struct ObjectDirectory {
    path: PathBuf,
    files: BTreeMap<PathBuf, Seen>,
    complaints: Vec<Complaint>,
}

impl ObjectDirectory {
    /// Nothing is read before the first `poll`.
    pub fn new(path: PathBuf) -> Self {
        Self { path, files: BTreeMap::new(), complaints: Vec::new() }
    }

    /// All objects of all files, in order of file name. `revision` is what their `ETag` shows.
    pub fn objects(&self) -> impl Iterator<Item = &Object> {
        self.files.values().flat_map(|file| &file.objects)
    }

    /// Files that cannot be read, wholly or in part.
    pub fn complaints(&self) -> Vec<Complaint> {
        self.complaints.iter().chain(self.files.values().flat_map(|file| &file.complaints)).cloned().collect()
    }

    /// One number for the content of all files: another one, another content.
    pub fn digest(&self) -> u64 {
        let mut all = Vec::new();
        for (path, seen) in &self.files {
            all.extend_from_slice(path.as_os_str().as_encoded_bytes());
            all.push(0);
            all.extend_from_slice(&seen.content.to_le_bytes());
        }
        xxh3_64(&all)
    }

    /// Looks for changes; true when there is one. `revision` marks the objects that changed.
    pub fn poll(&mut self, revision: u64) -> bool {
        let (paths, complaints) = list(&self.path);
        let mut changed = complaints != self.complaints;
        self.complaints = complaints;
        // A directory that cannot be listed (unmounted, no permission) must not look like one that was emptied.
        let Some(paths) = paths else { return changed };
        let before = self.files.len();
        self.files.retain(|path, _| paths.contains(path));
        changed |= before != self.files.len();
        for path in paths {
            let Some(seen) = look(&path, self.files.get(&path), revision) else { continue };
            self.files.insert(path, seen);
            changed = true;
        }
        changed
    }
}

/// Reads one file once, for `corelane check`.
pub fn read_file(path: &Path) -> (Vec<Object>, Vec<Complaint>) {
    match look(path, None, 0) {
        Some(seen) => (seen.objects, seen.complaints),
        None => (Vec::new(), Vec::new()),
    }
}

/// The object files of the directory in order; `None` when it cannot be listed.
fn list(directory: &Path) -> (Option<Vec<PathBuf>>, Vec<Complaint>) {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) => {
            let fault = crate::fault::Fault::io("", &error);
            return (None, vec![complaint(directory, format!("the objects directory cannot be read: {fault}"))]);
        }
    };
    let mut paths: Vec<PathBuf> = entries
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .filter(|path| format_of(path).is_some())
        .filter(|path| path.file_name().is_some_and(|name| !name.as_encoded_bytes().starts_with(b".")))
        .collect();
    paths.sort();
    let mut complaints = Vec::new();
    if paths.len() > limits::OBJECT_FILES_MAX {
        let text = format!("has {} object files, the first {} are read", paths.len(), limits::OBJECT_FILES_MAX);
        complaints.push(complaint(directory, text));
        paths.truncate(limits::OBJECT_FILES_MAX);
    }
    (Some(paths), complaints)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Yaml,
    Json,
    Toml,
}

fn format_of(path: &Path) -> Option<Format> {
    match path.extension()?.to_str()? {
        "yaml" | "yml" => Some(Format::Yaml),
        "json" => Some(Format::Json),
        "toml" => Some(Format::Toml),
        _ => None,
    }
}

/// The file as it is now, or `None` when it is as it was.
fn look(path: &Path, before: Option<&Seen>, revision: u64) -> Option<Seen> {
    let unreadable = |cause: String| {
        let complaints = vec![complaint(path, cause)];
        match before {
            Some(before) if before.complaints == complaints => None,
            _ => Some(Seen {
                signature: [0; 5],
                content: 0,
                objects: before.map(|before| before.objects.clone()).unwrap_or_default(),
                complaints,
            }),
        }
    };
    let meta = match fs::metadata(path) {
        Ok(meta) => meta,
        Err(error) => return unreadable(crate::fault::Fault::io("", &error).to_string()),
    };
    let signature =
        [meta.mtime(), meta.mtime_nsec(), meta.ctime_nsec(), meta.ino().cast_signed(), meta.len().cast_signed()];
    if before.is_some_and(|before| before.signature == signature && !is_fresh(&meta)) {
        return None;
    }
    if !meta.is_file() {
        return unreadable("is not a regular file".to_owned());
    }
    if meta.len() > limits::OBJECT_FILE_BYTES_MAX as u64 {
        return unreadable(format!("is larger than {} bytes", limits::OBJECT_FILE_BYTES_MAX));
    }
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) => return unreadable(crate::fault::Fault::io("", &error).to_string()),
    };
    let content = xxh3_64(text.as_bytes());
    if let Some(before) = before
        && before.content == content
    {
        return None;
    }
    let (objects, complaints) = match parse(path, &text) {
        Ok(values) => read(path, &text, &values, revision),
        Err(fault) => {
            let last = before.map(|before| before.objects.clone()).unwrap_or_default();
            (last, vec![fault])
        }
    };
    Some(Seen { signature, content, objects, complaints })
}

/// Whether the file could change again without its times showing it: they are only as fine as the kernel's tick.
fn is_fresh(meta: &fs::Metadata) -> bool {
    meta.modified().ok().and_then(|at| at.elapsed().ok()).is_none_or(|age| age < 2 * limits::OBJECTS_POLL)
}

/// The documents of a file, or where its syntax breaks.
fn parse(path: &Path, text: &str) -> Result<Vec<Value>, Complaint> {
    let fault = |line: usize, cause: String| complaint_at(path, line, cause);
    let values = match format_of(path) {
        Some(Format::Json) => {
            vec![serde_json::from_str(text).map_err(|error| fault(error.line(), error.to_string()))?]
        }
        Some(Format::Toml) => {
            let value: Value = toml::from_str(text).map_err(|error| {
                let start = error.span().map_or(0, |span| span.start.min(text.len()));
                fault(1 + text[..start].matches('\n').count(), error.message().to_owned())
            })?;
            vec![value]
        }
        Some(Format::Yaml) | None => {
            let mut values = Vec::new();
            for document in serde_norway::Deserializer::from_str(text) {
                let value = Value::deserialize(document)
                    .map_err(|error| fault(error.location().map_or(1, |at| at.line()), error.to_string()))?;
                values.push(value);
            }
            values
        }
    };
    Ok(values.into_iter().flat_map(flatten).collect())
}

/// A list, a list under `objects`, or one document; an empty YAML document is none.
fn flatten(value: Value) -> Vec<Value> {
    match value {
        Value::Null => Vec::new(),
        Value::Array(items) => items,
        Value::Object(mut map) if map.len() == 1 && map.get("objects").is_some_and(Value::is_array) => {
            match map.remove("objects") {
                Some(Value::Array(items)) => items,
                _ => Vec::new(),
            }
        }
        other => vec![other],
    }
}

fn read(path: &Path, text: &str, values: &[Value], revision: u64) -> (Vec<Object>, Vec<Complaint>) {
    let mut objects = Vec::new();
    let mut complaints = Vec::new();
    for (index, value) in values.iter().enumerate() {
        match object(path, text, value, revision) {
            Ok(object) => objects.push(object),
            Err(cause) => {
                let name = value.get("name").and_then(Value::as_str);
                let line = name.map_or(1, |name| line_of(text, name));
                complaints.push(complaint_at(path, line, format!("document {}: {cause}", index + 1)));
            }
        }
    }
    (objects, complaints)
}

/// One document with its identity, which is a function of its kind and name. Refusals are told with file and line.
fn object(path: &Path, text: &str, value: &Value, revision: u64) -> Result<Object, String> {
    let Value::Object(map) = value else { return Err("is not an object".to_owned()) };
    let mut map = map.clone();
    let kind = match map.remove("kind") {
        Some(Value::String(word)) => Kind::parse(&word).ok_or_else(|| {
            let known = Kind::ALL.map(Kind::singular);
            format!("`kind` {word:?} is not one of {}", spelling::listed(&known))
        })?,
        Some(_) => return Err("`kind` must be a string".to_owned()),
        None => return Err("`kind` is missing; it is source, target or tls-bundle".to_owned()),
    };
    let reading = Document::read(kind, &Value::Object(map));
    let name = reading.document.name();
    if let Some(refusal) = reading.refusals.iter().find(|refusal| refusal.field == "name") {
        return Err(refusal.text.clone());
    }
    let id = ObjectId(xxh3_64(format!("{}/{name}", kind.singular()).as_bytes()));
    let mut refusals = reading.refusals;
    for refusal in &mut refusals {
        let from = text.find(name).unwrap_or(0);
        let first = text[..from].matches('\n').count();
        let line = if refusal.field.is_empty() { 1 } else { line_of(&text[line_start(text, from)..], &refusal.field) };
        refusal.text = format!("{}:{}: {}", path.display(), first + line, refusal.text);
    }
    Ok(Object { id, revision, origin: Origin::File(path.to_owned()), document: reading.document, refusals })
}

fn line_start(text: &str, at: usize) -> usize {
    text[..at].rfind('\n').map_or(0, |end| end + 1)
}

fn complaint(path: &Path, text: String) -> Complaint {
    Complaint { kind: path.display().to_string(), name: String::new(), text }
}

fn complaint_at(path: &Path, line: usize, text: String) -> Complaint {
    Complaint { kind: format!("{}:{line}", path.display()), name: String::new(), text }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(directory: &ObjectDirectory) -> Vec<String> {
        directory.complaints().iter().map(|complaint| format!("{}: {}", complaint.kind, complaint.text)).collect()
    }

    fn names(directory: &ObjectDirectory) -> Vec<&str> {
        directory.objects().map(Object::name).collect()
    }

    #[test]
    fn every_way_to_write_several_objects() {
        let place = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(place.path().join(name), text).unwrap();
        write("a.yaml", "kind: source\nname: a1\n---\nkind: TARGET\nname: a2\n---\n");
        write("b.json", r#"[{"kind": "source", "name": "b1"}, {"kind": "tlsBundle", "name": "b2"}]"#);
        write(
            "c.toml",
            "[[objects]]\nkind = \"source\"\nname = \"c1\"\n[[objects]]\nkind = \"target\"\nname = \"c2\"\n",
        );
        write("d.toml", "kind = \"source\"\nname = \"d1\"\n");
        write("ignored.txt", "x");
        write(".hidden.yaml", "x: [");
        let mut directory = ObjectDirectory::new(place.path().to_owned());
        assert!(directory.poll(1));
        assert_eq!(names(&directory), ["a1", "a2", "b1", "b2", "c1", "c2", "d1"]);
        assert_eq!(texts(&directory), [""; 0]);
        assert!(!directory.poll(2), "nothing changed");
    }

    #[test]
    fn a_bad_file_is_one_complaint_and_keeps_its_last_good_objects() {
        let place = tempfile::tempdir().unwrap();
        let (good, bad) = (place.path().join("good.yaml"), place.path().join("bad.yaml"));
        fs::write(&good, "kind: source\nname: g\n").unwrap();
        fs::write(&bad, "kind: source\nname: b\n").unwrap();
        let mut directory = ObjectDirectory::new(place.path().to_owned());
        assert!(directory.poll(1));
        fs::write(&bad, "kind: source\nname: [b\n").unwrap();
        assert!(directory.poll(2));
        assert_eq!(names(&directory), ["b", "g"]);
        assert!(texts(&directory)[0].starts_with(&format!("{}:", bad.display())), "{:?}", texts(&directory));
        fs::remove_file(&bad).unwrap();
        assert!(directory.poll(3));
        assert_eq!(names(&directory), ["g"]);
    }

    #[test]
    fn complaints_name_file_and_line() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("a.yaml");
        fs::write(&path, "kind: source\nname: a\n---\nname: b\n---\nkind: sauce\nname: c\n").unwrap();
        let (objects, complaints) = read_file(&path);
        assert_eq!(objects.len(), 1);
        let texts: Vec<String> =
            complaints.iter().map(|complaint| format!("{}: {}", complaint.kind, complaint.text)).collect();
        let at = path.display();
        assert_eq!(texts[0], format!("{at}:4: document 2: `kind` is missing; it is source, target or tls-bundle"));
        assert!(texts[1].ends_with("`kind` \"sauce\" is not one of source, target and tls-bundle"), "{texts:?}");
        fs::write(&path, "kind: source\nname: a\nenabeld: true\n").unwrap();
        let (objects, _) = read_file(&path);
        assert_eq!(objects[0].refusals[0].text, format!("{at}:3: unknown field `enabeld`; did you mean `enabled`?"));
    }

    #[test]
    fn a_directory_that_cannot_be_read_is_not_an_empty_one() {
        let place = tempfile::tempdir().unwrap();
        let inner = place.path().join("conf.d");
        fs::create_dir(&inner).unwrap();
        fs::write(inner.join("a.yaml"), "kind: source\nname: a\n").unwrap();
        let mut directory = ObjectDirectory::new(inner.clone());
        assert!(directory.poll(1));
        fs::rename(&inner, place.path().join("away")).unwrap();
        assert!(directory.poll(2));
        assert_eq!((names(&directory), texts(&directory).len()), (vec!["a"], 1));
    }
}
