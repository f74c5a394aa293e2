//! RFC 3339 times, written and read without allocation.
//!
//! Every syslog message carries one and many a log line holds one, so both directions stand on the hot path. The
//! calendar is the proleptic Gregorian one, by days since 1970-01-01 (the algorithms of Howard Hinnant, "chrono-
//! Compatible Low-Level Date Algorithms"). Years of `Nanos` are 1677–2262, always four digits.

use crate::model::Nanos;

/// Bytes of `2026-02-24T15:46:29.123456Z`.
pub const RFC3339_MICROS_BYTES: usize = 27;

const SECONDS_PER_DAY: i64 = 86_400;

/// `time` in UTC with microseconds, rounded down, as RFC 5424 §6.2.3 wants it.
pub fn rfc3339_micros(time: Nanos) -> [u8; RFC3339_MICROS_BYTES] {
    let (seconds, nanos) = time.parts();
    let (year, month, day) = date_of(seconds.div_euclid(SECONDS_PER_DAY));
    let second_of_day = seconds.rem_euclid(SECONDS_PER_DAY) as u32;
    let mut out = *b"0000-00-00T00:00:00.000000Z";
    put_digits(&mut out[0..4], year);
    put_digits(&mut out[5..7], month);
    put_digits(&mut out[8..10], day);
    put_digits(&mut out[11..13], second_of_day / 3600);
    put_digits(&mut out[14..16], second_of_day / 60 % 60);
    put_digits(&mut out[17..19], second_of_day % 60);
    put_digits(&mut out[20..26], nanos / 1000);
    out
}

/// Reads `2026-02-24T15:46:29.123Z` and its kin: any fraction after `.` or `,` (cut after nine digits), a space for the
/// `T`, an offset as `Z`, `+01:00`, `+0100` or `+01`, with or without a space before it, and a 60th second.
///
/// `None` for anything else, above all for a time without an offset: whose clock it was nobody knows, and a guess would
/// be hours wrong.
pub fn parse_rfc3339(text: &[u8]) -> Option<Nanos> {
    let (date, rest) = text.split_first_chunk::<8>()?;
    let (time, rest) = rest.split_first_chunk::<8>()?;
    let ([b':', s0, s1], rest) = rest.split_first_chunk::<3>()? else { return None };
    let years = DATE.pairs(*date)?;
    let (year, month) = (u32::from(years[0]) * 100 + u32::from(years[2]), u32::from(years[5]));
    let mut time = *time;
    if !matches!(std::mem::replace(&mut time[2], b'T'), b'T' | b't' | b' ') {
        return None;
    }
    let pairs = TIME.pairs(time)?;
    let (day, hour, minute) = (u32::from(pairs[0]), u32::from(pairs[3]), u32::from(pairs[6]));
    let second = two(*s0, *s1)?;
    if !(1..=12).contains(&month) || day == 0 || (day > 28 && day > days_of_month(year, month)) {
        return None;
    }
    if hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let seconds = days_of(year, month, day) * SECONDS_PER_DAY + i64::from(hour * 3600 + minute * 60 + second);
    if let Some(micros) = utc_micros(rest) {
        return Nanos::new(seconds, micros * 1000);
    }
    let (nanos, rest) = fraction(rest)?;
    Nanos::new(seconds - offset_seconds(rest)?, nanos)
}

/// The microseconds of `.123456Z`, the commonest end; a shortcut for `fraction` and `offset_seconds`.
#[inline]
fn utc_micros(text: &[u8]) -> Option<u32> {
    let pairs = MICROS.pairs(text.try_into().ok()?)?;
    Some(u32::from(pairs[1]) * 10_000 + u32::from(pairs[3]) * 100 + u32::from(pairs[5]))
}

const DATE: Shape = Shape::of(*b"dddd-dd-");
const TIME: Shape = Shape::of(*b"ddTdd:dd");
const MICROS: Shape = Shape::of(*b".ddddddZ");

/// Eight bytes that are read at once.
struct Shape {
    /// All bits of each byte that must be a digit.
    digits: u64,
    /// `0` where a digit must stand, and what must stand elsewhere.
    zeros: u64,
}

impl Shape {
    /// `picture` has a `d` where a digit must stand.
    const fn of(picture: [u8; 8]) -> Self {
        let (mut digits, mut zeros) = ([0; 8], picture);
        let mut i = 0;
        while i < 8 {
            if picture[i] == b'd' {
                (digits[i], zeros[i]) = (0xff, b'0');
            }
            i += 1;
        }
        Self { digits: u64::from_le_bytes(digits), zeros: u64::from_le_bytes(zeros) }
    }

    /// What each two neighbouring digits are worth, at the place of the first. `None` if `text` is not of this shape.
    #[inline(always)]
    const fn pairs(&self, text: [u8; 8]) -> Option<[u8; 8]> {
        // Each byte's distance from what is expected: 0–9 of a digit, 0 of any other. Were one above 127, the next
        // byte's could come out wrong, but then the answer is no already.
        let values = u64::from_le_bytes(text) ^ self.zeros;
        let above_nine = values.wrapping_add(u64::from_le_bytes([0x76; 8])) | values;
        if above_nine & u64::from_le_bytes([0x80; 8]) != 0 || values & !self.digits != 0 {
            return None;
        }
        Some((values * 10 + (values >> 8)).to_le_bytes())
    }
}

/// Nanoseconds of `.123` or `,123`, and what follows.
#[inline]
fn fraction(text: &[u8]) -> Option<(u32, &[u8])> {
    const POWERS: [u32; 10] = [1_000_000_000, 100_000_000, 10_000_000, 1_000_000, 100_000, 10_000, 1_000, 100, 10, 1];
    let Some((b'.' | b',', digits)) = text.split_first() else { return Some((0, text)) };
    let (mut count, mut value) = (0, 0);
    while let Some(digit) = digits.get(count).map(|byte| byte.wrapping_sub(b'0')).filter(|digit| *digit <= 9) {
        if count < 9 {
            value = value * 10 + u32::from(digit);
        }
        count += 1;
    }
    (count > 0).then(|| (value * POWERS[count.min(9)], &digits[count..]))
}

/// Seconds east of UTC.
fn offset_seconds(text: &[u8]) -> Option<i64> {
    let text = text.strip_prefix(b" ").unwrap_or(text);
    let (sign, hours, minutes) = match *text {
        [b'Z' | b'z'] => return Some(0),
        [sign, h0, h1] => (sign, two(h0, h1)?, 0),
        [sign, h0, h1, m0, m1] | [sign, h0, h1, b':', m0, m1] => (sign, two(h0, h1)?, two(m0, m1)?),
        _ => return None,
    };
    if hours > 23 || minutes > 59 {
        return None;
    }
    let seconds = i64::from(hours * 3600 + minutes * 60);
    match sign {
        b'+' => Some(seconds),
        b'-' => Some(-seconds),
        _ => None,
    }
}

fn two(tens: u8, ones: u8) -> Option<u32> {
    (tens.is_ascii_digit() && ones.is_ascii_digit()).then(|| u32::from(tens - b'0') * 10 + u32::from(ones - b'0'))
}

fn put_digits(out: &mut [u8], mut value: u32) {
    for place in out.iter_mut().rev() {
        *place = b'0' + (value % 10) as u8;
        value /= 10;
    }
}

fn days_of_month(year: u32, month: u32) -> u32 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400)) => 29,
        2 => 28,
        _ => 31,
    }
}

/// Days from 1970-01-01 to a date. Years begin in March here, so that the leap day comes last.
fn days_of(year: u32, month: u32, day: u32) -> i64 {
    let year = i64::from(year) - i64::from(month <= 2);
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = i64::from((153 * ((month + 9) % 12) + 2) / 5 + day - 1);
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

/// Year, month and day of a number of days from 1970-01-01; the inverse of `days_of`.
fn date_of(days: i64) -> (u32, u32, u32) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097) as u32;
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = era * 400 + i64::from(year_of_era) + i64::from(month <= 2);
    (year as u32, month, day)
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use proptest::prelude::*;

    use super::*;

    fn text(time: Nanos) -> String {
        String::from_utf8(rfc3339_micros(time).to_vec()).unwrap()
    }

    #[test]
    fn golden() {
        assert_eq!(text(Nanos(1_771_947_989_123_456_789)), "2026-02-24T15:46:29.123456Z");
        assert_eq!(text(Nanos(0)), "1970-01-01T00:00:00.000000Z");
        assert_eq!(text(Nanos(-1)), "1969-12-31T23:59:59.999999Z");
        assert_eq!(text(Nanos(951_782_400_000_000_000)), "2000-02-29T00:00:00.000000Z");
        assert_eq!(text(Nanos(i64::MAX)), "2262-04-11T23:47:16.854775Z");
    }

    #[test]
    fn shapes_that_are_read() {
        for (text, nanos) in [
            ("2026-02-24T15:46:29Z", 1_771_947_989_000_000_000),
            ("2026-02-24T15:46:29.123456789Z", 1_771_947_989_123_456_789),
            ("2026-02-24T15:46:29.1234567891Z", 1_771_947_989_123_456_789),
            ("2026-02-24T15:46:29,5z", 1_771_947_989_500_000_000),
            ("2026-02-24 15:46:29.123+0000", 1_771_947_989_123_000_000),
            ("2026-02-24T17:46:29.123+02:00", 1_771_947_989_123_000_000),
            ("2026-02-24t17:46:29+02", 1_771_947_989_000_000_000),
            ("2026-02-24T10:16:29.000-0530", 1_771_947_989_000_000_000),
            ("2026-02-24 15:46:29.123 +0000", 1_771_947_989_123_000_000),
            ("2016-12-31T23:59:60Z", 1_483_228_800_000_000_000),
        ] {
            assert_eq!(parse_rfc3339(text.as_bytes()), Some(Nanos(nanos)), "{text}");
        }
    }

    #[test]
    fn shapes_that_are_not() {
        for text in [
            "",
            "2026-02-24T15:46:29",
            "2026-02-24T15:46:29.Z",
            "2026-02-24T15:46:29.123",
            "2026-02-30T15:46:29Z",
            "2025-02-29T15:46:29Z",
            "2026-13-01T15:46:29Z",
            "2026-00-01T15:46:29Z",
            "2026-02-24T24:00:00Z",
            "2026-02-24T15:60:00Z",
            "2026-02-24T15:46:29Zulu",
            "2026-02-24T15:46:29+1",
            "2026-02-24T15:46:29+25:00",
            "2026-02-24T15:46:29*01:00",
            "2026/02/24T15:46:29Z",
            "1600-01-01T00:00:00Z",
            "2300-01-01T00:00:00Z",
        ] {
            assert_eq!(parse_rfc3339(text.as_bytes()), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn written_as_jiff_writes_it_and_read_back(nanos: i64) {
            let ours = text(Nanos(nanos));
            let micros = Timestamp::from_microsecond(nanos.div_euclid(1000)).unwrap();
            prop_assert_eq!(&ours, &format!("{micros:.6}"));
            // The very first microsecond begins before the first nanosecond that can be told.
            let back = nanos.div_euclid(1000).checked_mul(1000).map(Nanos);
            prop_assert_eq!(parse_rfc3339(ours.as_bytes()), back);
        }

        #[test]
        fn read_as_jiff_reads_it(nanos: i64, hours in -23i32..=23, minutes in 0i32..=59) {
            let zone = jiff::tz::Offset::from_seconds(hours * 3600 + hours.signum() * minutes * 60).unwrap();
            let time = Timestamp::from_nanosecond(i128::from(nanos)).unwrap();
            let text = time.display_with_offset(zone).to_string();
            prop_assert_eq!(parse_rfc3339(text.as_bytes()), Some(Nanos(nanos)), "{}", text);
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            let _ = parse_rfc3339(&bytes);
        }
    }
}
