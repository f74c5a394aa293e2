//! Object files of `apply` and `diff`: every document with the place it stands at, every fault told at once.
//!
//! YAML, JSON and TOML, with one or several documents each: YAML documents divided by `---`, JSON values one after the
//! other, a list, a list under `objects`, or the lists as the API answers them (`{"sources": […]}`). A document is the
//! flat object of the API plus `kind`. What belongs into a file of its own can stay there: `{file: PATH}`, relative to
//! the file it stands in, is taken for a secret or a PEM.

mod locate;
mod syntax;

#[cfg(test)]
mod tests;

use std::{
    fs,
    io::Read,
    path::{Path, PathBuf},
    sync::Arc,
};

use serde_json::{Map, Value};

use self::syntax::Piece;
use crate::{
    config::{
        Kind,
        document::{
            check_name,
            schema::Shape,
            spelling::{camel, did_you_mean, listed},
        },
    },
    fault::Fault,
    limits,
};

/// Directories below a directory that are looked into.
const DEPTH_MAX: usize = 16;

/// What all files say.
#[derive(Clone, Debug, Default)]
pub struct Manifest {
    pub documents: Vec<Document>,
    /// What is wrong with files and documents, each with its place.
    pub complaints: Vec<String>,
}

/// One object as written, and where.
#[derive(Clone, Debug)]
pub struct Document {
    pub kind: Kind,
    pub name: String,
    /// Flat, without `kind`.
    pub fields: Map<String, Value>,
    text: Arc<Text>,
    /// Lines of the file, counted from 0.
    first: usize,
    last: usize,
}

/// A file that was read.
#[derive(Debug)]
struct Text {
    /// As complaints call it.
    label: String,
    content: String,
    /// What paths in it are relative to.
    directory: PathBuf,
}

impl Manifest {
    /// Reads files, directories with all below them, and `-` for stdin.
    pub fn read(paths: &[PathBuf]) -> Self {
        let mut manifest = Self::default();
        for path in paths {
            if path.as_os_str() == "-" {
                manifest.read_stdin();
            } else if path.is_dir() {
                manifest.read_directory(path);
            } else {
                manifest.read_file(path);
            }
        }
        manifest.refuse_doubles();
        manifest
    }

    /// Where the object that a complaint is about stands: `file:line`, at the field that the complaint names.
    pub fn place(&self, kind: &str, name: &str, complaint: &str) -> Option<String> {
        let about = |document: &&Document| document.kind.singular() == kind && document.name == name;
        self.documents.iter().find(about).map(|document| document.place(complaint))
    }

    fn read_stdin(&mut self) {
        let mut content = String::new();
        let most = limits::OBJECT_FILE_BYTES_MAX as u64;
        match std::io::stdin().take(most + 1).read_to_string(&mut content) {
            Ok(_) => self.take_in("stdin".to_owned(), content, PathBuf::from(".")),
            Err(error) => self.complaints.push(Fault::io("stdin", &error).to_string()),
        }
    }

    fn read_directory(&mut self, directory: &Path) {
        let mut paths = Vec::new();
        if let Err(fault) = walk(directory, DEPTH_MAX, &mut paths) {
            self.complaints.push(fault.to_string());
        }
        if paths.is_empty() {
            self.complaints.push(format!("{}: has no *.yaml, *.yml, *.json or *.toml in it", directory.display()));
        }
        for path in paths {
            self.read_file(&path);
        }
    }

    fn read_file(&mut self, path: &Path) {
        let most = limits::OBJECT_FILE_BYTES_MAX as u64;
        let mut content = String::new();
        let read = fs::File::open(path).and_then(|file| file.take(most + 1).read_to_string(&mut content));
        match read {
            Ok(_) => {
                let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
                let directory = directory.unwrap_or(Path::new(".")).to_owned();
                self.take_in(path.display().to_string(), content, directory);
            }
            Err(error) => self.complaints.push(Fault::io(path.display().to_string(), &error).to_string()),
        }
    }

    fn take_in(&mut self, label: String, content: String, directory: PathBuf) {
        if content.len() > limits::OBJECT_FILE_BYTES_MAX {
            self.complaints.push(format!("{label}: is larger than {} bytes", limits::OBJECT_FILE_BYTES_MAX));
            return;
        }
        let text = Arc::new(Text { label, content, directory });
        for piece in syntax::pieces(&text.label, &text.content) {
            match piece {
                Ok(piece) => self.take_piece(&text, piece),
                Err((line, cause)) => self.complaints.push(format!("{}:{line}: {cause}", text.label)),
            }
        }
    }

    /// The documents of one YAML document or JSON value.
    fn take_piece(&mut self, text: &Arc<Text>, piece: Piece) {
        let mut first = piece.first;
        let flat = flatten(piece.value);
        let several = flat.len() > 1;
        for (number, (kind, value)) in flat.into_iter().enumerate() {
            let name = value.get("name").and_then(Value::as_str).unwrap_or_default();
            if several {
                first = locate::object(&text.content, first..piece.last, name).unwrap_or(first);
            }
            let line = first + 1;
            match document(text, kind, value, first, piece.last) {
                Ok(document) => self.documents.push(document),
                Err(causes) => {
                    let which = if several { format!("object {}: ", number + 1) } else { String::new() };
                    let told = causes.into_iter().map(|cause| format!("{}:{line}: {which}{cause}", text.label));
                    self.complaints.extend(told);
                }
            }
            first += usize::from(several);
        }
    }

    fn refuse_doubles(&mut self) {
        for (index, document) in self.documents.iter().enumerate() {
            let same = |other: &&Document| other.kind == document.kind && other.name == document.name;
            if let Some(first) = self.documents[..index].iter().find(same) {
                let (kind, name) = (document.kind.singular(), &document.name);
                let text = format!("{}: {kind} {name:?} stands at {} already", document.place(""), first.place(""));
                self.complaints.push(text);
            }
        }
    }
}

impl Document {
    /// `file:line` of the field that a complaint names between backticks, else of the document.
    fn place(&self, complaint: &str) -> String {
        let field = complaint.split('`').nth(1).unwrap_or_default();
        let line = locate::field(&self.text.content, self.first..self.last, field).unwrap_or(self.first);
        format!("{}:{}", self.text.label, line + 1)
    }
}

/// The object files below a directory, in order of path. Hidden ones are left out.
fn walk(directory: &Path, depth: usize, found: &mut Vec<PathBuf>) -> Result<(), Fault> {
    let failed = |error: &std::io::Error| Fault::io(directory.display().to_string(), error);
    let mut paths = Vec::new();
    for entry in fs::read_dir(directory).map_err(|error| failed(&error))? {
        paths.push(entry.map_err(|error| failed(&error))?.path());
    }
    paths.sort();
    for path in paths {
        if path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b".")) {
            continue;
        }
        if path.is_dir() {
            if depth == 0 {
                let text = format!("directories are deeper than {DEPTH_MAX}");
                return Err(Fault::invalid(path.display().to_string(), text));
            }
            walk(&path, depth - 1, found)?;
        } else if path.extension().is_some_and(|ending| ["yaml", "yml", "json", "toml"].iter().any(|e| ending == *e)) {
            if found.len() >= limits::OBJECT_FILES_MAX {
                let text = format!("has more than {} object files", limits::OBJECT_FILES_MAX);
                return Err(Fault::invalid(directory.display().to_string(), text));
            }
            found.push(path);
        }
    }
    Ok(())
}

/// Single documents, with their kind where the word around them says it.
fn flatten(value: Value) -> Vec<(Option<Kind>, Value)> {
    let plain = |items: Vec<Value>| items.into_iter().map(|item| (None, item)).collect();
    match value {
        Value::Null => Vec::new(),
        Value::Array(items) => plain(items),
        Value::Object(map) if !map.is_empty() && map.keys().all(|key| wrapped(key, &map[key])) => {
            let mut out = Vec::new();
            for (key, value) in map {
                let kind = Kind::ALL.into_iter().find(|kind| wraps(*kind, &key));
                match value {
                    Value::Array(items) => out.extend(items.into_iter().map(|item| (kind, item))),
                    item => out.push((kind, item)),
                }
            }
            out
        }
        other => vec![(None, other)],
    }
}

/// `sources: […]`, `source: {…}`, `objects: […]`.
fn wrapped(key: &str, value: &Value) -> bool {
    let known = camel(key) == "objects" || Kind::ALL.into_iter().any(|kind| wraps(kind, key));
    known && (value.is_array() || (value.is_object() && camel(key) != "objects"))
}

fn wraps(kind: Kind, key: &str) -> bool {
    let key = camel(key);
    key == kind.wrapper() || key == kind.list_wrapper()
}

fn document(
    text: &Arc<Text>,
    kind: Option<Kind>,
    value: Value,
    first: usize,
    last: usize,
) -> Result<Document, Vec<String>> {
    let Value::Object(mut fields) = value else { return Err(vec!["is not an object".to_owned()]) };
    let mut causes = Vec::new();
    let kind = match (fields.remove("kind"), kind) {
        (Some(Value::String(word)), _) => {
            let known = Kind::ALL.map(Kind::singular);
            let hint = || format!("`kind` {word:?} is not one of {}{}", listed(&known), did_you_mean(&word, known));
            Kind::parse(&word).or_else(|| {
                causes.push(hint());
                None
            })
        }
        (Some(_), _) => {
            causes.push("`kind` must be a string".to_owned());
            None
        }
        (None, Some(kind)) => Some(kind),
        (None, None) => {
            causes.push("`kind` is missing; it is source, target or tls-bundle".to_owned());
            None
        }
    };
    let name = fields.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
    causes.extend(check_name(&name).err());
    if let Some(kind) = kind {
        causes.extend(resolve(kind.schema(), &mut fields, &text.directory));
    }
    match kind {
        Some(kind) if causes.is_empty() => Ok(Document { kind, name, fields, text: Arc::clone(text), first, last }),
        _ => Err(causes),
    }
}

/// Puts the content of files in place of `{file: PATH}` where a secret or a PEM is wanted; gives what went wrong.
fn resolve(
    schema: &'static [crate::config::document::schema::Field],
    fields: &mut Map<String, Value>,
    directory: &Path,
) -> Vec<String> {
    let mut causes = Vec::new();
    for (name, value) in fields {
        let Some(field) = schema.iter().find(|field| field.name == camel(name)) else { continue };
        let pem = field.name.ends_with("Pem");
        match (&field.shape, &mut *value) {
            (Shape::Object(inner), Value::Object(map)) => causes.extend(resolve(inner, map, directory)),
            (shape, Value::Object(map)) if (pem || matches!(shape, Shape::Secret)) && map.len() == 1 => {
                let Some(Value::String(path)) = map.get("file") else { continue };
                let path = directory.join(path);
                match fs::read_to_string(&path) {
                    Ok(content) if pem => *value = Value::String(content),
                    Ok(content) => *value = Value::String(content.trim_end_matches(['\r', '\n']).to_owned()),
                    Err(error) => {
                        causes.push(format!("`{name}`: {}", Fault::io(path.display().to_string(), &error)));
                    }
                }
            }
            _ => {}
        }
    }
    causes
}
