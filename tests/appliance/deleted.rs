//! Files deleted while a target lags: kept by the service manager over a kill, and in the spool over a stop.

use std::{
    io::IoSliceMut,
    mem::MaybeUninit,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::net::UnixDatagram,
    },
    time::Duration,
};

use corelane_perf::loki::{Fault, LokiSink, Share};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

use crate::{
    line::append_zap,
    node::{Node, await_some, await_that, in_flight, on_both, total},
    peer,
};

const LINES: u64 = 20_000;

/// Takes the next descriptor that is sent, with its name.
fn take(manager: &UnixDatagram) -> Option<(String, OwnedFd)> {
    let mut text = [0; 1024];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let got = recvmsg(manager, &mut [IoSliceMut::new(&mut text)], &mut control, RecvFlags::empty()).ok()?;
    let said = std::str::from_utf8(&text[..got.bytes]).expect("text");
    let name = said.lines().find_map(|line| line.strip_prefix("FDNAME="))?.to_owned();
    let RecvAncillaryMessage::ScmRights(mut files) = control.drain().next()? else { return None };
    Some((name, files.next()?))
}

/// A node with a target that answers nothing, and a file it has lines of that were not taken, deleted.
fn lagging(node: &mut Node, loki: &LokiSink) {
    loki.inject(Share::UntilHealed, Fault::LoseRequest);
    node.object("source", &peer::source("app", &node.path("logs/*.log"), "ZAP_JSON"));
    node.object("loki", &peer::loki_target("loki", &loki.url()));
    node.start();
    append_zap(&node.path("logs/app.log"), "info", 0..LINES);
    node.await_status("it reads", |status| in_flight(status) > 0);
    std::fs::remove_file(node.path("logs/app.log")).expect("removed");
    node.await_status("it is held", |status| status["lanes"][0]["pinnedFiles"] == 1);
}

#[test]
fn a_deleted_file_survives_a_kill_with_the_service_manager() {
    on_both(|backend| {
        let loki = peer::loki();
        let mut node = Node::new(backend);
        let socket = node.path("notify");
        let manager = UnixDatagram::bind(&socket).expect("a socket");
        manager.set_read_timeout(Some(Duration::from_millis(20))).expect("a socket");
        node.managed_by(&socket);
        lagging(&mut node, &loki);
        let (name, file) = await_some("the manager gets it", || take(&manager));
        node.kill();
        loki.heal();
        node.pass(file.as_raw_fd(), &name);
        node.start();
        node.await_status("it is let go", |status| {
            status["lanes"][0]["pinnedFiles"] == 0 && total(status, "loki", "delivered") == LINES
        });
        await_that("it is asked back", || {
            let mut text = [0; 1024];
            let said = manager.recv(&mut text).map(|bytes| String::from_utf8_lossy(&text[..bytes]).into_owned());
            said.is_ok_and(|said| said.contains("FDSTOREREMOVE=1") && said.contains(&name))
        });
    });
}

#[test]
fn a_deleted_file_survives_a_stop_in_the_spool() {
    on_both(|backend| {
        let loki = peer::loki();
        let mut node = Node::new(backend);
        lagging(&mut node, &loki);
        node.terminate();
        let spool = node.state_dir().join("spool");
        let told = node.cli_ok(&["inspect", "spool", spool.to_str().expect("text")]);
        assert!(told.contains("app.log") && told.contains("nothing is wrong"), "{told}");
        loki.heal();
        node.start();
        node.await_status("it is let go", |status| {
            status["lanes"][0]["spooledFiles"] == 0 && total(status, "loki", "delivered") == LINES
        });
    });
}
