//! What frames say: answers (`rsp`) and the offers exchanged when a session opens.

use super::Malformed;

/// What the other side has of our offers, as it says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offers {
    /// It named a version; without one there is no session.
    pub version: bool,
    /// It takes the command `syslog`.
    pub syslog: bool,
}

/// The data of a `rsp`: `CODE SP WORDS [LF DATA]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer<'a> {
    /// 200, or why not.
    pub code: u16,
    pub words: &'a [u8],
    pub data: &'a [u8],
}

impl<'a> Answer<'a> {
    /// The code of a command that was carried out.
    pub const OK: u16 = 200;

    /// # Errors
    /// It does not begin with a code.
    pub fn parse(data: &'a [u8]) -> Result<Self, Malformed> {
        let (code, rest) = data.split_at_checked(3).ok_or(Malformed("an answer has no code"))?;
        if !code.iter().all(u8::is_ascii_digit) {
            return Err(Malformed("an answer has no code"));
        }
        let code = code.iter().fold(0, |sum, digit| 10 * sum + u16::from(digit - b'0'));
        let end = memchr::memchr(b'\n', rest);
        let (words, data) = end.map_or((rest, &rest[..0]), |at| (&rest[..at], &rest[at + 1..]));
        match words.split_first() {
            None => Ok(Self { code, words, data }),
            Some((b' ', words)) => Ok(Self { code, words, data }),
            Some(_) => Err(Malformed("an answer has no code")),
        }
    }

    pub fn is_ok(&self) -> bool {
        self.code == Self::OK
    }
}

/// Appends what we offer. Version 0 is called experimental in the specification and is what librelp speaks to this day.
pub fn put_offers(out: &mut Vec<u8>) {
    out.extend_from_slice(b"relp_version=0\nrelp_software=corelane,");
    out.extend_from_slice(env!("CARGO_PKG_VERSION").as_bytes());
    out.extend_from_slice(b"\ncommands=syslog");
}

impl Offers {
    /// Reads the offers in the answer to `open`. What is not known is passed over.
    pub fn parse(data: &[u8]) -> Self {
        let mut offers = Self::default();
        for line in data.split(|byte| *byte == b'\n') {
            let (name, values) = match memchr::memchr(b'=', line) {
                Some(at) => (&line[..at], &line[at + 1..]),
                None => (line, &line[..0]),
            };
            let mut values = values.split(|byte| *byte == b',');
            match name {
                b"relp_version" => offers.version |= values.any(|value| !value.is_empty()),
                b"commands" => offers.syslog |= values.any(|value| value == b"syslog"),
                _ => {}
            }
        }
        offers
    }
}
