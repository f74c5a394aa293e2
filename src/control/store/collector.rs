//! A collector object small enough to be written for the others.

use serde_json::{Map, Value};

use crate::limits;

/// Characters of one text that are left when a record is too large.
const TEXT_CHARS_MAX: usize = 120;
/// Items of one list or map that are left then.
const ITEMS_MAX: usize = 8;

/// The record as it is, or with its texts and lists cut so that it has at most `limits::COLLECTOR_BYTES_MAX` bytes.
pub fn fitted(record: &Value) -> Value {
    let fits = |record: &Value| record.to_string().len() <= limits::COLLECTOR_BYTES_MAX;
    let mut record = record.clone();
    let (mut chars, mut items) = (TEXT_CHARS_MAX, ITEMS_MAX);
    while !fits(&record) {
        if chars == 0 {
            // Nothing but names and numbers is left; what is this large has no business here.
            let id = record.get("id").cloned().unwrap_or_default();
            return Value::Object(Map::from_iter([("id".to_owned(), id)]));
        }
        for (name, value) in record.as_object_mut().into_iter().flatten() {
            if name != "id" {
                cut(value, chars, items);
            }
        }
        (chars, items) = (chars / 2, items / 2);
    }
    record
}

fn cut(value: &mut Value, chars: usize, items: usize) {
    match value {
        Value::String(text) => {
            if let Some((end, _)) = text.char_indices().nth(chars) {
                text.truncate(end);
                text.push('…');
            }
        }
        Value::Array(list) => {
            list.truncate(items);
            list.iter_mut().for_each(|item| cut(item, chars, items));
        }
        Value::Object(map) => {
            // A map of names loses its surplus; the fields of a known object are few and stay.
            let surplus: Vec<String> = map.keys().skip(items.max(5)).cloned().collect();
            surplus.iter().for_each(|name| {
                map.remove(name);
            });
            map.values_mut().for_each(|value| cut(value, chars, items));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_record_is_cut_to_its_size_and_keeps_its_fields() {
        let small = json!({"id": "n", "pipelineError": "x".repeat(500)});
        assert_eq!(fitted(&small), small);
        let component = json!({"localId": "t", "name": "t", "state": "UNHEALTHY", "message": "ü".repeat(900)});
        let last: Map<String, Value> =
            (0..64).map(|at| (format!("target-{at}"), json!("2026-01-01T00:00:00Z"))).collect();
        let large = json!({
            "id": "n", "lastSeen": "2026-02-24T15:46:29.123456789Z", "unhealthyComponents": vec![component; 90],
            "pipelineError": "x".repeat(9000), "lastDelivered": last, "revision": "7",
        });
        let small = fitted(&large);
        assert!(small.to_string().len() <= limits::COLLECTOR_BYTES_MAX);
        assert_eq!(small.as_object().unwrap().len(), large.as_object().unwrap().len());
        assert_eq!((&small["id"], &small["lastSeen"]), (&large["id"], &large["lastSeen"]));
        let hopeless = json!({"id": "n", "x": (0..999).map(|at| (at.to_string(), json!(1))).collect::<Map<_, _>>()});
        assert!(fitted(&hopeless).to_string().len() <= limits::COLLECTOR_BYTES_MAX);
    }
}
