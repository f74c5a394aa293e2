//! `corelane-perf sink loki` and `corelane-perf sink syslog`.

use std::{
    fs,
    net::SocketAddr,
    path::PathBuf,
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
    common.attend(|shown| {
        let fresh: Vec<Stored> = if shown < common.show { sink.entries().split_off(shown) } else { Vec::new() };
        (fresh.iter().map(show_entry).collect(), sink.counters().entries)
    })?;
    let counters = sink.counters();
    let mut summary = json!({
        "requests": counters.requests, "bodyBytes": counters.body_bytes, "entries": counters.entries,
        "bytes": counters.bytes, "duplicates": counters.duplicates, "refused": counters.refused,
        "refusedSilently": counters.refused_silently, "invalidUtf8": counters.invalid_utf8,
        "answers": counters.answers,
    });
    let missing = common.expect.map(|lines| sink.missing(0..lines));
    common.finish(&mut summary, counters.tally, counters.unnumbered, missing)
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
    common.attend(|shown| {
        let fresh: Vec<Message> = if shown < common.show { sink.messages().split_off(shown) } else { Vec::new() };
        let counters = sink.counters();
        let arrived = if common.verify.is_some() { counters.tally.seen } else { counters.messages };
        (fresh.iter().map(show_message).collect(), arrived)
    })?;
    let counters = sink.counters();
    let mut summary = json!({
        "sessions": counters.sessions, "handshakesFailed": counters.handshakes_failed, "bytes": counters.bytes,
        "messages": counters.messages, "malformed": counters.malformed, "cutShort": counters.cut_short,
    });
    let missing = common.expect.map(|lines| sink.missing(0..lines));
    common.finish(&mut summary, counters.tally, counters.unnumbered, missing)
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
            // Whoever waits for the file must never read half a number.
            let fresh = path.with_extension("new");
            fs::write(&fresh, format!("{}\n", addr.port()))
                .and_then(|()| fs::rename(&fresh, path))
                .map_err(at(path.display()))?;
        }
        println!("listening on {addr}");
        Ok(())
    }

    /// Shows what `look` finds until it is time to end. `look` takes how many were shown and gives the fresh ones and
    /// how many arrived.
    fn attend(&self, mut look: impl FnMut(usize) -> (Vec<String>, u64)) -> Result<(), String> {
        let stop = interruption().map_err(at("signals"))?;
        let start = Instant::now();
        let mut shown = 0;
        loop {
            let (fresh, arrived) = look(shown);
            shown += fresh.len();
            fresh.iter().for_each(|text| println!("{text}"));
            let enough = self.until.is_some_and(|until| arrived >= until)
                || self.seconds.is_some_and(|seconds| start.elapsed() >= Duration::from_secs(seconds));
            if enough || stop.load(Ordering::Relaxed) {
                return Ok(());
            }
            std::thread::sleep(LOOK);
        }
    }

    /// Prints the summary; the exit code says whether every expected number arrived.
    fn finish(
        &self,
        summary: &mut Value,
        tally: Tally,
        unnumbered: u64,
        missing: Option<Vec<std::ops::Range<u64>>>,
    ) -> Result<ExitCode, String> {
        if self.verify.is_some() {
            summary["numbers"] = json!({
                "seen": tally.seen, "duplicates": tally.duplicates, "differing": tally.differing,
                "reordered": tally.reordered, "beyond": tally.beyond, "unnumbered": unnumbered,
            });
        }
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
