//! etcd behind TLS that asks for client certificates, and behind users with passwords.

use std::{fs, path::Path};

use corelane::{
    config::{EtcdConfig, Kind},
    control::store::file::write_durably,
};
use corelane_perf::certs::Authority;
use etcd_client::{Client, ConnectOptions, PermissionType, RoleRevokePermissionOptions};

use crate::{
    common::etcd::{Etcd, runtime},
    peer::{Peer, config, source},
};

fn put(place: &Path, name: &str, text: &str) -> std::path::PathBuf {
    let path = place.join(name);
    write_durably(&path, text.as_bytes()).unwrap();
    path
}

#[test]
fn tls_with_client_certificates() {
    let place = tempfile::tempdir().unwrap();
    let (authority, stranger) = (Authority::new("etcd").unwrap(), Authority::new("stranger").unwrap());
    let server = authority.server(&["127.0.0.1"]).unwrap();
    let client = authority.client("n1").unwrap();
    let ca = put(place.path(), "ca.pem", authority.ca_pem());
    let flag = |path: std::path::PathBuf| path.display().to_string();
    let flags = vec![
        "--client-cert-auth".to_owned(),
        format!("--trusted-ca-file={}", flag(ca.clone())),
        format!("--cert-file={}", flag(put(place.path(), "server.pem", &server.cert_pem))),
        format!("--key-file={}", flag(put(place.path(), "server.key", &server.key_pem))),
    ];
    let etcd = Etcd::with_flags(1, "https", flags);
    let mut config = config(place.path(), "n1", &etcd);
    config.etcd = EtcdConfig {
        ca: Some(ca),
        cert: Some(put(place.path(), "client.pem", &client.cert_pem)),
        key: Some(put(place.path(), "client.key", &client.key_pem)),
        ..config.etcd
    };
    runtime().block_on(async {
        let peer = Peer::up(&config).await;
        peer.put(Kind::Source, source("a")).await;
        peer.stop().await;

        // Without a certificate of its own, or told of the wrong authority, it says so.
        let mut without = config.clone();
        (without.etcd.cert, without.etcd.key) = (None, None);
        without.state_dir = place.path().join("without");
        let peer = Peer::start(&without);
        println!("{}", peer.await_down().await);
        let mut strange = config.clone();
        strange.etcd.ca = Some(put(place.path(), "strange.pem", stranger.ca_pem()));
        strange.state_dir = place.path().join("strange");
        let peer = Peer::start(&strange);
        crate::common::wait::eventually("it says what is wrong", || {
            format!("{:?}", peer.registry.store().feed()).to_lowercase().contains("certificate")
        })
        .await;
    });
}

#[test]
fn users_and_passwords() {
    let place = tempfile::tempdir().unwrap();
    let etcd = Etcd::start(1);
    let mut config = config(place.path(), "n1", &etcd);
    let password = put(place.path(), "password", "first secret\n");
    config.etcd.user = Some("corelane".to_owned());
    config.etcd.password_file = Some(password.clone());
    runtime().block_on(async {
        let mut hand = etcd.client(0).await;
        let (from, to) = ("/corelane/test/v1/", "/corelane/test/v10");
        let grant = || etcd_client::Permission::new(PermissionType::Readwrite, from).with_range_end(to);
        hand.user_add("root", "root", None).await.unwrap();
        hand.user_grant_role("root", "root").await.unwrap();
        hand.user_add("corelane", "first secret", None).await.unwrap();
        hand.role_add("log").await.unwrap();
        hand.user_grant_role("corelane", "log").await.unwrap();
        hand.auth_enable().await.unwrap();

        // The user exists and may nothing yet: said so, and mended without a restart.
        let peer = Peer::start(&config);
        crate::common::wait::eventually("it says what is missing", || {
            let feed = format!("{:?}", peer.registry.store().feed());
            feed.contains("permission denied") && feed.contains("needs a role")
        })
        .await;
        let root = ConnectOptions::new().with_user("root", "root");
        let mut hand = Client::connect(etcd.endpoints(), Some(root)).await.unwrap();
        hand.role_grant_permission("log", grant()).await.unwrap();
        peer.await_up().await;
        peer.put(Kind::Source, source("a")).await;

        // Taken away while it runs: a change is refused in words, and nothing else breaks.
        let all = RoleRevokePermissionOptions::new().with_range_end(to);
        hand.role_revoke_permission("log", from, Some(all)).await.unwrap();
        let refused = peer.registry.create(Kind::Source, &source("b"), "me").await.unwrap_err().to_string();
        assert!(refused.contains("permission denied"), "{refused}");
        assert_eq!(peer.names(Kind::Source), ["a"]);
        hand.role_grant_permission("log", grant()).await.unwrap();
        peer.await_up().await;

        // A password that is changed, here and there.
        hand.user_change_password("corelane", "second secret").await.unwrap();
        put(place.path(), "password", "second secret\n");
        let made = await_name(&peer, "c").await;
        assert!(made, "the new password is read");
        assert!(!format!("{:?} {:?}", config, peer.registry.store().feed()).contains("second secret"));

        fs::remove_file(&password).unwrap();
        peer.stop().await;
        config.state_dir = place.path().join("none");
        let peer = Peer::start(&config);
        assert!(peer.await_down().await.contains("was not asked yet"));
        crate::common::wait::eventually("it says which file is missing", || {
            format!("{:?}", peer.registry.store().feed()).contains("password: no such file")
        })
        .await;
    });
}

/// Tries until the node may.
async fn await_name(peer: &Peer, name: &str) -> bool {
    for _ in 0..100 {
        match peer.registry.create(Kind::Source, &source(name), "me").await {
            Ok(_) => return true,
            Err(fault) => println!("{fault}"),
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    false
}
