//! `Op::Persist`: the old or the new content, whole, and an error that is told.

use super::{Completion, Op, Ring, Stage, Token, complete, read, reap_until, under_every_backend};
use crate::limits;

fn replaces_content_whole<S: Stage>() {
    let stage = S::new();
    let mut ring = stage.ring();
    let path = stage.path("state");
    for content in [&b"first"[..], b"second, longer", b""] {
        let op = Op::Persist { token: Token(3), path: path.clone(), data: content.to_vec() };
        let (result, data) = complete(&mut ring, op);
        assert_eq!((result.unwrap(), data.as_slice()), (content.len(), content));
        assert_eq!(stage.content("state").unwrap(), content);
        assert_eq!(ring.list(&stage.path(""), 9).unwrap().len(), 1, "nothing is left beside");
    }
}

fn a_reader_keeps_the_content_it_opened<S: Stage>() {
    let stage = S::new();
    let mut ring = stage.ring();
    stage.append("state", b"old");
    let old = ring.open(&stage.path("state")).unwrap();
    let op = Op::Persist { token: Token(3), path: stage.path("state"), data: b"new".to_vec() };
    complete(&mut ring, op).0.unwrap();
    assert_eq!(read(&mut ring, old, 0, 9), b"old");
    let new = ring.open(&stage.path("state")).unwrap();
    assert_eq!(read(&mut ring, new, 0, 9), b"new");
}

fn failure_is_told_and_changes_nothing<S: Stage>() {
    let stage = S::new();
    let mut ring = stage.ring();
    stage.make_directory("directory");
    let before = ring.list(&stage.path(""), 9).unwrap();
    for name in ["none/state", "directory"] {
        let op = Op::Persist { token: Token(3), path: stage.path(name), data: b"data".to_vec() };
        let (result, data) = complete(&mut ring, op);
        assert!(result.is_err(), "{name}");
        assert_eq!(data, b"data", "the buffer comes back all the same");
        assert_eq!(ring.list(&stage.path(""), 9).unwrap(), before);
    }
}

fn too_many_are_given_back<S: Stage>() {
    let stage = S::new();
    let mut ring = stage.ring();
    let op = |token: u64| {
        let path = stage.path(&format!("state-{token}"));
        Op::Persist { token: Token(token), path, data: token.to_string().into_bytes() }
    };
    let taken = (0..).take_while(|token| ring.submit(op(*token)).is_ok()).count();
    assert_eq!(taken, limits::RING_PERSISTS_MAX);
    let out = reap_until(&mut ring, |out| out.len() == taken);
    assert!(out.iter().all(|one| matches!(one, Completion::Done { result: Ok(1), .. })), "{out:?}");
    for token in 0..taken {
        assert_eq!(stage.content(&format!("state-{token}")).unwrap(), token.to_string().as_bytes());
    }
    assert!(ring.submit(op(99)).is_ok(), "room again");
}

/// Who makes a new ring finds what the old one was asked to persist.
fn a_ring_that_goes_away_persists_first<S: Stage>() {
    let stage = S::new();
    let mut ring = stage.ring();
    ring.submit(Op::Persist { token: Token(1), path: stage.path("state"), data: b"last".to_vec() }).unwrap();
    drop(ring);
    assert_eq!(stage.content("state").unwrap(), b"last");
}

under_every_backend! {
    replaces_content_whole
    a_reader_keeps_the_content_it_opened
    failure_is_told_and_changes_nothing
    too_many_are_given_back
    a_ring_that_goes_away_persists_first
}
