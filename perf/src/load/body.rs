//! The part of a line that does not change with its number: what a storage service has to say.

use super::{Format, mix};

const LOGGERS: [&str; 8] = ["node", "gc", "rebuild", "nvmf", "volume", "raft", "lease", "upgrade"];
const CALLERS: [&str; 8] = [
    "gc/gc.go:218",
    "node/manager.go:1042",
    "volume/attach.go:77",
    "raft/transport.go:310",
    "lease/keeper.go:59",
    "rebuild/plan.go:431",
    "nvmf/listener.go:203",
    "api/server.go:118",
];
const MESSAGES: [&str; 12] = [
    "volume attached",
    "garbage collection round finished",
    "rebuild of stripe started",
    "host connected, \"qid\" 4",
    "lease renewed",
    "peer did not answer in time, trying the next",
    "snapshot taken: C:\\vol\\1",
    "segment sealed and handed over",
    "write amplification above the mark",
    "placement changed after a node came back",
    "nvme drive latency above the mark",
    "request served",
];

/// Builds the body of one message from `draw`.
pub(super) fn build(format: Format, draw: u64) -> Vec<u8> {
    let pick = |n: u64, of: u64| mix(draw, n) % of;
    let logger = LOGGERS[pick(0, 8) as usize];
    let caller = CALLERS[pick(1, 8) as usize];
    let message = MESSAGES[pick(2, 12) as usize];
    let fields = [
        ("volume", format!("{:016x}-{:08x}", mix(draw, 3), mix(draw, 4) as u32)),
        ("host", format!("nqn.2016-01.com.example:uuid:{:016x}", mix(draw, 5))),
        ("took", format!("{}.{:03}ms", pick(6, 90), pick(7, 1000))),
        ("trace_id", format!("{:016x}{:016x}", mix(draw, 8), mix(draw, 9))),
    ];
    // Half of the messages carry all the fields, the others fewer: lines differ in length as real ones do.
    let fields = &fields[..if draw.is_multiple_of(2) { 4 } else { 1 + pick(10, 3) as usize }];
    let text = match format {
        Format::Zap => {
            let mut text = format!(
                "\"logger\":\"{logger}\",\"caller\":\"{caller}\",\"msg\":{message:?},\"goid\":{},\"shard\":{}",
                pick(11, 100_000),
                pick(12, 64)
            );
            fields.iter().for_each(|(key, value)| text.push_str(&format!(",\"{key}\":\"{value}\"")));
            text
        }
        Format::Logfmt => {
            let mut text = format!("msg={message:?} logger={logger} caller={caller} goid={}", pick(11, 100_000));
            fields.iter().for_each(|(key, value)| text.push_str(&format!(" {key}={value}")));
            text
        }
        Format::Plain => {
            let mut text = format!("{logger}[{}]: {message}", pick(11, 100_000));
            fields.iter().for_each(|(key, value)| text.push_str(&format!(" ({key} {value})")));
            text
        }
    };
    text.into_bytes()
}
