//! Nanoseconds since 1970 as RFC 3339 and back, without a dependency.
//!
//! The generator formats a time for every line and the receivers parse one for every message; both only ever deal in
//! UTC or a fixed offset. Days are counted by the well-known era method of the proleptic Gregorian calendar.

/// Nanoseconds of one second.
pub const SECOND: i64 = 1_000_000_000;

/// Nanoseconds since 1970, now.
pub fn now_ns() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

/// Appends `2026-02-24T15:46:29.123456Z` with `digits` (0–9) places of fraction.
pub fn push_rfc3339(out: &mut Vec<u8>, ns: i64, digits: usize) {
    let (days, in_day) = (ns.div_euclid(86_400 * SECOND), ns.rem_euclid(86_400 * SECOND));
    let (year, month, day) = civil(days);
    let seconds = in_day / SECOND;
    push_padded(out, year.unsigned_abs(), 4);
    for (mark, number) in
        [(b'-', month), (b'-', day), (b'T', seconds / 3600), (b':', seconds / 60 % 60), (b':', seconds % 60)]
    {
        out.push(mark);
        push_padded(out, number.unsigned_abs(), 2);
    }
    if digits > 0 {
        out.push(b'.');
        let cut = 10_i64.pow(9 - u32::try_from(digits.min(9)).unwrap_or(9));
        push_padded(out, (in_day % SECOND / cut).unsigned_abs(), digits.min(9));
    }
    out.push(b'Z');
}

/// As `push_rfc3339`, with nanoseconds.
pub fn rfc3339(ns: i64) -> String {
    let mut out = Vec::new();
    push_rfc3339(&mut out, ns, 9);
    String::from_utf8_lossy(&out).into_owned()
}

/// Parses RFC 3339 strictly: `T`, a zone (`Z` or `±hh:mm`), 0–9 places of fraction, no leap second.
pub fn parse_rfc3339(text: &str) -> Option<i64> {
    let bytes = text.as_bytes();
    let number = |from: usize, len: usize| -> Option<i64> {
        let part = bytes.get(from..from + len)?;
        part.iter().all(u8::is_ascii_digit).then(|| part.iter().fold(0, |n, d| n * 10 + i64::from(d - b'0')))
    };
    let mark = |at: usize, want: u8| bytes.get(at).is_some_and(|b| *b == want);
    if !(mark(4, b'-') && mark(7, b'-') && mark(10, b'T') && mark(13, b':') && mark(16, b':')) {
        return None;
    }
    let (year, month, day) = (number(0, 4)?, number(5, 2)?, number(8, 2)?);
    let (hour, minute, second) = (number(11, 2)?, number(14, 2)?, number(17, 2)?);
    let days = days(year, month, day);
    if civil(days) != (year, month, day) || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let (fraction, zone_at) = fraction(bytes)?;
    let offset = match bytes.get(zone_at)? {
        b'Z' if bytes.len() == zone_at + 1 => 0,
        sign @ (b'+' | b'-') if bytes.len() == zone_at + 6 && mark(zone_at + 3, b':') => {
            let (hours, minutes) = (number(zone_at + 1, 2)?, number(zone_at + 4, 2)?);
            if hours > 23 || minutes > 59 {
                return None;
            }
            (hours * 3600 + minutes * 60) * if *sign == b'-' { -1 } else { 1 }
        }
        _ => return None,
    };
    let seconds = days * 86_400 + hour * 3600 + minute * 60 + second - offset;
    seconds.checked_mul(SECOND)?.checked_add(fraction)
}

/// The fraction after byte 19 in nanoseconds, and where the zone begins.
fn fraction(bytes: &[u8]) -> Option<(i64, usize)> {
    if bytes.get(19) != Some(&b'.') {
        return Some((0, 19));
    }
    let digits = bytes[20..].iter().take_while(|b| b.is_ascii_digit()).count();
    if !(1..=9).contains(&digits) {
        return None;
    }
    let value = bytes[20..20 + digits].iter().fold(0_i64, |n, d| n * 10 + i64::from(d - b'0'));
    Some((value * 10_i64.pow(9 - u32::try_from(digits).ok()?), 20 + digits))
}

fn push_padded(out: &mut Vec<u8>, mut number: u64, width: usize) {
    let start = out.len();
    out.resize(start + width, b'0');
    for place in out[start..].iter_mut().rev() {
        *place = b'0' + u8::try_from(number % 10).unwrap_or(0);
        number /= 10;
    }
}

/// Year, month and day of a count of days since 1970.
fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let (era, of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

/// Days since 1970 of a date; nonsense dates give nonsense days, which `civil` then shows.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * (if month > 2 { month - 3 } else { month + 9 }) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + of_year - 719_468
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn known_moments() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00.000000000Z");
        // `date -u -d @1771947989` prints Tue Feb 24 15:46:29 UTC 2026.
        assert_eq!(rfc3339(1_771_947_989 * SECOND + 123_456_000), "2026-02-24T15:46:29.123456000Z");
        assert_eq!(parse_rfc3339("2026-02-24T16:46:29.5+01:00"), Some(1_771_947_989 * SECOND + 500_000_000));
        assert_eq!(parse_rfc3339("2024-02-29T00:00:00Z"), Some(1_709_164_800 * SECOND));
    }

    #[test]
    fn nonsense_is_refused() {
        for text in [
            "",
            "2026-02-30T00:00:00Z",
            "2026-02-24 15:46:29Z",
            "2026-02-24T15:46:29",
            "2026-02-24T24:00:00Z",
            "2026-02-24T15:46:60Z",
            "2026-02-24T15:46:29.Z",
            "2026-02-24T15:46:29.1234567890Z",
            "2026-02-24T15:46:29z",
            "2026-13-01T00:00:00Z",
        ] {
            assert_eq!(parse_rfc3339(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(ns in 0..4_000_000_000_i64 * SECOND) {
            prop_assert_eq!(parse_rfc3339(&rfc3339(ns)), Some(ns));
        }
    }
}
