//! What every store promises, on both.

use corelane::{
    config::{Kind, NodeConfig},
    control::{
        registry::{Edit, IfMatch},
        store::{Action, Feed},
    },
    fault::Kind as FaultKind,
    limits,
    plan::{Auth, TargetKind},
};
use serde_json::json;

use crate::{
    common::etcd::{Etcd, runtime},
    peer::{Peer, SECRET, config, loki, put_source, source},
};

/// Runs a test on a node with the embedded store, and on one with etcd.
fn on_both(test: impl AsyncFn(&NodeConfig)) {
    let place = tempfile::tempdir().expect("a directory");
    let embedded = NodeConfig { state_dir: place.path().join("n"), dev: true, ..NodeConfig::defaults() };
    runtime().block_on(test(&embedded));
    println!("the embedded store holds");
    let etcd = Etcd::start(1);
    runtime().block_on(test(&config(place.path(), "n1", &etcd)));
}

#[test]
fn an_object_lives_its_life() {
    on_both(async |config| {
        let peer = Peer::up(config).await;
        let made = peer.registry.create(Kind::Source, &source("a"), "me").await.unwrap();
        assert_eq!(peer.plan().revision, 1);
        let id = peer.plan().sources[0].id;
        let again = peer.registry.create(Kind::Source, &source("a"), "me").await.unwrap_err();
        assert_eq!(again.kind(), FaultKind::Conflict);
        let right = IfMatch::OneOf(vec![made.revision]);
        let patch = json!({"enabled": true});
        let patched = peer.registry.patch(Kind::Source, "a", &patch, &right, "me").await.unwrap();
        assert_ne!(patched.revision, made.revision);
        let stale = peer.registry.patch(Kind::Source, "a", &json!({"enabled": false}), &right, "me").await;
        assert_eq!(stale.unwrap_err().kind(), FaultKind::Stale);
        let plan = peer.plan();
        assert_eq!((plan.revision, plan.sources[0].enabled, plan.sources[0].id), (2, true, id));
        let same = peer.registry.patch(Kind::Source, "a", &patch, &IfMatch::Any, "me").await.unwrap();
        assert_eq!((same.revision, peer.plan().revision), (patched.revision, 2), "nothing changed: no revision");
        peer.delete(Kind::Source, "a").await;
        assert_eq!((peer.plan().revision, peer.plan().sources.len()), (3, 0));
        peer.put(Kind::Source, source("a")).await;
        assert_ne!(peer.plan().sources[0].id, id, "made again it is another one");
        let before = peer.plan().sources[0].id;
        peer.stop().await;
        let peer = Peer::up(config).await;
        peer.await_revision(4).await;
        assert_eq!(peer.plan().sources[0].id, before, "it is the same one after a restart");
    });
}

#[test]
fn a_change_of_many_objects_is_one_revision_or_none() {
    on_both(async |config| {
        let peer = Peer::up(config).await;
        let many: Vec<Edit> = (0..limits::CHANGE_OBJECTS_MAX).map(|at| put_source(&format!("s{at:03}"))).collect();
        let applied = peer.registry.apply(&many, "me").await.unwrap();
        assert_eq!((applied.revision, applied.touched.len()), (1, limits::CHANGE_OBJECTS_MAX));
        assert_eq!(peer.plan().sources.len(), limits::CHANGE_OBJECTS_MAX);
        let again = peer.registry.apply(&many, "me").await.unwrap();
        assert_eq!((again.revision, again.touched.len()), (1, 0), "everything is so already");

        let broken = Edit::Put { kind: Kind::Target, body: json!({"name": "t", "type": "LOKI", "ulr": "x"}) };
        let delete = Edit::Delete { kind: Kind::Source, name: "s000".into(), if_match: IfMatch::Whatever };
        let refused = peer.registry.apply(&[delete, put_source("new"), broken], "me").await.unwrap_err();
        assert!(refused.to_string().contains("unknown field `ulr`"), "{refused}");
        assert_eq!((peer.plan().revision, peer.plan().sources.len()), (1, limits::CHANGE_OBJECTS_MAX));

        let too_many: Vec<Edit> = (0..=limits::CHANGE_OBJECTS_MAX).map(|at| put_source(&format!("t{at:03}"))).collect();
        let refused = peer.registry.apply(&too_many, "me").await.unwrap_err();
        assert_eq!(refused.kind(), FaultKind::Exhausted);
        assert!(refused.to_string().starts_with("121 objects would change at once, at most 120 can"), "{refused}");
        let large = |name: &str| {
            let mut body = source(name);
            body["file"]["exclude"] = json!(vec!["/x".repeat(300); 1000]);
            Edit::Put { kind: Kind::Source, body }
        };
        let refused = peer.registry.apply(&[large("x"), large("y")], "me").await.unwrap_err();
        assert!(refused.to_string().contains("bytes would change at once"), "{refused}");
        assert_eq!(peer.plan().revision, 1);
    });
}

#[test]
fn the_history_tells_and_brings_back() {
    on_both(async |config| {
        let peer = Peer::up(config).await;
        peer.put(Kind::Target, loki("t")).await;
        let id = peer.plan().targets[0].id;
        peer.registry.apply(&[put_source("a"), put_source("b")], "ann").await.unwrap();
        peer.delete(Kind::Target, "t").await;
        peer.put(Kind::Source, json!({"name": "a", "journald": {}, "logFormat": "LOGFMT"})).await;
        let history = peer.registry.history().await.unwrap();
        let told: Vec<_> =
            history.iter().map(|entry| (entry.revision, entry.who.as_str(), entry.what.as_str())).collect();
        let expected = [
            (4, "me", "puts source \"a\""),
            (3, "me", "deletes target \"t\""),
            (2, "ann", "applies 2 objects"),
            (1, "me", "puts target \"t\""),
        ];
        assert_eq!(told, expected);
        assert_eq!(history[1].touched[0].action, Action::Deleted);
        assert!(!format!("{history:?}").contains(SECRET));

        let then = peer.registry.list_at(2).await.unwrap();
        let shown: Vec<_> = then.iter().map(|(kind, view)| (kind.singular(), view.fields["name"].clone())).collect();
        assert_eq!(shown, [("source", json!("a")), ("source", json!("b")), ("target", json!("t"))]);
        assert!(!format!("{then:?}").contains(SECRET));

        let back = peer.registry.rollback(2, "ann").await.unwrap();
        assert_eq!((back.revision, back.touched.len()), (5, 2));
        let plan = peer.plan();
        assert_eq!((plan.targets[0].id, plan.sources.len()), (id, 2), "it is the object that was deleted");
        let TargetKind::Loki(target) = &plan.targets[0].kind else { panic!("a Loki target") };
        let Some(Auth::Basic { password, .. }) = &target.auth else { panic!("its password came back") };
        assert_eq!(password.reveal(), SECRET);
        assert_eq!(peer.registry.history().await.unwrap()[0].what, "rolls back to revision 2");
        let unknown = peer.registry.rollback(99, "ann").await.unwrap_err();
        assert_eq!(unknown.kind(), FaultKind::NotFound);
    });
}

#[test]
fn the_history_is_bounded() {
    on_both(async |config| {
        let peer = Peer::up(config).await;
        let rounds = limits::HISTORY_REVISIONS as u64 + 5;
        for round in 0..rounds {
            let mut body = source("a");
            body["enabled"] = json!(round % 2 == 0);
            peer.put(Kind::Source, body).await;
        }
        let history = peer.registry.history().await.unwrap();
        let (newest, oldest) = (history[0].revision, history.last().unwrap().revision);
        assert_eq!((history.len(), newest, oldest), (limits::HISTORY_REVISIONS, rounds, 6));
        assert!(peer.registry.list_at(5).await.is_err());
        assert_eq!(peer.registry.list_at(6).await.unwrap()[0].1.fields["enabled"], json!(false));
        assert_eq!(peer.registry.list_at(7).await.unwrap()[0].1.fields["enabled"], json!(true));
    });
}

#[test]
fn a_bundle_in_use_stays_also_within_one_change() {
    on_both(async |config| {
        let peer = Peer::up(config).await;
        let key = rcgen::KeyPair::generate().unwrap();
        let cert = rcgen::CertificateParams::new(vec!["a".into()]).unwrap().self_signed(&key).unwrap().pem();
        let bundle = json!({"name": "b", "caPem": cert, "certPem": cert, "keyPem": key.serialize_pem()});
        let target = json!({"name": "t", "type": "RSYSLOG", "address": "h", "protocol": "tls", "tlsBundle": "b"});
        let both = [Edit::Put { kind: Kind::TlsBundle, body: bundle }, Edit::Put { kind: Kind::Target, body: target }];
        peer.registry.apply(&both, "me").await.unwrap();
        let delete = |kind, name: &str| Edit::Delete { kind, name: name.into(), if_match: IfMatch::Whatever };
        let refused = peer.registry.apply(&[delete(Kind::TlsBundle, "b")], "me").await.unwrap_err();
        assert_eq!(refused.to_string(), "tls-bundle 'b' is in use by target 't'");
        peer.registry.apply(&[delete(Kind::TlsBundle, "b"), delete(Kind::Target, "t")], "me").await.unwrap();
        assert_eq!(peer.registry.store().feed(), Feed::Up);
    });
}
