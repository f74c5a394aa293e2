//! Objects as YAML documents, and the difference between two of them as diff(1) shows it, unified.

use serde_json::Value;
use similar::TextDiff;

use super::{
    print,
    screen::{Screen, Tone},
};

/// Lines around a change that are shown.
const CONTEXT: usize = 3;

/// One object as `apply` reads it: kind and name first, then its fields in order.
pub fn document(object: &Value) -> String {
    let mut out = String::new();
    let fields = object.as_object();
    let first = ["kind", "name"].into_iter().filter_map(|name| Some((name, object.get(name)?)));
    let rest = fields.into_iter().flatten().filter(|(name, _)| !["kind", "name"].contains(&name.as_str()));
    for (name, value) in first.chain(rest.map(|(name, value)| (name.as_str(), value))) {
        let mut one = serde_json::Map::new();
        one.insert(name.to_owned(), value.clone());
        out.push_str(&print::yaml(&Value::Object(one)).unwrap_or_default());
    }
    out
}

/// The difference one change would make; nothing when it would make none.
pub fn change(change: &Value, screen: &Screen) -> String {
    let (kind, name) = (change["kind"].as_str().unwrap_or_default(), change["name"].as_str().unwrap_or_default());
    let side = |side: &str| if change[side].is_null() { String::new() } else { document(&change[side]) };
    let label = |side: &str, shown: &str| {
        if change[side].is_null() { "/dev/null".to_owned() } else { format!("{shown}/{kind}/{name}") }
    };
    let text = unified(&side("before"), &side("after"), &label("before", "in-force"), &label("after", "files"));
    text.lines().map(|line| format!("{}\n", painted(line, screen))).collect()
}

fn unified(before: &str, after: &str, before_label: &str, after_label: &str) -> String {
    let diff = TextDiff::from_lines(before, after);
    diff.unified_diff().context_radius(CONTEXT).header(before_label, after_label).to_string()
}

fn painted(line: &str, screen: &Screen) -> String {
    let tone = match line.as_bytes().first() {
        _ if line.starts_with("--- ") || line.starts_with("+++ ") => Tone::Heading,
        Some(b'+') => Tone::Good,
        Some(b'-') => Tone::Bad,
        Some(b'@') => Tone::Place,
        _ => Tone::Plain,
    };
    screen.paint(tone, &print::plain(line))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_document_begins_with_what_it_is() {
        let object = json!({"enabled": true, "name": "a", "file": {"paths": ["/a"]}, "kind": "source"});
        assert_eq!(document(&object), "kind: source\nname: a\nenabled: true\nfile:\n  paths:\n  - /a\n");
    }

    #[test]
    fn a_change_is_a_unified_diff() {
        let side = |level: &str| json!({"name": "a", "minLevel": level});
        let changed = json!({"kind": "source", "name": "a", "before": side("info"), "after": side("warn")});
        assert_eq!(
            change(&changed, &Screen::plain()),
            "--- in-force/source/a\n+++ files/source/a\n@@ -1,2 +1,2 @@\n name: a\n-minLevel: info\n+minLevel: warn\n"
        );
        let created = json!({"kind": "source", "name": "a", "before": null, "after": side("info")});
        assert!(change(&created, &Screen::plain()).starts_with("--- /dev/null\n+++ files/source/a\n@@ -0,0 +1,2 @@\n"));
        let same = json!({"kind": "source", "name": "a", "before": side("info"), "after": side("info")});
        assert_eq!(change(&same, &Screen::plain()), "");
        assert!(change(&changed, &Screen::terminal(80)).contains("\u{1b}[32m+minLevel: warn\u{1b}[0m"));
    }
}
