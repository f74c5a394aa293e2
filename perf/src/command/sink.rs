//! `corelane-perf sink loki` and `corelane-perf sink syslog`.

use std::{
    fs,
    net::SocketAddr,
    ops::Range,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use clap::{Args, Subcommand, ValueEnum};
use corelane_perf::{
    loki::{Limits, LokiOptions, LokiSink, Stored},
    net::ServerTls,
    syslog::{Framing, Message, SyslogOptions, SyslogSink},
    time::rfc3339,
    verify::{Marker, Tally},
};
use serde_json::{Value, json};

use super::{at, interruption};

/// How often what arrived is looked at.
const LOOK: Duration = Duration::from_millis(50);
/// How often the status file is written.
const STATUS_INTERVAL: Duration = Duration::from_millis(250);

#[derive(Subcommand)]
pub enum Kind {
    /// A Loki: POST /loki/api/v1/push, answers and limits as a real one has them.
    Loki(Loki),
    /// A syslog server: RFC 5424 over TCP or TLS, parsed strictly.
    Syslog(Syslog),
}

#[derive(Args)]
struct Common {
    /// Address and port; port 0 picks a free one. The first line printed is `listening on ADDRESS`.
    #[arg(long, default_value = "127.0.0.1:0")]
    bind: SocketAddr,
    /// Write the port into this file once it is open.
    #[arg(long, value_name = "FILE")]
    port_file: Option<PathBuf>,
    /// Write the summary so far into this file, four times a second.
    #[arg(long, value_name = "FILE")]
    status_file: Option<PathBuf>,
    /// Print the first so many lines received.
    #[arg(long, default_value_t = 0, value_name = "LINES")]
    show: usize,
    /// Verify the numbers behind this text, such as '"seq":' or 'seq='.
    #[arg(long, value_name = "TEXT")]
    verify: Option<String>,
    /// With --verify: numbers 0 to LINES-1 must arrive; the exit code is 1 when one is missing or a resend differs.
    #[arg(long, value_name = "LINES", requires = "verify")]
    expect: Option<u64>,
    /// End once so many lines arrived, resends not counted.
    #[arg(long, value_name = "LINES")]
    until: Option<u64>,
    /// End after so many seconds. Without --until and --seconds: ctrl-c.
    #[arg(long)]
    seconds: Option<u64>,
    /// Print the summary as one JSON object.
    #[arg(long)]
    json: bool,
    /// Certificate chain (PEM): speak TLS.
    #[arg(long, value_name = "FILE", requires = "key")]
    cert: Option<PathBuf>,
    /// Private key (PEM) of --cert.
    #[arg(long, value_name = "FILE", requires = "cert")]
    key: Option<PathBuf>,
    /// Ask clients for a certificate of this CA (PEM).
    #[arg(long, value_name = "FILE", requires = "cert")]
    client_ca: Option<PathBuf>,
}

#[derive(Args)]
pub struct Loki {
    #[command(flatten)]
    common: Common,
    /// Enforce the age, rate and stream limits of a stock Loki too.
    #[arg(long)]
    stock_limits: bool,
    /// Demand X-Scope-OrgID.
    #[arg(long)]
    auth: bool,
}

#[derive(Args)]
pub struct Syslog {
    #[command(flatten)]
    common: Common,
    #[arg(long, value_enum, default_value = "octet-counted")]
    framing: FramingArgument,
    /// Read each session at so many bytes per second.
    #[arg(long, value_name = "BYTES")]
    read_rate: Option<u64>,
    /// Receive buffer (SO_RCVBUF) in bytes.
    #[arg(long, value_name = "BYTES")]
    recv_buffer: Option<u32>,
}

#[derive(Clone, Copy, ValueEnum)]
enum FramingArgument {
    OctetCounted,
    Newline,
}

/// # Errors
/// A file that cannot be read or written, an address that cannot be bound.
pub fn run(kind: &Kind) -> Result<ExitCode, String> {
    match kind {
        Kind::Loki(arguments) => run_loki(arguments),
        Kind::Syslog(arguments) => run_syslog(arguments),
    }
}

fn run_loki(arguments: &Loki) -> Result<ExitCode, String> {
    let common = &arguments.common;
    let sink = LokiSink::start(LokiOptions {
        bind: common.bind,
        tls: common.tls()?,
        limits: if arguments.stock_limits { Limits::stock() } else { Limits::default() },
        auth: arguments.auth,
        keep: common.show,
        verify: common.verify.clone().map(Marker::new),
    })
    .map_err(at(common.bind))?;
    common.announce(sink.addr())?;
    let look = |shown: usize| {
        let fresh: Vec<Stored> = if shown < common.show { sink.entries().split_off(shown) } else { Vec::new() };
        let counters = sink.counters();
        let mut summary = json!({
            "requests": counters.requests, "bodyBytes": counters.body_bytes, "entries": counters.entries,
            "bytes": counters.bytes, "duplicates": counters.duplicates, "refused": counters.refused,
            "refusedSilently": counters.refused_silently, "invalidUtf8": counters.invalid_utf8,
            "answers": counters.answers,
        });
        common.add_numbers(&mut summary, counters.tally, counters.unnumbered);
        Look { fresh: fresh.iter().map(show_entry).collect(), arrived: counters.entries, summary }
    };
    let summary = common.attend(look)?;
    common.finish(summary, common.expect.map(|lines| sink.missing(0..lines)), sink.counters().tally)
}

fn run_syslog(arguments: &Syslog) -> Result<ExitCode, String> {
    let common = &arguments.common;
    let sink = SyslogSink::start(SyslogOptions {
        bind: common.bind,
        tls: common.tls()?,
        framing: match arguments.framing {
            FramingArgument::OctetCounted => Framing::OctetCounted,
            FramingArgument::Newline => Framing::Newline,
        },
        read_rate: arguments.read_rate,
        recv_buffer: arguments.recv_buffer,
        keep: common.show,
        verify: common.verify.clone().map(Marker::new),
    })
    .map_err(at(common.bind))?;
    common.announce(sink.addr())?;
    let look = |shown: usize| {
        let fresh: Vec<Message> = if shown < common.show { sink.messages().split_off(shown) } else { Vec::new() };
        let counters = sink.counters();
        let mut summary = json!({
            "sessions": counters.sessions, "handshakesFailed": counters.handshakes_failed, "bytes": counters.bytes,
            "messages": counters.messages, "malformed": counters.malformed, "cutShort": counters.cut_short,
        });
        common.add_numbers(&mut summary, counters.tally, counters.unnumbered);
        let arrived = if common.verify.is_some() { counters.tally.seen } else { counters.messages };
        Look { fresh: fresh.iter().map(show_message).collect(), arrived, summary }
    };
    let summary = common.attend(look)?;
    common.finish(summary, common.expect.map(|lines| sink.missing(0..lines)), sink.counters().tally)
}

/// What there is to see of a sink.
struct Look {
    /// The lines not shown yet, as text.
    fresh: Vec<String>,
    /// Lines that arrived, resends not counted.
    arrived: u64,
    summary: Value,
}

impl Common {
    fn tls(&self) -> Result<Option<ServerTls>, String> {
        let read = |path: &PathBuf| fs::read_to_string(path).map_err(at(path.display()));
        let (Some(cert), Some(key)) = (&self.cert, &self.key) else { return Ok(None) };
        let client_ca_pem = self.client_ca.as_ref().map(read).transpose()?;
        Ok(Some(ServerTls { chain_pem: read(cert)?, key_pem: read(key)?, client_ca_pem, alpn: Vec::new() }))
    }

    fn announce(&self, addr: SocketAddr) -> Result<(), String> {
        if let Some(path) = &self.port_file {
            replace(path, &addr.port().to_string())?;
        }
        println!("listening on {addr}");
        Ok(())
    }

    /// Looks, and shows what is fresh, until it is time to end. `look` takes how many lines were shown already.
    fn attend(&self, mut look: impl FnMut(usize) -> Look) -> Result<Value, String> {
        let stop = interruption().map_err(at("signals"))?;
        let start = Instant::now();
        let (mut shown, mut told) = (0, None);
        loop {
            let seen = look(shown);
            shown += seen.fresh.len();
            seen.fresh.iter().for_each(|text| println!("{text}"));
            let due = told.is_none_or(|told: Instant| told.elapsed() >= STATUS_INTERVAL);
            let enough = self.until.is_some_and(|until| seen.arrived >= until)
                || self.seconds.is_some_and(|seconds| start.elapsed() >= Duration::from_secs(seconds))
                || stop.load(Ordering::Relaxed);
            if let Some(path) = self.status_file.as_ref().filter(|_| due || enough) {
                replace(path, &seen.summary.to_string())?;
                told = Some(Instant::now());
            }
            if enough {
                return Ok(seen.summary);
            }
            std::thread::sleep(LOOK);
        }
    }

    fn add_numbers(&self, summary: &mut Value, tally: Tally, unnumbered: u64) {
        if self.verify.is_some() {
            summary["numbers"] = json!({
                "seen": tally.seen, "duplicates": tally.duplicates, "differing": tally.differing,
                "reordered": tally.reordered, "beyond": tally.beyond, "unnumbered": unnumbered,
            });
        }
    }

    /// Prints the summary; the exit code says whether every expected number arrived.
    fn finish(&self, mut summary: Value, missing: Option<Vec<Range<u64>>>, tally: Tally) -> Result<ExitCode, String> {
        if let Some(gaps) = &missing {
            summary["missing"] = gaps.iter().map(|gap| json!([gap.start, gap.end])).collect();
        }
        if self.json {
            println!("{summary}");
        } else if let Some(fields) = summary.as_object() {
            fields.iter().for_each(|(name, value)| println!("{name}: {value}"));
        }
        let whole = missing.is_none_or(|gaps| gaps.is_empty()) && tally.differing == 0;
        Ok(if whole { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

/// Writes a line into a file such that whoever reads it never sees half of it.
fn replace(path: &Path, line: &str) -> Result<(), String> {
    let mut fresh = path.as_os_str().to_owned();
    fresh.push(".new");
    fs::write(&fresh, format!("{line}\n")).and_then(|()| fs::rename(&fresh, path)).map_err(at(path.display()))
}

fn show_entry(stored: &Stored) -> String {
    let mut text = format!("labels    {}\n", pairs(&stored.labels));
    text.push_str(&format!("time      {}\n", rfc3339(stored.time_ns)));
    if !stored.metadata.is_empty() {
        text.push_str(&format!("metadata  {}\n", pairs(&stored.metadata)));
    }
    text.push_str(&format!("raw       {}\n", stored.line));
    text
}

fn show_message(message: &Message) -> String {
    let data: Vec<(String, String)> = message.data.iter().flat_map(|element| element.params.clone()).collect();
    let (facility, severity) = (message.facility, message.severity);
    let time = message.time_ns.map_or("-".to_owned(), rfc3339);
    let mut text =
        format!("header    facility={facility} severity={severity} host={} app={}\n", message.hostname, message.app);
    text.push_str(&format!("time      {time}\n"));
    if !data.is_empty() {
        text.push_str(&format!("data      {}\n", pairs(&data)));
    }
    text.push_str(&format!("raw       {}\n", message.text));
    text
}

fn pairs(pairs: &[(String, String)]) -> String {
    let shown: Vec<String> = pairs.iter().map(|(name, value)| format!("{name}={value:?}")).collect();
    shown.join(" ")
}
