//! What the documentation shows is true of this version: its commands are understood, its objects are good, the numbers
//! it promises are those in force, its links lead somewhere.

use std::{ffi::OsString, fs, path::Path, process::Command};

use clap::Parser;
use corelane::{
    cli::grammar::{self, Cli},
    limits,
};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every page with its path.
fn pages() -> Vec<(String, String)> {
    let mut paths = vec![root().join("README.md"), root().join("CHANGELOG.md"), root().join("BENCHMARKS.md")];
    let docs = fs::read_dir(root().join("docs")).unwrap().map(|entry| entry.unwrap().path());
    paths.extend(docs.filter(|path| path.extension().is_some_and(|ending| ending == "md")));
    paths.into_iter().map(|path| (path.display().to_string(), fs::read_to_string(&path).unwrap())).collect()
}

/// Command lines on lines of their own, as in a code block; a prompt, a comment and what a shell adds are left away.
fn commands(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter_map(|line| {
        let line = line.trim_start().trim_start_matches("$ ");
        let line = line.split(" #").next()?.split(" | ").next()?.split(" > ").next()?.trim_end();
        let verb = line.strip_prefix("corelane ")?;
        // Not its answer, which begins with the version.
        (!verb.starts_with(|letter: char| letter.is_ascii_digit()) && !line.contains('…')).then_some(line)
    })
}

/// Words as a shell would divide them, single quotes known.
fn words(line: &str) -> Vec<OsString> {
    let mut words = vec![String::new()];
    let mut quoted = false;
    for letter in line.chars() {
        match letter {
            '\'' => quoted = !quoted,
            ' ' if !quoted => words.push(String::new()),
            other => words.last_mut().unwrap().push(other),
        }
    }
    words.into_iter().map(OsString::from).collect()
}

#[test]
fn every_command_shown_is_understood() {
    let mut seen = 0;
    for (page, text) in pages() {
        for line in commands(&text) {
            let parsed = Cli::try_parse_from(grammar::understood(words(line).into_iter()));
            let error = parsed.err().filter(clap::Error::use_stderr);
            assert!(error.is_none(), "{page}: {line}\n{}", error.unwrap());
            seen += 1;
        }
    }
    assert!(seen > 10, "only {seen} commands found");
}

#[test]
fn every_object_shown_is_good() {
    let place = tempfile::tempdir().unwrap();
    let mut checked = vec![root().join("examples/conf.d")];
    for (page, text) in pages() {
        for (number, block) in text.split("```yaml\n").skip(1).enumerate() {
            let name = Path::new(&page).file_stem().unwrap().to_str().unwrap().to_owned();
            let file = place.path().join(format!("{name}-{number}.yaml"));
            fs::write(&file, block.split("```").next().unwrap()).unwrap();
            checked.push(file);
        }
    }
    assert!(checked.len() > 1, "no object found");
    for objects in checked {
        let output =
            Command::new(env!("CARGO_BIN_EXE_corelane")).args(["check", "--objects"]).arg(&objects).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && !said.contains(" 0 source(s), 0 target(s)"), "{objects:?}: {said}");
    }
}

/// The numbers people rely on stand in the page that promises them.
#[test]
fn the_promised_numbers_are_those_in_force() {
    let page = include_str!("../docs/delivery.md");
    let kib = |bytes: usize| format!("{} KiB", bytes >> 10);
    let seconds = |time: std::time::Duration| format!("{} s", time.as_secs());
    for (name, value) in [
        ("RESEND_BEYOND_QUEUE_BYTES", kib(limits::RESEND_BEYOND_QUEUE_BYTES)),
        ("RESEND_WINDOW_BYTES", kib(limits::RESEND_WINDOW_BYTES)),
        ("CHECKPOINT_SYNC_INTERVAL", seconds(limits::CHECKPOINT_SYNC_INTERVAL)),
        ("SYSLOG_SETTLE", seconds(limits::SYSLOG_SETTLE)),
        ("RELP_WINDOW_FRAMES", limits::RELP_WINDOW_FRAMES.to_string()),
        ("RELP_ANSWER_TIMEOUT", seconds(limits::RELP_ANSWER_TIMEOUT)),
        ("RELP_REFUSALS_MAX", limits::RELP_REFUSALS_MAX.to_string()),
        ("EVENT_TIME_SLACK", seconds(limits::EVENT_TIME_SLACK)),
        ("CATCH_UP_LAG", seconds(limits::CATCH_UP_LAG)),
        ("QUARANTINE_BYTES_MAX", format!("{} MiB", limits::QUARANTINE_BYTES_MAX >> 20)),
        ("QUARANTINE_FILE_BYTES", format!("{} MiB", limits::QUARANTINE_FILE_BYTES >> 20)),
        ("LOKI_SPAN", format!("{} min", limits::LOKI_SPAN.as_secs() / 60)),
        ("BACKOFF_MAX", seconds(limits::BACKOFF_MAX)),
        ("DRAIN_DEADLINE", seconds(limits::DRAIN_DEADLINE)),
        ("LOOK_BACK_BYTES", format!("{} KiB", limits::LOOK_BACK_BYTES >> 10)),
        ("ROTATED_QUIET", seconds(limits::ROTATED_QUIET)),
        ("PINNED_BYTES_MAX", format!("{} GiB", limits::PINNED_BYTES_MAX >> 30)),
        ("SPOOL_BYTES_MAX", format!("{} GiB", limits::SPOOL_BYTES_MAX >> 30)),
        ("SPOOL_FREE_PERCENT", format!("{} %", limits::SPOOL_FREE_PERCENT)),
        ("HEAD_CHECK_INTERVAL", seconds(limits::HEAD_CHECK_INTERVAL)),
    ] {
        assert!(page.contains(&format!("| `limits::{name}` | {value} |")), "{name} is {value}");
    }
}

#[test]
fn the_bounds_of_the_api_are_those_in_force() {
    let page = include_str!("../docs/api.md");
    let seconds = |time: std::time::Duration| format!("{} s", time.as_secs());
    let [first, second, third] = limits::EXPIRY_WARNING_DAYS;
    assert!(page.contains(&format!("warned of {first}, {second} and {third} days before its end")));
    let rate = |what: &str, each: u32, burst: u32| format!("{each} by {what}, {burst} at once");
    for (name, value) in [
        ("REQUEST_BODY_BYTES_MAX", format!("{} MiB", limits::REQUEST_BODY_BYTES_MAX >> 20)),
        ("API_REQUESTS_PER_SECOND", rate("caller", limits::API_REQUESTS_PER_SECOND, limits::API_REQUESTS_BURST)),
        (
            "API_STRANGERS_PER_SECOND",
            rate("address without a good token", limits::API_STRANGERS_PER_SECOND, limits::API_STRANGERS_BURST),
        ),
        ("API_CONNECTIONS_MAX", limits::API_CONNECTIONS_MAX.to_string()),
        ("API_CONNECTIONS_PER_ADDRESS_MAX", limits::API_CONNECTIONS_PER_ADDRESS_MAX.to_string()),
        ("API_HEADER_TIMEOUT", seconds(limits::API_HEADER_TIMEOUT)),
        ("API_IDLE_TIMEOUT", seconds(limits::API_IDLE_TIMEOUT)),
        ("API_REQUEST_TIMEOUT", seconds(limits::API_REQUEST_TIMEOUT)),
    ] {
        assert!(page.contains(&format!("| `limits::{name}` | {value}")), "{name} is {value}");
    }
    assert!(page.contains(&format!("`limits::TOKEN_LEEWAY_SECONDS`\n({} s)", limits::TOKEN_LEEWAY_SECONDS)));
}

#[test]
fn every_link_leads_somewhere() {
    for (page, text) in pages() {
        let directory = Path::new(&page).parent().unwrap();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let file = link.split('#').next().unwrap();
            let leads = link.starts_with("https://") || file.is_empty() || directory.join(file).exists();
            assert!(leads, "{page}: {link}");
        }
    }
}
