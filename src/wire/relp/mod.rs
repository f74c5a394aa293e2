//! RELP frames: `TXNR SP COMMAND SP DATALEN [SP DATA] LF`.
//!
//! After the specification that comes with librelp (`doc/relp.md`, version 0.0.1). Where it contradicts itself (answers
//! come in order, answers come in any order) the wider reading is taken; where librelp is narrower than it (numbers
//! follow each other without a gap), the narrower one is written.
//!
//! An octet-counted syslog message, `LENGTH SP MESSAGE`, is a frame's `DATALEN SP DATA` already. So a batch for RELP
//! holds the same bytes as one for syslog over TCP, and a frame is made of a message by writing a head before it and
//! a line feed behind it; the number, which belongs to the session, is not known before.

mod answer;
#[cfg(test)]
mod tests;

pub use answer::{Answer, Offers, put_offers};

use super::decimal::{put_decimal, split_decimal};

/// Digits of TXNR and DATALEN.
const NUMBER_DIGITS_MAX: usize = 9;
/// Letters of COMMAND.
const COMMAND_BYTES_MAX: usize = 32;
/// Bytes of the longest HEADER, with the space behind it.
const HEADER_BYTES_MAX: usize = NUMBER_DIGITS_MAX + 1 + COMMAND_BYTES_MAX + 1 + NUMBER_DIGITS_MAX + 1;

/// The number of a transaction: of a command, and of its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Txnr(u32);

impl Txnr {
    /// Of what is not answered.
    pub const HINT: Self = Self(0);
    /// Of a session's first command.
    pub const FIRST: Self = Self(1);
    /// The highest; the next is `FIRST` again.
    pub const LAST: Self = Self(999_999_999);

    #[must_use]
    pub fn next(self) -> Self {
        if self == Self::LAST { Self::FIRST } else { Self(self.0 + 1) }
    }

    /// How many commands after `earlier` this one was given, if neither is a hint.
    pub fn since(self, earlier: Self) -> Option<u32> {
        if self == Self::HINT || earlier == Self::HINT {
            return None;
        }
        Some(if self.0 >= earlier.0 { self.0 - earlier.0 } else { Self::LAST.0 - earlier.0 + self.0 })
    }
}

/// A frame as read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    pub txnr: Txnr,
    pub command: &'a [u8],
    pub data: &'a [u8],
}

/// What cannot be a frame, or not one we take, in words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed(pub &'static str);

/// Appends a frame. `command` is 1 to 32 letters, `data` shorter than 10⁹ bytes.
pub fn put(out: &mut Vec<u8>, txnr: Txnr, command: &str, data: &[u8]) {
    put_decimal(out, txnr.0 as usize);
    out.push(b' ');
    out.extend_from_slice(command.as_bytes());
    out.push(b' ');
    put_decimal(out, data.len());
    if !data.is_empty() {
        out.push(b' ');
        out.extend_from_slice(data);
    }
    out.push(b'\n');
}

/// Appends a `syslog` frame of an octet-counted message (`LENGTH SP MESSAGE`, not empty).
pub fn put_syslog(out: &mut Vec<u8>, txnr: Txnr, counted: &[u8]) {
    put_decimal(out, txnr.0 as usize);
    out.extend_from_slice(b" syslog ");
    out.extend_from_slice(counted);
    out.push(b'\n');
}

/// Bytes of the octet-counted message at the beginning of `messages`, its length and space included. `None`: there is
/// none, or not a whole one.
pub fn counted(messages: &[u8]) -> Option<usize> {
    let (length, rest) = split_decimal(messages, NUMBER_DIGITS_MAX)?;
    let text = rest.strip_prefix(b" ")?;
    (length > 0 && length <= text.len()).then(|| messages.len() - text.len() + length)
}

/// Reads the frame at the beginning of `bytes`, and says how many bytes it takes. `None`: the rest has yet to come.
///
/// # Errors
/// What comes is no frame, or one with more than `data_bytes_max` bytes of data.
pub fn decode(bytes: &[u8], data_bytes_max: usize) -> Result<Option<(Frame<'_>, usize)>, Malformed> {
    // Of a head that is not whole all that is there must be right, or an HTTP server would be waited for.
    let Some((txnr, rest)) = field(bytes, u8::is_ascii_digit, NUMBER_DIGITS_MAX, "a number")? else { return Ok(None) };
    let Some((command, rest)) = field(rest, u8::is_ascii_alphabetic, COMMAND_BYTES_MAX, "a command")? else {
        return Ok(None);
    };
    let length_digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if length_digits == rest.len() && length_digits <= NUMBER_DIGITS_MAX {
        return Ok(None);
    }
    let (length, rest) = split_decimal(rest, NUMBER_DIGITS_MAX).ok_or(Malformed("a length is not a number"))?;
    if length > data_bytes_max {
        return Err(Malformed("an answer is longer than any may be"));
    }
    let (data, rest) = match rest.split_first() {
        Some((b'\n', _)) if length == 0 => (&rest[..0], rest),
        Some((b' ', data)) if data.len() > length => data.split_at(length),
        Some((b' ', _)) => return Ok(None),
        _ => return Err(Malformed("a length is followed by neither data nor the end")),
    };
    if rest.first() != Some(&b'\n') {
        return Err(Malformed("a frame does not end where it says"));
    }
    let txnr = split_decimal(txnr, NUMBER_DIGITS_MAX).map_or(0, |(number, _)| number);
    let frame = Frame { txnr: Txnr(txnr as u32), command, data };
    Ok(Some((frame, bytes.len() - rest.len() + 1)))
}

/// Most bytes of a frame with so much data.
pub const fn frame_bytes_max(data_bytes_max: usize) -> usize {
    HEADER_BYTES_MAX + data_bytes_max + 1
}

/// A field and what follows it.
type Split<'a> = (&'a [u8], &'a [u8]);

/// Splits off a field of a header and the space behind it. `None`: more of it may come.
fn field<'a>(
    bytes: &'a [u8],
    allowed: impl Fn(&u8) -> bool,
    bytes_max: usize,
    what: &'static str,
) -> Result<Option<Split<'a>>, Malformed> {
    let length = bytes.iter().take(bytes_max + 1).take_while(|byte| allowed(byte)).count();
    match bytes.get(length) {
        _ if length > bytes_max => Err(Malformed(what)),
        None => Ok(None),
        Some(b' ') if length > 0 => Ok(Some((&bytes[..length], &bytes[length + 1..]))),
        Some(_) => Err(Malformed(what)),
    }
}
