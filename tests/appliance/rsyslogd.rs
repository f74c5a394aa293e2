//! Debian's own rsyslogd behind mutual TLS, plain and RELP, while corelane is killed and while it is: its file holds
//! every number.

use std::{
    collections::BTreeSet,
    fs, io,
    net::{Ipv4Addr, SocketAddrV4},
    os::fd::OwnedFd,
    path::Path,
    process::{Child, Command, Stdio},
};

use corelane::limits::{RELP_WINDOW_FRAMES, RESEND_WINDOW_BYTES};
use corelane_perf::{
    certs::Authority,
    verify::{Marker, Print, Sequence},
};
use rustix::{
    net::{AddressFamily, SocketType, bind, getsockname, socket, sockopt},
    process::{Pid, Signal, kill_process},
};

use crate::{
    line::{Growing, LINE_BYTES_MIN, MARKER},
    node::{Node, await_that, in_flight, on_both, total},
    peer,
};

const PROGRAM: &str = "/usr/sbin/rsyslogd";
/// RFC 5425: the module `imtcp`.
pub const IMTCP: &str = r#"
global(workDirectory="DIR" maxMessageSize="64k"
       defaultNetstreamDriver="gtls" defaultNetstreamDriverCAFile="DIR/ca.pem"
       defaultNetstreamDriverCertFile="DIR/cert.pem" defaultNetstreamDriverKeyFile="DIR/key.pem")
module(load="imtcp" streamDriver.name="gtls" streamDriver.mode="1" streamDriver.authMode="x509/name"
       permittedPeer=["client.test"])
template(name="plain" type="string" string="%timereported:::date-rfc3339% %app-name% %structured-data% %msg%\n")
input(type="imtcp" address="127.0.0.1" port="PORT")
action(type="omfile" file="DIR/out" template="plain")
"#;
/// RELP over TLS. What it answers is in the file: nothing waits in a queue.
const IMRELP: &str = r#"
global(workDirectory="DIR" maxMessageSize="64k")
module(load="imrelp")
main_queue(queue.type="Direct")
template(name="plain" type="string" string="%timereported:::date-rfc3339% %app-name% %structured-data% %msg%\n")
input(type="imrelp" address="127.0.0.1" port="PORT" tls="on" tls.caCert="DIR/ca.pem" tls.myCert="DIR/cert.pem"
      tls.myPrivKey="DIR/key.pem" tls.authMode="name" tls.permittedPeer=["client.test"])
action(type="omfile" file="DIR/out" template="plain")
"#;

/// An rsyslogd that keeps its directory, and so its file, over restarts.
pub struct Rsyslogd {
    config: &'static str,
    place: tempfile::TempDir,
    child: Child,
    pub port: u16,
    /// Bound and never listening: the port is ours while nothing runs.
    _reserved: OwnedFd,
}

impl Rsyslogd {
    pub fn start(config: &'static str, authority: &Authority) -> Self {
        Self::trusting(config, authority, &[authority])
    }

    /// With a certificate of one authority; it takes clients of others.
    pub fn trusting(config: &'static str, authority: &Authority, trusted: &[&Authority]) -> Self {
        let packages = "apt-get install rsyslog rsyslog-gnutls rsyslog-relp";
        assert!(Path::new(PROGRAM).exists(), "{PROGRAM} is missing: {packages}");
        let place = tempfile::tempdir().expect("a directory");
        identify(place.path(), authority, trusted);
        let (port, reserved) = reserve().expect("a port");
        let child = spawn(config, place.path(), port);
        let mut rsyslogd = Self { config, place, child, port, _reserved: reserved };
        rsyslogd.listening();
        rsyslogd
    }

    /// Starts it again on the same port, appending to the same file.
    fn again(&mut self) {
        self.child = spawn(self.config, self.place.path(), self.port);
        self.listening();
    }

    /// Restarts it with a certificate of another authority, for clients of others.
    pub fn change(&mut self, authority: &Authority, trusted: &[&Authority]) {
        self.stop();
        identify(self.place.path(), authority, trusted);
        self.again();
    }

    /// Waits until it listens.
    fn listening(&mut self) {
        await_that("rsyslogd listens", || {
            if let Ok(Some(status)) = self.child.try_wait() {
                let words = fs::read_to_string(self.place.path().join("words")).unwrap_or_default();
                panic!("rsyslogd ended with {status}: {words}");
            }
            listens(self.child.id(), self.port)
        });
    }

    /// Ends it properly: what it has read is in the file.
    pub fn stop(&mut self) {
        self.signal(Signal::TERM);
        self.child.wait().expect("a child");
    }

    /// What it has written so far.
    pub fn text(&self) -> String {
        fs::read_to_string(self.place.path().join("out")).unwrap_or_default()
    }

    fn kill(&mut self) {
        self.signal(Signal::KILL);
        self.child.wait().expect("a child");
    }

    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).expect("a pid");
        kill_process(pid, signal).expect("it can be signalled");
    }

    fn lines(&self) -> usize {
        let file = fs::read(self.place.path().join("out")).unwrap_or_default();
        file.iter().filter(|byte| **byte == b'\n').count()
    }

    /// Bytes of its file.
    pub fn size(&self) -> u64 {
        fs::metadata(self.place.path().join("out")).map_or(0, |file| file.len())
    }

    /// The ports that clients are connected from.
    pub fn sessions(&self) -> BTreeSet<u16> {
        let sockets = fs::read_to_string(format!("/proc/{}/net/tcp", self.child.id())).unwrap_or_default();
        let port = |address: &str| u16::from_str_radix(address.rsplit_once(':')?.1, 16).ok();
        let open = sockets.lines().skip(1).filter_map(|line| {
            let fields: Vec<&str> = line.split_ascii_whitespace().collect();
            (port(fields[1]) == Some(self.port) && fields[3] == "01").then(|| port(fields[2])).flatten()
        });
        open.collect()
    }

    /// The numbers in its file.
    pub fn sequence(&self) -> Sequence {
        let (marker, mut sequence) = (Marker::new(MARKER), Sequence::default());
        let file = fs::read(self.place.path().join("out")).expect("its file");
        for line in file.split(|byte| *byte == b'\n') {
            if let Some(seq) = marker.number(line) {
                sequence.note(seq, Print::of("", 0, line, ""), line);
            }
        }
        sequence
    }
}

impl Drop for Rsyslogd {
    fn drop(&mut self) {
        // Gone already is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
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

/// Writes its certificate, its key and whom it trusts.
fn identify(place: &Path, authority: &Authority, trusted: &[&Authority]) {
    let server = authority.server(&["127.0.0.1"]).expect("a certificate");
    let trusted: String = trusted.iter().map(|authority| authority.ca_pem()).collect();
    for (name, pem) in [("ca.pem", &trusted), ("cert.pem", &server.cert_pem), ("key.pem", &server.key_pem)] {
        fs::write(place.join(name), pem).expect("a file");
    }
}

fn spawn(config: &str, place: &Path, port: u16) -> Child {
    let text = config.replace("DIR", place.to_str().expect("text")).replace("PORT", &port.to_string());
    fs::write(place.join("rsyslog.conf"), text).expect("a file");
    Command::new(PROGRAM)
        .arg("-n")
        .arg("-f")
        .arg(place.join("rsyslog.conf"))
        .arg("-i")
        .arg(place.join("pid"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        // Not a pipe that nobody reads: librelp complains of every answer it cannot send.
        .stderr(fs::File::options().create(true).append(true).open(place.join("words")).expect("a file"))
        .spawn()
        .expect("rsyslogd starts")
}

#[test]
fn rsyslogd_gets_every_line_although_both_are_killed_and_stopped() {
    const LINES: u64 = 100_000;
    on_both(|backend| {
        let authority = peer::authority();
        let mut rsyslogd = Rsyslogd::start(IMTCP, &authority);
        let mut node = Node::new(backend);
        let log = node.path("logs/app.log");
        node.object("bundle", &peer::bundle(&authority));
        node.object("source", &peer::source("app", &log, "ZAP_JSON"));
        node.object("siem", &peer::syslog_target("siem", rsyslogd.port, "8MiB"));
        node.start();
        let growing = Growing::start(log, LINES, 4_000);
        await_that("lines arrive", || rsyslogd.lines() > 2_000);
        node.kill();
        growing.rotate();
        node.start();
        let before = rsyslogd.lines();
        await_that("lines arrive", || rsyslogd.lines() > before + 2_000);
        rsyslogd.stop();
        node.await_status("its end is noticed", |status| status["targets"][0]["state"] == "FAILING");
        rsyslogd.again();
        growing.hurry();
        node.await_status("all is delivered", |status| {
            in_flight(status) == 0 && total(status, "siem", "delivered") == LINES
        });
        node.terminate();
        rsyslogd.stop();
        let sequence = rsyslogd.sequence();
        assert_eq!(sequence.missing(0..LINES), vec![], "{backend}");
        assert_eq!(sequence.differing(), &[], "{backend}");
        println!("{backend}: {:?}", sequence.tally());
    });
}

#[test]
fn imrelp_gets_every_line_although_both_are_killed_and_it_stands_still() {
    const LINES: u64 = 100_000;
    on_both(|backend| {
        let authority = peer::authority();
        let mut rsyslogd = Rsyslogd::start(IMRELP, &authority);
        let mut node = Node::new(backend);
        let log = node.path("logs/app.log");
        node.object("bundle", &peer::bundle(&authority));
        node.object("source", &peer::source("app", &log, "ZAP_JSON"));
        let mut target = peer::syslog_target("siem", rsyslogd.port, "8MiB");
        target["protocol"] = "relp-tls".into();
        node.object("siem", &target);
        node.start();
        let growing = Growing::start(log, LINES, 4_000);
        let arrive = |rsyslogd: &Rsyslogd| {
            let before = rsyslogd.lines();
            await_that("lines arrive", || rsyslogd.lines() > before + 2_000);
        };
        arrive(&rsyslogd);
        node.kill();
        growing.rotate();
        node.start();
        arrive(&rsyslogd);
        rsyslogd.kill();
        node.await_status("its end is noticed", |status| status["targets"][0]["state"] == "FAILING");
        rsyslogd.again();
        arrive(&rsyslogd);
        rsyslogd.signal(Signal::STOP);
        // A report may be older than the signal: the first in which lines came and none was delivered is not.
        let (mut stood, mut waiting) = (0, u64::MAX);
        node.await_status("none is delivered", |status| {
            let now = (total(status, "siem", "delivered"), in_flight(status));
            let stands = now.0 == stood && now.1 > waiting;
            (stood, waiting) = now;
            stands
        });
        let status = node.await_status("lines wait for it", |status| in_flight(status) > waiting + 4_000);
        assert!(total(&status, "siem", "delivered") <= stood + RELP_WINDOW_FRAMES as u64, "unanswered");
        rsyslogd.signal(Signal::CONT);
        growing.hurry();
        node.await_status("all is delivered", |status| {
            in_flight(status) == 0 && total(status, "siem", "delivered") == LINES
        });
        node.terminate();
        // Everything acknowledged is in the file: it need not be stopped properly.
        rsyslogd.kill();
        let sequence = rsyslogd.sequence();
        assert_eq!(sequence.missing(0..LINES), vec![], "{backend}");
        assert_eq!(sequence.differing(), &[], "{backend}");
        let twice = sequence.tally().duplicates;
        let window = (RESEND_WINDOW_BYTES / LINE_BYTES_MIN + RELP_WINDOW_FRAMES) as u64;
        assert!(twice <= window, "{backend}: {twice} came twice, {window} may");
        println!("{backend}: {:?}", sequence.tally());
    });
}
