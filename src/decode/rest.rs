//! A look at the rest of a JSON line, sixteen bytes at a time, to see that it needs no walk.

/// Places looked at in one step. A place is where a pattern of `PATTERN` bytes may end.
const PLACES: usize = 16;
const PATTERN: usize = 5;
/// Bytes of one step: the places and what must be known before the first of them.
const BLOCK: usize = PLACES + PATTERN - 1;

/// Whether the rest of `frame` from `from`, behind level, time and message, closes the object and holds no field we
/// look for, no nested value that could hide the end, and no escape. It may say no without need, never yes.
///
/// `names_known` says that logger and caller were found already.
pub(super) fn is_plain(frame: &[u8], from: usize, names_known: bool) -> bool {
    let Some((b'}', body)) = frame.trim_ascii_end().split_last() else { return false };
    // Level, time and message take more than a block, so there is always one that ends at the end.
    let Some(last) = body.len().checked_sub(BLOCK) else { return false };
    let from = from.saturating_sub(PATTERN - 1);
    if names_known { seen::<false>(body, from, last) } else { seen::<true>(body, from, last) }.nothing()
}

/// Looks at all of `body` from `from` on; `last` is where the block that ends at its end begins.
fn seen<const NAMES: bool>(body: &[u8], from: usize, last: usize) -> Seen {
    let mut seen = Seen::default();
    let mut block = from;
    while let Some(bytes) = body.get(block..).and_then(|rest| rest.first_chunk::<BLOCK>()) {
        seen.look::<NAMES>(bytes, 0);
        block += PLACES;
    }
    if let Some(bytes) = body[last..].first_chunk::<BLOCK>() {
        // Places that were looked at before do not count again.
        seen.look::<NAMES>(bytes, block - last);
    }
    seen
}

/// Per place: whether anything suspicious stood there, and whether an odd number of quotes did.
#[derive(Default)]
struct Seen {
    suspicious: [u8; PLACES],
    quotes: [u8; PLACES],
}

impl Seen {
    /// Looks at the places of a block but the first `skip`; with `NAMES` for logger and caller too. Plain arithmetic
    /// on bytes, without a branch, which compilers turn into vector instructions.
    #[inline]
    fn look<const NAMES: bool>(&mut self, block: &[u8; BLOCK], skip: usize) {
        let is = |place: usize, byte: u8| u8::from(block[place] == byte);
        let skip = skip.min(PLACES) as u8;
        for i in 0..PLACES {
            // The ends of `trace_id`, `span_id` and `request_id`, but for one letter: enough to tell `volume_id` apart.
            let id = (is(i, b'c') | is(i, b'a') | is(i, b's')) & is(i + 2, b'_') & is(i + 3, b'i') & is(i + 4, b'd');
            let mut suspicious = id | is(i + 4, b'{') | is(i + 4, b'\\');
            if NAMES {
                // The ends of `logger"` and `caller"`.
                let before = is(i, b'g') & is(i + 1, b'g') | is(i, b'l') & is(i + 1, b'l');
                suspicious |= before & is(i + 2, b'e') & is(i + 3, b'r') & is(i + 4, b'"');
            }
            let counts = u8::from(i as u8 >= skip);
            self.suspicious[i] |= suspicious & counts;
            self.quotes[i] ^= is(i + 4, b'"') & counts;
        }
    }

    /// Without an escape an even number of quotes means that the closing brace stands outside of any string.
    fn nothing(&self) -> bool {
        let odd_quotes = u128::from_ne_bytes(self.quotes).count_ones() % 2;
        u128::from_ne_bytes(self.suspicious) == 0 && odd_quotes == 0
    }
}
