//! This process: memory at its highest, descriptors it may open, and arguments others can see.

use std::{
    fs::{self, OpenOptions},
    io,
    os::unix::fs::FileExt,
};

use rustix::process::{DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit};

/// The most physical memory this process ever had, in bytes (`VmHWM` of proc_pid_status(5); unlike `ru_maxrss` it does
/// not count what the parent had before exec).
pub fn peak_rss_bytes() -> io::Result<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let kibibytes = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .and_then(|rest| rest.trim().strip_suffix(" kB"))
        .and_then(|number| number.trim().parse::<u64>().ok());
    kibibytes.map(|count| count * 1024).ok_or_else(|| io::Error::other("/proc/self/status has no VmHWM"))
}

/// The id of this boot, as journals name it.
pub fn boot_id() -> io::Result<[u8; 16]> {
    let text = fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
    let digits: Vec<u8> =
        text.bytes().filter_map(|byte| char::from(byte).to_digit(16)).map(|digit| digit as u8).collect();
    let id: Vec<u8> = digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect();
    id.try_into().map_err(|_| io::Error::other("/proc/sys/kernel/random/boot_id is no id"))
}

/// Raises the number of descriptors this process may have towards `wanted` and returns the limit then in force, which
/// can be lower (the hard limit, if it may not be raised) or higher (nothing is ever lowered).
pub fn raise_descriptor_limit(wanted: usize) -> usize {
    let wanted = wanted as u64;
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    // `None` is no limit.
    let Some(soft) = current else { return usize::MAX };
    if soft >= wanted {
        return to_usize(soft);
    }
    let allowed = maximum.map_or(wanted, |hard| hard.min(wanted));
    let beyond_hard = Rlimit { current: Some(wanted), maximum: maximum.map(|hard| hard.max(wanted)) };
    let up_to_hard = Rlimit { current: Some(allowed), maximum };
    // The first succeeds for a privileged process, or where the hard limit is high enough anyway.
    for (limit, reached) in [(beyond_hard, wanted), (up_to_hard, allowed)] {
        if setrlimit(Resource::Nofile, limit).is_ok() {
            return to_usize(reached);
        }
    }
    to_usize(soft)
}

fn to_usize(count: u64) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}

/// Keeps what is in this process's memory (keys, tokens) out of core dumps, and from debuggers without privilege
/// (PR_SET_DUMPABLE of prctl(2)). Unlike a core limit of 0 this also holds where dumps are piped to a program. It makes
/// /proc/self/mem root's, so `scrub_argument` must come before. Errors: none that is known.
pub fn forbid_core_dumps() -> io::Result<()> {
    Ok(set_dumpable_behavior(DumpableBehavior::NotDumpable)?)
}

/// Overwrites `secret` in the command line that `ps` shows, and returns in how many arguments it stood.
///
/// An argument counts when it is the secret, or is an option that ends with it (`--jwt=SECRET`, `-JSECRET`). To be
/// called as early as possible: whoever looked before has seen it. Goes through /proc/self/mem rather than pointers: a
/// wrong address is an error there, and no Rust reference to the arguments can be broken. Errors: /proc is hidden, or
/// the process is not dumpable.
pub fn scrub_argument(secret: &str) -> io::Result<usize> {
    if secret.is_empty() {
        return Ok(0);
    }
    let secret = secret.as_bytes();
    let (start, end) = argument_area(&fs::read_to_string("/proc/self/stat")?)?;
    let memory = OpenOptions::new().read(true).write(true).open("/proc/self/mem")?;
    let mut area = vec![0; usize::try_from(end - start).map_err(io::Error::other)?];
    memory.read_exact_at(&mut area, start)?;
    let mut scrubbed = 0;
    let mut at = 0;
    for argument in area.split(|byte| *byte == 0) {
        if argument == secret || (argument.starts_with(b"-") && argument.ends_with(secret)) {
            let head = argument.len() - secret.len();
            memory.write_all_at(&vec![b'x'; secret.len()], start + (at + head) as u64)?;
            scrubbed += 1;
        }
        at += argument.len() + 1;
    }
    // Our own copy of the arguments goes the same way.
    area.fill(0);
    std::hint::black_box(&area);
    Ok(scrubbed)
}

/// First and last address of the arguments: fields 48 and 49, `arg_start` and `arg_end` (proc_pid_stat(5)).
fn argument_area(stat: &str) -> io::Result<(u64, u64)> {
    // Field 2 is the name in brackets and may hold anything; field 3 follows the last bracket.
    let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let mut fields = after_name.split_ascii_whitespace().skip(48 - 3).map(str::parse::<u64>);
    match (fields.next(), fields.next()) {
        (Some(Ok(start)), Some(Ok(end))) if start > 0 && start <= end => Ok((start, end)),
        _ => Err(io::Error::other("/proc/self/stat does not say where the arguments are")),
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn peak_memory_is_more_than_a_page() {
        assert!(peak_rss_bytes().unwrap() > 4096);
    }

    #[test]
    fn the_descriptor_limit_is_never_lowered() {
        let before = raise_descriptor_limit(0);
        assert_eq!(raise_descriptor_limit(before), before);
        assert!(raise_descriptor_limit(before + 1) >= before);
    }

    #[test]
    fn a_name_with_brackets_does_not_move_the_fields() {
        let fields: Vec<String> = (4..=52).map(|number| (number * 1000).to_string()).collect();
        let stat = format!("12 (a) R (b)) S {}", fields.join(" "));
        assert_eq!(argument_area(&stat).unwrap(), (48_000, 49_000));
        assert!(argument_area("12 (a) S 1 2").is_err());
        assert!(argument_area("").is_err());
    }

    const SHOW: &str = "CORELANE_TEST_SHOW_COMMAND_LINE";

    /// Runs itself again with secrets as arguments (to the test runner they are names of tests that do not exist) and
    /// looks at what the child's command line says after scrubbing.
    #[test]
    fn a_secret_leaves_the_command_line() {
        const SECRET: &str = "eyJhbGciOi.very.secret";
        if std::env::var_os(SHOW).is_some() {
            let scrubbed = scrub_argument(SECRET).unwrap();
            let shown = fs::read("/proc/self/cmdline").unwrap();
            println!("scrubbed {scrubbed}: {}", String::from_utf8_lossy(&shown).replace('\0', "|"));
            return;
        }
        let itself = std::env::current_exe().unwrap();
        let child = Command::new(itself)
            .args(["--nocapture", "a_secret_leaves_the_command_line", SECRET])
            .arg(format!("--skip={SECRET}"))
            .arg("before-eyJhbGciOi.very.secret-after")
            .env(SHOW, "1")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&child.stdout);
        let masked = "x".repeat(SECRET.len());
        let wanted = format!("|{masked}|--skip={masked}|before-{SECRET}-after|");
        assert!(child.status.success() && said.contains("scrubbed 2"), "{said}");
        assert!(said.contains(&wanted), "{said}");
    }
}
