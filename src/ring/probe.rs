//! Which real backend works here, and why: decided once at start, shown in `status`.
//!
//! Kernel versions say little (distributions backport, administrators and sandboxes deny), so the answer comes from
//! making a ring and reading through it.

use std::{fmt, fs, io, path::Path, str::FromStr, time::Duration};

use super::{Completion, Op, Poll, Ring, Token, Uring};

/// The real backends, as the setting names them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Backend {
    /// io_uring where it works, else poll.
    #[default]
    Auto,
    Uring,
    Poll,
}

impl FromStr for Backend {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        match word.to_ascii_lowercase().as_str() {
            "auto" => Ok(Self::Auto),
            "uring" | "io_uring" | "io-uring" => Ok(Self::Uring),
            "poll" => Ok(Self::Poll),
            _ => Err(format!("unknown backend `{word}`: one of auto, uring, poll")),
        }
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Auto => "auto",
            Self::Uring => "uring",
            Self::Poll => "poll",
        })
    }
}

/// Tries `wanted` and says what to use (never `Auto`) and why, in words.
///
/// With `Auto` a failing io_uring leads to `Poll`. With `Uring` it is an error that says what denies it.
pub fn probe(wanted: Backend) -> io::Result<(Backend, String)> {
    if wanted == Backend::Poll {
        try_out(Poll::new()?)?;
        return Ok((Backend::Poll, "poll was asked for".to_owned()));
    }
    match Uring::new().and_then(try_out) {
        Ok(()) => Ok((Backend::Uring, format!("io_uring works, kernel {}", release()))),
        Err(error) if wanted == Backend::Uring => Err(io::Error::new(error.kind(), explain(&error))),
        Err(error) => {
            try_out(Poll::new()?)?;
            Ok((Backend::Poll, explain(&error)))
        }
    }
}

/// Reads one byte of a file that is always there: this program.
fn try_out(mut ring: impl Ring) -> io::Result<()> {
    let handle = ring.open(Path::new("/proc/self/exe"))?;
    let read = Op::Read { token: Token(0), handle, offset: 0, buf: vec![0] };
    ring.submit(read).map_err(|_| io::Error::other("a new ring takes no read"))?;
    let mut out = Vec::new();
    // The device may be slow, but a ring that does not answer in half a minute does not work.
    for _ in 0..30 {
        ring.reap(Duration::from_secs(1), &mut out)?;
        if let Some(Completion::Done { result, buf, .. }) = out.pop() {
            return match (result?, buf.as_slice()) {
                (1, [0x7f]) => Ok(()),
                _ => Err(io::Error::other("a read brought something else")),
            };
        }
    }
    Err(io::Error::new(io::ErrorKind::TimedOut, "a read did not end"))
}

fn explain(error: &io::Error) -> String {
    let disabled = fs::read_to_string("/proc/sys/kernel/io_uring_disabled");
    explain_with(error, disabled.as_deref().unwrap_or("").trim(), &release())
}

fn explain_with(error: &io::Error, disabled: &str, release: &str) -> String {
    match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) if matches!(disabled, "1" | "2") => {
            format!("io_uring: denied by kernel.io_uring_disabled={disabled}")
        }
        Some(libc::EPERM | libc::EACCES) => "io_uring: denied by a sandbox (seccomp or a security module)".to_owned(),
        Some(libc::ENOSYS) => format!("io_uring: absent from kernel {release}, or hidden by a sandbox"),
        Some(libc::ENOMEM) => "io_uring: no memory for a ring (is RLIMIT_MEMLOCK too small?)".to_owned(),
        _ => format!("io_uring: {error}, kernel {release}"),
    }
}

fn release() -> String {
    rustix::system::uname().release().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_go_both_ways() {
        for backend in [Backend::Auto, Backend::Uring, Backend::Poll] {
            assert_eq!(backend.to_string().parse(), Ok(backend));
        }
        assert_eq!("IO_URING".parse(), Ok(Backend::Uring));
        assert!("glommio".parse::<Backend>().unwrap_err().contains("auto, uring, poll"));
    }

    #[test]
    fn a_denial_is_told_in_words() {
        let denied = io::Error::from_raw_os_error(libc::EPERM);
        assert_eq!(explain_with(&denied, "2", "6.18"), "io_uring: denied by kernel.io_uring_disabled=2");
        assert!(explain_with(&denied, "0", "6.18").contains("sandbox"));
        assert!(explain_with(&io::Error::from_raw_os_error(libc::ENOSYS), "", "4.18").contains("kernel 4.18"));
    }

    #[test]
    fn poll_works_everywhere() {
        assert_eq!(probe(Backend::Poll).unwrap().0, Backend::Poll);
        let (backend, reason) = probe(Backend::Auto).unwrap();
        assert_ne!(backend, Backend::Auto);
        assert!(reason.starts_with("io_uring"), "{reason}");
    }
}
