//! Sizes and durations as people write them: `8MiB`, `500ms`, `1h30m`.

use std::time::Duration;

use crate::config::document::target::Amount;

/// Bytes from a plain number or a text with a unit: `KiB MiB GiB` (also `K M G`) are powers of 1,024, `KB MB GB` of
/// 1,000, `B` or nothing is bytes.
pub fn bytes(amount: &Amount) -> Result<usize, String> {
    let text = match amount {
        Amount::Number(number) => return usize::try_from(*number).map_err(|_| format!("{number} is too much")),
        Amount::Text(text) => text.trim(),
    };
    let digits = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor: usize = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kib" => 1 << 10,
        "m" | "mib" => 1 << 20,
        "g" | "gib" => 1 << 30,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        _ => return Err(format!("{text:?} is not a size; write `8MiB` or a number of bytes")),
    };
    let number: usize =
        number.parse().map_err(|_| format!("{text:?} is not a size; write `8MiB` or a number of bytes"))?;
    number.checked_mul(factor).ok_or_else(|| format!("{text:?} is too much"))
}

/// Bytes for people: the largest binary unit that leaves no fraction.
pub fn bytes_text(bytes: usize) -> String {
    match bytes {
        0 => "0".to_owned(),
        _ if bytes.is_multiple_of(1 << 30) => format!("{} GiB", bytes >> 30),
        _ if bytes.is_multiple_of(1 << 20) => format!("{} MiB", bytes >> 20),
        _ if bytes.is_multiple_of(1 << 10) => format!("{} KiB", bytes >> 10),
        _ => format!("{bytes} bytes"),
    }
}

/// A duration as a row of numbers with units: `ms s m h d w`.
pub fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is not a duration; write `30s`, `1h` or `1h30m`");
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err(wrong());
    }
    let mut sum = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.find(|letter: char| !letter.is_ascii_digit()).ok_or_else(wrong)?;
        let number: u64 = rest[..digits].parse().map_err(|_| wrong())?;
        rest = &rest[digits..];
        let letters = rest.find(|letter: char| !letter.is_ascii_alphabetic()).unwrap_or(rest.len());
        let millis: u64 = match &rest[..letters] {
            "ms" => 1,
            "s" => 1_000,
            "m" | "min" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            "w" => 604_800_000,
            _ => return Err(wrong()),
        };
        rest = &rest[letters..];
        let part = number.checked_mul(millis).map(Duration::from_millis).ok_or_else(wrong)?;
        sum = sum.checked_add(part).ok_or_else(wrong)?;
    }
    Ok(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size(text: &str) -> Result<usize, String> {
        bytes(&Amount::Text(text.to_owned()))
    }

    #[test]
    fn sizes() {
        for (text, meant) in
            [("8MiB", 8 << 20), ("8 MiB", 8 << 20), ("8388608", 8 << 20), ("1g", 1 << 30), ("2MB", 2_000_000)]
        {
            assert_eq!(size(text), Ok(meant), "{text}");
        }
        for text in ["", "MiB", "-1", "8 parsecs", "1.5MiB", "99999999999999999999", "18446744073709551615GiB"] {
            assert!(size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn durations() {
        for (text, seconds) in [("30s", 30), ("1h30m", 5400), ("7d", 604_800), ("1w", 604_800), ("2000ms", 2)] {
            assert_eq!(duration(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in ["", "30", "h", "1 h", "1y", "-1s", "99999999999999999w"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
