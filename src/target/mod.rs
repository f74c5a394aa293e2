//! What a target means: request bytes, the meaning of an answer, when to try again, what counts as delivered.
//!
//! Nothing here does IO and nothing reads a clock: time is an argument. `egress` moves the bytes and asks here what
//! they mean, so that every rule can be tested without a socket.

pub mod backoff;
pub mod loki;
pub mod relp;
pub mod syslog;
pub mod tls;

pub use backoff::Backoff;

use crate::limits::REASON_BYTES_MAX;

/// A peer's words, made fit for one line of a status: control characters are spaces, runs of spaces are one, and the
/// whole is cut at `limits::REASON_BYTES_MAX`.
pub fn shorten(words: &str) -> String {
    let mut short = String::new();
    for word in words.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty()) {
        if !short.is_empty() {
            short.push(' ');
        }
        short.push_str(word);
        if short.len() > REASON_BYTES_MAX {
            let mut end = REASON_BYTES_MAX;
            while !short.is_char_boundary(end) {
                end -= 1;
            }
            short.truncate(end);
            short.push('…');
            break;
        }
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_one_short_line() {
        assert_eq!(shorten(" a\n\tb\u{7} c "), "a b c");
        let long = shorten(&"ü".repeat(1000));
        assert!(long.len() <= REASON_BYTES_MAX + '…'.len_utf8() && long.ends_with("ü…"), "{long}");
    }
}
