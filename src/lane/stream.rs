//! Streams: every label set of a lane gets a number and is rendered once.
//!
//! There may be only so many: a Loki refuses new streams beyond its limit, and their lines would wait for ever. Those
//! that come later keep the core labels and carry their others as structured metadata.

use std::collections::HashMap;

use crate::{
    limits::LABELS_MAX,
    model::Level,
    plan::{Input, Plan, SourcePlan, TargetKind},
    wire::loki::render_labels,
};

#[derive(Debug, Default)]
pub struct Streams {
    rendered: Vec<Rendered>,
    numbers: HashMap<Box<str>, u32>,
    /// Beyond so many, streams have the core labels only.
    most: usize,
    /// Lines whose other labels went along as structured metadata.
    folded_lines: u64,
}

#[derive(Debug)]
struct Rendered {
    labels: Box<str>,
    folded: bool,
}

impl Streams {
    /// None yet. The Loki target that takes fewest streams (`limits.streams`) decides how many there may be: targets
    /// share their batches.
    pub fn new(plan: &Plan) -> Self {
        let most = plan.targets.iter().filter(|target| target.enabled).filter_map(|target| match &target.kind {
            TargetKind::Loki(loki) => Some(loki.limits.streams),
            TargetKind::Syslog(_) | TargetKind::Console(_) => None,
        });
        Self { most: most.min().unwrap_or(usize::MAX), ..Self::default() }
    }

    /// The number of the stream of `source` at `level`.
    pub fn number(&mut self, plan: &Plan, source: &SourcePlan, level: Level) -> u32 {
        let rendered = labels(plan, source, level, &source.labels);
        if let Some(number) = self.numbers.get(rendered.as_str()) {
            return *number;
        }
        let folded = self.rendered.len() >= self.most && !source.labels.is_empty();
        let rendered = if folded { labels(plan, source, level, &[]) } else { rendered };
        *self.numbers.entry(rendered.as_str().into()).or_insert_with(|| {
            self.rendered.push(Rendered { labels: rendered.into(), folded });
            self.rendered.len() as u32 - 1
        })
    }

    /// Whether the stream has lost its own labels to the limit: they go along as metadata, and the line is counted.
    #[inline]
    pub fn folds(&mut self, number: u32) -> bool {
        let folded = self.rendered[number as usize].folded;
        self.folded_lines += u64::from(folded);
        folded
    }

    /// In words, when there are more streams than there may be.
    pub fn trouble(&self) -> Option<String> {
        let folded = self.rendered.iter().filter(|stream| stream.folded).count();
        (folded > 0).then(|| {
            format!(
                "{folded} streams beyond the {} of `limits.streams` have the core labels only; of {} lines the others \
                 went along as metadata",
                self.most, self.folded_lines
            )
        })
    }

    /// The rendered labels of a stream.
    pub fn labels(&self, number: u32) -> &str {
        &self.rendered[number as usize].labels
    }
}

/// Labels are few and always the same (contract: cluster, node, source, service_name, level, plus static ones).
fn labels(plan: &Plan, source: &SourcePlan, level: Level, own: &[(String, String)]) -> String {
    let service = match &source.input {
        Input::Journal(journal) => journal.identifier.as_deref().unwrap_or(&source.name),
        Input::File(_) => &source.name,
    };
    let fixed = [
        ("cluster", plan.cluster.as_str()),
        ("node", plan.node.as_str()),
        ("source", source.name.as_str()),
        ("service_name", service),
        ("level", level.as_str()),
    ];
    let own = own.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let mut labels: Vec<(&str, &str)> = own.collect();
    for (name, value) in fixed {
        if !value.is_empty() && !labels.iter().any(|(own, _)| *own == name) {
            labels.push((name, value));
        }
    }
    debug_assert!(labels.len() <= LABELS_MAX);
    render_labels(&labels)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::lane::tests::world;

    #[test]
    fn streams_beyond_the_limit_keep_the_core_labels() {
        let mut plan = Plan::empty("c1", "n1");
        let mut target = world::target("loki");
        if let TargetKind::Loki(loki) = &mut target.kind {
            loki.limits.streams = 2;
        }
        plan.targets.push(Arc::new(target));
        let mut source = world::source();
        source.labels = vec![("team".to_owned(), "a".to_owned())];
        let mut streams = Streams::new(&plan);
        let numbers = [Level::Info, Level::Warn, Level::Error].map(|level| streams.number(&plan, &source, level));
        assert_eq!(numbers.map(|number| streams.labels(number).contains("team")), [true, true, false]);
        assert_eq!(numbers.map(|number| streams.folds(number)), [false, false, true]);
        assert_eq!(streams.number(&plan, &source, Level::Error), numbers[2], "the same every time");
        assert!(streams.trouble().is_some_and(|words| words.contains("1 streams") && words.contains("of 1 lines")));
    }
}
