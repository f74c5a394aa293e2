//! A look at the rest of a JSON line, sixteen bytes at a time, to see that it needs no walk.

/// Bytes looked at in one step, and those behind them that complete a pattern begun there.
const BLOCK: usize = 16;
const PATTERN: usize = 5;

/// Whether `rest`, what follows level, time and message up to the end of the frame, closes the object and holds no
/// field we look for, no nested value that could hide the end, and no escape. It may say no without need, never yes.
///
/// `names_known` says that logger and caller were found already.
pub(super) fn is_plain(rest: &[u8], names_known: bool) -> bool {
    let Some((b'}', rest)) = rest.trim_ascii_end().split_last() else { return false };
    let mut seen = Seen::default();
    let mut blocks = rest;
    while let Some(block) = blocks.first_chunk::<{ BLOCK + PATTERN - 1 }>() {
        seen.look(block, names_known);
        blocks = &blocks[BLOCK..];
    }
    // What is left is shorter than a block and its margin: at most two blocks, filled up with nothing.
    let mut last = [0; 2 * BLOCK + PATTERN - 1];
    last[..blocks.len()].copy_from_slice(blocks);
    for from in [0, BLOCK] {
        if let Some(block) = last[from..].first_chunk() {
            seen.look(block, names_known);
        }
    }
    seen.nothing()
}

/// Per place in a block: whether anything suspicious stood there, and whether an odd number of quotes did.
#[derive(Default)]
struct Seen {
    suspicious: [u8; BLOCK],
    quotes: [u8; BLOCK],
}

impl Seen {
    /// Plain arithmetic on bytes, without a branch, which compilers turn into vector instructions.
    #[inline]
    fn look(&mut self, block: &[u8; BLOCK + PATTERN - 1], names_known: bool) {
        let is = |place: usize, byte: u8| u8::from(block[place] == byte);
        let names = u8::from(!names_known);
        for i in 0..BLOCK {
            // The ends of `trace_id`, `span_id` and `request_id`.
            let before = is(i, b'c') & is(i + 1, b'e') | is(i, b'a') & is(i + 1, b'n') | is(i, b's') & is(i + 1, b't');
            let id = before & is(i + 2, b'_') & is(i + 3, b'i') & is(i + 4, b'd');
            // Those of `logger"` and `caller"`.
            let before = is(i, b'g') & is(i + 1, b'g') | is(i, b'l') & is(i + 1, b'l');
            let name = before & is(i + 2, b'e') & is(i + 3, b'r') & is(i + 4, b'"') & names;
            self.suspicious[i] |= id | name | is(i, b'{') | is(i, b'\\');
            self.quotes[i] ^= is(i, b'"');
        }
    }

    /// Without an escape an even number of quotes means that the closing brace stands outside of any string.
    fn nothing(&self) -> bool {
        let odd_quotes = u128::from_ne_bytes(self.quotes).count_ones() % 2;
        u128::from_ne_bytes(self.suspicious) == 0 && odd_quotes == 0
    }
}
