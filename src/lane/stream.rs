//! Streams: every label set of a lane gets a number and is rendered once.

use std::collections::HashMap;

use crate::{
    limits::LABELS_MAX,
    model::Level,
    plan::{Input, Plan, SourcePlan},
    wire::loki::render_labels,
};

#[derive(Debug, Default)]
pub struct Streams {
    rendered: Vec<Box<str>>,
    numbers: HashMap<Box<str>, u32>,
}

impl Streams {
    /// The number of the stream of `source` at `level`.
    pub fn number(&mut self, plan: &Plan, source: &SourcePlan, level: Level) -> u32 {
        let rendered = labels(plan, source, level);
        if let Some(number) = self.numbers.get(rendered.as_str()) {
            return *number;
        }
        let number = self.rendered.len() as u32;
        self.rendered.push(rendered.as_str().into());
        self.numbers.insert(rendered.into(), number);
        number
    }

    /// The rendered labels of a stream.
    pub fn labels(&self, number: u32) -> &str {
        &self.rendered[number as usize]
    }
}

/// Labels are few and always the same (contract: cluster, node, source, service_name, level, plus static ones).
fn labels(plan: &Plan, source: &SourcePlan, level: Level) -> String {
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
    let own = source.labels.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let mut labels: Vec<(&str, &str)> = own.collect();
    for (name, value) in fixed {
        if !value.is_empty() && !labels.iter().any(|(own, _)| *own == name) {
            labels.push((name, value));
        }
    }
    debug_assert!(labels.len() <= LABELS_MAX);
    render_labels(&labels)
}
