//! Frames judged by golden bytes, taken from the specification's grammar and from what librelp 1.11 was seen to send,
//! and by a reader of one octet at a time, written apart.

use proptest::prelude::*;

use super::*;

const DATA_MAX: usize = 4096;

fn frame(txnr: Txnr, command: &str, data: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    put(&mut out, txnr, command, data);
    out
}

#[test]
fn golden_frames() {
    assert_eq!(frame(Txnr(2), "syslog", b"<13>1 - a"), b"2 syslog 9 <13>1 - a\n");
    assert_eq!(frame(Txnr(3), "close", b""), b"3 close 0\n", "no space before data that is not there");
    assert_eq!(frame(Txnr::HINT, "serverclose", b""), b"0 serverclose 0\n");
    assert_eq!(frame(Txnr::LAST, "rsp", b"200 OK"), b"999999999 rsp 6 200 OK\n");
    let mut out = Vec::new();
    put_syslog(&mut out, Txnr(17), b"9 <13>1 - a");
    assert_eq!(out, b"17 syslog 9 <13>1 - a\n");
    let mut offers = Vec::new();
    put_offers(&mut offers);
    let text = format!("relp_version=0\nrelp_software=corelane,{}\ncommands=syslog", env!("CARGO_PKG_VERSION"));
    assert_eq!(String::from_utf8(offers).unwrap(), text);
}

/// What Debian's rsyslog-relp 8.2302 with librelp 1.11 said in one session: opened, a message taken, closed.
#[test]
fn what_librelp_sends_is_read() {
    let bytes = b"1 rsp 93 200 OK\nrelp_version=0\nrelp_software=librelp,1.11.0,http://librelp.adiscon.com\n\
        commands=syslog\n2 rsp 6 200 OK\n3 rsp 0\n0 serverclose 0\n";
    let mut rest = &bytes[..];
    let mut next = || {
        let (frame, length) = decode(rest, DATA_MAX).unwrap().unwrap();
        rest = &rest[length..];
        frame
    };
    let opened = next();
    assert_eq!((opened.txnr, opened.command), (Txnr::FIRST, &b"rsp"[..]));
    let answer = Answer::parse(opened.data).unwrap();
    assert_eq!((answer.code, answer.words), (200, &b"OK"[..]));
    assert_eq!(Offers::parse(answer.data), Offers { version: true, syslog: true });
    let acked = next();
    assert_eq!(acked.txnr, Txnr(2));
    assert_eq!(Answer::parse(acked.data), Ok(Answer { code: 200, words: b"OK", data: b"" }));
    assert_eq!(next(), Frame { txnr: Txnr(3), command: b"rsp", data: b"" });
    assert_eq!(next(), Frame { txnr: Txnr::HINT, command: b"serverclose", data: b"" });
    assert_eq!(rest, b"");
}

#[test]
fn what_is_no_frame_is_known_at_its_first_wrong_byte() {
    for (bytes, wrong) in [
        (&b"HTTP/1.1 400"[..], "a number"),
        (b"1234567890 rsp 0\n", "a number"),
        (b" rsp 0\n", "a number"),
        (b"1 rs2", "a command"),
        (b"1  0\n", "a command"),
        (b"1 abcdefghijklmnopqrstuvwxyzabcdefg 0\n", "a command"),
        (b"1 rsp x", "a length is not a number"),
        (b"1 rsp 1234567890", "a length is not a number"),
        (b"1 rsp 4097 ", "an answer is longer than any may be"),
        (b"1 rsp 0x", "a length is followed by neither data nor the end"),
        (b"1 rsp 1\n", "a length is followed by neither data nor the end"),
        (b"1 rsp 2 abc", "a frame does not end where it says"),
    ] {
        assert_eq!(decode(bytes, DATA_MAX), Err(Malformed(wrong)), "{}", String::from_utf8_lossy(bytes));
    }
    for text in ["20 OK", "2x0 OK", "", "200OK"] {
        assert_eq!(Answer::parse(text.as_bytes()), Err(Malformed("an answer has no code")), "{text}");
    }
    assert_eq!(Answer::parse(b"500").map(|answer| answer.code), Ok(500));
}

#[test]
fn offers_may_be_poor_or_rich() {
    assert_eq!(Offers::parse(b""), Offers::default());
    assert_eq!(Offers::parse(b"relp_version=\ncommands=eventlog"), Offers::default());
    let rich = b"\nfeature\nrelp_version=1\ncommands=eventlog,syslog\nrelp_software=x";
    assert_eq!(Offers::parse(rich), Offers { version: true, syslog: true });
}

#[test]
fn numbers_follow_each_other_in_a_ring() {
    assert_eq!(Txnr::FIRST.next(), Txnr(2));
    assert_eq!(Txnr::LAST.next(), Txnr::FIRST);
    assert_eq!(Txnr(5).since(Txnr(3)), Some(2));
    assert_eq!(Txnr::FIRST.since(Txnr::LAST), Some(1));
    assert_eq!(Txnr::HINT.since(Txnr(3)), None);
    assert_eq!(Txnr(3).since(Txnr::HINT), None);
}

#[test]
fn counted_messages_are_told_apart() {
    let messages = b"3 a b10 0123456789";
    assert_eq!(counted(messages), Some(5));
    assert_eq!(counted(&messages[5..]), Some(13));
    for bad in [&b""[..], b"x", b"3", b"3 ab", b"0 ", b"1234567890 a"] {
        assert_eq!(counted(bad), None, "{bad:?}");
    }
}

/// One frame, read octet by octet as the grammar has it.
fn read_slowly(bytes: &[u8]) -> Option<(u32, String, Vec<u8>, usize)> {
    let mut at = 0;
    let mut word = || {
        let from = at;
        while !matches!(bytes.get(at)?, b' ' | b'\n') {
            at += 1;
        }
        at += 1;
        Some((String::from_utf8(bytes[from..at - 1].to_vec()).ok()?, at))
    };
    let (txnr, command) = (word()?.0, word()?.0);
    let (length, at) = word()?;
    let length: usize = length.parse().ok()?;
    // Without data the line feed stood where the space would.
    let data = bytes.get(at..at + length)?.to_vec();
    let end = if length == 0 { at - 1 } else { at + length };
    (bytes.get(end) == Some(&b'\n')).then_some((txnr.parse().ok()?, command, data, end + 1))
}

fn octets() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..300)
}

fn nearly_a_frame() -> impl Strategy<Value = Vec<u8>> {
    let octet = prop_oneof![any::<u8>(), Just(b' '), Just(b'\n'), b'0'..=b'9', b'a'..=b'z'];
    prop::collection::vec(octet, 0..80)
}

proptest! {
    #[test]
    fn frames_are_read_back_however_they_come(
        frames in prop::collection::vec((0..1_000_000_000_u32, "[a-zA-Z]{1,32}", octets()), 1..8),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut bytes = Vec::new();
        for (txnr, command, data) in &frames {
            put(&mut bytes, Txnr(*txnr), command, data);
        }
        // What has come so far is either whole frames or the beginning of one, never an error.
        let cut = cut.index(bytes.len());
        let mut rest = &bytes[..cut];
        while let Some((_, length)) = decode(rest, DATA_MAX).unwrap() {
            rest = &rest[length..];
        }
        let mut rest = &bytes[..];
        for (txnr, command, data) in &frames {
            let (frame, length) = decode(rest, DATA_MAX).unwrap().unwrap();
            prop_assert_eq!(frame, Frame { txnr: Txnr(*txnr), command: command.as_bytes(), data });
            prop_assert!(length <= frame_bytes_max(data.len()));
            prop_assert_eq!(read_slowly(rest), Some((*txnr, command.clone(), data.clone(), length)));
            rest = &rest[length..];
        }
        prop_assert_eq!(rest, b"");
    }

    #[test]
    fn nothing_that_comes_makes_it_panic(bytes in nearly_a_frame()) {
        if let Ok(Some((frame, length))) = decode(&bytes, 40) {
            prop_assert!(frame.data.len() <= 40 && length <= bytes.len());
            prop_assert_eq!(read_slowly(&bytes).map(|(.., length)| length), Some(length));
        }
        let _ = Answer::parse(&bytes);
        Offers::parse(&bytes);
        prop_assert!(counted(&bytes).is_none_or(|length| length <= bytes.len()));
    }
}
