//! Reading, writing, and what files do meanwhile.

use std::io;

use proptest::prelude::*;

use super::{Completion, Op, Ring, Stage, Token, complete, read, read_now, reap_until, under_every_backend};
use crate::{limits, ring::Handle};

fn reads_what_is_there_and_nothing_after<S: Stage>() {
    let stage = S::new();
    let mut ring = stage.ring();
    stage.append("log", b"0123456789");
    let handle = ring.open(&stage.path("log")).unwrap();
    assert_eq!(read(&mut ring, handle, 0, 4), b"0123");
    assert_eq!(read(&mut ring, handle, 7, 100), b"789", "a short file");
    assert_eq!(read(&mut ring, handle, 10, 4), b"", "the end");
    assert_eq!(read(&mut ring, handle, 1 << 40, 4), b"", "far after the end");
    assert_eq!(read(&mut ring, handle, 0, 0), b"");
    assert_eq!(read_now(&mut ring, handle, 10, 4), Some(Vec::new()));
}

fn maps_what_is_in_memory<S: Stage>() {
    let stage = S::new();
    let mut ring = stage.ring();
    let page = rustix::param::page_size();
    let content: Vec<u8> = (0..3 * page + 100).map(|at| (at / 5) as u8).collect();
    stage.append("log", &content);
    let handle = ring.open(&stage.path("log")).unwrap();
    let mapping = ring.map(handle, page as u64, 1 << 20).unwrap();
    assert_eq!(mapping.bytes(), 2 * page, "whole pages");
    let mut part = vec![0; page];
    assert!(mapping.copy(33, &mut part) && part == content[page + 33..][..page]);
    assert!(!mapping.copy(page + 1, &mut part), "behind its end");
    assert!(ring.map(handle, 4 * page as u64, page).is_err(), "behind the file's end");
    stage.remove("log");
    ring.close(handle);
    assert!(mapping.copy(0, &mut part) && part == content[page..2 * page], "it needs no name and no handle");
    assert!(ring.map(handle, 0, page).is_err(), "closed");
}

fn sees_a_file_grow_and_shrink<S: Stage>() {
    let stage = S::new();
    let mut ring = stage.ring();
    stage.append("log", b"one\n");
    let handle = ring.open(&stage.path("log")).unwrap();
    let before = ring.stat(handle).unwrap();
    assert_eq!((before.size, before.links, before.regular, before.directory), (4, 1, true, false));
    assert_eq!(read(&mut ring, handle, 4, 10), b"");
    stage.append("log", b"two\n");
    assert_eq!(read(&mut ring, handle, 4, 10), b"two\n");
    assert_eq!(ring.stat(handle).unwrap().size, 8);
    stage.truncate("log", 2);
    assert_eq!(ring.stat(handle).unwrap().size, 2);
    assert_eq!(read(&mut ring, handle, 4, 10), b"");
}

fn keeps_reading_what_was_renamed_or_removed<S: Stage>() {
    let stage = S::new();
    let mut ring = stage.ring();
    stage.append("log", b"old content");
    let old = ring.open(&stage.path("log")).unwrap();
    let identity = ring.stat(old).unwrap();
    stage.rename("log", "log.1");
    stage.append("log", b"new content");
    stage.append("log.1", b", late");
    assert_eq!(read(&mut ring, old, 0, 100), b"old content, late");
    let new = ring.open(&stage.path("log")).unwrap();
    assert_ne!(ring.stat(new).unwrap().inode, identity.inode);
    assert_eq!(ring.stat_path(&stage.path("log.1")).unwrap().inode, identity.inode);
    stage.remove("log.1");
    assert_eq!(read(&mut ring, old, 0, 11), b"old content");
    let gone = ring.stat(old).unwrap();
    assert_eq!((gone.inode, gone.generation, gone.links), (identity.inode, identity.generation, 0));
    ring.close(old);
    assert_eq!(ring.stat_path(&stage.path("log.1")).unwrap_err().kind(), io::ErrorKind::NotFound);
    assert_eq!(read(&mut ring, new, 0, 100), b"new content");
}

fn both_ways_of_reading_agree<S: Stage>() {
    let stage = S::new();
    let mut ring = stage.ring();
    let content: Vec<u8> = (0..200_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    stage.append("log", &content);
    let handle = ring.open(&stage.path("log")).unwrap();
    let ring = std::cell::RefCell::new(ring);
    proptest!(ProptestConfig::with_cases(64), |(offset in 0usize..210_000, bytes in 1usize..70_000)| {
        let mut ring = ring.borrow_mut();
        let wanted = content.get(offset..).unwrap_or_default();
        let waited = read(&mut *ring, handle, offset as u64, bytes);
        prop_assert!(wanted.starts_with(&waited) && waited.is_empty() == wanted.is_empty());
        if let Some(now) = read_now(&mut *ring, handle, offset as u64, bytes) {
            prop_assert!(wanted.starts_with(&now) && now.is_empty() == wanted.is_empty());
            prop_assert_eq!(now.len(), waited.len());
        }
    });
}

fn writes_are_seen_at_once<S: Stage>() {
    let stage = S::new();
    let mut ring = stage.ring();
    let path = stage.path("state");
    let handle = ring.create(&path).unwrap();
    ring.write(handle, 4, b"slot").unwrap();
    ring.write(handle, 0, b"head").unwrap();
    ring.write(handle, 4, b"SLOT").unwrap();
    assert_eq!(stage.content("state").unwrap(), b"headSLOT");
    let again = ring.create(&path).unwrap();
    assert_eq!(read(&mut ring, again, 0, 8), b"headSLOT", "what is there stays");
    let reader = ring.open(&path).unwrap();
    assert_eq!(read(&mut ring, reader, 0, 8), b"headSLOT");
}

fn what_cannot_be_opened_is_an_error<S: Stage>() {
    let stage = S::new();
    let mut ring = stage.ring();
    stage.make_directory("directory");
    assert_eq!(ring.open(&stage.path("none")).unwrap_err().kind(), io::ErrorKind::NotFound);
    assert_eq!(ring.open(&stage.path("directory")).unwrap_err().kind(), io::ErrorKind::IsADirectory);
    assert_eq!(ring.create(&stage.path("none/file")).unwrap_err().kind(), io::ErrorKind::NotFound);
    assert_eq!(ring.remove(&stage.path("none")).unwrap_err().kind(), io::ErrorKind::NotFound);
    assert!(ring.stat(Handle(99)).is_err());
    ring.close(Handle(99));
}

fn a_closed_handle_is_refused<S: Stage>() {
    let stage = S::new();
    let mut ring = stage.ring();
    stage.append("log", b"content");
    let handle = ring.open(&stage.path("log")).unwrap();
    ring.close(handle);
    ring.close(handle);
    assert!(ring.stat(handle).is_err());
    assert!(ring.read_now(handle, 0, &mut [0; 4]).is_err());
    let (result, buf) = complete(&mut ring, Op::Read { token: Token(1), handle, offset: 0, buf: vec![1, 2] });
    assert_eq!((result.unwrap_err().raw_os_error(), buf), (Some(libc::EBADF), vec![1, 2]));
}

/// The read still ends, and until then nobody else gets the handle.
fn closing_during_a_read_lets_it_end<S: Stage>() {
    let stage = S::new();
    let mut ring = stage.ring();
    stage.append("log", b"content");
    stage.append("other", b"other");
    let handle = ring.open(&stage.path("log")).unwrap();
    ring.submit(Op::Read { token: Token(1), handle, offset: 0, buf: vec![0; 7] }).unwrap();
    ring.close(handle);
    stage.remove("log");
    let other = ring.open(&stage.path("other")).unwrap();
    assert_ne!(other, handle);
    let out = reap_until(&mut ring, |out| !out.is_empty());
    let [Completion::Done { token: Token(1), result: Ok(7), buf }] = out.as_slice() else { panic!("{out:?}") };
    assert_eq!(buf, b"content");
    assert_eq!(ring.open(&stage.path("other")).unwrap(), handle, "free again");
}

fn a_full_ring_gives_the_op_back<S: Stage>() {
    let stage = S::new();
    let mut ring = stage.ring();
    stage.append("log", b"content");
    let handle = ring.open(&stage.path("log")).unwrap();
    let op = |token| Op::Read { token: Token(token), handle, offset: token % 7, buf: vec![0; 1] };
    let taken = (0..).take_while(|token| ring.submit(op(*token)).is_ok()).count();
    assert_eq!(taken, limits::RING_READS_MAX);
    let refused = ring.submit(op(1234)).unwrap_err();
    assert!(matches!(refused, Op::Read { token: Token(1234), ref buf, .. } if buf == &[0]));
    let out = reap_until(&mut ring, |out| out.len() == taken);
    let mut tokens = Vec::new();
    for one in out {
        let Completion::Done { token, result, buf } = one else { panic!("{one:?}") };
        assert_eq!((result.unwrap(), buf[0]), (1, b"content"[token.0 as usize % 7]));
        tokens.push(token.0);
    }
    tokens.sort_unstable();
    assert_eq!(tokens, (0..taken as u64).collect::<Vec<_>>(), "each once");
    assert!(ring.submit(op(5)).is_ok(), "room again");
}

/// A ring with reads under way goes away: nothing hangs, nothing is written to freed memory.
fn goes_away_with_reads_under_way<S: Stage>() {
    let stage = S::new();
    stage.append("log", &[7; 100_000]);
    for reaped in [false, true] {
        let mut ring = stage.ring();
        let handle = ring.open(&stage.path("log")).unwrap();
        for token in 0..8 {
            ring.submit(Op::Read { token: Token(token), handle, offset: 0, buf: vec![0; 65_536] }).unwrap();
        }
        if reaped {
            reap_until(&mut ring, |out| !out.is_empty());
        }
    }
}

fn lists_in_order_and_no_more_than_asked<S: Stage>() {
    let stage = S::new();
    let mut ring = stage.ring();
    for name in ["b.log", "a.log", "d.log", "c.log"] {
        stage.append(name, b"");
    }
    stage.make_directory("aa");
    stage.append("aa/inner", b"");
    let names = |entries: Vec<crate::ring::Entry>| {
        entries.into_iter().map(|entry| (entry.name.into_string().unwrap(), entry.directory)).collect::<Vec<_>>()
    };
    let directory = stage.path("");
    let all = names(ring.list(&directory, 100).unwrap());
    let wanted = [("a.log", false), ("aa", true), ("b.log", false), ("c.log", false), ("d.log", false)];
    assert_eq!(all, wanted.map(|(name, directory)| (name.to_owned(), directory)));
    assert_eq!(names(ring.list(&directory, 2).unwrap()), all[..2]);
    assert_eq!(ring.list(&directory, 0).unwrap(), []);
    assert_eq!(ring.list(&stage.path("none"), 5).unwrap_err().kind(), io::ErrorKind::NotFound);
    assert_eq!(ring.list(&stage.path("a.log"), 5).unwrap_err().kind(), io::ErrorKind::NotADirectory);
}

under_every_backend! {
    reads_what_is_there_and_nothing_after
    maps_what_is_in_memory
    sees_a_file_grow_and_shrink
    keeps_reading_what_was_renamed_or_removed
    both_ways_of_reading_agree
    writes_are_seen_at_once
    what_cannot_be_opened_is_an_error
    a_closed_handle_is_refused
    closing_during_a_read_lets_it_end
    a_full_ring_gives_the_op_back
    goes_away_with_reads_under_way
    lists_in_order_and_no_more_than_asked
}
