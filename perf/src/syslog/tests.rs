//! Hand-made sessions against the running sink, plain and over mTLS.

use std::{
    io::{Read, Write},
    net::TcpStream,
    sync::Arc,
    time::Duration,
};

use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
};

use super::*;
use crate::certs::{Authority, Identity};

const PATIENCE: Duration = Duration::from_secs(20);

fn message(seq: u64) -> String {
    format!("<134>1 2026-02-24T15:46:29.123456Z node app - - [x@1 level=\"info\"] seq={seq}")
}

fn framed(seq: u64) -> Vec<u8> {
    let message = message(seq);
    format!("{} {message}", message.len()).into_bytes()
}

fn client(
    authority: &Authority,
    identity: Option<&Identity>,
    sink: &SyslogSink,
) -> StreamOwned<ClientConnection, TcpStream> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.ca_pem().as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let builder = builder.with_root_certificates(roots);
    let config = match identity {
        None => builder.with_no_client_auth(),
        Some(identity) => {
            let cert = CertificateDer::from_pem_slice(identity.cert_pem.as_bytes()).unwrap();
            let key = PrivateKeyDer::from_pem_slice(identity.key_pem.as_bytes()).unwrap();
            builder.with_client_auth_cert(vec![cert], key).unwrap()
        }
    };
    let name = ServerName::try_from("localhost").unwrap();
    let stream = TcpStream::connect(sink.addr()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    StreamOwned::new(ClientConnection::new(Arc::new(config), name).unwrap(), stream)
}

#[test]
fn messages_arrive_parsed() {
    let sink = SyslogSink::start(SyslogOptions::default()).unwrap();
    let mut stream = TcpStream::connect(sink.addr()).unwrap();
    stream.write_all(&[framed(1), framed(2)].concat()).unwrap();
    assert!(sink.wait(PATIENCE, |counters| counters.messages == 2));
    let first = &sink.messages()[0];
    assert_eq!((first.facility, first.severity, first.text.as_str()), (16, 6, "seq=1"));
    assert_eq!(first.param("level"), Some("info"));
}

#[test]
fn newline_framing_and_malformed_messages() {
    let options = SyslogOptions { framing: Framing::Newline, ..SyslogOptions::default() };
    let sink = SyslogSink::start(options).unwrap();
    let mut stream = TcpStream::connect(sink.addr()).unwrap();
    stream.write_all(format!("{}\nnonsense\n{}\nhalf", message(1), message(2)).as_bytes()).unwrap();
    drop(stream);
    assert!(sink.wait(PATIENCE, |counters| counters.cut_short == 1));
    let counters = sink.counters();
    assert_eq!((counters.messages, counters.malformed), (2, 1));
    assert_eq!(sink.malformed()[0].text, "nonsense");
}

#[test]
fn a_stream_that_breaks_its_framing_is_closed() {
    let sink = SyslogSink::start(SyslogOptions::default()).unwrap();
    let mut stream = TcpStream::connect(sink.addr()).unwrap();
    stream.write_all(message(1).as_bytes()).unwrap();
    assert_eq!(stream.read(&mut [0; 1]).unwrap_or(0), 0);
    assert_eq!(sink.counters().malformed, 1);
}

#[test]
fn mutual_tls_takes_known_clients_only() {
    let authority = Authority::new("test ca").unwrap();
    let tls = Some(authority.loopback(true).unwrap());
    let sink = SyslogSink::start(SyslogOptions { tls, ..SyslogOptions::verifying("seq=") }).unwrap();
    let identity = authority.client("node").unwrap();
    let mut known = client(&authority, Some(&identity), &sink);
    known.write_all(&[framed(0), framed(1), framed(1)].concat()).unwrap();
    assert!(sink.wait(PATIENCE, |counters| counters.messages == 3));
    assert_eq!((sink.missing(0..2), sink.counters().tally.duplicates), (vec![], 1));

    let stranger = Authority::new("another ca").unwrap().client("node").unwrap();
    for identity in [None, Some(&stranger)] {
        let mut unknown = client(&authority, identity, &sink);
        // In TLS 1.3 the client learns of the refusal only when it reads.
        drop(unknown.write_all(&framed(9)));
        assert!(unknown.read(&mut [0; 1]).is_err());
    }
    assert!(sink.wait(PATIENCE, |counters| counters.handshakes_failed == 2));
    assert_eq!(sink.counters().messages, 3);
}

#[test]
fn a_reset_reaches_the_sender_as_one() {
    let sink = SyslogSink::start(SyslogOptions::default()).unwrap();
    let mut stream = TcpStream::connect(sink.addr()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(&framed(1)).unwrap();
    assert!(sink.wait(PATIENCE, |counters| counters.messages == 1));
    sink.reset();
    let error = stream.read(&mut [0; 1]).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    let mut again = TcpStream::connect(sink.addr()).unwrap();
    again.write_all(&framed(2)).unwrap();
    assert!(sink.wait(PATIENCE, |counters| counters.messages == 2), "the port stayed open");
}

#[test]
fn a_slow_reader_fills_the_senders_buffers_and_down_destroys_them() {
    let options = SyslogOptions { read_rate: Some(1000), recv_buffer: Some(4096), ..SyslogOptions::default() };
    let sink = SyslogSink::start(options).unwrap();
    let mut stream = TcpStream::connect(sink.addr()).unwrap();
    stream.set_nonblocking(true).unwrap();
    let block: Vec<u8> = (0..100).flat_map(framed).collect();
    // As much as goes in without anybody reading it: far more than was read when the peer dies.
    let mut written = 0;
    while let Ok(bytes) = stream.write(&block[written % block.len()..]) {
        written += bytes;
    }
    sink.down();
    assert!(sink.counters().bytes < written as u64 / 2, "{} of {written}", sink.counters().bytes);
    assert!(TcpStream::connect(sink.addr()).is_err());
    sink.up().unwrap();
    TcpStream::connect(sink.addr()).unwrap();
}
