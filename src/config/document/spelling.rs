//! One spelling from many: field names, enum values, and the nearest known word to a typo.
//!
//! Clients of protobuf-JSON write `logFormat` or `log_format`, `ZAP_JSON` or `zap-json`. People mistype. Both are met
//! here, so that the rest knows one spelling and an error can say what was probably meant.

/// `log_format` and `logFormat` → `logFormat`. Anything else comes back as it is.
pub fn camel(key: &str) -> String {
    let mut out = String::with_capacity(key.len());
    let mut raise = false;
    for letter in key.chars() {
        match letter {
            '_' if !out.is_empty() => raise = true,
            _ if raise => {
                out.push(letter.to_ascii_uppercase());
                raise = false;
            }
            _ => out.push(letter),
        }
    }
    out
}

/// Letters and digits in lower case only: `ZAP_JSON`, `zap-json` and `zapJson` fall together.
pub fn flat(word: &str) -> String {
    word.chars().filter(char::is_ascii_alphanumeric).map(|letter| letter.to_ascii_lowercase()).collect()
}

/// The word of `known` nearest to `word`, if one is near enough to have been meant.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let lower = word.to_ascii_lowercase();
    known
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(&lower, &candidate.to_ascii_lowercase()), candidate))
        .filter(|(distance, candidate)| *distance <= candidate.len().max(lower.len()).div_ceil(3).min(3))
        .filter(|(distance, _)| *distance < lower.len())
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// `; did you mean `x`?`, or nothing.
pub fn did_you_mean<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    match nearest(word, known) {
        Some(candidate) => format!("; did you mean `{candidate}`?"),
        None => String::new(),
    }
}

/// `a, b and c`, for the values an enum takes.
pub fn listed(words: &[&str]) -> String {
    match words {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [most @ .., last] => format!("{} and {last}", most.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn snake_case_becomes_camel_case() {
        for (written, meant) in [
            ("log_format", "logFormat"),
            ("logFormat", "logFormat"),
            ("ca_pem", "caPem"),
            ("name", "name"),
            ("_x", "_x"),
        ] {
            assert_eq!(camel(written), meant);
        }
    }

    #[test]
    fn a_near_word_is_proposed_and_a_far_one_is_not() {
        assert_eq!(nearest("nmae", ["name", "file"]), Some("name"));
        assert_eq!(nearest("node-manger", ["node-manager", "api-service"]), Some("node-manager"));
        assert_eq!(nearest("colour", ["name", "file"]), None);
        assert_eq!(nearest("", ["a"]), None);
    }
}
