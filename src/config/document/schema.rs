//! Tables that say which fields a document may have, and the reader that holds a JSON object against one.
//!
//! A table rather than derived code, because every complaint must be told at once, by field name, with the nearest
//! known word; and because a field of the contract that is not built yet must be refused as such, never ignored.

use serde_json::{Map, Value};

use super::{
    Refusal,
    secret::{PLACEHOLDER, PLACEHOLDER_CHANGED},
    spelling,
};
use crate::model::Level;

/// One field of a document.
#[derive(Debug)]
pub struct Field {
    pub name: &'static str,
    pub shape: Shape,
    pub standing: Standing,
}

/// What a field may hold.
#[derive(Debug)]
pub enum Shape {
    Bool,
    Text,
    /// A text that is never shown again.
    Secret,
    /// A level word or a synonym of one.
    Level,
    /// One of a closed set of names; `later` ones are known and not built.
    Word {
        built: &'static [&'static str],
        later: &'static [&'static str],
    },
    Texts,
    /// Name → text; the names are the writer's own.
    TextMap,
    /// A whole number, or a text with a unit; judged when compiled.
    Amount,
    /// A text or a number; judged when compiled.
    TextOrNumber,
    Object(&'static [Field]),
    /// A text, or an object with these fields.
    TextOrObject(&'static [Field]),
    /// Whatever it holds is refused before it is looked at.
    Any,
}

/// Whether a field is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    Built,
    /// Of the contract, refused by name by this version.
    Later,
    /// Only in answers: taken from a body that was read before, and dropped.
    Answer,
}

/// A built field.
pub const fn built(name: &'static str, shape: Shape) -> Field {
    Field { name, shape, standing: Standing::Built }
}

/// A field that is known and refused.
pub const fn later(name: &'static str) -> Field {
    Field { name, shape: Shape::Any, standing: Standing::Later }
}

/// A field of answers.
pub const fn answer(name: &'static str) -> Field {
    Field { name, shape: Shape::Any, standing: Standing::Answer }
}

const LATER: &str = "is not supported by this version";

/// The good fields of `map` in one spelling; everything else becomes a refusal.
pub fn read(schema: &'static [Field], map: &Map<String, Value>, refusals: &mut Vec<Refusal>) -> Map<String, Value> {
    let spelled = spell(schema, map, refusals);
    let mut out = Map::new();
    for (name, value) in &spelled {
        let Some(field) = schema.iter().find(|field| field.name == name) else { continue };
        if value.is_null() || field.standing == Standing::Answer {
            continue;
        }
        if field.standing == Standing::Later {
            refusals.push(Refusal::new(name, format!("`{name}` {LATER}")));
            continue;
        }
        match judge(field, name, name, value) {
            Ok(value) => {
                out.insert(name.clone(), value);
            }
            Err(faults) => refusals.extend(faults),
        }
    }
    out
}

/// Renames the fields to the one spelling; unknown and doubled ones become refusals.
pub fn spell(schema: &'static [Field], map: &Map<String, Value>, refusals: &mut Vec<Refusal>) -> Map<String, Value> {
    let mut out = Map::new();
    for (key, value) in map {
        let name = spelling::camel(key);
        let Some(field) = schema.iter().find(|field| field.name == name) else {
            let known = schema.iter().filter(|field| field.standing == Standing::Built).map(|field| field.name);
            refusals.push(Refusal::new(key, format!("unknown field `{key}`{}", spelling::did_you_mean(&name, known))));
            continue;
        };
        let value = match (&field.shape, value) {
            (Shape::Object(inner) | Shape::TextOrObject(inner), Value::Object(map)) => {
                let mut found = Vec::new();
                let spelled = spell(inner, map, &mut found);
                refusals.extend(
                    found
                        .into_iter()
                        .map(|refusal| Refusal { field: name.clone(), text: format!("{} in `{name}`", refusal.text) }),
                );
                Value::Object(spelled)
            }
            _ => value.clone(),
        };
        if out.insert(name.clone(), value).is_some() {
            refusals.push(Refusal::new(&name, format!("`{name}` is given twice, in two spellings")));
        }
    }
    out
}

/// The fields without those that are secret.
pub fn without_secrets(schema: &'static [Field], map: &Map<String, Value>) -> Map<String, Value> {
    let mut out = Map::new();
    for (name, value) in map {
        let Some(field) = schema.iter().find(|field| field.name == name) else { continue };
        match (&field.shape, value) {
            (Shape::Secret, _) => {}
            (Shape::Object(inner), Value::Object(map)) => {
                out.insert(name.clone(), Value::Object(without_secrets(inner, map)));
            }
            _ => {
                out.insert(name.clone(), value.clone());
            }
        }
    }
    out
}

/// The fields with each secret as `put` makes it from its full name and value: another value, or none.
pub fn map_secrets(
    schema: &'static [Field],
    map: &Map<String, Value>,
    put: &mut impl FnMut(&str, &Value) -> Option<Value>,
) -> Map<String, Value> {
    fn walk(
        schema: &'static [Field],
        map: &Map<String, Value>,
        above: &str,
        put: &mut impl FnMut(&str, &Value) -> Option<Value>,
    ) -> Map<String, Value> {
        let mut out = Map::new();
        for (name, value) in map {
            let field = schema.iter().find(|field| field.name == name);
            let made = match (field.map(|field| &field.shape), value) {
                (Some(Shape::Secret), _) => put(&format!("{above}{name}"), value),
                (Some(Shape::Object(inner)), Value::Object(map)) => {
                    Some(Value::Object(walk(inner, map, &format!("{above}{name}."), put)))
                }
                _ => Some(value.clone()),
            };
            out.extend(made.map(|made| (name.clone(), made)));
        }
        out
    }
    walk(schema, map, "", put)
}

/// The value in one spelling, or what is wrong with it. `top` is the field the refusal is about, `path` its full name.
fn judge(field: &Field, top: &str, path: &str, value: &Value) -> Result<Value, Vec<Refusal>> {
    let wrong = |what: &str| Err(vec![Refusal::new(top, format!("`{path}` must be {what}, not {}", type_of(value)))]);
    match (&field.shape, value) {
        (Shape::Secret, Value::String(text)) if text == PLACEHOLDER || text == PLACEHOLDER_CHANGED => {
            let text =
                format!("`{path}` is the placeholder of an export, and no secret is kept that it could stand for");
            Err(vec![Refusal::new(top, text)])
        }
        (Shape::Bool, Value::Bool(_))
        | (Shape::Text | Shape::Secret | Shape::TextOrObject(_), Value::String(_))
        | (Shape::Amount | Shape::TextOrNumber, Value::String(_)) => Ok(value.clone()),
        (Shape::Amount | Shape::TextOrNumber, Value::Number(number)) if number.is_u64() => Ok(value.clone()),
        (Shape::Level, Value::String(word)) => match Level::parse(word.as_bytes()) {
            Some(level) => Ok(Value::String(level.as_str().to_owned())),
            None => {
                let text = format!("`{path}` {word:?} is not a level; trace, debug, info, warn, error and fatal are");
                Err(vec![Refusal::new(top, text)])
            }
        },
        (Shape::Word { built, later }, Value::String(word)) => judge_word(top, path, word, built, later),
        (Shape::Texts, Value::Array(items)) => match items.iter().all(Value::is_string) {
            true => Ok(value.clone()),
            false => Err(vec![Refusal::new(top, format!("`{path}` must hold only strings"))]),
        },
        (Shape::TextMap, Value::Object(map)) => match map.values().all(Value::is_string) {
            true => Ok(value.clone()),
            false => Err(vec![Refusal::new(top, format!("`{path}` must have a string for each name"))]),
        },
        (Shape::Object(inner) | Shape::TextOrObject(inner), Value::Object(map)) => judge_object(inner, top, path, map),
        (Shape::Bool, _) => wrong("true or false"),
        (Shape::Texts, _) => wrong("a list of strings"),
        (Shape::TextMap | Shape::Object(_) | Shape::Any, _) => wrong("an object"),
        (Shape::Amount, _) => wrong("a whole number or a string with a unit"),
        (Shape::TextOrNumber, _) => wrong("a string or a whole number"),
        (Shape::TextOrObject(_), _) => wrong("a string or an object"),
        _ => wrong("a string"),
    }
}

fn judge_word(
    top: &str,
    path: &str,
    word: &str,
    built: &'static [&'static str],
    later: &'static [&'static str],
) -> Result<Value, Vec<Refusal>> {
    let flat = spelling::flat(word);
    let named = |names: &'static [&'static str]| names.iter().find(|name| spelling::flat(name) == flat);
    if let Some(name) = named(built) {
        return Ok(Value::String((*name).to_owned()));
    }
    let text = match named(later) {
        Some(name) => format!("`{path}` {name} {LATER}; {} are", spelling::listed(built)),
        None => {
            let hint = spelling::did_you_mean(word, built.iter().chain(later).copied());
            format!("`{path}` cannot be {word:?}{}", if hint.is_empty() { one_of(built) } else { hint })
        }
    };
    Err(vec![Refusal::new(top, text)])
}

fn one_of(built: &[&str]) -> String {
    format!("; it is one of {}", spelling::listed(built))
}

fn judge_object(
    schema: &'static [Field],
    top: &str,
    path: &str,
    map: &Map<String, Value>,
) -> Result<Value, Vec<Refusal>> {
    let mut out = Map::new();
    let mut faults = Vec::new();
    for (name, value) in map {
        let Some(field) = schema.iter().find(|field| field.name == name) else { continue };
        if value.is_null() || field.standing == Standing::Answer {
            continue;
        }
        let path = format!("{path}.{name}");
        if field.standing == Standing::Later {
            faults.push(Refusal::new(top, format!("`{path}` {LATER}")));
            continue;
        }
        match judge(field, top, &path, value) {
            Ok(value) => {
                out.insert(name.clone(), value);
            }
            Err(found) => faults.extend(found),
        }
    }
    if faults.is_empty() { Ok(Value::Object(out)) } else { Err(faults) }
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(number) if number.is_u64() || number.is_i64() => "a number",
        Value::Number(_) => "a fraction",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}
