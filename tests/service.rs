//! The service as systemd sees it: what the shipped unit grants is what the binary needs, and the binary says when it
//! is ready and when it stops.

use std::{
    collections::BTreeMap,
    os::unix::net::UnixDatagram,
    process::{Child, Command, Stdio},
    time::Duration,
};

use clap::Parser;
use corelane::{
    appliance::DESCRIPTORS_WANTED,
    cli::grammar::Cli,
    config::node::{CONFIG_FILE, STATE_DIR},
    control::keys::RUNTIME_DIR,
    limits,
};

const UNIT: &str = include_str!("../systemd/corelane.service");
const SYSUSERS: &str = include_str!("../systemd/corelane.sysusers");

/// The last value of each setting.
fn settings() -> BTreeMap<&'static str, &'static str> {
    UNIT.lines().filter(|line| !line.starts_with(['#', '['])).filter_map(|line| line.split_once('=')).collect()
}

/// `30s`, `64M` or `512` as a number, the suffix as a factor.
fn amount(text: &str) -> u128 {
    let digits = text.trim_end_matches(|letter: char| !letter.is_ascii_digit());
    let factor = match &text[digits.len()..] {
        "" | "s" => 1,
        "M" => 1024 * 1024,
        other => panic!("unknown suffix {other:?}"),
    };
    digits.parse::<u128>().unwrap() * factor
}

#[test]
fn the_unit_grants_what_the_binary_needs() {
    let settings = settings();
    let longest = limits::DRAIN_DEADLINE + limits::API_DRAIN_DEADLINE + limits::RING_DRAIN;
    assert!(amount(settings["TimeoutStopSec"]) > u128::from(longest.as_secs()), "killed while it drains");
    assert!(amount(settings["LimitNOFILE"]) >= DESCRIPTORS_WANTED as u128);
    assert!(amount(settings["TasksMax"]) > (limits::EGRESS_BLOCKING_THREADS_MAX + limits::LANES_MAX) as u128);
    let queues = 20 * limits::QUEUE_BYTES;
    assert!(amount(settings["MemoryMax"]) >= (limits::MEMORY_POOLS_BYTES + queues) as u128, "docs/systemd.md says so");
    assert_eq!((settings["Type"], settings["LimitCORE"]), ("notify", "0"));
    for (directory, below) in [("StateDirectory", "/var/lib"), ("RuntimeDirectory", "/run")] {
        let real = format!("{below}/{}", settings[directory]);
        assert!([STATE_DIR, RUNTIME_DIR].contains(&real.as_str()), "{real}");
    }
    assert!(CONFIG_FILE.starts_with(&format!("/etc/{}/", settings["ConfigurationDirectory"])));
    assert!(SYSUSERS.contains(&format!("u {} ", settings["User"])));
    Cli::try_parse_from(settings["ExecStart"].split(' ')).expect("the command line is understood");
}

/// Killed when the test is over.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // Gone already is as good.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn systemd_hears_of_start_and_stop() {
    let place = tempfile::tempdir().unwrap();
    let socket = place.path().join("notify");
    let systemd = UnixDatagram::bind(&socket).unwrap();
    // Only so that a defect does not hang the suite.
    systemd.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let child = Command::new(env!("CARGO_BIN_EXE_corelane"))
        .args(["run", "--dev", "--state-dir"])
        .arg(place.path())
        .env("NOTIFY_SOCKET", &socket)
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut running = Running(child);
    let heard = || {
        let mut buffer = [0; 4096];
        let length = systemd.recv(&mut buffer).expect("systemd hears something");
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    };
    assert!(heard().lines().any(|line| line == "READY=1"));
    let pid = rustix::process::Pid::from_child(&running.0);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert!(heard().lines().any(|line| line == "STOPPING=1"));
    assert_eq!(running.0.wait().unwrap().code(), Some(0));
}
