//! What people type before it is parsed: dashes that a text processor made longer, the word `logs`.

use std::ffi::OsString;

/// Arguments with long dashes made two again, and without the word `logs` after a verb.
pub fn understood(args: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let args: Vec<OsString> = args.map(with_plain_dashes).collect();
    let is_verb = |word: &OsString| ["create", "list", "get", "update", "delete"].iter().any(|verb| word == verb);
    let logs = (1..args.len()).find(|index| args[*index] == "logs" && is_verb(&args[index - 1]));
    args.iter().enumerate().filter(|(index, _)| Some(*index) != logs).map(|(_, arg)| arg.clone()).collect()
}

/// `–name`, `—name` and `−name` → `--name`; `–J` → `-J`.
fn with_plain_dashes(arg: OsString) -> OsString {
    const DASHES: [char; 3] = ['\u{2013}', '\u{2014}', '\u{2212}'];
    let Some(text) = arg.to_str() else { return arg };
    if !text.starts_with(DASHES) {
        return arg;
    }
    let rest = text.trim_start_matches(|letter| DASHES.contains(&letter) || letter == '-');
    let short = rest.split('=').next().is_some_and(|name| name.chars().count() == 1);
    OsString::from(format!("{}{rest}", if short { "-" } else { "--" }))
}
