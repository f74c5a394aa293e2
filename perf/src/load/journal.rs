//! Journal entries as services of a storage node leave them, in the journal export format.
//!
//! Some twenty fields each, nearly all the same from entry to entry of a service, as in real journals; every entry has
//! a message of its own, some also a time of their sender. `systemd-journal-remote -o DIR/system.journal -` makes
//! journal files of them.

use super::{Format, body, mix};

/// Bodies built per seed.
const BODIES: usize = 509;
/// Microseconds between entries, on average.
const STEP_US: u64 = 250;
const START_US: u64 = 1_771_947_989_000_000;
const BOOT_ID: &str = "5e6f1d0c9f0b4b6c8f3a2b1c0d9e8f70";
/// Name, share in 100, and whether it logs through syslog (with a time of the sender) instead of its standard output.
const SERVICES: [(&str, u64, bool); 8] = [
    ("node-manager", 40, false),
    ("duroslight-0", 18, false),
    ("duroslight-1", 12, false),
    ("api-service", 10, false),
    ("etcd", 8, false),
    ("kubelet", 6, false),
    ("sshd", 4, true),
    ("chronyd", 2, true),
];

/// Prebuilt entries of one seed.
pub struct Journal {
    seed: u64,
    bodies: Vec<Vec<u8>>,
    /// Per service: what all its entries have.
    common: Vec<Vec<u8>>,
}

impl Journal {
    pub fn new(seed: u64) -> Self {
        let bodies = (0..BODIES as u64).map(|n| body::build(Format::Zap, mix(seed, n))).collect();
        let common = SERVICES.iter().enumerate().map(|(index, (name, ..))| common(seed, index as u64, name)).collect();
        Self { seed, bodies, common }
    }

    /// Identifier of entry `seq`.
    pub fn identifier(&self, seq: u64) -> &'static str {
        SERVICES[self.service(seq)].0
    }

    fn service(&self, seq: u64) -> usize {
        let mut draw = mix(self.seed ^ 0x5e41ce, seq) % 100;
        let mut found = 0;
        for (index, (_, share, _)) in SERVICES.iter().enumerate() {
            found = index;
            if draw < *share {
                break;
            }
            draw -= share;
        }
        found
    }

    /// Appends entry `seq`, numbered by `"seq":N` in its message.
    pub fn push_entry(&self, seq: u64, out: &mut Vec<u8>) {
        let draw = mix(self.seed, seq);
        let service = self.service(seq);
        let time = START_US + seq * STEP_US + draw % STEP_US;
        let (level, priority) = match draw % 100 {
            0..70 => ("info", 6),
            70..92 => ("debug", 7),
            92..98 => ("warn", 4),
            _ => ("error", 3),
        };
        let mut push = |text: String| out.extend_from_slice(text.as_bytes());
        push(format!("__REALTIME_TIMESTAMP={time}\n__MONOTONIC_TIMESTAMP={}\n", time - START_US + 1_000_000));
        push(format!("PRIORITY={priority}\n"));
        if SERVICES[service].2 {
            push(format!("_TRANSPORT=syslog\n_SOURCE_REALTIME_TIMESTAMP={}\n", time - draw % 90));
        } else {
            push("_TRANSPORT=stdout\n".to_owned());
        }
        out.extend_from_slice(&self.common[service]);
        let seconds = time as f64 / 1e6;
        out.extend_from_slice(format!("MESSAGE={{\"level\":\"{level}\",\"ts\":{seconds:.6},").as_bytes());
        out.extend_from_slice(&self.bodies[(mix(draw, 1) % BODIES as u64) as usize]);
        out.extend_from_slice(format!(",\"seq\":{seq}}}\n\n").as_bytes());
    }
}

fn common(seed: u64, service: u64, name: &str) -> Vec<u8> {
    let pid = 800 + mix(seed, service) % 30_000;
    let id = format!("{:016x}{:016x}", mix(seed, 1000 + service), mix(seed, 2000 + service));
    let fields = [
        ("_BOOT_ID", BOOT_ID.to_owned()),
        ("_MACHINE_ID", "0123456789abcdef0123456789abcdef".to_owned()),
        ("_HOSTNAME", "storage-node-17.rack-3.example.com".to_owned()),
        ("_RUNTIME_SCOPE", "system".to_owned()),
        ("SYSLOG_FACILITY", "3".to_owned()),
        ("SYSLOG_IDENTIFIER", name.to_owned()),
        ("_PID", pid.to_string()),
        ("_UID", "0".to_owned()),
        ("_GID", "0".to_owned()),
        ("_COMM", name.chars().take(15).collect()),
        ("_EXE", format!("/usr/bin/{name}")),
        ("_CMDLINE", format!("/usr/bin/{name} --config /etc/{name}/{name}.yaml --log-format json")),
        ("_CAP_EFFECTIVE", "1ffffffffff".to_owned()),
        ("_SELINUX_CONTEXT", "unconfined".to_owned()),
        ("_SYSTEMD_CGROUP", format!("/system.slice/{name}.service")),
        ("_SYSTEMD_UNIT", format!("{name}.service")),
        ("_SYSTEMD_SLICE", "system.slice".to_owned()),
        ("_SYSTEMD_INVOCATION_ID", id.clone()),
        ("_STREAM_ID", id),
    ];
    fields.iter().map(|(key, value)| format!("{key}={value}\n")).collect::<String>().into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_have_some_twenty_fields_and_their_number() {
        let journal = Journal::new(1);
        for seq in 0..2000 {
            let mut entry = Vec::new();
            journal.push_entry(seq, &mut entry);
            let text = String::from_utf8(entry).unwrap();
            assert!(text.ends_with("\n\n") && text.contains(&format!("\"seq\":{seq}}}")));
            assert!((22..=26).contains(&text.lines().count()), "{text}");
            assert!(text.contains(&format!("\nSYSLOG_IDENTIFIER={}\n", journal.identifier(seq))));
        }
        let first = (0..10_000).filter(|&seq| journal.identifier(seq) == "node-manager").count();
        assert!((3800..4200).contains(&first), "{first} of 10000");
    }
}
