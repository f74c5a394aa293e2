//! Where in a text an object or one of its fields stands, found by its words: good enough for a person's eye.

use std::ops::Range;

use crate::config::document::spelling::camel;

/// The first line that gives this name, or gives none where the name is empty.
pub fn object(text: &str, lines: Range<usize>, name: &str) -> Option<usize> {
    let gives = |line: &str| key(line).is_some_and(|(key, value)| key == "name" && bare(value) == name);
    let named = within(text, &lines).find(|(_, line)| !name.is_empty() && pairs(line).any(gives));
    named.map(|(index, _)| index)
}

/// The line of a field, in any spelling; of `basicAuth.password` that of `password`.
pub fn field(text: &str, lines: Range<usize>, field: &str) -> Option<usize> {
    let wanted = camel(field.rsplit('.').next().unwrap_or(field));
    let gives = |line: &str| key(line).is_some_and(|(key, _)| camel(key) == wanted);
    within(text, &lines).find(|(_, line)| !wanted.is_empty() && pairs(line).any(gives)).map(|(index, _)| index)
}

fn within<'a>(text: &'a str, lines: &Range<usize>) -> impl Iterator<Item = (usize, &'a str)> {
    text.lines().enumerate().skip(lines.start).take(lines.len())
}

/// What may be pairs of key and value in a line: also those within `{…}` on one line.
fn pairs(line: &str) -> impl Iterator<Item = &str> {
    line.split(['{', ',', '}', '['])
}

/// `key: value` or `key = value`, with or without quotes and list dash.
fn key(part: &str) -> Option<(&str, &str)> {
    let (key, value) = part.split_once([':', '='])?;
    Some((bare(key.trim_start().trim_start_matches("- ")), value))
}

fn bare(text: &str) -> &str {
    text.trim().trim_matches(['"', '\''])
}
