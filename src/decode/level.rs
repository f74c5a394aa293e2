//! The level words of Go's loggers, on top of the synonyms every format shares.

use crate::model::Level;

/// The level a word stands for: the synonyms of `Level::parse`; slog's steps between levels (`INFO+2`, `ERROR-1`) by
/// their base; zap's nameless ones below debug (`Level(-2)`, as logr writes them) as trace.
#[inline]
pub(super) fn parse(word: &[u8]) -> Option<Level> {
    // The four of nearly every line, before any folding of case.
    match word {
        b"info" | b"INFO" => return Some(Level::Info),
        b"debug" | b"DEBUG" => return Some(Level::Debug),
        b"warn" | b"WARN" => return Some(Level::Warn),
        b"error" | b"ERROR" => return Some(Level::Error),
        _ => {}
    }
    Level::parse(word).or_else(|| stepped(word)).or_else(|| nameless(word))
}

fn stepped(word: &[u8]) -> Option<Level> {
    let sign = word.iter().position(|byte| matches!(byte, b'+' | b'-'))?;
    let (base, step) = (&word[..sign], &word[sign + 1..]);
    if step.is_empty() || !step.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Level::parse(base)
}

fn nameless(word: &[u8]) -> Option<Level> {
    let head = b"level(-";
    let (start, rest) = word.split_at_checked(head.len())?;
    let digits = rest.strip_suffix(b")")?;
    let is_number = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    (start.eq_ignore_ascii_case(head) && is_number).then_some(Level::Trace)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_go() {
        for (word, level) in [
            ("info", Some(Level::Info)),
            ("Info", Some(Level::Info)),
            ("INFO+2", Some(Level::Info)),
            ("ERROR-1", Some(Level::Error)),
            ("DEBUG-4", Some(Level::Debug)),
            ("WARN+12", Some(Level::Warn)),
            ("Level(-2)", Some(Level::Trace)),
            ("LEVEL(-10)", Some(Level::Trace)),
            ("dpanic", Some(Level::Fatal)),
            ("Level(7)", None),
            ("Level(-)", None),
            ("INFO+", None),
            ("INFO+x", None),
            ("+2", None),
            ("", None),
            ("loud", None),
        ] {
            assert_eq!(parse(word.as_bytes()), level, "{word}");
        }
    }
}
