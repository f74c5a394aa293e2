//! A file's text in pieces: YAML documents, JSON values, or the one TOML document, each with its lines.
//!
//! Pieces are read one by one, so that a fault in one does not hide those in the others.

use serde_json::Value;

/// One YAML document or JSON value.
#[derive(Clone, Debug, PartialEq)]
pub struct Piece {
    pub value: Value,
    /// Its lines, counted from 0; `last` is the first one after it.
    pub first: usize,
    pub last: usize,
}

/// A line counted from 1, and what is wrong there.
pub type SyntaxFault = (usize, String);

/// All pieces of a text; the format is known by the ending of its name, else by its first letter.
pub fn pieces(name: &str, text: &str) -> Vec<Result<Piece, SyntaxFault>> {
    let ending = name.rsplit_once('.').map_or("", |(_, ending)| ending);
    match ending {
        "toml" => vec![toml(text)],
        "json" => json(text),
        "yaml" | "yml" => yaml(text),
        _ if text.trim_start().starts_with(['{', '[']) => json(text),
        _ => yaml(text),
    }
}

fn toml(text: &str) -> Result<Piece, SyntaxFault> {
    match toml::from_str(text) {
        Ok(value) => Ok(Piece { value, first: 0, last: text.lines().count() }),
        Err(error) => {
            let start = error.span().map_or(0, |span| span.start.min(text.len()));
            Err((1 + newlines(&text[..start]), error.message().to_owned()))
        }
    }
}

/// Values one after the other, as a list of them or as lines.
fn json(text: &str) -> Vec<Result<Piece, SyntaxFault>> {
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<Value>();
    let mut found = Vec::new();
    loop {
        let before = values.byte_offset();
        let skipped = text[before..].len() - text[before..].trim_start().len();
        let first = newlines(&text[..before + skipped]);
        match values.next() {
            None => return found,
            Some(Ok(value)) => {
                let last = newlines(&text[..values.byte_offset()]) + 1;
                found.push(Ok(Piece { value, first, last }));
            }
            // What follows cannot be told from what went wrong.
            Some(Err(error)) => {
                found.push(Err((error.line(), without_place(&error.to_string()))));
                return found;
            }
        }
    }
}

fn yaml(text: &str) -> Vec<Result<Piece, SyntaxFault>> {
    let lines: Vec<&str> = text.lines().collect();
    let mut starts = vec![0];
    starts.extend((0..lines.len()).filter(|line| is_divider(lines[*line])));
    let mut found = Vec::new();
    for (index, start) in starts.iter().enumerate() {
        let end = starts.get(index + 1).copied().unwrap_or(lines.len());
        let mut document = String::new();
        for line in &lines[*start..end] {
            // What stands behind `---` belongs to the document; a directive says nothing that matters here.
            match line.strip_prefix("---").filter(|_| is_divider(line)) {
                Some(rest) => document.push_str(rest),
                None if line.starts_with('%') || *line == "..." => {}
                None => document.push_str(line),
            }
            document.push('\n');
        }
        let first = (*start..end).find(|line| says_something(lines[*line])).unwrap_or(*start);
        match serde_norway::from_str::<Value>(&document) {
            Ok(Value::Null) => {}
            Ok(value) => found.push(Ok(Piece { value, first, last: end })),
            Err(error) => {
                let line = start + error.location().map_or(1, |at| at.line());
                found.push(Err((line, without_place(&error.to_string()))));
            }
        }
    }
    found
}

/// `---` alone or with something behind it (YAML 1.2 §9.1.2). Nothing else can begin a line so.
fn is_divider(line: &str) -> bool {
    line.strip_prefix("---").is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t']))
}

fn says_something(line: &str) -> bool {
    let line = line.trim();
    !(line.is_empty() || line == "---" || line.starts_with('#') || line.starts_with('%'))
}

/// The words of a fault without "at line 1 column 2", which counts from the piece's begin.
fn without_place(text: &str) -> String {
    text.split(" at line ").next().unwrap_or(text).to_owned()
}

fn newlines(text: &str) -> usize {
    text.matches('\n').count()
}
