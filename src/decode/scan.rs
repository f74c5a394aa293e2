//! Finding where strings and numbers end.

use super::block::{BLOCK, Block, Mask};

const WORD: usize = 8;
/// Bytes looked at word by word before `memchr` takes over: most numbers are a few bytes long, where calling into a
/// vectorised search costs more than the search.
const NEAR_BYTES: usize = 4 * WORD;

/// Where a string ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Close {
    /// Index of the closing quote.
    pub at: usize,
    /// Whether an escape stands before it.
    pub escaped: bool,
}

/// The quotes of one text, found a block at a time and asked for from front to back.
#[derive(Debug, Default)]
pub(super) struct Quotes {
    /// Where the block begins.
    block: usize,
    /// Where it ends; 0 before the first.
    until: usize,
    /// Its quotes and escapes.
    mask: Mask,
}

impl Quotes {
    /// The end of the string whose first byte, after the opening quote, is at `from`; `None` if it never ends. `text`
    /// is always the same, and `from` never before an earlier one.
    #[inline(always)]
    pub fn close(&mut self, text: &[u8], from: usize) -> Option<Close> {
        let mut at = self.next(text, from)?;
        let mut escaped = false;
        while text[at] != b'"' {
            escaped = true;
            at = self.next(text, at + 2)?;
        }
        Some(Close { at, escaped })
    }

    /// Index of the first `"` or `\` at or after `from`.
    #[inline(always)]
    fn next(&mut self, text: &[u8], from: usize) -> Option<usize> {
        debug_assert!(from >= self.block);
        if from < self.until {
            let mask = self.mask & (Mask::MAX << (from - self.block));
            if mask != 0 {
                return Some(self.block + mask.trailing_zeros() as usize);
            }
        }
        self.advance(text, from.max(self.until))
    }

    /// Goes on to the first block from `from` on that has any.
    #[inline(never)]
    fn advance(&mut self, text: &[u8], mut from: usize) -> Option<usize> {
        while from < text.len() {
            self.block = from;
            self.until = from + BLOCK;
            self.mask = Block::at(text, from).is_either(b'"', b'\\');
            if self.mask != 0 {
                return Some(from + self.mask.trailing_zeros() as usize);
            }
            from = self.until;
        }
        None
    }
}

/// `Quotes::close` for a text of which this is the only string that matters.
#[inline]
pub(super) fn close_quote(text: &[u8], from: usize) -> Option<Close> {
    Quotes::default().close(text, from)
}

/// The end of the number or word that began before `from`: index of the comma or brace behind it. `None` if there is
/// none, or a quote before it: then it was cut short or is no JSON.
#[inline]
pub(super) fn end_of_scalar(text: &[u8], from: usize) -> Option<usize> {
    let rest = text.get(from..)?;
    let at = near(rest, |word| marks(word, b',') | marks(word, b'}') | marks(word, b'"'));
    let at = match at {
        Ok(at) => from + at,
        Err(done) => from + done + memchr::memchr3(b',', b'}', b'"', &rest[done..])?,
    };
    (text[at] != b'"').then_some(at)
}

/// The first byte that `marks` marks among the near ones; else how many were looked at.
#[inline]
fn near(text: &[u8], marks: impl Fn(u64) -> u64) -> Result<usize, usize> {
    let mut done = 0;
    while done < NEAR_BYTES {
        let Some(word) = text.get(done..).and_then(|rest| rest.first_chunk::<WORD>()) else { break };
        let marks = marks(u64::from_le_bytes(*word));
        if marks != 0 {
            return Ok(done + marks.trailing_zeros() as usize / 8);
        }
        done += WORD;
    }
    Err(done)
}

/// A word whose lowest set bit lies in the first byte equal to `byte` (the lowest is exact, higher ones may not be).
#[inline]
fn marks(word: u64, byte: u8) -> u64 {
    const ONES: u64 = u64::from_ne_bytes([0x01; 8]);
    const HIGHS: u64 = u64::from_ne_bytes([0x80; 8]);
    let zeroed = word ^ (ONES * byte as u64);
    zeroed.wrapping_sub(ONES) & !zeroed & HIGHS
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Byte by byte, as anybody would write it.
    fn plainly(text: &[u8], from: usize) -> Option<Close> {
        let (mut at, mut escaped) = (from, false);
        loop {
            match text.get(at)? {
                b'"' => return Some(Close { at, escaped }),
                b'\\' => {
                    escaped = true;
                    at += 2;
                }
                _ => at += 1,
            }
        }
    }

    proptest! {
        #[test]
        fn as_byte_by_byte(
            text in proptest::collection::vec(
                prop_oneof![8 => any::<u8>(), 8 => Just(b'a'), 1 => Just(b'"'), 1 => Just(b'\\')], 0..120),
            from in 0usize..130,
        ) {
            prop_assert_eq!(close_quote(&text, from), plainly(&text, from));
            // Asked from front to back, one finder tells all.
            let (mut quotes, mut from) = (Quotes::default(), from);
            while let Some(close) = plainly(&text, from) {
                prop_assert_eq!(quotes.close(&text, from), Some(close));
                from = close.at + 1;
            }
            prop_assert_eq!(quotes.close(&text, from), None);
        }

        #[test]
        fn scalars_end_where_they_end(scalar in "[-+0-9.eEa-z ]{0,60}", behind in "[,}\"].{0,60}|") {
            let text = format!("{scalar}{behind}");
            let expected = behind.starts_with([',', '}']).then_some(scalar.len());
            prop_assert_eq!(end_of_scalar(text.as_bytes(), 0), expected);
        }
    }
}
