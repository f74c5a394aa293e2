//! The planted bugs still fit: each text stands in its file exactly once. Whether they are caught is for
//! `scripts/planted`, which takes longer.

// What writes the record is for the tool.
#[allow(dead_code)]
#[path = "lives/src/planted.rs"]
mod planted;

use std::{collections::BTreeSet, fs, path::Path};

#[test]
fn every_planted_bug_fits_the_source() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let list = fs::read_to_string(root.join(planted::LIST)).expect("the list");
    let all = planted::parse(&list).expect("a list");
    assert!(all.len() >= 25, "only {} bugs", all.len());
    let mut wrong = Vec::new();
    for bug in &all {
        let source = fs::read_to_string(root.join(&bug.file)).unwrap_or_default();
        match bug.plant(&source) {
            Ok(planted) if planted == source => wrong.push(format!("{}: changes nothing", bug.name)),
            Ok(_) if bug.breaks.is_empty() => wrong.push(format!("{}: does not say what it breaks", bug.name)),
            Ok(_) => {}
            Err(why) => wrong.push(why),
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");

    let record = fs::read_to_string(root.join(planted::CAUGHT)).expect("the record");
    let recorded: BTreeSet<&str> = planted::recorded(&record).collect();
    let known: BTreeSet<&str> = all.iter().map(|bug| bug.name.as_str()).collect();
    let gone: Vec<&&str> = recorded.difference(&known).collect();
    assert!(gone.is_empty(), "recorded and not in the list any more: {gone:?}");
}
