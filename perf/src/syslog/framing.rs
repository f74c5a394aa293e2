//! How messages are told apart on a stream: octet counting (RFC 6587 §3.4.1, RFC 5425 §4.3) or newlines (§3.4.2).

/// Bytes of one message; a longer one is a broken stream.
const MESSAGE_BYTES_MAX: usize = 1024 * 1024;
/// Digits of an octet count: enough for the largest message.
const COUNT_DIGITS_MAX: usize = 7;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Framing {
    /// `LENGTH SP MESSAGE`
    #[default]
    OctetCounted,
    /// `MESSAGE LF`
    Newline,
}

/// The stream cannot be told apart any more: the session must end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken(pub String);

/// Bytes received and not yet taken as messages.
#[derive(Default)]
pub struct Deframer {
    framing: Framing,
    pending: Vec<u8>,
}

impl Deframer {
    pub fn new(framing: Framing) -> Self {
        Self { framing, pending: Vec::new() }
    }

    /// Takes received bytes and hands each whole message to `take`.
    ///
    /// # Errors
    /// What follows cannot be a message.
    pub fn feed(&mut self, bytes: &[u8], mut take: impl FnMut(&[u8])) -> Result<(), Broken> {
        self.pending.extend_from_slice(bytes);
        let mut done = 0;
        while let Some((start, end, next)) = self.next(done)? {
            take(&self.pending[start..end]);
            done = next;
        }
        drop(self.pending.drain(..done));
        Ok(())
    }

    /// Bytes of an unfinished message.
    pub fn unfinished(&self) -> usize {
        self.pending.len()
    }

    /// Start and end of the message at `from`, and where the next one begins.
    fn next(&self, from: usize) -> Result<Option<(usize, usize, usize)>, Broken> {
        let rest = &self.pending[from..];
        match self.framing {
            Framing::Newline => match memchr::memchr(b'\n', rest) {
                Some(end) => Ok(Some((from, from + end, from + end + 1))),
                None if rest.len() > MESSAGE_BYTES_MAX => Err(Broken("no newline within 1 MiB".to_owned())),
                None => Ok(None),
            },
            Framing::OctetCounted => {
                let digits = rest.iter().take_while(|b| b.is_ascii_digit()).count();
                if digits == rest.len() && digits <= COUNT_DIGITS_MAX {
                    return Ok(None);
                }
                let count = rest[..digits].iter().fold(0, |n, d| (n * 10 + usize::from(d - b'0')).min(usize::MAX / 11));
                let counted = digits > 0 && digits <= COUNT_DIGITS_MAX && rest[0] != b'0' && rest[digits] == b' ';
                if !counted || count > MESSAGE_BYTES_MAX {
                    let shown = String::from_utf8_lossy(&rest[..rest.len().min(32)]).into_owned();
                    return Err(Broken(format!("no octet count at {shown:?}")));
                }
                let start = from + digits + 1;
                Ok((self.pending.len() >= start + count).then_some((start, start + count, start + count)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn feed(framing: Framing, pieces: &[&[u8]]) -> Result<(Vec<Vec<u8>>, usize), Broken> {
        let mut deframer = Deframer::new(framing);
        let mut messages = Vec::new();
        for piece in pieces {
            deframer.feed(piece, |message| messages.push(message.to_vec()))?;
        }
        Ok((messages, deframer.unfinished()))
    }

    #[test]
    fn golden_streams() {
        let (messages, rest) = feed(Framing::OctetCounted, &[b"3 a\nb10 0123456789", b"2", b" x"]).unwrap();
        assert_eq!(messages, [b"a\nb".to_vec(), b"0123456789".to_vec()]);
        assert_eq!(rest, 3);
        let (messages, rest) = feed(Framing::Newline, &[b"one\ntw", b"o\nthr"]).unwrap();
        assert_eq!(messages, [b"one".to_vec(), b"two".to_vec()]);
        assert_eq!(rest, 3);
    }

    #[test]
    fn what_is_no_count_breaks_the_stream() {
        for bytes in [&b"<13>1"[..], b" 3 abc", b"03 abc", b"3abc", b"99999999 x", b"1048577 x"] {
            assert!(feed(Framing::OctetCounted, &[bytes]).is_err(), "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn cuts_do_not_matter(
            messages in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..50), 0..10),
            cuts in prop::collection::vec(1..20_usize, 1..100),
        ) {
            let mut stream = Vec::new();
            for message in &messages {
                stream.extend_from_slice(format!("{} ", message.len()).as_bytes());
                stream.extend_from_slice(message);
            }
            let mut pieces = Vec::new();
            let (mut rest, mut cuts) = (&stream[..], cuts.iter().cycle());
            while !rest.is_empty() {
                let (piece, after) = rest.split_at(rest.len().min(*cuts.next().unwrap()));
                pieces.push(piece);
                rest = after;
            }
            prop_assert_eq!(feed(Framing::OctetCounted, &pieces), Ok((messages, 0)));
        }
    }
}
