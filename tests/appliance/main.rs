//! The built binary against real peers: killed, stopped, starved, misled, and held to what it promises.
//!
//! Each test has a directory, ports and children of its own and waits for conditions, never for a time to pass. The
//! peers are those of `corelane-perf` (a Loki and a syslog receiver that follow numbered lines), Debian's rsyslogd and
//! systemd's journal writer.

mod apart;
mod change;
#[path = "../common/mod.rs"]
#[allow(dead_code, reason = "each suite takes what it needs")]
mod common;
mod cut;
mod deleted;
mod filtered;
mod full;
mod interop;
mod journal;
mod kill;
mod line;
mod node;
mod outage;
mod peer;
mod refusal;
mod rotation;
mod routing;
mod rsyslogd;
mod soak;
mod stop;
mod tenant;
