//! etcd as other hands leave it: rubbish, secrets in the clear, strange keys, missing cluster keys.

use std::{
    fs,
    time::{Duration, Instant},
};

use corelane::{
    config::Kind,
    control::{registry::IfMatch, seal, store::file::write_durably},
    fault::Kind as FaultKind,
    plan::Plan,
};
use serde_json::json;

use crate::{
    common::{
        etcd::{Etcd, runtime},
        wait::{PATIENCE, eventually},
    },
    peer::{Peer, SECRET, config, loki, put_source, source},
};

const ROOT: &str = "/corelane/test/v1";

#[test]
fn rubbish_is_isolated_and_the_last_good_version_stays_also_over_a_restart() {
    let place = tempfile::tempdir().unwrap();
    let mut etcd = Etcd::start(1);
    let config = config(place.path(), "n1", &etcd);
    runtime().block_on(async {
        let peer = Peer::up(&config).await;
        peer.registry.apply(&[put_source("a"), put_source("b")], "me").await.unwrap();
        let mut hand = etcd.client(0).await;
        hand.put(format!("{ROOT}/sources/a"), "{rubbish", None).await.unwrap();
        hand.put(format!("{ROOT}/sources/b"), r#"{"journald": {}, "logFormat": "LOGFMT"}"#, None).await.unwrap();
        hand.put(format!("{ROOT}/sources/.."), "x", None).await.unwrap();
        hand.put(format!("{ROOT}/targets/t"), [0xff, 0xfe, 0x00], None).await.unwrap();
        peer.await_plan("everything is complained of", |plan| {
            ["a", "t", ""].iter().all(|name| plan.complaints.iter().any(|complaint| complaint.name == *name))
        })
        .await;
        let plan = peer.plan();
        assert_eq!(plan.sources.len(), 2, "the last good version of `a` is in force: {:?}", plan.complaints);
        let shown = peer.registry.read(Kind::Source, "a").unwrap();
        assert!(shown.fields["complaints"][0].as_str().unwrap().starts_with("is not JSON in etcd"), "{shown:?}");
        assert!(matches!(plan.sources[1].input, corelane::plan::Input::Journal(_)), "what is good is in force");
        // It is in the history, once, and can be undone.
        peer.await_revision(2).await;
        let history = peer.registry.history().await.unwrap();
        assert_eq!(history[0].who, "another hand");
        peer.stop().await;

        etcd.kill(0);
        let peer = Peer::start(&config);
        assert_eq!(peer.plan().sources.len(), 2, "without etcd the last good ones are in force");
        etcd.spawn(0);
        peer.await_up().await;
        peer.await_plan("the complaint is back", |plan| plan.complaints.iter().any(|c| c.name == "a")).await;
        assert_eq!(peer.plan().sources.len(), 2);
        // Mended through the API, whatever lies there.
        peer.put(Kind::Source, source("a")).await;
        assert!(peer.plan().complaints.iter().all(|complaint| complaint.name != "a"));
        peer.delete(Kind::Target, "t").await;
        hand_delete(&etcd, &format!("{ROOT}/sources/..")).await;
        peer.await_plan("nothing is left to complain of", |plan| plan.complaints.is_empty()).await;
    });
}

async fn hand_delete(etcd: &Etcd, key: &str) {
    etcd.client(0).await.delete(key, None).await.unwrap();
}

#[test]
fn what_another_hand_did_is_noted_once_and_undone() {
    let place = tempfile::tempdir().unwrap();
    let etcd = Etcd::start(1);
    runtime().block_on(async {
        let mut peers = Vec::new();
        for node in ["n1", "n2", "n3"] {
            peers.push(Peer::up(&config(place.path(), node, &etcd)).await);
        }
        peers[0].put(Kind::Source, source("a")).await;
        hand_delete(&etcd, &format!("{ROOT}/sources/a")).await;
        for peer in &peers {
            peer.await_plan("the deletion is noted", |plan| plan.revision == 2 && plan.sources.is_empty()).await;
        }
        let history = peers[1].registry.history().await.unwrap();
        assert_eq!(history.len(), 2, "three nodes saw it, one wrote it down: {history:?}");
        let applied = peers[1].registry.rollback(1, "me").await.unwrap();
        for peer in &peers {
            peer.await_revision(applied.revision).await;
            assert_eq!(peer.names(Kind::Source), ["a"]);
        }
    });
}

#[test]
fn an_own_change_right_after_another_hands_swallows_nothing() {
    let place = tempfile::tempdir().unwrap();
    let etcd = Etcd::start(1);
    runtime().block_on(async {
        let mut peers = Vec::new();
        for node in ["n1", "n2"] {
            peers.push(Peer::up(&config(place.path(), node, &etcd)).await);
        }
        let before = peers[0].registry.apply(&[put_source("a"), put_source("b")], "me").await.unwrap().revision;
        peers[1].await_plan("the other node has both", |plan| plan.sources.len() == 2).await;
        let mut hand = etcd.client(0).await;
        // Seen by the node that makes the next change, and not yet: nothing is waited for between the two.
        let value =
            |round: u64| format!(r#"{{"journald": {{}}, "logFormat": "LOGFMT", "labels": {{"r": "{round}"}}}}"#);
        let rounds = 6;
        for round in 0..rounds {
            for name in ["a".to_owned(), format!("h{round}")] {
                hand.put(format!("{ROOT}/sources/{name}"), value(round), None).await.unwrap();
            }
            if round % 3 == 0 {
                let sees = |plan: &Plan| plan.sources.iter().any(|source| source.name == format!("h{round}"));
                peers[0].await_plan("it is seen", sees).await;
            }
            let labels = json!({"labels": {"own": round.to_string()}});
            let (by, name) = (&peers[usize::from(round % 3 == 1)], if round % 2 == 0 { "a" } else { "b" });
            by.registry.patch(Kind::Source, name, &labels, &IfMatch::Whatever, "me").await.unwrap();
        }
        let deadline = Instant::now() + PATIENCE;
        loop {
            let history = peers[1].registry.history().await.unwrap();
            let by_hand =
                || history.iter().filter(|entry| entry.who == "another hand").flat_map(|entry| &entry.touched);
            if (0..rounds).all(|round| by_hand().any(|touched| touched.name == format!("h{round}"))) {
                let own = history.iter().filter(|entry| entry.who == "me").count() as u64;
                assert_eq!(own, 1 + rounds, "{history:#?}");
                break;
            }
            assert!(Instant::now() < deadline, "not told of in the history: {history:#?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        peers[0].registry.rollback(before, "me").await.unwrap();
        assert_eq!(peers[0].names(Kind::Source), ["a", "b"], "as it was before all that");
        for name in ["a", "b"] {
            let shown = peers[0].registry.read(Kind::Source, name).unwrap();
            assert_eq!(shown.fields["file"], source(name)["file"]);
            assert_eq!(shown.fields.get("labels"), None, "{shown:?}");
        }
    });
}

#[test]
fn no_secret_lies_in_etcd_or_on_disk_and_one_in_the_clear_is_complained_of() {
    let place = tempfile::tempdir().unwrap();
    let etcd = Etcd::start(1);
    let config = config(place.path(), "n1", &etcd);
    runtime().block_on(async {
        let peer = Peer::up(&config).await;
        peer.put(Kind::Target, loki("t")).await;
        peer.put(Kind::Target, json!({"name": "t", "type": "CONSOLE"})).await;
        peer.put(Kind::Target, loki("t")).await;
        let kept = config.state_dir.join("store/last-good.image");
        eventually("it is kept on disk", || fs::read_to_string(&kept).is_ok_and(|text| text.contains("sealed"))).await;
        assert!(!fs::read_to_string(&kept).unwrap().contains(SECRET));
        let dump = etcd.dump().await;
        assert!(dump.contains("history/") && dump.contains("sealed") && !dump.contains(SECRET), "{dump}");

        let body = loki("u").to_string();
        etcd.client(0).await.put(format!("{ROOT}/targets/u"), body, None).await.unwrap();
        peer.await_plan("it is complained of", |plan| {
            plan.complaints.iter().any(|complaint| complaint.name == "u" && complaint.text.contains("in the clear"))
        })
        .await;
        assert_eq!(peer.plan().targets.len(), 2, "it works all the same");
        eventually("it is kept on disk", || fs::read_to_string(&kept).is_ok_and(|text| text.contains("\"u\""))).await;
        assert!(!fs::read_to_string(&kept).unwrap().contains(SECRET));
        peer.put(Kind::Target, json!({"name": "u", "type": "CONSOLE"})).await;
        peer.put(Kind::Target, loki("u")).await;
        assert!(peer.plan().complaints.is_empty(), "{:?}", peer.plan().complaints);
        // Not in the copy on disk either, nor in what the history would undo.
        assert!(!fs::read_to_string(&kept).unwrap().contains(SECRET));
        let undone = etcd.undo().await;
        assert!(
            undone.contains("/loki/api/v1/push") && undone.contains("sealed") && !undone.contains(SECRET),
            "{undone}"
        );
    });
}

#[test]
fn a_node_without_the_cluster_key_holds_only_what_needs_it() {
    let place = tempfile::tempdir().unwrap();
    let etcd = Etcd::start(1);
    let with = config(place.path(), "n1", &etcd);
    let mut without = config(place.path(), "n2", &etcd);
    let key = place.path().join("other.key");
    without.cluster_key = Some(key.clone());
    runtime().block_on(async {
        let (one, two) = (Peer::up(&with).await, Peer::up(&without).await);
        one.put(Kind::Target, loki("secret")).await;
        one.put(Kind::Target, json!({"name": "open", "type": "CONSOLE"})).await;
        let last = one.put(Kind::Source, source("a")).await;
        two.await_revision(last).await;
        let plan = two.plan();
        assert_eq!((plan.sources.len(), plan.targets.len()), (1, 1));
        let complaint = plan.complaints.iter().find(|complaint| complaint.name == "secret").unwrap();
        assert!(complaint.text.contains("which this node does not have"), "{complaint:?}");
        let patch = json!({"enabled": true});
        let refused = two.registry.patch(Kind::Target, "secret", &patch, &IfMatch::Whatever, "me").await.unwrap_err();
        assert!(refused.kind() == FaultKind::Conflict && refused.to_string().contains("cannot open"), "{refused}");
        let refused = two.registry.create(Kind::Target, &loki("new"), "me").await.unwrap_err();
        assert!(refused.to_string().contains("no cluster key to seal it"), "{refused}");
        // What has no secret is changed from there as from anywhere.
        two.put(Kind::Source, source("b")).await;
        // The key arrives while it runs.
        fs::copy(with.cluster_key.as_ref().unwrap(), &key).unwrap();
        eventually("the target is in force", || {
            two.registry.refresh();
            two.plan().targets.len() == 2
        })
        .await;
        assert!(two.plan().complaints.is_empty());
    });
}

#[test]
fn a_cluster_key_is_replaced_in_steps_while_nodes_run() {
    let place = tempfile::tempdir().unwrap();
    let etcd = Etcd::start(1);
    let mut configs = Vec::new();
    let text = seal::new_key_file().unwrap();
    for node in ["n1", "n2"] {
        let mut config = config(place.path(), node, &etcd);
        let key = place.path().join(format!("{node}.key"));
        write_durably(&key, text.as_bytes()).unwrap();
        config.cluster_key = Some(key);
        configs.push(config);
    }
    let give = |text: &str, at: usize| {
        write_durably(configs[at].cluster_key.as_ref().unwrap(), text.as_bytes()).unwrap();
    };
    runtime().block_on(async {
        let peers = [Peer::up(&configs[0]).await, Peer::up(&configs[1]).await];
        let first = peers[0].put(Kind::Target, loki("t")).await;
        peers[1].await_revision(first).await;
        let opens = |step: &str| {
            for peer in &peers {
                peer.registry.refresh();
                assert_eq!((peer.plan().targets.len(), peer.plan().complaints.len()), (1, 0), "{step}");
            }
        };
        let both = seal::with_new_key(&text).unwrap();
        let turned = seal::turned(&both).unwrap();
        for (step, text) in [("added", &both), ("turned", &turned)] {
            for at in 0..2 {
                give(text, at);
                opens(step);
            }
        }
        // Written unchanged it is sealed with the new key; written again nothing happens.
        let patch = json!({});
        peers[1].registry.patch(Kind::Target, "t", &patch, &IfMatch::Whatever, "me").await.unwrap();
        peers[0].await_revision(first + 1).await;
        peers[1].registry.patch(Kind::Target, "t", &patch, &IfMatch::Whatever, "me").await.unwrap();
        assert_eq!(peers[1].plan().revision, first + 1);
        let last = turned.lines().rfind(|line| line.starts_with("corelane-key")).unwrap();
        for at in 0..2 {
            give(&turned.replace(last, ""), at);
            opens("the old key is gone");
        }
    });
}
