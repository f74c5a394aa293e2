//! Valid JSON, read by serde_json and judged by the plainest reading of the contract.

use std::fmt;

use std::collections::BTreeSet;

use proptest::prelude::*;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value;

use super::*;

/// The members of an object in the order written, repeated names included.
struct Members(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Members;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Members, M::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(InOrder)
    }
}

/// What the contract says of a line, told without regard to speed.
#[derive(Debug, Default, PartialEq)]
struct Expected {
    level: Option<Level>,
    time: Option<Nanos>,
    message: Option<String>,
    fields: Vec<(String, String)>,
}

fn expected(text: &str) -> Expected {
    let Members(members) = serde_json::from_str(text).unwrap();
    let mut all = Expected::default();
    for (name, value) in &members {
        match name.as_str() {
            "level" | "lvl" | "severity" | "L" => {
                all.level = all.level.or_else(|| value.as_str().and_then(expected_level));
            }
            "ts" | "time" | "timestamp" | "@timestamp" | "T" => all.time = all.time.or_else(|| expected_time(value)),
            "msg" | "message" | "M" if all.message.is_none() => all.message = value.as_str().map(str::to_owned),
            "N" | "C" if all.message.is_some() => {}
            "logger" | "N" => all.field("logger", value),
            "caller" | "C" => all.field("caller", value),
            "trace_id" | "span_id" | "request_id" => all.field(name, value),
            _ => {}
        }
    }
    all
}

impl Expected {
    fn field(&mut self, name: &str, value: &Value) {
        let text = match value {
            Value::String(text) if !text.is_empty() => text.clone(),
            Value::Number(number) => number.to_string(),
            _ => return,
        };
        if !self.fields.iter().any(|(given, _)| given == name) {
            self.fields.push((name.to_owned(), text));
        }
    }
}

/// A word, or a word and a step of digits as slog writes it. (`Level(-2)` is beyond what the generator hits.)
fn expected_level(word: &str) -> Option<Level> {
    let stepped = || {
        let (base, step) = word.split_once(['+', '-'])?;
        let is_step = !step.is_empty() && step.bytes().all(|byte| byte.is_ascii_digit());
        Level::parse(base.as_bytes()).filter(|_| is_step)
    };
    Level::parse(word.as_bytes()).or_else(stepped)
}

/// Integers by magnitude and dates by jiff; the generator writes no others. Fractions are tested in `decode::time`.
fn expected_time(value: &Value) -> Option<Nanos> {
    match value {
        Value::Number(number) => {
            let number = number.as_i64()?;
            let unit = match number {
                100_000_000..100_000_000_000 => 1_000_000_000,
                100_000_000_000..100_000_000_000_000 => 1_000_000,
                100_000_000_000_000..100_000_000_000_000_000 => 1_000,
                100_000_000_000_000_000.. => 1,
                _ => return None,
            };
            number.checked_mul(unit).map(Nanos)
        }
        Value::String(text) => {
            let time: jiff::Timestamp = text.parse().ok()?;
            i64::try_from(time.as_nanosecond()).ok().map(Nanos)
        }
        _ => None,
    }
}

fn any_name() -> impl Strategy<Value = String> {
    let known = prop::sample::select(vec![
        "level",
        "lvl",
        "severity",
        "L",
        "ts",
        "time",
        "timestamp",
        "@timestamp",
        "T",
        "msg",
        "message",
        "M",
        "logger",
        "N",
        "caller",
        "C",
        "stacktrace",
        "S",
        "trace_id",
        "span_id",
        "request_id",
        "volume_id",
        "device_id",
        "controller",
        "Level",
        "",
    ]);
    prop_oneof![8 => known.prop_map(str::to_owned), 1 => "\\PC{0,12}", 1 => any::<String>()]
}

fn any_time() -> impl Strategy<Value = Value> {
    let in_order = 0i64..i64::MAX;
    prop_oneof![
        prop::sample::select(vec![1i64, 1_000, 1_000_000, 1_000_000_000])
            .prop_map(|unit| Value::from(1_771_947_989_123_456_789 / unit)),
        any::<i64>().prop_map(Value::from),
        in_order.prop_map(|nanos| Value::from(jiff::Timestamp::from_nanosecond(nanos.into()).unwrap().to_string())),
    ]
}

fn any_value() -> impl Strategy<Value = Value> {
    let words = [
        "info", "WARN", "Error", "debug", "fatal", "INFO+2", "ERROR-1", "n+", "w-", "E+1x", "notice", "loud", "",
        "in\"fo", "inf\no",
    ];
    let leaf = prop_oneof![
        4 => prop::sample::select(words.to_vec()).prop_map(Value::from),
        3 => any_time(),
        2 => "[ -~]{0,50}".prop_map(Value::from),
        1 => any::<String>().prop_map(Value::from),
        1 => any::<bool>().prop_map(Value::from),
        1 => Just(Value::Null),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((any_name(), inner), 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

/// An object as a text, with or without blanks. Starts as zap's lines do in half of the cases.
fn any_object() -> impl Strategy<Value = String> {
    let zap = vec![
        ("level".to_owned(), Value::from("info")),
        ("ts".to_owned(), Value::from(1_771_947_989)),
        ("msg".to_owned(), Value::from("connected")),
    ];
    let members = prop::collection::vec((any_name(), any_value()), 1..8);
    (prop_oneof![Just(vec![]), Just(zap)], members, prop::sample::select(vec!["", " ", "\t\r\n "])).prop_map(
        |(mut members, more, blank)| {
            members.extend(more);
            let members: Vec<String> = members
                .iter()
                .map(|(name, value)| format!("{blank}{}{blank}:{blank}{value}{blank}", Value::from(name.as_str())))
                .collect();
            format!("{{{}}}", members.join(","))
        },
    )
}

/// The text a span of the frame stands for.
fn unescaped(span: &[u8]) -> String {
    let text = std::str::from_utf8(span).unwrap();
    serde_json::from_str(&format!("\"{text}\"")).unwrap()
}

fn check(text: &str, frame: &[u8]) -> Result<(), TestCaseError> {
    let expected = expected(text);
    let found = decoded(Format::ZapJson, frame);
    prop_assert_eq!(found.level, expected.level.unwrap_or_default());
    prop_assert_eq!(found.time, expected.time);
    let parsed = expected.level.is_some() || expected.time.is_some() || expected.message.is_some();
    prop_assert_eq!(found.parsed, parsed);
    match expected.message {
        Some(message) => prop_assert_eq!(unescaped(found.message), message),
        None => prop_assert_eq!(found.message, frame),
    }
    let fields: BTreeSet<(String, String)> =
        found.fields.iter().map(|field| (field.name.to_owned(), unescaped(field.value))).collect();
    prop_assert_eq!(fields, expected.fields.into_iter().collect());
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn an_object_says_what_serde_json_says(text in any_object()) {
        check(&text, text.as_bytes())?;
    }

    #[test]
    fn text_around_it_changes_nothing(text in any_object(), before in "[ -z]{0,20}", after in "[ -~]{0,20}") {
        prop_assume!(!text.starts_with("{}"));
        check(&text, format!("{before}{text}{after}").as_bytes())?;
    }

    /// Cut anywhere, an object is never taken for a whole one, and what was whole before the cut still counts.
    #[test]
    fn cut_short_it_is_unparsed(text in any_object(), at in any::<prop::sample::Index>()) {
        let cut = &text.as_bytes()[..at.index(text.len())];
        let (part, whole) = (decoded(Format::ZapJson, cut), expected(&text));
        prop_assert!(!part.parsed);
        prop_assert_eq!(part.message, cut);
        prop_assert!(part.level == Level::Unknown || Some(part.level) == whole.level);
        prop_assert!(part.time.is_none() || part.time == whole.time);
    }
}
