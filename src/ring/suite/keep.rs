//! Room on the disk, and what is kept beyond the process.

use super::{Ring, Stage, read, under_every_backend};

fn room_is_told<S: Stage>() {
    let stage = S::new();
    let mut ring = stage.ring();
    let space = ring.space(&stage.path("")).unwrap();
    assert!(space.free <= space.total && space.total > 0, "{space:?}");
    assert!(ring.space(&stage.path("none")).is_err());
}

fn without_a_service_manager_nothing_is_kept<S: Stage>() {
    let stage = S::new();
    let mut ring = stage.ring();
    stage.append("log", b"content");
    let handle = ring.open(&stage.path("log")).unwrap();
    assert!(!ring.store(handle, "log").unwrap());
    ring.unstore("log").unwrap();
    assert!(ring.inherited().is_empty() && stage.ring().inherited().is_empty());
    assert_eq!(read(&mut ring, handle, 0, 9), b"content");
}

under_every_backend! {
    room_is_told
    without_a_service_manager_nothing_is_kept
}
