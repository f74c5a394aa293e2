//! The times of Go's loggers: a number since the epoch in some unit, or a date.
//!
//! A number is read digit by digit, never through a float: what is written is what is sent, to the nanosecond, so that
//! two lines a nanosecond apart stay two and a line read again has the same time.

use crate::{model::Nanos, wire::time::parse_rfc3339};

/// A time as written: float seconds (also `1.7717e+09`), an integer or float of seconds, milli-, micro- or nanoseconds
/// told apart by magnitude, or RFC 3339 and its kin (`wire::time`).
#[inline]
pub(super) fn parse(text: &[u8]) -> Option<Nanos> {
    match text {
        [_, _, _, _, b'-', _, _, b'-', ..] => parse_rfc3339(text),
        _ => parse_float_seconds(text).or_else(|| parse_number(text)),
    }
}

/// `1771947989.1234567`, what zap writes by default: a shortcut for what `parse_number` would say.
#[inline]
fn parse_float_seconds(text: &[u8]) -> Option<Nanos> {
    const POWERS: [u32; 10] = [1, 10, 100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000, 1_000_000_000];
    let (&[whole @ .., b'.'], fraction) = text.split_first_chunk::<11>()? else { return None };
    let whole: [u8; 10] = whole;
    let scale = POWERS[9usize.checked_sub(fraction.len())?];
    if whole[0] == b'0' || !whole.iter().chain(fraction).all(u8::is_ascii_digit) {
        return None;
    }
    let seconds = whole.iter().fold(0, |value, digit| value * 10 + i64::from(digit - b'0'));
    let nanos = fraction.iter().fold(0, |value, digit| value * 10 + u32::from(digit - b'0')) * scale;
    Nanos::new(seconds, nanos)
}

/// Significant digits that are read; a time of this era to the nanosecond has 19.
const DIGITS_MAX: i32 = 19;

/// A decimal number, its unit told by the digits before its point: 9–11 are seconds, 12–14 milliseconds, 15–17
/// microseconds, 18–20 nanoseconds. Each of these spans the years 1973 to 5138; a smaller number is no date but time
/// since a boot or a start, hence `None`, as for anything negative, odd or past 2262. Digits below the nanosecond are
/// cut off.
fn parse_number(text: &[u8]) -> Option<Nanos> {
    let mut mantissa = 0u64;
    // value = mantissa × 10^scale
    let mut scale = 0i32;
    let mut significant = 0i32;
    let mut point = false;
    let mut rest = text;
    while let Some((&byte, after)) = rest.split_first() {
        match byte {
            b'0'..=b'9' => {
                if significant < DIGITS_MAX {
                    mantissa = mantissa * 10 + u64::from(byte - b'0');
                    significant += i32::from(mantissa != 0);
                    scale -= i32::from(point);
                } else {
                    scale += i32::from(!point);
                }
            }
            b'.' if !point => point = true,
            b'e' | b'E' => {
                scale += parse_exponent(after)?;
                break;
            }
            _ => return None,
        }
        rest = after;
    }
    if mantissa == 0 {
        return None;
    }
    let unit_scale = match significant + scale {
        9..=11 => 9,
        12..=14 => 6,
        15..=17 => 3,
        18..=20 => 0,
        _ => return None,
    };
    let exponent = scale + unit_scale;
    let power = 10u64.checked_pow(exponent.unsigned_abs())?;
    let nanos = if exponent < 0 { mantissa / power } else { mantissa.checked_mul(power)? };
    i64::try_from(nanos).ok().map(Nanos)
}

/// The number after an `e`, bounded far beyond any use.
fn parse_exponent(text: &[u8]) -> Option<i32> {
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] | digits => (false, digits),
    };
    if digits.is_empty() || digits.len() > 4 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let value = digits.iter().fold(0, |value, digit| value * 10 + i32::from(digit - b'0'));
    Some(if negative { -value } else { value })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers() {
        for (text, nanos) in [
            ("1771947989", 1_771_947_989_000_000_000),
            ("1771947989.1234567", 1_771_947_989_123_456_700),
            ("1771947989.123456789", 1_771_947_989_123_456_789),
            ("1771947989.1234567899", 1_771_947_989_123_456_789),
            ("1771947989123", 1_771_947_989_123_000_000),
            ("1771947989123.456789", 1_771_947_989_123_456_789),
            ("1771947989123456", 1_771_947_989_123_456_000),
            ("1771947989123456.7", 1_771_947_989_123_456_700),
            ("1771947989123456789", 1_771_947_989_123_456_789),
            ("1.7717e+09", 1_771_700_000_000_000_000),
            ("1.771947989e9", 1_771_947_989_000_000_000),
            ("1.771947989123456789E+09", 1_771_947_989_123_456_789),
            ("1.771947989123e+12", 1_771_947_989_123_000_000),
            ("17719479891234567890e-10", 1_771_947_989_123_456_789),
            ("0.1771947989123456789e10", 1_771_947_989_123_456_789),
            ("01771947989.", 1_771_947_989_000_000_000),
        ] {
            assert_eq!(parse(text.as_bytes()), Some(Nanos(nanos)), "{text}");
        }
    }

    #[test]
    fn no_times() {
        for text in [
            "",
            "0",
            ".",
            "e9",
            "1e",
            "1e+",
            "-1771947989",
            "8123.004512",
            "12345678",
            "1771947989x",
            "1.2.3",
            "1e99999",
            "99999999999",
            "1e400",
            "1e-400",
            "9223372036854775808",
            "99999999999999999999",
            "nan",
            "0x12",
            "15:46:29",
        ] {
            assert_eq!(parse(text.as_bytes()), None, "{text}");
        }
    }

    proptest! {
        /// Every way to write one instant reads as that instant, to the nanosecond.
        #[test]
        fn exact_to_the_nanosecond(nanos in 100_000_000_000_000_000i64..=i64::MAX, point in 1i32..19) {
            let digits = nanos.to_string();
            prop_assert_eq!(parse(digits.as_bytes()), Some(Nanos(nanos)));
            for unit_digits in [9usize, 6, 3] {
                let (whole, part) = digits.split_at(digits.len() - unit_digits);
                prop_assert_eq!(parse(format!("{whole}.{part}").as_bytes()), Some(Nanos(nanos)));
            }
            // Seconds with the point anywhere and an exponent that mends it.
            let point = point.min(digits.len() as i32 - 1);
            let (whole, part) = digits.split_at(point as usize);
            let exponent = digits.len() as i32 - 9 - point;
            let text = format!("{whole}.{part}e{exponent:+03}");
            prop_assert_eq!(parse(text.as_bytes()), Some(Nanos(nanos)), "{}", text);
        }

        #[test]
        fn any_bytes_are_read_or_refused(text in "[-+0-9.eETZ: ]{0,40}") {
            let _ = parse(text.as_bytes());
        }
    }
}
