//! Request bodies: JSON of a known media type, read strictly.
//!
//! serde_json alone takes the last of two equal names, so that what a reviewer saw and what was applied could differ
//! (RFC 8259 §4 calls the outcome unpredictable). Here a name given twice is refused by name, and depth is bounded.

use std::{collections::BTreeSet, fmt};

use axum::{body::Bytes, extract::rejection::BytesRejection};
use bytes::BytesMut;
use http::{HeaderMap, header};
use http_body_util::BodyExt;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use super::answer::Refused;
use crate::{fault::Fault, limits};

/// The body of a request, or what axum could not read of it.
pub type Body = Result<Bytes, BytesRejection>;

/// The body as JSON.
///
/// # Errors
/// It is of another media type, or not JSON as described above.
pub fn json(headers: &HeaderMap, body: Body) -> Result<Value, Refused> {
    check_media_type(headers)?;
    Ok(parse(&body.map_err(|_| broken_off())?)?)
}

/// All of a body.
///
/// # Errors
/// It is too large; then as much of it as `discard` takes was read all the same. Or it broke off.
pub async fn read(mut body: axum::body::Body) -> Result<Bytes, Fault> {
    let mut bytes = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| broken_off())?.into_data() else { continue };
        if bytes.len() + data.len() > limits::REQUEST_BODY_BYTES_MAX {
            drop(bytes);
            discard(body).await;
            let text = format!("is too large; at most {} bytes are taken", limits::REQUEST_BODY_BYTES_MAX);
            return Err(Fault::invalid("request body", text));
        }
        bytes.extend_from_slice(&data);
    }
    Ok(bytes.freeze())
}

/// Reads what is left of a body, within bounds, and throws it away: a sender that is cut off while it still sends may
/// never see the answer (RFC 9112 §9.6).
pub async fn discard(mut body: axum::body::Body) {
    let all = async {
        let mut left = limits::REQUEST_DISCARD_BYTES_MAX;
        while let Some(Ok(frame)) = body.frame().await {
            let length = frame.data_ref().map_or(0, Bytes::len);
            match left.checked_sub(length) {
                Some(rest) => left = rest,
                None => return,
            }
        }
    };
    // Whoever is slower than that has lost the answer.
    let _ = tokio::time::timeout(limits::REQUEST_DISCARD_TIMEOUT, all).await;
}

fn broken_off() -> Fault {
    Fault::invalid("request body", "could not be read to its end")
}

/// A text as JSON without doubled names and not too deep.
///
/// # Errors
/// It is not; the text names the place and never quotes a value.
pub fn parse(bytes: &[u8]) -> Result<Value, Fault> {
    let fault = |error: serde_json::Error| Fault::invalid("request body", format!("is not JSON: {error}"));
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value = Strict { depth: 0 }.deserialize(&mut reader).map_err(fault)?;
    reader.end().map_err(fault)?;
    Ok(value)
}

/// JSON in all its names, nothing at all, or what curl says unasked: clients in the field do not always say it right.
fn check_media_type(headers: &HeaderMap) -> Result<(), Refused> {
    let Some(given) = headers.get(header::CONTENT_TYPE) else { return Ok(()) };
    let text = given.to_str().unwrap_or_default();
    let essence = text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let json = essence.strip_prefix("application/").is_some_and(|kind| kind == "json" || kind.ends_with("+json"));
    if json || essence == "application/x-www-form-urlencoded" {
        return Ok(());
    }
    let shown: String = essence.chars().filter(char::is_ascii_graphic).take(100).collect();
    Err(Refused::unsupported_media(format!("Content-Type `{shown}` is not taken; send application/json")))
}

/// Reads one value at a depth.
struct Strict {
    depth: usize,
}

impl Strict {
    fn deeper<E: Error>(&self) -> Result<Self, E> {
        if self.depth >= limits::JSON_DEPTH_MAX {
            return Err(E::custom(format_args!("more than {} levels deep", limits::JSON_DEPTH_MAX)));
        }
        Ok(Self { depth: self.depth + 1 })
    }
}

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Value, D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("a number out of range"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(self.deeper()?)? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        let mut twice = BTreeSet::new();
        while let Some(name) = entries.next_key::<String>()? {
            let value = entries.next_value_seed(self.deeper()?)?;
            if map.insert(name.clone(), value).is_some() {
                twice.insert(format!("`{}`", name.escape_debug().take(64).collect::<String>()));
            }
        }
        if !twice.is_empty() {
            let names: Vec<_> = twice.into_iter().collect();
            return Err(A::Error::custom(format_args!("{} given twice", names.join(", "))));
        }
        Ok(Value::Object(map))
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn text(body: &str) -> String {
        parse(body.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn what_is_given_twice_or_too_deep_is_refused_by_name() {
        assert_eq!(
            text(r#"{"name": "a", "file": {"b": 1, "b": 2, "c": 1, "c": 1}}"#),
            "request body: is not JSON: `b`, `c` given twice at line 1 column 54"
        );
        let deep = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        assert!(parse(deep(limits::JSON_DEPTH_MAX).as_bytes()).is_ok());
        assert!(text(&deep(limits::JSON_DEPTH_MAX + 1)).contains("more than 32 levels deep"));
        assert!(text(&"[".repeat(1 << 20)).contains("more than 32 levels deep"));
        assert!(text("{} {}").contains("trailing characters"));
        assert!(text("").contains("EOF"));
        assert!(text("1e999").contains("out of range"));
        assert!(!text(r#"{"keyPem": "secret", "keyPem": "secret"}"#).contains("secret"));
    }

    #[test]
    fn media_types() {
        for (given, taken) in [
            (None, true),
            (Some("application/json"), true),
            (Some("Application/JSON; charset=utf-8"), true),
            (Some("application/merge-patch+json"), true),
            (Some("application/x-www-form-urlencoded"), true),
            (Some("application/yaml"), false),
            (Some("text/plain"), false),
            (Some("multipart/form-data; boundary=x"), false),
            (Some(""), false),
        ] {
            let mut headers = HeaderMap::new();
            if let Some(given) = given {
                headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(given));
            }
            assert_eq!(check_media_type(&headers).is_ok(), taken, "{given:?}");
        }
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            any::<f64>().prop_filter("JSON has no others", |number| number.is_finite()).prop_map(Value::from),
            ".*".prop_map(Value::from),
        ];
        leaf.prop_recursive(5, 64, 8, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..8).prop_map(Value::from),
                prop::collection::btree_map(".*", inner, 0..8).prop_map(|map| json!(map)),
            ]
        })
    }

    proptest! {
        #[test]
        fn all_else_is_read_as_serde_json_reads_it(value in any_json()) {
            let text = value.to_string();
            let plain: Value = serde_json::from_str(&text).unwrap();
            prop_assert_eq!(parse(text.as_bytes()).unwrap(), plain);
        }

        #[test]
        fn no_text_makes_it_panic(text in ".{0,200}") {
            let strict = parse(text.as_bytes());
            if serde_json::from_str::<Value>(&text).is_err() {
                prop_assert!(strict.is_err());
            }
        }
    }
}
