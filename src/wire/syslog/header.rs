//! The parts of an RFC 5424 header: names of printable ASCII, parameter values, numbers.

use crate::wire::utf8::boundary;

/// NILVALUE: what stands for a name that is not known.
const NIL: u8 = b'-';
/// Bytes of an unescaped parameter value. Cluster and source names are shorter; whatever else comes is cut.
const PARAM_BYTES_MAX: usize = crate::limits::NAME_BYTES_MAX;

/// Appends a name of PRINTUSASCII (RFC 5424 §6: 33–126), at most `bytes_max` long, `_` for what must not stand in it
/// (`also_not` besides); `-` when there is nothing left.
pub(super) fn printable(out: &mut Vec<u8>, name: &[u8], bytes_max: usize, also_not: &[u8]) {
    if name.is_empty() {
        out.push(NIL);
        return;
    }
    let name = &name[..name.len().min(bytes_max)];
    let stands = |byte: u8| (33..=126).contains(&byte) && !also_not.contains(&byte);
    out.extend(name.iter().map(|&byte| if stands(byte) { byte } else { b'_' }));
}

/// Appends a PARAM-VALUE (RFC 5424 §6.3.3): `"`, `\` and `]` escaped by `\`. Control characters, which may stand there
/// but break newline framing, become `_`.
pub(super) fn escape_param(out: &mut Vec<u8>, value: &str) {
    let value = &value.as_bytes()[..boundary(value.as_bytes(), PARAM_BYTES_MAX)];
    for &byte in value {
        if matches!(byte, b'"' | b'\\' | b']') {
            out.push(b'\\');
        }
        out.push(if byte.is_ascii_control() { b'_' } else { byte });
    }
}
