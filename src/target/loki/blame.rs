//! Who is meant by Loki's words about a refusal: label sets and entries, exactly or not at all.
//!
//! Words that do not fit what was sent (another version, a second writer of the stream) lead to no guess: then halves
//! are tried.

use std::{collections::HashSet, time::Duration};

use super::{
    answer::{Entries, Why},
    plain::{Cut, Plain},
    stream::after,
};
use crate::model::Nanos;

/// Whether Loki's words are about this label set. Reasons are shortened: a set that was cut is known by its beginning.
pub fn reason_names(reason: &str, labels: &str) -> bool {
    if reason.contains(labels) {
        return true;
    }
    let Some((_, shown)) = reason.split_once('{') else { return false };
    let shown = shown.trim_end_matches('…');
    reason.ends_with('…') && labels.len() > shown.len() && labels[1..].starts_with(shown)
}

/// Which entries of a stream the ingester refused, as runs; `None` when its words do not say exactly.
pub fn refused_entries(plain: &Plain, cut: &Cut, told: &Entries) -> Option<Vec<Cut>> {
    let times: Vec<Nanos> = plain.entries(cut).iter().map(|entry| entry.at.time).collect();
    let is_bad: Vec<bool> = match told.why {
        Why::Behind(Some(oldest)) => {
            // One bound holds for the whole push, since no push spans as much; it is told in whole seconds.
            let mut sorted = times.clone();
            sorted.sort_unstable();
            let last = *sorted.get(told.ignored.checked_sub(1)?)?;
            let next = sorted.get(told.ignored).copied().unwrap_or(Nanos(i64::MAX));
            if last >= after(oldest, Duration::from_secs(1)) || next < oldest || next == last {
                return None;
            }
            times.iter().map(|time| *time <= last).collect()
        }
        _ if told.ignored == told.listed.len() && told.ignored > 0 => {
            let listed: HashSet<Nanos> = told.listed.iter().copied().collect();
            times.iter().map(|time| listed.contains(time)).collect()
        }
        _ => return None,
    };
    if is_bad.iter().filter(|bad| **bad).count() != told.ignored {
        return None;
    }
    let mut runs: Vec<Cut> = Vec::new();
    for (index, _) in cut.entries.clone().zip(&is_bad).filter(|(_, bad)| **bad) {
        match runs.last_mut() {
            Some(run) if run.entries.end == index => run.entries.end += 1,
            _ => runs.push(Cut { stream: cut.stream, entries: index..index + 1 }),
        }
    }
    Some(runs)
}

/// What is left of a cut without `runs`, which are parts of it in order.
pub fn others(cut: &Cut, runs: &[Cut]) -> Vec<Cut> {
    let mut left = Vec::new();
    let mut at = cut.entries.start;
    for run in runs {
        if at < run.entries.start {
            left.push(Cut { stream: cut.stream, entries: at..run.entries.start });
        }
        at = run.entries.end;
    }
    if at < cut.entries.end {
        left.push(Cut { stream: cut.stream, entries: at..cut.entries.end });
    }
    left
}
