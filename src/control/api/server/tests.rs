//! Connections within small bounds: who is idle goes, who is busy stays, whoever stops waits for the busy.

use axum::routing::get;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::{http1, http2};
use tokio::{io::DuplexStream, sync::Notify, task::JoinHandle};

use super::*;

const PEER: Peer = Peer::Local(Credentials { uid: 1, gid: 2, pid: 3 });
/// For what must happen; nothing is measured by it.
const PATIENCE: Duration = Duration::from_secs(60);

fn bounds() -> Bounds {
    let short = Duration::from_millis(50);
    Bounds { handshake: short, header: PATIENCE, idle: short, close: short, ..Bounds::default() }
}

/// A connection being served, its other end, and the way to stop it. `/slow` takes several times as long as a
/// connection may be idle; `/peer` says who asked.
fn connection(bounds: Bounds) -> (JoinHandle<()>, DuplexStream, watch::Sender<bool>) {
    connection_with(bounds, Arc::default())
}

/// The same, told when `/slow` has begun.
fn connection_with(bounds: Bounds, begun: Arc<Notify>) -> (JoinHandle<()>, DuplexStream, watch::Sender<bool>) {
    let router = Router::new()
        .route(
            "/slow",
            get(async move || {
                begun.notify_one();
                tokio::time::sleep(Duration::from_millis(300)).await;
                "done"
            }),
        )
        .route(
            "/peer",
            get(|request: axum::extract::Request| async move { format!("{:?}", request.extensions().get::<Peer>()) }),
        );
    let (near, far) = tokio::io::duplex(65_536);
    let (stop, stopped) = watch::channel(false);
    let served = tokio::spawn(converse(near, PEER, Host { router, bounds, stop: stopped }));
    (served, far, stop)
}

async fn ends(served: JoinHandle<()>) {
    tokio::time::timeout(PATIENCE, served).await.expect("it ends").unwrap();
}

fn request(path: &str) -> http::Request<Full<Bytes>> {
    http::Request::builder().uri(format!("http://x{path}")).body(Full::default()).unwrap()
}

fn run(test: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test);
}

#[test]
fn a_silent_connection_is_closed_before_it_says_which_http_it_speaks() {
    run(async {
        let (served, _far, _stop) = connection(bounds());
        ends(served).await;
    });
}

#[test]
fn an_idle_connection_is_closed_though_it_answers_pings() {
    run(async {
        let (served, far, _stop) = connection(bounds());
        let (mut sender, driver) = http2::handshake(TokioExecutor::new(), TokioIo::new(far)).await.unwrap();
        let driver = tokio::spawn(driver);
        let answer = sender.send_request(request("/peer")).await.unwrap();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(body, format!("{:?}", Some(PEER)));
        ends(served).await;
        tokio::time::timeout(PATIENCE, driver).await.expect("it ends").unwrap().unwrap();
    });
}

#[test]
fn a_request_under_way_is_waited_for() {
    run(async {
        for stops in [false, true] {
            let begun = Arc::new(Notify::new());
            let (served, far, stop) = connection_with(bounds(), Arc::clone(&begun));
            let (mut sender, driver) = http1::handshake(TokioIo::new(far)).await.unwrap();
            tokio::spawn(driver);
            let asked = tokio::spawn(async move {
                let answer = sender.send_request(request("/slow")).await.unwrap();
                answer.into_body().collect().await.unwrap().to_bytes()
            });
            begun.notified().await;
            stop.send(stops).unwrap();
            assert_eq!(asked.await.unwrap(), "done");
            ends(served).await;
        }
    });
}

#[test]
fn an_address_has_so_many_places_and_gets_them_back() {
    let crowd = Arc::new(Crowd::default());
    let here = |text: &str| text.parse::<IpAddr>().unwrap();
    let first = crowd.enter(here("10.0.0.1"), 2);
    let second = crowd.enter(here("::ffff:10.0.0.1"), 2);
    assert!(first.is_some() && second.is_some());
    assert!(crowd.enter(here("10.0.0.1"), 2).is_none());
    assert!(crowd.enter(here("10.0.0.2"), 2).is_some());
    drop(first);
    assert!(crowd.enter(here("10.0.0.1"), 2).is_some());
    drop(second);
    assert!(crowd.present().is_empty(), "nothing is kept of those who left");
    assert_eq!(network(here("2001:db8:1:2:3::4")), here("2001:db8:1:2::"));
}
