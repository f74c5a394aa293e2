//! Documents without their secrets, and the way back: what `export` writes and `apply` reads.
//!
//! A secret is never shown; where one is, a placeholder stands. Written back, the placeholder means the secret that is
//! kept already. Where none is kept it is refused by name, so that it never becomes a password itself.

use serde_json::{Map, Value};

use super::{
    Document, Kind, Reading,
    schema::{Field, Shape},
    spelling,
};

/// Stands for a secret that is not shown.
pub const PLACEHOLDER: &str = "<secret>";
/// Stands for a secret that is another than the one it is compared with; only shown, never read.
pub const PLACEHOLDER_CHANGED: &str = "<secret, changed>";

impl Document {
    /// The fields as written, with a placeholder for each secret.
    pub fn masked(&self) -> Map<String, Value> {
        masked(self.kind().schema(), self.fields(), None)
    }

    /// As `masked`, and of a secret that `before` had otherwise it says so.
    pub fn masked_beside(&self, before: &Self) -> Map<String, Value> {
        masked(self.kind().schema(), self.fields(), Some(before.fields()))
    }

    /// As `read`, with the secrets of `before` where the body has placeholders.
    pub fn read_keeping(kind: Kind, body: &Value, before: Option<&Self>) -> Reading {
        match (body, before) {
            (Value::Object(fields), Some(before)) => {
                Self::read(kind, &Value::Object(restored(kind.schema(), fields, before.fields())))
            }
            _ => Self::read(kind, body),
        }
    }
}

fn masked(
    schema: &'static [Field],
    map: &Map<String, Value>,
    before: Option<&Map<String, Value>>,
) -> Map<String, Value> {
    let mask = |(name, value): (&String, &Value)| {
        let old = before.and_then(|before| before.get(name));
        let shown = match (schema.iter().find(|field| field.name == name).map(|field| &field.shape), value) {
            (Some(Shape::Secret), _) if old.is_some_and(|old| old != value) => Value::from(PLACEHOLDER_CHANGED),
            (Some(Shape::Secret), _) => Value::from(PLACEHOLDER),
            (Some(Shape::Object(inner)), Value::Object(map)) => {
                Value::Object(masked(inner, map, old.and_then(Value::as_object)))
            }
            _ => value.clone(),
        };
        (name.clone(), shown)
    };
    map.iter().map(mask).collect()
}

fn restored(schema: &'static [Field], map: &Map<String, Value>, before: &Map<String, Value>) -> Map<String, Value> {
    let restore = |(name, value): (&String, &Value)| {
        let field = schema.iter().find(|field| field.name == spelling::camel(name));
        let old = field.and_then(|field| before.get(field.name));
        let kept = match (field.map(|field| &field.shape), value, old) {
            (Some(Shape::Secret), Value::String(text), Some(old)) if text == PLACEHOLDER => old.clone(),
            (Some(Shape::Object(inner)), Value::Object(map), Some(Value::Object(old))) => {
                Value::Object(restored(inner, map, old))
            }
            _ => value.clone(),
        };
        (name.clone(), kept)
    };
    map.iter().map(restore).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn target(body: Value) -> Document {
        let reading = Document::read(Kind::Target, &body);
        assert_eq!(reading.refusals, []);
        reading.document
    }

    #[test]
    fn what_is_masked_and_read_back_is_what_it_was() {
        let body = json!({"name": "t", "basicAuth": {"username": "u", "password": "p"}, "bearerToken": "b"});
        let kept = target(body);
        let shown = Value::Object(kept.masked());
        assert_eq!(
            shown,
            json!({"name": "t", "basicAuth": {"username": "u", "password": "<secret>"}, "bearerToken": "<secret>"})
        );
        let back = Document::read_keeping(Kind::Target, &shown, Some(&kept));
        assert_eq!((back.refusals, back.document == kept), (vec![], true));
        let snake = json!({"name": "t", "basic_auth": {"username": "u", "password": "<secret>"}, "bearer_token": "c"});
        let back = Document::read_keeping(Kind::Target, &snake, Some(&kept)).document;
        let beside = Value::Object(back.masked_beside(&kept));
        assert_eq!(
            (&beside["basicAuth"]["password"], &beside["bearerToken"]),
            (&json!("<secret>"), &json!("<secret, changed>"))
        );
    }

    #[test]
    fn a_placeholder_is_never_a_secret() {
        let shown = json!({"name": "t", "bearerToken": "<secret>"});
        for before in [None, Some(target(json!({"name": "t"})))] {
            let back = Document::read_keeping(Kind::Target, &shown, before.as_ref());
            assert!(back.refusals[0].text.starts_with("`bearerToken` is the placeholder"), "{:?}", back.refusals);
        }
    }
}
