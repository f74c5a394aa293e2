//! Debian's own rsyslogd behind mutual TLS: what it writes to its file is what was sent.

use std::{
    fs, io,
    net::{Ipv4Addr, SocketAddrV4},
    os::fd::OwnedFd,
    path::Path,
    process::{Child, Command, Stdio},
};

use rustix::{
    net::{AddressFamily, SocketType, bind, getsockname, socket, sockopt},
    process::{Pid, Signal, kill_process},
};

use super::{certs::Authority, *};
use crate::plan::Secret;

const PROGRAM: &str = "/usr/sbin/rsyslogd";

/// A running rsyslogd, killed when dropped.
pub(super) struct Rsyslog {
    child: Child,
    pub(super) port: u16,
    /// Bound and never listening.
    _reserved: OwnedFd,
}

impl Drop for Rsyslog {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Rsyslog {
    /// Takes RFC 5425 from whoever shows a certificate for `client.test`, and writes each message to `out`.
    async fn start(directory: &Path, authority: &Authority) -> Self {
        needs("lmnsd_gtls.so", "rsyslog-gnutls");
        certify(directory, authority);
        Self::with(directory, CONFIG).await
    }

    /// Runs under this configuration, in which `DIR` is `directory`; waits until it listens.
    pub(super) async fn with(directory: &Path, config: &str) -> Self {
        assert!(Path::new(PROGRAM).exists(), "{PROGRAM} is missing: apt-get install rsyslog");
        let (port, reserved) = reserve().expect("a port");
        let text = config.replace("DIR", directory.to_str().expect("a path in UTF-8"));
        let text = text.replace("PORT", &port.to_string());
        fs::write(directory.join("rsyslog.conf"), text).expect("a file");
        let child = Command::new(PROGRAM)
            .arg("-n")
            .arg("-f")
            .arg(directory.join("rsyslog.conf"))
            .arg("-i")
            .arg(directory.join("pid"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            // Not a pipe that nobody reads: librelp complains of every answer it cannot send.
            .stderr(fs::File::create(directory.join("words")).expect("a file"))
            .spawn()
            .expect("rsyslogd starts");
        let mut rsyslog = Self { child, port, _reserved: reserved };
        rsyslog.listening(directory).await;
        rsyslog
    }

    /// Waits until it listens.
    async fn listening(&mut self, directory: &Path) {
        let listens = async {
            while !listens(self.child.id(), self.port) {
                if let Ok(Some(status)) = self.child.try_wait() {
                    let words = fs::read_to_string(directory.join("words")).unwrap_or_default();
                    panic!("rsyslogd ended with {status}: {words}");
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(DEADLINE, listens).await.expect("rsyslogd listens");
    }

    pub(super) fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).expect("a pid");
        kill_process(pid, signal).expect("it can be signalled");
    }
}

/// A free port of 127.0.0.1, and what keeps it: a socket that allows others beside it (SO_REUSEADDR, as rsyslogd does),
/// but only once it is bound, or it could itself be put beside another.
fn reserve() -> io::Result<(u16, OwnedFd)> {
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None)?;
    bind(&socket, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0))?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    let addr = SocketAddrV4::try_from(getsockname(&socket)?)?;
    Ok((addr.port(), socket))
}

/// Whether a process listens at a port (proc(5): `fd`, `net/tcp`).
fn listens(pid: u32, port: u16) -> bool {
    let Ok(open) = fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
    let links: Vec<_> = open.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok()).collect();
    let sockets = fs::read_to_string(format!("/proc/{pid}/net/tcp")).unwrap_or_default();
    sockets.lines().skip(1).any(|line| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let mine = || links.iter().any(|link| link == Path::new(&format!("socket:[{}]", fields[9])));
        fields[1].ends_with(&format!(":{port:04X}")) && fields[3] == "0A" && mine()
    })
}

/// Fails when a module of rsyslogd is not there.
pub(super) fn needs(module: &str, package: &str) {
    let path = Path::new("/usr/lib").join(format!("{}-linux-gnu/rsyslog", std::env::consts::ARCH)).join(module);
    assert!(path.exists(), "{} is missing: apt-get install {package}", path.display());
}

/// Puts a certificate for 127.0.0.1, its key and the authority's into files.
pub(super) fn certify(directory: &Path, authority: &Authority) {
    let server = authority.issue("127.0.0.1");
    for (name, pem) in [("ca.pem", &authority.pem), ("cert.pem", &server.cert_pem), ("key.pem", &server.key_pem)] {
        fs::write(directory.join(name), pem).expect("a file");
    }
}

const CONFIG: &str = r#"
global(workDirectory="DIR" maxMessageSize="64k"
       defaultNetstreamDriver="gtls" defaultNetstreamDriverCAFile="DIR/ca.pem"
       defaultNetstreamDriverCertFile="DIR/cert.pem" defaultNetstreamDriverKeyFile="DIR/key.pem")
module(load="imtcp" streamDriver.name="gtls" streamDriver.mode="1" streamDriver.authMode="x509/name"
       permittedPeer=["client.test"])
template(name="plain" type="string" string="%hostname% %app-name% %structured-data% %msg%\n")
input(type="imtcp" address="127.0.0.1" port="PORT")
action(type="omfile" file="DIR/out" template="plain")
"#;

/// A message as RFC 5424 has it, framed as RFC 5425 §4.3 has it.
pub(super) fn framed(text: &str) -> String {
    let message = format!("<134>1 2026-02-24T15:46:29.123456Z node1 app 42 - [corelane@32473 source=\"s\"] {text}");
    format!("{} {message}", message.len())
}

/// Waits until the file holds `lines` lines.
pub(super) async fn lines_of(path: &Path, lines: usize) -> Vec<String> {
    let read = async {
        loop {
            let text = fs::read_to_string(path).unwrap_or_default();
            if text.lines().count() >= lines {
                return text.lines().map(str::to_owned).collect::<Vec<_>>();
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(DEADLINE, read).await.expect("rsyslogd writes all lines")
}

#[tokio::test]
async fn rsyslogd_writes_what_was_sent_over_mutual_tls() {
    let directory = tempfile::tempdir().expect("a directory");
    let authority = Authority::new();
    let rsyslog = Rsyslog::start(directory.path(), &authority).await;
    let mut rig = Rig::with(vec![syslog_tls(1, rsyslog.port, Some(authority.bundle("client.test")))]);
    let mut expected = Vec::new();
    for batch in 0..10 {
        let mut body = String::new();
        for line in 0..1000 {
            // A newline inside survives octet counting; rsyslog writes it as #012.
            body.push_str(&framed(&format!("batch {batch} line {line}\n  at größe")));
            expected.push(format!("node1 app [corelane@32473 source=\"s\"] batch {batch} line {line}#012  at größe"));
        }
        rig.send(1, body);
    }
    rig.expect_acked(0..10).await;
    let lines = lines_of(&directory.path().join("out"), expected.len()).await;
    // rsyslogd tells of itself in the same file.
    let lines: Vec<String> = lines.into_iter().filter(|line| line.contains("corelane@32473")).collect();
    assert!(lines == expected, "{} lines, first {:?}", lines.len(), lines.first());
    let report = rig.report(1);
    assert_eq!((report.state, report.acked, report.resent), (TargetState::Up, 10, 0));
}

#[tokio::test]
async fn rsyslogd_killed_with_lines_under_way_gets_them_all_when_it_is_back() {
    let authority = Authority::new();
    let (first, second) = (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
    let rsyslog = Rsyslog::start(first.path(), &authority).await;
    let bundle = authority.bundle("client.test");
    let mut rig = Rig::with(vec![syslog_tls(1, rsyslog.port, Some(bundle.clone()))]);
    for batch in 0..20 {
        rig.send(1, (0..500).map(|line| framed(&format!("b{batch} l{line}"))).collect::<String>());
    }
    lines_of(&first.path().join("out"), 200).await;
    drop(rsyslog);
    rig.until(1, |report| report.failed_tries > 0).await;
    let rsyslog = Rsyslog::start(second.path(), &authority).await;
    rig.plan(vec![syslog_tls(1, rsyslog.port, Some(bundle))]);
    rig.expect_acked(0..20).await;
    // The second file ends with the last line and lacks nothing after its first; what came before had settled in the
    // first life (a matter of timing) and so must be in the first file.
    let expected: Vec<String> = (0..20).flat_map(|b| (0..500).map(move |l| format!("b{b} l{l}"))).collect();
    let again = texts_until(&second.path().join("out"), expected.last().expect("lines")).await;
    assert!(expected.ends_with(&again), "{} lines, first {:?}", again.len(), again.first());
    let before = texts(&first.path().join("out"));
    let settled = expected.len() - again.len();
    assert!(before.len() >= settled && before[..settled] == expected[..settled], "{settled} of {}", before.len());
}

/// The messages in a file, without those rsyslogd writes about itself.
pub(super) fn texts(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines().filter_map(|line| line.split_once("\"] ")).map(|(_, text)| text.to_owned()).collect()
}

pub(super) async fn texts_until(path: &Path, last: &str) -> Vec<String> {
    let read = async {
        loop {
            let texts = texts(path);
            if texts.last().is_some_and(|text| text == last) {
                return texts;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(DEADLINE, read).await.expect("rsyslogd writes the last line")
}

#[tokio::test]
async fn rsyslogd_that_does_not_permit_our_name_is_a_failure_and_not_a_delivery() {
    let directory = tempfile::tempdir().expect("a directory");
    let authority = Authority::new();
    let rsyslog = Rsyslog::start(directory.path(), &authority).await;
    let mut stranger = authority.bundle("stranger.test");
    let mut rig = Rig::with(vec![syslog_tls(1, rsyslog.port, Some(stranger.clone()))]);
    rig.send(1, framed("not for you"));
    rig.until(1, |report| report.failed_tries >= 2).await;
    assert_eq!(rig.report(1).acked, 0);
    let client = authority.issue("client.test");
    (stranger.cert_pem, stranger.key_pem) = (client.cert_pem, Secret::new(client.key_pem));
    rig.plan(vec![syslog_tls(1, rsyslog.port, Some(stranger))]);
    rig.expect_acked([0]).await;
    let lines = lines_of(&directory.path().join("out"), 1).await;
    assert!(lines.iter().filter(|line| line.contains("not for you")).count() == 1, "{lines:?}");
}
