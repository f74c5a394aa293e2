//! Debian's own rsyslogd behind mutual TLS, while corelane is killed and while it is: its file holds every number.

use std::{
    fs,
    io::Read,
    path::Path,
    process::{Child, Command, Stdio},
};

use corelane_perf::{
    certs::Authority,
    verify::{Marker, Print, Sequence},
};
use rustix::process::{Pid, Signal, kill_process};

use crate::{
    line::{Growing, MARKER},
    node::{Node, await_some, await_that, in_flight, on_both, total},
    peer,
};

const PROGRAM: &str = "/usr/sbin/rsyslogd";
const CONFIG: &str = r#"
global(workDirectory="DIR" maxMessageSize="64k"
       defaultNetstreamDriver="gtls" defaultNetstreamDriverCAFile="DIR/ca.pem"
       defaultNetstreamDriverCertFile="DIR/cert.pem" defaultNetstreamDriverKeyFile="DIR/key.pem")
module(load="imtcp" streamDriver.name="gtls" streamDriver.mode="1" streamDriver.authMode="x509/name"
       permittedPeer=["client.test"])
template(name="plain" type="string" string="%timereported:::date-rfc3339% %app-name% %structured-data% %msg%\n")
input(type="imtcp" address="127.0.0.1" port="PORT" listenPortFileName="DIR/port")
action(type="omfile" file="DIR/out" template="plain")
"#;

/// An rsyslogd that keeps its directory, and so its file, over restarts.
pub struct Rsyslogd {
    place: tempfile::TempDir,
    child: Child,
    pub port: u16,
}

impl Rsyslogd {
    pub fn start(authority: &Authority) -> Self {
        assert!(Path::new(PROGRAM).exists(), "{PROGRAM} is missing: apt-get install rsyslog rsyslog-gnutls");
        let place = tempfile::tempdir().expect("a directory");
        let server = authority.server(&["127.0.0.1"]).expect("a certificate");
        let files = [("ca.pem", authority.ca_pem()), ("cert.pem", &server.cert_pem), ("key.pem", &server.key_pem)];
        for (name, pem) in files {
            fs::write(place.path().join(name), pem).expect("a file");
        }
        let child = spawn(place.path(), 0);
        let mut rsyslogd = Self { place, child, port: 0 };
        rsyslogd.port = rsyslogd.listening();
        rsyslogd
    }

    /// Starts it again on the same port, appending to the same file. A given port it does not write down.
    fn again(&mut self) {
        self.child = spawn(self.place.path(), self.port);
    }

    fn listening(&mut self) -> u16 {
        let path = self.place.path().join("port");
        await_some("rsyslogd listens", || {
            if let Ok(Some(status)) = self.child.try_wait() {
                let mut words = String::new();
                let _ = self.child.stderr.take().map(|mut stderr| stderr.read_to_string(&mut words));
                panic!("rsyslogd ended with {status}: {words}");
            }
            fs::read_to_string(&path).ok()?.trim().parse().ok()
        })
    }

    /// Ends it properly: what it has read is in the file.
    fn stop(&mut self) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).expect("a pid");
        kill_process(pid, Signal::TERM).expect("it can be signalled");
        self.child.wait().expect("a child");
    }

    /// What it has written so far.
    pub fn text(&self) -> String {
        fs::read_to_string(self.place.path().join("out")).unwrap_or_default()
    }

    fn lines(&self) -> usize {
        let file = fs::read(self.place.path().join("out")).unwrap_or_default();
        file.iter().filter(|byte| **byte == b'\n').count()
    }

    /// The numbers in its file.
    fn sequence(&self) -> Sequence {
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

fn spawn(place: &Path, port: u16) -> Child {
    let text = CONFIG.replace("DIR", place.to_str().expect("text")).replace("PORT", &port.to_string());
    fs::write(place.join("rsyslog.conf"), text).expect("a file");
    Command::new(PROGRAM)
        .arg("-n")
        .arg("-f")
        .arg(place.join("rsyslog.conf"))
        .arg("-i")
        .arg(place.join("pid"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("rsyslogd starts")
}

#[test]
fn rsyslogd_gets_every_line_although_both_are_killed_and_stopped() {
    const LINES: u64 = 100_000;
    on_both(|backend| {
        let authority = peer::authority();
        let mut rsyslogd = Rsyslogd::start(&authority);
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
