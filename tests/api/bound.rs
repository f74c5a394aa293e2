//! Nobody can have more of the API than a share: requests have a rate, connections a number and an end.

use std::{
    io::{Read, Write},
    net::TcpStream,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::Duration,
};

use corelane::limits;

use super::{
    node::{Node, SOURCES, curl},
    openssl::{claims, jwt, rsa},
};

/// Many requests on few connections: how many got each of two answers, and one of the refused.
fn flood(node: &Node, headers: &[&str], requests: usize) -> (usize, usize, String) {
    let url = format!("{}{SOURCES}", node.url);
    let (admitted, refused) = (AtomicUsize::new(0), AtomicUsize::new(0));
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let urls = format!("{url}?[1-{}]", requests / 4);
                let mut command = std::process::Command::new("curl");
                command.args([
                    "-sk",
                    "-Z",
                    "--parallel-max",
                    "8",
                    "-o",
                    "/dev/null",
                    "-w",
                    "%{http_code}\n",
                    "-m",
                    "60",
                ]);
                let output = command.args(headers).arg(urls).output().expect("curl is installed");
                for line in String::from_utf8_lossy(&output.stdout).lines() {
                    match line {
                        "429" => refused.fetch_add(1, Ordering::Relaxed),
                        _ => admitted.fetch_add(1, Ordering::Relaxed),
                    };
                }
            });
        }
    });
    let last = curl(&[&["-k"], headers, &[url.as_str()]].concat()).expect("an answer");
    let shown = if last.status == 429 {
        format!("{:?} {}", last.refusal(), last.headers["retry-after"])
    } else {
        String::new()
    };
    (admitted.into_inner(), refused.into_inner(), shown)
}

#[test]
fn requests_have_a_rate_by_caller_and_strangers_by_address() {
    let place = tempfile::tempdir().unwrap();
    let keys = place.path().join("keys");
    std::fs::create_dir(&keys).unwrap();
    std::fs::write(keys.join("ops_ci.pem"), rsa(place.path(), "ci")).unwrap();
    let node = Node::with(&format!("jwt_keys = {keys:?}\n"));
    let expected = "(429, 8, \"too many requests; try again later\") 1";
    let strangers = limits::API_STRANGERS_BURST as usize * 4;
    let (admitted, refused, last) = flood(&node, &[], strangers);
    assert!(admitted >= limits::API_STRANGERS_BURST as usize && refused > 0, "{admitted} {refused}");
    assert!(last.is_empty() || last == expected, "{last}");
    // A good token from the same address does not suffer from it, nor another caller from one that is too fast.
    assert_eq!(node.get(SOURCES).status, 200);
    let header = serde_json::json!({"alg": "RS256", "kid": "ops:ci"});
    let bearer = format!("Authorization: Bearer {}", jwt(place.path(), "ci", &header, &claims()));
    let requests = limits::API_REQUESTS_BURST as usize * 5;
    let (admitted, refused, last) = flood(&node, &["-H", &bearer], requests);
    let burst = limits::API_REQUESTS_BURST as usize;
    assert!(admitted >= burst, "{admitted} admitted, {refused} refused");
    // A slow machine may never be too fast; then there is nothing more to see.
    if refused > 0 {
        assert!(last.is_empty() || last == expected, "{last}");
    }
    assert_eq!(node.get(SOURCES).status, 200);
}

#[test]
fn one_address_cannot_hold_all_connections() {
    let node = Node::start();
    let most = limits::API_CONNECTIONS_PER_ADDRESS_MAX;
    let mut held: Vec<TcpStream> = Vec::new();
    // Silent connections, each a seat until its handshake's time is up. From another loopback address, so that the one
    // that asks has its own.
    let node_address = std::net::SocketAddr::from(([127, 0, 0, 1], node.port()));
    for _ in 0..most + 8 {
        held.push(connect_from([127, 0, 0, 2], node_address));
    }
    // Closed long before a handshake's time is up.
    for stream in &mut held[most..] {
        assert!(is_closed(stream, limits::API_HANDSHAKE_TIMEOUT / 2), "one too many is closed at once");
    }
    assert_eq!(node.get(SOURCES).status, 200, "others are served");
    drop(held);
}

fn connect_from(from: [u8; 4], to: std::net::SocketAddr) -> TcpStream {
    use rustix::net::{AddressFamily, SocketType, bind, connect, socket};
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    bind(&socket, &std::net::SocketAddr::from((from, 0))).unwrap();
    connect(&socket, &to).unwrap();
    TcpStream::from(socket)
}

/// Whether the other end has closed it within a time: an end or a reset, not silence.
fn is_closed(stream: &mut TcpStream, within: Duration) -> bool {
    stream.set_read_timeout(Some(within)).unwrap();
    let mut byte = [0];
    match stream.read(&mut byte) {
        Ok(count) => count == 0,
        Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
    }
}

/// Headers that trickle in are cut off after a while, and meanwhile do not keep others out.
#[test]
fn a_slow_sender_is_cut_off() {
    let node = Node::start();
    let mut child = std::process::Command::new("openssl")
        .args(["s_client", "-quiet", "-connect", &format!("127.0.0.1:{}", node.port())])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("openssl is installed");
    let mut input = child.stdin.take().unwrap();
    input.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n").unwrap();
    assert_eq!(node.get(SOURCES).status, 200);
    // Ends by itself once the server has closed, though its input stays open.
    super::node::await_that("the connection's end", || {
        let _ = input.write_all(b"X: y\r\n").and_then(|()| input.flush());
        child.try_wait().unwrap().is_some()
    });
}
