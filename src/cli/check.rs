//! `corelane check`: judges configuration, objects and this machine as `run` would find them, without running.
//!
//! Object files given by `--objects` are judged alone: they may be on their way to other machines.

use std::{path::Path, process::ExitCode};

use super::{
    environment,
    grammar::{Access, CheckFlags},
    print,
    screen::Screen,
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
    for complaint in &plan.complaints {
        print::out(&format!("{}\n", print::plain(&worded(complaint))))?;
    }
    let mut good = plan.complaints.is_empty();
    if good {
        let bundles = found.iter().filter(|object| object.kind() == Kind::TlsBundle).count();
        let (sources, targets) = (plan.sources.len(), plan.targets.len());
        print::out(&format!(
            "good: node {}, {sources} source(s), {targets} target(s), {bundles} tls-bundle(s)\n",
            config.node
        ))?;
    }
    if flags.objects.is_empty() {
        let findings = environment::judge(&config, &plan);
        good &= findings.iter().all(|finding| finding.verdict != environment::Verdict::Fail);
        print::out(&format!("\n{}", environment::render(findings, &Screen::stdout(access))))?;
    }
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
