//! The label set of a stream, `{a="b", c="d"}`, parsed as Prometheus' grammar has it.
//!
//! Names are `[a-zA-Z_][a-zA-Z0-9_]*`; values are Go strings, quoted with escapes or raw between back quotes.

/// Label pairs, sorted by name; duplicates are kept so that they can be refused by name.
pub type Pairs = Vec<(String, String)>;

/// Parses a label set.
///
/// # Errors
/// What is wrong and at which byte.
pub fn parse(text: &str) -> Result<Pairs, String> {
    let mut scan = Scan { rest: text, length: text.len() };
    let mut pairs = Pairs::new();
    scan.demand('{')?;
    loop {
        if scan.eat('}') {
            break;
        }
        let name = scan.name()?;
        scan.demand('=')?;
        pairs.push((name, scan.value()?));
        if !scan.eat(',') {
            scan.demand('}')?;
            break;
        }
    }
    scan.end()?;
    pairs.sort();
    Ok(pairs)
}

/// The canonical form Loki shows a stream in.
pub fn canonical(pairs: &[(String, String)]) -> String {
    let shown: Vec<String> = pairs.iter().map(|(name, value)| format!("{name}={value:?}")).collect();
    format!("{{{}}}", shown.join(", "))
}

struct Scan<'a> {
    rest: &'a str,
    length: usize,
}

impl Scan<'_> {
    fn wrong(&self, what: &str) -> String {
        format!("parse error at byte {}: {what}", self.length - self.rest.len())
    }

    fn blank(&mut self) {
        self.rest = self.rest.trim_start_matches([' ', '\t', '\n', '\r']);
    }

    fn eat(&mut self, wanted: char) -> bool {
        self.blank();
        match self.rest.strip_prefix(wanted) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn demand(&mut self, wanted: char) -> Result<(), String> {
        if self.eat(wanted) { Ok(()) } else { Err(self.wrong(&format!("expected {wanted:?}"))) }
    }

    fn end(&mut self) -> Result<(), String> {
        self.blank();
        if self.rest.is_empty() { Ok(()) } else { Err(self.wrong("expected the end")) }
    }

    fn name(&mut self) -> Result<String, String> {
        self.blank();
        let end = self.rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(self.rest.len());
        let name = &self.rest[..end];
        if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
            return Err(self.wrong("expected a label name"));
        }
        self.rest = &self.rest[end..];
        Ok(name.to_owned())
    }

    fn value(&mut self) -> Result<String, String> {
        if self.eat('`') {
            let end = self.rest.find('`').ok_or_else(|| self.wrong("raw string not terminated"))?;
            let value = self.rest[..end].to_owned();
            self.rest = &self.rest[end + 1..];
            return Ok(value);
        }
        self.demand('"')?;
        let mut value = Vec::new();
        loop {
            let mut letters = self.rest.chars();
            let Some(letter) = letters.next() else { return Err(self.wrong("string not terminated")) };
            match letter {
                '"' => break,
                '\n' => return Err(self.wrong("newline in a string")),
                '\\' => {
                    self.rest = letters.as_str();
                    self.escape(&mut value)?;
                    continue;
                }
                _ => value.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes()),
            }
            self.rest = letters.as_str();
        }
        self.rest = &self.rest[1..];
        String::from_utf8(value).map_err(|_| self.wrong("a value must be UTF-8"))
    }

    /// One Go escape after its backslash.
    fn escape(&mut self, value: &mut Vec<u8>) -> Result<(), String> {
        let mut letters = self.rest.chars();
        let Some(kind) = letters.next() else { return Err(self.wrong("string not terminated")) };
        let rest = letters.as_str();
        let plain = match kind {
            'a' => 7,
            'b' => 8,
            'f' => 12,
            'n' => b'\n',
            'r' => b'\r',
            't' => b'\t',
            'v' => 11,
            '\\' => b'\\',
            '"' => b'"',
            'x' | 'u' | 'U' => {
                let width = if kind == 'x' {
                    2
                } else if kind == 'u' {
                    4
                } else {
                    8
                };
                let digits = rest.get(..width).ok_or_else(|| self.wrong("short escape"))?;
                let code = u32::from_str_radix(digits, 16).map_err(|_| self.wrong("bad escape"))?;
                if kind == 'x' {
                    value.push(u8::try_from(code).map_err(|_| self.wrong("bad escape"))?);
                } else {
                    let letter = char::from_u32(code).ok_or_else(|| self.wrong("bad escape"))?;
                    value.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes());
                }
                self.rest = &rest[width..];
                return Ok(());
            }
            '0'..='7' => {
                let digits = self.rest.get(..3).ok_or_else(|| self.wrong("short escape"))?;
                let code = u8::from_str_radix(digits, 8).map_err(|_| self.wrong("bad escape"))?;
                value.push(code);
                self.rest = &self.rest[3..];
                return Ok(());
            }
            _ => return Err(self.wrong("unknown escape")),
        };
        value.push(plain);
        self.rest = rest;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pairs(list: &[(&str, &str)]) -> Pairs {
        list.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn what_people_write() {
        assert_eq!(parse("{}"), Ok(vec![]));
        assert_eq!(parse(r#"{b="2",a="1"}"#), Ok(pairs(&[("a", "1"), ("b", "2")])));
        assert_eq!(parse(r#" { a = "x\n\"\\\u00e9\x41\101" , } "#), Ok(pairs(&[("a", "x\n\"\\éAA")])));
        assert_eq!(parse("{a=`x\\n`}"), Ok(pairs(&[("a", "x\\n")])));
    }

    #[test]
    fn what_does_not_parse() {
        for text in
            ["", "{", "a", r#"{a="b""#, r#"{a="b"}x"#, r#"{1="b"}"#, r#"{a=b}"#, r#"{a="\q"}"#, r#"{a!="b"}"#, r#"{,}"#]
        {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(text in ".{0,64}") {
            drop(parse(&text));
            drop(parse(&format!("{{a=\"{text}")));
        }

        #[test]
        fn any_value_survives_quoting(value in any::<String>()) {
            let quoted = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            prop_assert_eq!(parse(&format!("{{a=\"{quoted}\"}}")), Ok(pairs(&[("a", &value)])));
        }
    }
}
