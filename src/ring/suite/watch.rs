//! Watches: names, content once, and what happens around their end.

use std::{io, time::Duration};

use super::{Completion, Ring, Stage, reap_until, under_every_backend};
use crate::ring::{Watch, WatchKind};

/// What a watch told, by name.
fn told(out: &[Completion], watch: Watch) -> Vec<Option<String>> {
    let text = |name: &std::ffi::OsString| name.to_str().unwrap().to_owned();
    out.iter()
        .filter_map(|one| match one {
            Completion::Changed { watch: of, name } if *of == watch => Some(name.as_ref().map(text)),
            _ => None,
        })
        .collect()
}

fn some(names: &[&str]) -> Vec<Option<String>> {
    names.iter().map(|name| Some((*name).to_owned())).collect()
}

/// All that has been told: events of a real file system are there when the call that caused them returns, and two
/// reaps take them (one may only clear a wake-up).
fn drain(ring: &mut impl Ring) -> Vec<Completion> {
    let mut out = Vec::new();
    for _ in 0..3 {
        ring.reap(Duration::from_millis(1), &mut out).unwrap();
    }
    out
}

fn names_come_go_and_change<S: Stage>() {
    let stage = S::new();
    let mut ring = stage.ring();
    let watch = ring.watch(&stage.path(""), WatchKind::Names).unwrap();
    stage.append("a", b"");
    stage.rename("a", "b");
    stage.append("b", b"content does not count");
    stage.remove("b");
    let out = reap_until(&mut ring, |out| told(out, watch).len() >= 4);
    assert_eq!(told(&out, watch), some(&["a", "a", "b", "b"]));
    assert_eq!(drain(&mut ring).len(), 0);
}

fn content_of_a_file_is_told_once<S: Stage>() {
    let stage = S::new();
    let mut ring = stage.ring();
    stage.append("log", b"one");
    let watch = ring.watch(&stage.path("log"), WatchKind::ContentOnce).unwrap();
    assert_eq!(drain(&mut ring).len(), 0, "what came before is not told");
    stage.append("log", b"two");
    stage.append("log", b"three");
    let out = reap_until(&mut ring, |out| !out.is_empty());
    assert_eq!(told(&out, watch), [None]);
    stage.append("log", b"four");
    assert_eq!(drain(&mut ring).len(), 0, "it was a one-shot");
    let again = ring.watch(&stage.path("log"), WatchKind::ContentOnce).unwrap();
    assert_ne!(again, watch, "a late unwatch must not hit it");
    ring.unwatch(watch);
    stage.truncate("log", 0);
    let out = reap_until(&mut ring, |out| !out.is_empty());
    assert_eq!(told(&out, again), [None], "shrinking counts");
}

fn a_renamed_file_is_still_watched<S: Stage>() {
    let stage = S::new();
    let mut ring = stage.ring();
    stage.append("log", b"one");
    let watch = ring.watch(&stage.path("log"), WatchKind::ContentOnce).unwrap();
    stage.rename("log", "log.1");
    assert_eq!(drain(&mut ring).len(), 0, "a new name is no new content");
    stage.append("log.1", b"late");
    let out = reap_until(&mut ring, |out| !out.is_empty());
    assert_eq!(told(&out, watch), [None]);
}

fn content_of_a_directory_names_the_file_once<S: Stage>() {
    let stage = S::new();
    let mut ring = stage.ring();
    stage.append("a", b"one");
    stage.append("b", b"one");
    let watch = ring.watch(&stage.path(""), WatchKind::ContentOnce).unwrap();
    stage.rename("a", "c");
    assert_eq!(drain(&mut ring).len(), 0, "names do not count");
    stage.append("b", b"two");
    stage.append("c", b"two");
    let out = reap_until(&mut ring, |out| !out.is_empty());
    assert_eq!(told(&out, watch), some(&["b"]));
    assert_eq!(drain(&mut ring).len(), 0);
}

/// The kernel keeps one mark per inode: that must not show.
fn watches_of_one_directory_do_not_disturb_each_other<S: Stage>() {
    let stage = S::new();
    let mut ring = stage.ring();
    stage.append("log", b"one");
    let names = ring.watch(&stage.path(""), WatchKind::Names).unwrap();
    let content = ring.watch(&stage.path(""), WatchKind::ContentOnce).unwrap();
    let twin = ring.watch(&stage.path(""), WatchKind::ContentOnce).unwrap();
    let other = ring.watch(&stage.path(""), WatchKind::Names).unwrap();
    ring.unwatch(other);
    stage.append("log", b"two");
    stage.append("new", b"");
    let out = reap_until(&mut ring, |out| out.len() >= 3);
    assert_eq!(told(&out, names), some(&["new"]));
    assert_eq!(told(&out, content), some(&["log"]));
    assert_eq!(told(&out, twin), some(&["log"]));
    stage.append("log", b"three");
    stage.remove("new");
    let out = reap_until(&mut ring, |out| !out.is_empty());
    assert_eq!(told(&out, names), some(&["new"]));
    assert_eq!(out.len(), 1);
}

fn an_unwatched_thing_is_silent<S: Stage>() {
    let stage = S::new();
    let mut ring = stage.ring();
    stage.append("log", b"one");
    let names = ring.watch(&stage.path(""), WatchKind::Names).unwrap();
    let content = ring.watch(&stage.path("log"), WatchKind::ContentOnce).unwrap();
    stage.append("log", b"under way");
    stage.append("under way", b"");
    ring.unwatch(names);
    ring.unwatch(content);
    stage.append("log", b"after");
    stage.append("after", b"");
    assert_eq!(drain(&mut ring).len(), 0);
}

/// Nobody may wait for ever for a file that is gone.
fn a_watch_ends_with_its_file<S: Stage>() {
    let stage = S::new();
    let mut ring = stage.ring();
    stage.append("log", b"one");
    let handle = ring.open(&stage.path("log")).unwrap();
    let watch = ring.watch(&stage.path("log"), WatchKind::ContentOnce).unwrap();
    stage.remove("log");
    assert_eq!(drain(&mut ring).len(), 0, "it is still open");
    ring.close(handle);
    let out = reap_until(&mut ring, |out| !out.is_empty());
    assert_eq!(told(&out, watch), [None]);
}

fn what_cannot_be_watched_is_an_error<S: Stage>() {
    let stage = S::new();
    let mut ring = stage.ring();
    stage.append("log", b"one");
    let none = ring.watch(&stage.path("none"), WatchKind::ContentOnce).unwrap_err();
    assert_eq!(none.kind(), io::ErrorKind::NotFound);
    let file = ring.watch(&stage.path("log"), WatchKind::Names).unwrap_err();
    assert_eq!(file.kind(), io::ErrorKind::NotADirectory);
    ring.unwatch(Watch(77));
}

/// More events than are taken at once.
fn many_names_are_all_told<S: Stage>() {
    let stage = S::new();
    let mut ring = stage.ring();
    let watch = ring.watch(&stage.path(""), WatchKind::Names).unwrap();
    let names: Vec<String> = (0..1000).map(|number| format!("a-rather-long-name-of-a-log-file-{number:04}")).collect();
    names.iter().for_each(|name| stage.append(name, b""));
    let out = reap_until(&mut ring, |out| out.len() >= names.len());
    assert_eq!(told(&out, watch), names.iter().cloned().map(Some).collect::<Vec<_>>());
}

under_every_backend! {
    names_come_go_and_change
    content_of_a_file_is_told_once
    a_renamed_file_is_still_watched
    content_of_a_directory_names_the_file_once
    watches_of_one_directory_do_not_disturb_each_other
    an_unwatched_thing_is_silent
    a_watch_ends_with_its_file
    what_cannot_be_watched_is_an_error
    many_names_are_all_told
}
