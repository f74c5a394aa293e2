//! RFC 5424 messages, parsed as strictly as its grammar (§6) is written, so that an encoder's slip shows.

use crate::time::parse_rfc3339;

/// One parsed message; absent header fields (`-`) are empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    pub facility: u8,
    pub severity: u8,
    /// Nanoseconds since 1970; none for `-`. RFC 5424 allows six places, so this is whole microseconds.
    pub time_ns: Option<i64>,
    pub hostname: String,
    pub app: String,
    pub procid: String,
    pub msgid: String,
    pub data: Vec<Element>,
    /// UTF-8 as shown: what is not UTF-8 shows as U+FFFD. A byte order mark is kept, so that it shows as well.
    pub text: String,
}

/// One SD-ELEMENT with its parameters, values unescaped.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Element {
    pub id: String,
    pub params: Vec<(String, String)>,
}

impl Message {
    /// The value of a parameter of any element.
    pub fn param(&self, name: &str) -> Option<&str> {
        let mut params = self.data.iter().flat_map(|element| &element.params);
        params.find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// Parses one message.
///
/// # Errors
/// Which part of the grammar it breaks.
pub fn parse(bytes: &[u8]) -> Result<Message, String> {
    let mut scan = Scan { rest: bytes };
    let mut message = Message::default();
    scan.demand(b'<', "PRI")?;
    let pri = scan.until(b'>', "PRI")?;
    let plain = !pri.is_empty() && pri.len() <= 3 && pri.iter().all(u8::is_ascii_digit);
    let value = pri.iter().fold(0_u16, |n, d| n.wrapping_mul(10).wrapping_add(u16::from(d.wrapping_sub(b'0'))));
    if !plain || value > 191 || (pri.len() > 1 && pri[0] == b'0') {
        return Err(format!("PRI {:?}", String::from_utf8_lossy(pri)));
    }
    (message.facility, message.severity) = ((value / 8) as u8, (value % 8) as u8);
    if scan.until(b' ', "VERSION")? != b"1" {
        return Err("VERSION is not 1".to_owned());
    }
    message.time_ns = time(scan.until(b' ', "TIMESTAMP")?)?;
    message.hostname = header(scan.until(b' ', "HOSTNAME")?, "HOSTNAME", 255)?;
    message.app = header(scan.until(b' ', "APP-NAME")?, "APP-NAME", 48)?;
    message.procid = header(scan.until(b' ', "PROCID")?, "PROCID", 128)?;
    message.msgid = header(scan.until(b' ', "MSGID")?, "MSGID", 32)?;
    message.data = scan.structured_data()?;
    if !scan.rest.is_empty() {
        scan.demand(b' ', "the space before MSG")?;
        message.text = String::from_utf8_lossy(scan.rest).into_owned();
    }
    Ok(message)
}

fn time(field: &[u8]) -> Result<Option<i64>, String> {
    if field == b"-" {
        return Ok(None);
    }
    let text = String::from_utf8_lossy(field);
    let digits = text.split_once('.').map_or(0, |(_, rest)| rest.bytes().take_while(u8::is_ascii_digit).count());
    match parse_rfc3339(&text) {
        Some(ns) if digits <= 6 => Ok(Some(ns)),
        _ => Err(format!("TIMESTAMP {text:?}")),
    }
}

fn header(field: &[u8], name: &str, bytes_max: usize) -> Result<String, String> {
    let printable = field.iter().all(|b| (33..=126).contains(b));
    if field.is_empty() || field.len() > bytes_max || !printable {
        return Err(format!("{name} {:?}", String::from_utf8_lossy(field)));
    }
    Ok(if field == b"-" { String::new() } else { String::from_utf8_lossy(field).into_owned() })
}

struct Scan<'a> {
    rest: &'a [u8],
}

impl<'a> Scan<'a> {
    fn demand(&mut self, byte: u8, what: &str) -> Result<(), String> {
        match self.rest.split_first() {
            Some((first, rest)) if *first == byte => {
                self.rest = rest;
                Ok(())
            }
            _ => Err(format!("{what} is missing")),
        }
    }

    /// What stands before `end`, which is taken too.
    fn until(&mut self, end: u8, what: &str) -> Result<&'a [u8], String> {
        let at = memchr::memchr(end, self.rest).ok_or_else(|| format!("{what} does not end"))?;
        let field = &self.rest[..at];
        self.rest = &self.rest[at + 1..];
        Ok(field)
    }

    fn structured_data(&mut self) -> Result<Vec<Element>, String> {
        if self.rest.first() == Some(&b'-') {
            self.rest = &self.rest[1..];
            return Ok(Vec::new());
        }
        let mut elements: Vec<Element> = Vec::new();
        while self.rest.first() == Some(&b'[') {
            self.rest = &self.rest[1..];
            let id = self.sd_name()?;
            if elements.iter().any(|element| element.id == id) {
                return Err(format!("SD-ID {id} stands twice"));
            }
            let mut params = Vec::new();
            while self.rest.first() == Some(&b' ') {
                self.rest = &self.rest[1..];
                let name = self.sd_name()?;
                self.demand(b'=', "the = of a parameter")?;
                params.push((name, self.sd_value()?));
            }
            self.demand(b']', "the end of an element")?;
            elements.push(Element { id, params });
        }
        if elements.is_empty() { Err("STRUCTURED-DATA is missing".to_owned()) } else { Ok(elements) }
    }

    fn sd_name(&mut self) -> Result<String, String> {
        let fits = |b: &u8| (33..=126).contains(b) && !b"=]\"".contains(b);
        let length = self.rest.iter().take_while(|b| fits(b)).count();
        if !(1..=32).contains(&length) {
            return Err(format!("an SD-NAME of {length} bytes"));
        }
        let (name, rest) = self.rest.split_at(length);
        self.rest = rest;
        Ok(String::from_utf8_lossy(name).into_owned())
    }

    fn sd_value(&mut self) -> Result<String, String> {
        self.demand(b'"', "the quote of a value")?;
        let mut value = Vec::new();
        loop {
            match self.rest {
                [b'"', rest @ ..] => {
                    self.rest = rest;
                    break;
                }
                [b'\\', escaped @ (b'"' | b'\\' | b']'), rest @ ..] => {
                    value.push(*escaped);
                    self.rest = rest;
                }
                [b']', ..] => return Err("an unescaped ] in a value".to_owned()),
                [byte, rest @ ..] => {
                    value.push(*byte);
                    self.rest = rest;
                }
                [] => return Err("a value does not end".to_owned()),
            }
        }
        String::from_utf8(value).map_err(|_| "a value is not UTF-8".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_examples_of_the_rfc() {
        // RFC 5424 §6.5, examples 1, 3 and 4.
        let one = parse(
            "<34>1 2003-10-11T22:14:15.003Z mymachine.example.com su - ID47 - \u{feff}'su root' failed".as_bytes(),
        )
        .unwrap();
        assert_eq!((one.facility, one.severity, one.app.as_str(), one.procid.as_str()), (4, 2, "su", ""));
        assert!(one.text.starts_with('\u{feff}'));
        let three = parse(
            br#"<165>1 2003-10-11T22:14:15.003Z host evntslog - ID47 [exampleSDID@32473 iut="3" a="x\]\"\\"] text"#,
        )
        .unwrap();
        assert_eq!((three.param("iut"), three.param("a")), (Some("3"), Some("x]\"\\")));
        assert_eq!(three.text, "text");
        let four = parse(b"<165>1 2003-08-24T05:14:15.000003-07:00 h a - ID47 [x@1][y@1 k=\"v\"]").unwrap();
        assert_eq!((four.data.len(), four.text.as_str()), (2, ""));
        assert_eq!(four.time_ns, parse_rfc3339("2003-08-24T12:14:15.000003Z"));
    }

    #[test]
    fn what_breaks_the_grammar_is_refused() {
        let long = format!("<13>1 - {} a - - - x", "h".repeat(256));
        for text in [
            "",
            "13>1 - h a - - - x",
            "<192>1 - h a - - - x",
            "<013>1 - h a - - - x",
            "<>1 - h a - - - x",
            "<13>2 - h a - - - x",
            "<13>1 2003-10-11T22:14:15.0000003Z h a - - - x",
            "<13>1 2003-10-11 h a - - - x",
            "<13>1 -  a - - - x",
            "<13>1 - h a - -",
            "<13>1 - h a - - x",
            "<13>1 - h a - - -x",
            "<13>1 - h a - - [] x",
            "<13>1 - h a - - [a k=v] x",
            "<13>1 - h a - - [a k=\"]\"] x",
            "<13>1 - h a - - [a][a] x",
            "<13>1 - h\u{e9} a - - - x",
            &long,
        ] {
            assert!(parse(text.as_bytes()).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            drop(parse(&bytes));
            drop(parse(&[b"<13>1 - h a - - [", &bytes[..]].concat()));
        }

        #[test]
        fn any_value_survives_escaping(value in any::<String>()) {
            let escaped = value.replace('\\', "\\\\").replace('"', "\\\"").replace(']', "\\]");
            let message = parse(format!("<13>1 - h a - - [x k=\"{escaped}\"] m").as_bytes()).unwrap();
            prop_assert_eq!(message.param("k"), Some(value.as_str()));
        }
    }
}
