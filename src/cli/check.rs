//! `corelane check`: judges configuration, objects and this machine as `run` would find them, without running.
//!
//! Object files given by `--objects` are judged alone: they may be on their way to other machines.

use std::{path::Path, process::ExitCode};

use serde_json::{Value, json};

use super::{
    environment,
    grammar::{Access, CheckFlags},
    print,
};
use crate::{
    config::{Kind, NodeConfig, Object, ObjectDirectory, compile, node::Overrides, objects},
    fault::Fault,
    plan::Complaint,
};

/// Prints every complaint and a table of what the machine offers; the code is 1 when an object is complained of or
/// `run` would not start.
///
/// # Errors
/// Stdout cannot be written.
pub fn check(flags: &CheckFlags, access: &Access) -> Result<ExitCode, Fault> {
    let overrides = Overrides { state_dir: access.state_dir.clone(), ..Overrides::default() };
    let config = match NodeConfig::load(flags.config.as_deref(), &overrides) {
        Ok(config) => config,
        Err(faults) => {
            faults.iter().for_each(print::error);
            return Ok(ExitCode::FAILURE);
        }
    };
    let mut paths = flags.objects.clone();
    if paths.is_empty() {
        paths.extend(config.objects.clone());
    }
    let (mut found, mut complaints) = (Vec::new(), Vec::new());
    for path in &paths {
        let (more, worse) = read(path);
        found.extend(more);
        complaints.extend(worse);
    }
    let plan = compile(0, &found, complaints, None, &config.site());
    let findings = if flags.objects.is_empty() { environment::judge(&config, &plan) } else { Vec::new() };
    let good =
        plan.complaints.is_empty() && findings.iter().all(|finding| finding.verdict != environment::Verdict::Fail);
    let bundles = found.iter().filter(|object| object.kind() == Kind::TlsBundle).count();
    let complaints: Vec<Value> = plan
        .complaints
        .iter()
        .map(|complaint| json!({"kind": complaint.kind, "name": complaint.name, "text": complaint.text}))
        .collect();
    let verdict = json!({
        "good": good, "node": config.node, "sources": plan.sources.len(), "targets": plan.targets.len(),
        "tlsBundles": bundles, "complaints": complaints,
        "machine": findings.iter().map(environment::Finding::told).collect::<Vec<_>>(),
    });
    print::value(access, &verdict, |_, screen| {
        let mut out: String =
            plan.complaints.iter().map(|complaint| format!("{}\n", print::plain(&worded(complaint)))).collect();
        if plan.complaints.is_empty() {
            let (sources, targets) = (plan.sources.len(), plan.targets.len());
            let node = &config.node;
            out = format!("good: node {node}, {sources} source(s), {targets} target(s), {bundles} tls-bundle(s)\n");
        }
        if !findings.is_empty() {
            out.push_str(&format!("\n{}", environment::render(findings, screen)));
        }
        out
    })?;
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn read(path: &Path) -> (Vec<Object>, Vec<Complaint>) {
    if path.is_dir() {
        let mut directory = ObjectDirectory::new(path.to_owned());
        directory.poll(0);
        return (directory.objects().cloned().collect(), directory.complaints());
    }
    objects::read_file(path)
}

fn worded(complaint: &Complaint) -> String {
    match complaint.name.as_str() {
        "" => format!("{}: {}", complaint.kind, complaint.text),
        name => format!("{} {name}: {}", complaint.kind, complaint.text),
    }
}
