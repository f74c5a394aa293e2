//! A look at the rest of a JSON line, a block at a time, to see that it needs no walk.
//!
//! zap writes level, time, logger, caller and message first; what follows is most of the line, and of that only a trace
//! id or two can mean something. In a rest without an escape and without an object every string is what stands between
//! two quotes, and every name in it is a name of the line's own object: so names can be told by their last letter and
//! quote, wherever they stand.

use super::{
    block::{BLOCK, Block, Mask},
    key::{Found, Kind, Role, Value},
};
use crate::model::FieldName as Name;

/// Names found in one rest at most; with more it is walked.
const FOUND_MAX: usize = 4;

/// Takes what the rest of `frame` from `from`, behind level, time and message, holds of the fields we look for, if it
/// plainly closes the object. False, with nothing taken, if it must be walked to know: then it holds an escape, a
/// nested object that could hide the end, or something odd. It may say false without need, never true.
#[inline]
pub(super) fn take_plain<'a>(frame: &'a [u8], from: usize, found: &mut Found<'a>) -> bool {
    let Some((b'}', body)) = frame.trim_ascii_end().split_last() else { return false };
    // Logger and caller stand before the message as a rule.
    let names = if found.has_names() { look::<false>(body, from) } else { look::<true>(body, from) };
    let Some(names) = names else { return false };
    for (name, span) in names.list.into_iter().take(names.len) {
        found.take(Role::Field(name), Value { kind: Kind::Quoted, span });
    }
    true
}

/// Names found and their values.
struct Names<'a> {
    list: [(Name, &'a [u8]); FOUND_MAX],
    len: usize,
}

/// Looks at all of `body` from `from` on; with `MORE` for logger and caller too.
#[inline]
fn look<const MORE: bool>(body: &[u8], from: usize) -> Option<Names<'_>> {
    let mut names = Names { list: [(Name::Logger, &[]); FOUND_MAX], len: 0 };
    // Quotes are summed up by place: whether their number is odd is all that counts.
    let (mut at, mut suspicious, mut quotes): (_, Mask, Mask) = (from, 0, 0);
    // Whether the block before ended in a last letter.
    let mut carried: Mask = 0;
    while at < body.len() {
        let block = Block::at(body, at);
        let quote = block.is(b'"');
        suspicious |= block.is_either(b'\\', b'{');
        quotes ^= quote;
        let last = if MORE { block.is_either(b'd', b'r') } else { block.is(b'd') };
        let mut ends = (last << 1 | carried) & quote;
        carried = last >> (BLOCK - 1);
        while ends != 0 {
            let close = at + ends.trailing_zeros() as usize;
            ends &= ends - 1;
            if let Some(name) = name_before(body, close) {
                match value_behind(body, close) {
                    Behind::Text(span) => {
                        *names.list.get_mut(names.len)? = (name, span);
                        names.len += 1;
                    }
                    Behind::NoValue => {}
                    Behind::Odd => return None,
                }
            }
        }
        at += BLOCK;
    }
    // Without an escape an even number of quotes means that the closing brace stands outside of any string.
    (suspicious == 0 && quotes.count_ones().is_multiple_of(2)).then_some(names)
}

/// The name whose closing quote is at `close`.
#[inline]
fn name_before(body: &[u8], close: usize) -> Option<Name> {
    let before = &body[..close];
    let is = |word: &[u8]| before.ends_with(word);
    match before.last_chunk::<3>()? {
        b"_id" if is(b"\"trace_id") => Some(Name::TraceId),
        b"_id" if is(b"\"span_id") => Some(Name::SpanId),
        b"_id" if is(b"\"request_id") => Some(Name::RequestId),
        b"ger" if is(b"\"logger") => Some(Name::Logger),
        b"ler" if is(b"\"caller") => Some(Name::Caller),
        _ => None,
    }
}

/// What follows a word that could be a name.
enum Behind<'a> {
    /// A value in quotes.
    Text(&'a [u8]),
    /// No colon: the word was a value itself.
    NoValue,
    /// Anything that a walk should tell.
    Odd,
}

#[inline]
fn value_behind(body: &[u8], close: usize) -> Behind<'_> {
    match body.get(close + 1..) {
        Some([b':', b'"', rest @ ..]) => match memchr::memchr(b'"', rest) {
            Some(length) => Behind::Text(&rest[..length]),
            None => Behind::Odd,
        },
        Some([b',' | b']', ..] | []) => Behind::NoValue,
        _ => Behind::Odd,
    }
}
