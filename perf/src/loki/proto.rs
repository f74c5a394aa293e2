//! Loki's push messages as its published schema (`pkg/push/push.proto`) has them, decoded by prost.
//!
//! Labels and lines are declared as bytes: on the wire they are the same as strings, and Loki, written in Go, does not
//! refuse invalid UTF-8 where a strict decoder would.

use bytes::Bytes;
use prost::Message;

#[derive(Clone, PartialEq, Message)]
pub struct PushRequest {
    #[prost(message, repeated, tag = "1")]
    pub streams: Vec<Stream>,
}

#[derive(Clone, PartialEq, Message)]
pub struct Stream {
    /// `{a="b", c="d"}`
    #[prost(bytes = "bytes", tag = "1")]
    pub labels: Bytes,
    #[prost(message, repeated, tag = "2")]
    pub entries: Vec<Entry>,
    #[prost(uint64, tag = "3")]
    pub hash: u64,
}

#[derive(Clone, PartialEq, Message)]
pub struct Entry {
    #[prost(message, optional, tag = "1")]
    pub timestamp: Option<Timestamp>,
    #[prost(bytes = "bytes", tag = "2")]
    pub line: Bytes,
    #[prost(message, repeated, tag = "3")]
    pub structured_metadata: Vec<LabelPair>,
}

#[derive(Clone, PartialEq, Message)]
pub struct LabelPair {
    #[prost(bytes = "bytes", tag = "1")]
    pub name: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    pub value: Bytes,
}

/// `google.protobuf.Timestamp`
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct Timestamp {
    #[prost(int64, tag = "1")]
    pub seconds: i64,
    #[prost(int32, tag = "2")]
    pub nanos: i32,
}

impl Entry {
    /// Nanoseconds since 1970; an absent timestamp is 0, one that does not fit 64 bits or has impossible nanos `None`.
    pub fn time_ns(&self) -> Option<i64> {
        let Some(Timestamp { seconds, nanos }) = self.timestamp else { return Some(0) };
        if !(0..1_000_000_000).contains(&nanos) {
            return None;
        }
        seconds.checked_mul(1_000_000_000)?.checked_add(i64::from(nanos))
    }
}

/// Why a body is no push.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// Not one raw snappy block.
    Snappy(String),
    /// Not the message.
    Protobuf(String),
}

impl std::fmt::Display for Malformed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Snappy(why) => write!(f, "snappy: {why}"),
            Self::Protobuf(why) => write!(f, "proto: {why}"),
        }
    }
}

/// Decodes the body of a push: one raw snappy block holding a `PushRequest`. Also gives the uncompressed size in bytes.
///
/// # Errors
/// The body is not of that form; a claimed size above `bytes_max` is refused before anything is allocated.
pub fn decode(body: &[u8], bytes_max: usize) -> Result<(PushRequest, usize), Malformed> {
    let snappy = |error: snap::Error| Malformed::Snappy(error.to_string());
    let claimed = snap::raw::decompress_len(body).map_err(snappy)?;
    if claimed > bytes_max {
        return Err(Malformed::Snappy(format!("decoded block of {claimed} bytes is too large")));
    }
    let plain = Bytes::from(snap::raw::Decoder::new().decompress_vec(body).map_err(snappy)?);
    let bytes = plain.len();
    let request = PushRequest::decode(plain).map_err(|error| Malformed::Protobuf(error.to_string()))?;
    Ok((request, bytes))
}

/// Encodes a push, for requests made by hand in tests.
pub fn encode(request: &PushRequest) -> Vec<u8> {
    // Compression only fails above 4 GiB, which no test makes; an empty body is then refused by the receiver.
    snap::raw::Encoder::new().compress_vec(&request.encode_to_vec()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Written by hand from the schema: stream {a="b"} with "hi" at 1 s + 2 ns and metadata k=v.
    const GOLDEN: &[u8] = &[
        0x0a, 0x1c, 0x0a, 0x07, b'{', b'a', b'=', b'"', b'b', b'"', b'}', 0x12, 0x11, 0x0a, 0x04, 0x08, 1, 0x10, 2,
        0x12, 0x02, b'h', b'i', 0x1a, 0x05, 0x0a, 1, b'k', 0x12, 0,
    ];

    #[test]
    fn decodes_hand_made_bytes() {
        let body = snap::raw::Encoder::new().compress_vec(GOLDEN).unwrap();
        let (request, bytes) = decode(&body, 1024).unwrap();
        assert_eq!(bytes, GOLDEN.len());
        let stream = &request.streams[0];
        assert_eq!(&stream.labels[..], br#"{a="b"}"#);
        assert_eq!(&stream.entries[0].line[..], b"hi");
        assert_eq!(stream.entries[0].time_ns(), Some(1_000_000_002));
        assert_eq!(&stream.entries[0].structured_metadata[0].name[..], b"k");
        assert!(stream.entries[0].structured_metadata[0].value.is_empty());
    }

    #[test]
    fn a_bare_message_and_a_framed_block_are_no_push() {
        assert!(matches!(decode(GOLDEN, 1024), Err(Malformed::Snappy(_))));
        assert!(matches!(decode(b"\xff\x06\x00\x00sNaPpY", 1024), Err(Malformed::Snappy(_))));
        let body = snap::raw::Encoder::new().compress_vec(b"\xff\xff\xff").unwrap();
        assert!(matches!(decode(&body, 1024), Err(Malformed::Protobuf(_))));
    }

    #[test]
    fn a_bomb_is_refused_by_its_claim() {
        let body = snap::raw::Encoder::new().compress_vec(&vec![0; 1 << 20]).unwrap();
        assert!(matches!(decode(&body, 1024), Err(Malformed::Snappy(_))));
    }
}
