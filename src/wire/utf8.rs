//! Any bytes as valid UTF-8 of a length known beforehand, without a copy of their own.
//!
//! Nearly every log line is plain ASCII; that is checked first and costs next to nothing. What is not valid is replaced
//! sequence by sequence, as `String::from_utf8_lossy` does it, and the caller is told, so that it can be counted.

/// U+FFFD as UTF-8.
pub const REPLACEMENT: &[u8; 3] = b"\xEF\xBF\xBD";

/// A text on its way into an encoding: valid UTF-8 once written.
#[derive(Clone, Copy, Debug)]
pub struct Text<'a> {
    bytes: &'a [u8],
    /// What stands for each invalid sequence; `None` when there is none.
    mend: Option<&'static [u8]>,
    len: usize,
}

impl<'a> Text<'a> {
    /// `bytes` as they are if valid, else with U+FFFD for each invalid sequence. Where that would make the text longer
    /// than `len_max` bytes, `?` stands instead: it never makes a text longer.
    pub fn new(bytes: &'a [u8], len_max: usize) -> Self {
        if is_valid(bytes) {
            return Self { bytes, mend: None, len: bytes.len() };
        }
        let (mut valid, mut sequences) = (0, 0);
        for chunk in bytes.utf8_chunks() {
            valid += chunk.valid().len();
            sequences += usize::from(!chunk.invalid().is_empty());
        }
        let mend: &'static [u8] = if valid + sequences * REPLACEMENT.len() <= len_max { REPLACEMENT } else { b"?" };
        Self { bytes, mend: Some(mend), len: valid + sequences * mend.len() }
    }

    /// Like `new`, and cut between two characters to at most `len_max` bytes. Says whether it was cut.
    pub fn cut(bytes: &'a [u8], len_max: usize) -> (Self, bool) {
        if bytes.len() <= len_max {
            return (Self::new(bytes, len_max), false);
        }
        (Self::new(&bytes[..boundary(bytes, len_max)], len_max), true)
    }

    /// Bytes `put` will append.
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether anything was invalid.
    pub fn replaced(&self) -> bool {
        self.mend.is_some()
    }

    /// Appends the text: exactly `len` bytes of valid UTF-8.
    pub fn put(&self, out: &mut Vec<u8>) {
        let Some(mend) = self.mend else {
            out.extend_from_slice(self.bytes);
            return;
        };
        for chunk in self.bytes.utf8_chunks() {
            out.extend_from_slice(chunk.valid().as_bytes());
            if !chunk.invalid().is_empty() {
                out.extend_from_slice(mend);
            }
        }
    }
}

/// The ASCII check runs at memory speed; the full one only where it fails.
#[inline]
pub fn is_valid(bytes: &[u8]) -> bool {
    bytes.is_ascii() || std::str::from_utf8(bytes).is_ok()
}

/// The last place at or before `at` (at most `bytes.len()`) where no character is torn apart.
pub fn boundary(bytes: &[u8], at: usize) -> usize {
    let is_continuation = |place: usize| bytes.get(place).is_some_and(|byte| byte & 0xC0 == 0x80);
    let at = at.min(bytes.len());
    // A character has at most three continuation bytes; bytes that are not UTF-8 are cut anywhere.
    (at.saturating_sub(3)..=at).rev().find(|&place| !is_continuation(place)).unwrap_or(at)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(text: Text<'_>) -> Vec<u8> {
        let mut out = Vec::new();
        text.put(&mut out);
        assert_eq!(out.len(), text.len());
        assert_eq!(out.is_empty(), text.is_empty());
        out
    }

    #[test]
    fn a_text_that_would_outgrow_its_bound_takes_question_marks() {
        assert_eq!(written(Text::new(b"a\xffb", 5)), "a\u{FFFD}b".as_bytes());
        assert_eq!(written(Text::new(b"a\xffb", 4)), b"a?b");
    }

    #[test]
    fn no_character_is_torn() {
        let text = "aé€😀".as_bytes();
        let cuts: Vec<usize> = (0..=text.len() + 2).map(|at| boundary(text, at)).collect();
        assert_eq!(cuts, [0, 1, 1, 3, 3, 3, 6, 6, 6, 6, 10, 10, 10]);
    }

    proptest! {
        #[test]
        fn invalid_sequences_are_replaced_as_the_standard_library_does(
            bytes in proptest::collection::vec(prop_oneof![any::<u8>(), Just(b'a'), Just(0xC3), Just(0xA9)], 0..80),
        ) {
            let text = Text::new(&bytes, usize::MAX);
            prop_assert_eq!(text.replaced(), std::str::from_utf8(&bytes).is_err());
            let expected = String::from_utf8_lossy(&bytes);
            prop_assert_eq!(written(text), expected.as_bytes());
        }

        #[test]
        fn a_cut_text_is_valid_and_short_enough(
            bytes in proptest::collection::vec(any::<u8>(), 0..80), len_max in 0usize..90,
        ) {
            let (text, cut) = Text::cut(&bytes, len_max);
            prop_assert_eq!(cut, bytes.len() > len_max);
            let out = written(text);
            prop_assert!(out.len() <= len_max);
            prop_assert!(std::str::from_utf8(&out).is_ok());
        }
    }
}
