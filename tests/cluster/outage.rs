//! etcd members killed, stopped, without a leader, compacted and wiped: nodes run on, and come together again.

use std::time::Instant;

use corelane::{config::Kind, fault::Kind as FaultKind};
use etcd_client::CompactionOptions;

use crate::{
    common::{
        etcd::{Etcd, runtime},
        wait::eventually,
    },
    peer::{Peer, config, source},
};

#[test]
fn a_node_starts_and_runs_with_etcd_down_and_converges_when_it_returns() {
    let place = tempfile::tempdir().unwrap();
    let mut etcd = Etcd::start(1);
    let (first, second) = (config(place.path(), "n1", &etcd), config(place.path(), "n2", &etcd));
    runtime().block_on(async {
        let peer = Peer::up(&first).await;
        let revision = peer.put(Kind::Source, source("a")).await;
        peer.stop().await;
        etcd.kill(0);

        let peer = Peer::start(&first);
        assert_eq!((peer.plan().revision, peer.plan().sources.len()), (revision, 1), "from what was kept");
        eventually("it says why", || format!("{:?}", peer.registry.store().feed()).contains("connection refused"))
            .await;
        let complaint = &peer.plan().complaints[0];
        assert!(complaint.kind == "etcd" && complaint.text.starts_with("was not read yet"), "{complaint:?}");
        let refused = peer.registry.create(Kind::Source, &source("b"), "me").await.unwrap_err();
        assert_eq!(refused.kind(), FaultKind::Unavailable);
        assert!(refused.to_string().contains("nothing was changed"), "{refused}");

        etcd.spawn(0);
        peer.await_up().await;
        assert!(peer.plan().complaints.is_empty());
        let other = Peer::up(&second).await;
        other.put(Kind::Source, source("b")).await;
        peer.await_plan("the other's change is in force", |plan| plan.sources.len() == 2).await;

        // Down while it runs: what is in force stays in force.
        etcd.kill(0);
        peer.await_down().await;
        assert_eq!(peer.plan().sources.len(), 2);
        let refused = peer.registry.create(Kind::Source, &source("c"), "me").await.unwrap_err();
        assert_eq!(refused.kind(), FaultKind::Unavailable);
        etcd.spawn(0);
        peer.await_up().await;
        peer.put(Kind::Source, source("c")).await;
        other.await_plan("it converges too", |plan| plan.sources.len() == 3).await;
    });
}

#[test]
fn a_change_made_while_etcd_is_asked_for_the_first_time_is_not_refused() {
    let place = tempfile::tempdir().unwrap();
    let etcd = Etcd::start(1);
    runtime().block_on(async {
        let peer = Peer::start(&config(place.path(), "n1", &etcd));
        assert_eq!(peer.put(Kind::Source, source("a")).await, 1);
    });
}

#[test]
fn a_torn_or_foreign_copy_on_disk_is_as_good_as_none() {
    let place = tempfile::tempdir().unwrap();
    let mut etcd = Etcd::start(1);
    let mut config = config(place.path(), "n1", &etcd);
    runtime().block_on(async {
        let peer = Peer::up(&config).await;
        peer.put(Kind::Source, source("a")).await;
        peer.stop().await;
        etcd.kill(0);
        config.cluster = "another".to_owned();
        let peer = Peer::start(&config);
        assert_eq!(peer.plan().sources.len(), 0, "it is another cluster's");
        peer.stop().await;
        config.cluster = "test".to_owned();
        let path = config.state_dir.join("store/last-good.image");
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, &whole[..whole.len() / 2]).unwrap();
        let peer = Peer::start(&config);
        assert_eq!(peer.plan().sources.len(), 0);
        assert!(!peer.plan().complaints.is_empty(), "or positions would count as those of deleted objects");
    });
}

/// Three nodes on three members.
pub async fn three(place: &std::path::Path, etcd: &Etcd) -> Vec<Peer> {
    let mut peers = Vec::new();
    for node in ["n1", "n2", "n3"] {
        peers.push(Peer::up(&config(place, node, etcd)).await);
    }
    peers
}

/// A change on one node is in force on all.
pub async fn all_converge(peers: &[Peer], by: usize, name: &str) {
    let started = Instant::now();
    let mut tries = 0;
    let revision = loop {
        tries += 1;
        match peers[by].registry.create(Kind::Source, &source(name), "me").await {
            Ok(_) => break peers[by].plan().revision,
            // While members change places etcd may say so; the client tries again.
            Err(fault) if fault.kind() == FaultKind::Unavailable && tries < 30 => {}
            Err(fault) if fault.kind() == FaultKind::Conflict && tries > 1 => break peers[by].plan().revision,
            Err(fault) => panic!("{fault}"),
        }
    };
    for peer in peers {
        peer.await_revision(revision).await;
        assert!(peer.names(Kind::Source).contains(&name.to_owned()));
    }
    println!("{name}: in force on all after {:?} and {tries} tries", started.elapsed());
}

#[test]
fn members_are_killed_stopped_and_change_their_leader() {
    let place = tempfile::tempdir().unwrap();
    let mut etcd = Etcd::start(3);
    runtime().block_on(async {
        let peers = three(place.path(), &etcd).await;
        all_converge(&peers, 0, "at-first").await;

        let leader = etcd.leader().await;
        etcd.kill(leader);
        all_converge(&peers, 1, "leader-killed").await;
        etcd.spawn(leader);
        all_converge(&peers, 2, "leader-back").await;

        let leader = etcd.leader().await;
        let mut client = etcd.client(leader).await;
        let members = client.member_list().await.unwrap();
        let own = client.status().await.unwrap().leader();
        let next = members.members().iter().map(|member| member.id()).find(|id| *id != own).unwrap();
        client.move_leader(next).await.unwrap();
        all_converge(&peers, 0, "leader-moved").await;

        for at in 0..3 {
            // Whoever talks to this member sees nothing of it any more, not even a closed connection.
            etcd.freeze(at);
            all_converge(&peers, at, &format!("member-{at}-cut-off")).await;
            etcd.thaw(at);
            all_converge(&peers, at, &format!("member-{at}-back")).await;
        }
    });
}

#[test]
fn without_a_leader_watches_are_cancelled_and_begin_anew() {
    let place = tempfile::tempdir().unwrap();
    let etcd = Etcd::start(3);
    runtime().block_on(async {
        let peers = three(place.path(), &etcd).await;
        all_converge(&peers, 0, "at-first").await;
        etcd.freeze(1);
        etcd.freeze(2);
        for peer in &peers {
            let reason = peer.await_down().await;
            println!("{reason}");
            assert_eq!(peer.names(Kind::Source), ["at-first"], "it stays in force");
        }
        etcd.thaw(1);
        etcd.thaw(2);
        for peer in &peers {
            peer.await_up().await;
        }
        all_converge(&peers, 1, "with-a-leader-again").await;
    });
}

#[test]
fn what_is_compacted_away_while_nobody_listens_is_read_again() {
    let place = tempfile::tempdir().unwrap();
    let mut etcd = Etcd::start(1);
    let (first, second) = (config(place.path(), "n1", &etcd), config(place.path(), "n2", &etcd));
    runtime().block_on(async {
        let (peer, other) = (Peer::up(&first).await, Peer::up(&second).await);
        peer.put(Kind::Source, source("a")).await;
        peer.stop().await;
        for name in ["b", "c", "d"] {
            other.put(Kind::Source, source(name)).await;
        }
        other.delete(Kind::Source, "a").await;
        let mut client = etcd.client(0).await;
        let at = client.get("x", None).await.unwrap().header().unwrap().revision();
        client.compact(at, Some(CompactionOptions::new().with_physical())).await.unwrap();
        let peer = Peer::up(&first).await;
        assert_eq!(peer.names(Kind::Source), ["b", "c", "d"]);
        // Compacted while it listens.
        let at = client.get("x", None).await.unwrap().header().unwrap().revision();
        client.put("y", "z", None).await.unwrap();
        client.compact(at, None).await.unwrap();
        let last = other.put(Kind::Source, source("e")).await;
        peer.await_revision(last).await;
        // An etcd that lost everything counts too: it is what etcd says.
        etcd.kill(0);
        peer.await_down().await;
        assert_eq!(peer.names(Kind::Source).len(), 4);
        etcd.wipe(0);
        etcd.spawn(0);
        peer.await_plan("nothing is left", |plan| plan.sources.is_empty() && plan.complaints.is_empty()).await;
        assert_eq!(peer.put(Kind::Source, source("f")).await, 1);
    });
}

#[test]
fn changes_of_many_nodes_come_one_after_the_other() {
    let place = tempfile::tempdir().unwrap();
    let etcd = Etcd::start(1);
    runtime().block_on(async {
        let peers = three(place.path(), &etcd).await;
        let rounds = 8;
        let run = async |at: usize| {
            for round in 0..rounds {
                peers[at].put(Kind::Source, source(&format!("n{at}-{round}"))).await;
            }
        };
        tokio::join!(run(0), run(1), run(2));
        for peer in &peers {
            peer.await_revision(3 * rounds).await;
            assert_eq!(peer.names(Kind::Source).len() as u64, 3 * rounds);
            // Whole revisions only, in order.
            let plans = peer.plans.lock().unwrap();
            assert!(plans.windows(2).all(|pair| pair[0].revision <= pair[1].revision));
            assert!(plans.iter().all(|plan| plan.sources.len() as u64 == plan.revision));
        }
    });
}
