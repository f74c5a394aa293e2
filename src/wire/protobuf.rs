//! The few parts of the protobuf encoding that a push needs: varints, tags and length-delimited fields.
//!
//! Sizes are computed before anything is written, so that a message goes straight into its final place: no message is
//! ever built apart and copied. Source: protobuf.dev, "Encoding". Field numbers are 1–15 throughout, hence tags of one
//! byte.

/// Bytes of one tag: field numbers up to 15 fit one byte.
const TAG_BYTES: usize = 1;
const WIRE_VARINT: u8 = 0;
const WIRE_LENGTH_DELIMITED: u8 = 2;

/// Bytes `value` takes as a varint, 1–10.
pub const fn varint_bytes(value: u64) -> usize {
    ((64 - (value | 1).leading_zeros()) as usize).div_ceil(7)
}

/// Bytes of a length-delimited field whose content has `length` bytes.
pub const fn delimited_bytes(length: usize) -> usize {
    TAG_BYTES + varint_bytes(length as u64) + length
}

/// Bytes of an integer field; none when it is 0, the default of proto3. A negative number takes ten bytes.
pub const fn integer_bytes(value: i64) -> usize {
    if value == 0 { 0 } else { TAG_BYTES + varint_bytes(value as u64) }
}

/// Appends `value` as a varint.
pub fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends tag and length of a length-delimited field; its `length` bytes must follow.
pub fn put_delimited_head(out: &mut Vec<u8>, field: u8, length: usize) {
    debug_assert!((1..=15).contains(&field));
    out.push(field << 3 | WIRE_LENGTH_DELIMITED);
    put_varint(out, length as u64);
}

/// Appends a whole length-delimited field: a string, bytes, or a message already encoded.
pub fn put_delimited(out: &mut Vec<u8>, field: u8, content: &[u8]) {
    put_delimited_head(out, field, content.len());
    out.extend_from_slice(content);
}

/// Appends an `int32` or `int64` field; nothing when it is 0.
pub fn put_integer(out: &mut Vec<u8>, field: u8, value: i64) {
    debug_assert!((1..=15).contains(&field));
    if value != 0 {
        out.push(field << 3 | WIRE_VARINT);
        put_varint(out, value as u64);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use prost::encoding;

    use super::*;

    #[test]
    fn varints_of_the_protobuf_guide() {
        for (value, golden) in [
            (0, &[0u8][..]),
            (1, &[1]),
            (127, &[0x7f]),
            (128, &[0x80, 1]),
            (150, &[0x96, 0x01]),
            (u64::MAX, &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]),
        ] {
            let mut out = Vec::new();
            put_varint(&mut out, value);
            assert_eq!(out, golden, "{value}");
            assert_eq!(varint_bytes(value), golden.len(), "{value}");
        }
    }

    proptest! {
        #[test]
        fn fields_are_prosts_bytes(number: i64, content in proptest::collection::vec(any::<u8>(), 0..300)) {
            let (mut ours, mut theirs) = (Vec::new(), Vec::new());
            put_delimited(&mut ours, 3, &content);
            prop_assert_eq!(ours.len(), delimited_bytes(content.len()));
            put_integer(&mut ours, 1, number);
            prop_assert_eq!(ours.len(), delimited_bytes(content.len()) + integer_bytes(number));
            encoding::bytes::encode(3, &content, &mut theirs);
            if number != 0 {
                encoding::int64::encode(1, &number, &mut theirs);
            }
            prop_assert_eq!(ours, theirs);
        }
    }
}
