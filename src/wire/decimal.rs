//! Numbers in decimal, as text protocols write them.

/// Appends `number` in decimal.
pub(super) fn put_decimal(out: &mut Vec<u8>, mut number: usize) {
    let mut text = [0; 20];
    let mut from = text.len();
    loop {
        from -= 1;
        text[from] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&text[from..]);
}

/// Length of `number` in decimal.
pub(super) fn digits(number: usize) -> usize {
    number.checked_ilog10().unwrap_or(0) as usize + 1
}

/// The number at the beginning of `text`, at most `digits_max` digits long, and what follows it. `None`: no digit
/// there, or too many.
pub(super) fn split_decimal(text: &[u8], digits_max: usize) -> Option<(usize, &[u8])> {
    let length = text.iter().take(digits_max + 1).take_while(|byte| byte.is_ascii_digit()).count();
    if length == 0 || length > digits_max {
        return None;
    }
    let (number, rest) = text.split_at(length);
    Some((number.iter().fold(0, |sum, digit| 10 * sum + usize::from(digit - b'0')), rest))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_number_is_written_as_the_language_writes_it(number: usize) {
            let mut out = Vec::new();
            put_decimal(&mut out, number);
            prop_assert_eq!(out.len(), digits(number));
            prop_assert_eq!(String::from_utf8(out).unwrap(), number.to_string());
        }

        #[test]
        fn a_number_is_read_back(number in 0..1_000_000_000_usize, after in "([^0-9].*)?") {
            let text = format!("{number}{after}");
            prop_assert_eq!(split_decimal(text.as_bytes(), 9), Some((number, after.as_bytes())));
        }
    }

    #[test]
    fn too_many_digits_are_no_number() {
        assert_eq!(split_decimal(b"1234567890", 9), None);
        assert_eq!(split_decimal(b"x", 9), None);
        assert_eq!(split_decimal(b"", 9), None);
    }
}
