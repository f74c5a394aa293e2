//! What a process cost: CPU seconds and peak memory, read from /proc (proc(5): `stat` and `status`).

use std::{fs, io};

/// Ticks of a second in /proc/PID/stat: USER_HZ, 100 on every Linux ABI in use.
const USER_HZ: f64 = 100.0;

/// What a process has used since it started.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Usage {
    /// Seconds in user mode, all threads, to 10 ms.
    pub user_seconds: f64,
    /// Seconds in the kernel on its behalf, likewise.
    pub system_seconds: f64,
    /// Bytes of the largest resident set so far (VmHWM); 0 once it is a zombie.
    pub peak_rss_bytes: u64,
    /// Bytes resident now (VmRSS).
    pub rss_bytes: u64,
}

impl Usage {
    /// Reads the usage of `pid`.
    ///
    /// # Errors
    /// No such process, or a /proc that does not look like one.
    pub fn of(pid: u32) -> io::Result<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        parse(&stat, &status).ok_or_else(|| io::Error::other(format!("/proc/{pid}/stat is not of the known form")))
    }

    /// User and system seconds together.
    pub fn cpu_seconds(&self) -> f64 {
        self.user_seconds + self.system_seconds
    }
}

fn parse(stat: &str, status: &str) -> Option<Usage> {
    // The name in parentheses may hold anything, parentheses too: fields count from behind the last one.
    let fields: Vec<&str> = stat.get(stat.rfind(')')? + 1..)?.split_ascii_whitespace().collect();
    let ticks = |index: usize| fields.get(index)?.parse::<u32>().ok().map(f64::from);
    let kib = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name))?;
        line[name.len()..].trim().trim_end_matches(" kB").parse::<u64>().ok()
    };
    Some(Usage {
        user_seconds: ticks(11)? / USER_HZ,
        system_seconds: ticks(12)? / USER_HZ,
        peak_rss_bytes: kib("VmHWM:").unwrap_or(0) * 1024,
        rss_bytes: kib("VmRSS:").unwrap_or(0) * 1024,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_known_stat() {
        let stat = "7 (a) b (c) S 1 2 3 4 -1 4194560 10 20 30 40 250 50 0 0 20 0 5 0 12345 1 2";
        let status = "Name:\tx\nVmHWM:\t    2048 kB\nVmRSS:\t    1024 kB\n";
        let usage = parse(stat, status).unwrap();
        assert_eq!((usage.user_seconds, usage.system_seconds), (2.5, 0.5));
        assert_eq!((usage.peak_rss_bytes, usage.rss_bytes), (2048 * 1024, 1024 * 1024));
    }

    #[test]
    fn this_process_uses_memory() {
        let usage = Usage::of(std::process::id()).unwrap();
        assert!(usage.peak_rss_bytes >= usage.rss_bytes && usage.rss_bytes > 0);
    }

    #[test]
    fn nobody_has_pid_zero() {
        assert!(Usage::of(0).is_err());
    }
}
