//! Watches on files and directories by inotify, shared by the real backends.
//!
//! The kernel keeps one mark per inode and inotify instance, and adding a second watch replaces the first one's mask.
//! So names and content have an instance each, and several watches may stand behind one mark.

use std::{
    collections::HashMap,
    ffi::{OsStr, OsString},
    io,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::Path,
};

use rustix::{
    fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags},
    io::Errno,
};
use smallvec::SmallVec;

use super::{Completion, Watch, WatchKind};

/// `struct inotify_event` without its name: wd, mask, cookie, len (inotify(7)).
const EVENT_HEAD_BYTES: usize = 16;

/// Which of the two inotify instances.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stream {
    Names,
    Content,
}

impl Stream {
    pub const ALL: [Self; 2] = [Self::Names, Self::Content];
}

/// All watches of one ring.
#[derive(Debug)]
pub(super) struct Watches {
    names: Instance,
    content: Instance,
    /// Where each watch lives.
    marks: HashMap<Watch, (Stream, i32)>,
    next: u32,
}

#[derive(Debug)]
struct Instance {
    fd: OwnedFd,
    by_mark: HashMap<i32, SmallVec<[Watch; 1]>>,
}

impl Instance {
    /// In blocking mode, for the same reason as the bell's eventfd.
    fn new() -> io::Result<Self> {
        let fd = inotify::init(CreateFlags::CLOEXEC).map_err(|error| match error {
            Errno::MFILE => {
                io::Error::other("no inotify instance is left for this user: raise fs.inotify.max_user_instances")
            }
            error => error.into(),
        })?;
        Ok(Self { fd, by_mark: HashMap::new() })
    }
}

impl Watches {
    pub fn new() -> io::Result<Self> {
        Ok(Self { names: Instance::new()?, content: Instance::new()?, marks: HashMap::new(), next: 0 })
    }

    pub fn fd(&self, stream: Stream) -> BorrowedFd<'_> {
        match stream {
            Stream::Names => self.names.fd.as_fd(),
            Stream::Content => self.content.fd.as_fd(),
        }
    }

    pub fn watch(&mut self, path: &Path, kind: WatchKind) -> io::Result<Watch> {
        let (stream, mask) = match kind {
            WatchKind::Names => (
                Stream::Names,
                WatchFlags::CREATE
                    | WatchFlags::DELETE
                    | WatchFlags::MOVED_FROM
                    | WatchFlags::MOVED_TO
                    | WatchFlags::DELETE_SELF
                    | WatchFlags::MOVE_SELF
                    | WatchFlags::ONLYDIR,
            ),
            WatchKind::ContentOnce => (Stream::Content, WatchFlags::MODIFY | WatchFlags::ONESHOT),
        };
        let mark = inotify::add_watch(self.fd(stream), path, mask).map_err(|error| match error {
            Errno::NOSPC => {
                io::Error::other("no inotify watch is left for this user: raise fs.inotify.max_user_watches")
            }
            error => error.into(),
        })?;
        let watch = self.unused();
        self.marks.insert(watch, (stream, mark));
        self.instance(stream).by_mark.entry(mark).or_default().push(watch);
        Ok(watch)
    }

    /// Numbers go round rather than being taken again at once: a late `unwatch` must not hit somebody else's watch.
    fn unused(&mut self) -> Watch {
        loop {
            let watch = Watch(self.next);
            self.next = self.next.wrapping_add(1);
            if !self.marks.contains_key(&watch) {
                return watch;
            }
        }
    }

    /// Events already under way for it are not delivered any more. Unknown watches are ignored.
    pub fn unwatch(&mut self, watch: Watch) {
        let Some((stream, mark)) = self.marks.remove(&watch) else { return };
        let instance = self.instance(stream);
        let Some(watches) = instance.by_mark.get_mut(&mark) else { return };
        watches.retain(|other| *other != watch);
        if watches.is_empty() {
            instance.by_mark.remove(&mark);
            // Fails when the kernel has dropped the mark already, which is as good.
            let _ = inotify::remove_watch(&instance.fd, mark);
        }
    }

    /// Turns what was read from `stream` into completions.
    pub fn take(&mut self, stream: Stream, mut bytes: &[u8], out: &mut Vec<Completion>) {
        while let Some((event, rest)) = Event::parse(bytes) {
            bytes = rest;
            if event.mask.contains(ReadFlags::QUEUE_OVERFLOW) {
                self.overflow(stream, out);
                continue;
            }
            match stream {
                Stream::Names => self.names_event(&event, out),
                Stream::Content => self.content_event(&event, out),
            }
        }
    }

    fn names_event(&mut self, event: &Event<'_>, out: &mut Vec<Completion>) {
        if event.mask.contains(ReadFlags::IGNORED) {
            // The directory is gone; that was told by the event before. The watches stay, silent, until `unwatch`.
            self.names.by_mark.remove(&event.mark);
            return;
        }
        for watch in self.names.by_mark.get(&event.mark).into_iter().flatten() {
            out.push(Completion::Changed { watch: *watch, name: event.name() });
        }
    }

    /// One-shot: whatever the event (IGNORED alone means the file is gone for good), the watch is over.
    fn content_event(&mut self, event: &Event<'_>, out: &mut Vec<Completion>) {
        for watch in self.content.by_mark.remove(&event.mark).into_iter().flatten() {
            self.marks.remove(&watch);
            out.push(Completion::Changed { watch, name: event.name() });
        }
    }

    /// Events were lost, and with them perhaps the only one of a one-shot watch: all of those are over.
    fn overflow(&mut self, stream: Stream, out: &mut Vec<Completion>) {
        out.push(Completion::Overflow);
        if stream == Stream::Names {
            return;
        }
        let mut over: Vec<Watch> = Vec::new();
        for (mark, watches) in self.content.by_mark.drain() {
            let _ = inotify::remove_watch(&self.content.fd, mark);
            over.extend(watches);
        }
        over.sort_unstable();
        for watch in over {
            self.marks.remove(&watch);
            out.push(Completion::Changed { watch, name: None });
        }
    }

    fn instance(&mut self, stream: Stream) -> &mut Instance {
        match stream {
            Stream::Names => &mut self.names,
            Stream::Content => &mut self.content,
        }
    }
}

/// One event as the kernel wrote it.
struct Event<'a> {
    mark: i32,
    mask: ReadFlags,
    /// Padded with NUL; empty when the event is about the watched thing itself.
    name: &'a [u8],
}

impl<'a> Event<'a> {
    fn parse(bytes: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let (head, rest) = bytes.split_first_chunk::<EVENT_HEAD_BYTES>()?;
        let word = |at: usize| [head[at], head[at + 1], head[at + 2], head[at + 3]];
        let (name, rest) = rest.split_at_checked(u32::from_ne_bytes(word(12)) as usize)?;
        let mask = ReadFlags::from_bits_retain(u32::from_ne_bytes(word(4)));
        Some((Self { mark: i32::from_ne_bytes(word(0)), mask, name }, rest))
    }

    fn name(&self) -> Option<OsString> {
        let end = self.name.iter().position(|byte| *byte == 0).unwrap_or(self.name.len());
        (end > 0).then(|| OsStr::from_bytes(&self.name[..end]).to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(mark: i32, mask: ReadFlags, name: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend(mark.to_ne_bytes());
        bytes.extend(mask.bits().to_ne_bytes());
        bytes.extend(0u32.to_ne_bytes());
        bytes.extend((name.len() as u32).to_ne_bytes());
        bytes.extend(name);
        bytes
    }

    #[test]
    fn an_overflow_ends_every_one_shot_watch() {
        let directory = tempfile::tempdir().unwrap();
        let mut watches = Watches::new().unwrap();
        let names = watches.watch(directory.path(), WatchKind::Names).unwrap();
        let first = watches.watch(directory.path(), WatchKind::ContentOnce).unwrap();
        let second = watches.watch(directory.path(), WatchKind::ContentOnce).unwrap();
        let mut out = Vec::new();
        watches.take(Stream::Content, &event(-1, ReadFlags::QUEUE_OVERFLOW, b""), &mut out);
        let told = |watch: Watch| {
            out.iter().filter(|one| matches!(one, Completion::Changed { watch: seen, .. } if *seen == watch)).count()
        };
        assert!(matches!(out[0], Completion::Overflow));
        assert_eq!((told(first), told(second), told(names)), (1, 1, 0));
        assert_eq!(watches.marks.len(), 1, "the names watch stays");
    }

    /// A spent one-shot watch must not go on waking the lane at every line somebody writes.
    #[test]
    fn the_kernel_forgets_a_spent_watch() {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};

        let file = tempfile::NamedTempFile::new().unwrap();
        let mut watches = Watches::new().unwrap();
        watches.watch(file.path(), WatchKind::ContentOnce).unwrap();
        std::fs::write(file.path(), b"one").unwrap();
        let mut bytes = [0; 4096];
        let read = rustix::io::read(watches.fd(Stream::Content), &mut bytes).unwrap();
        let mut out = Vec::new();
        watches.take(Stream::Content, &bytes[..read], &mut out);
        assert_eq!(out.len(), 1);
        std::fs::write(file.path(), b"two").unwrap();
        let mut fds = [PollFd::from_borrowed_fd(watches.fd(Stream::Content), PollFlags::IN)];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        assert_eq!(poll(&mut fds, Some(&now)).unwrap(), 0, "it still tells");
    }

    #[test]
    fn a_torn_event_ends_the_parse_without_a_panic() {
        let whole = event(1, ReadFlags::MODIFY, b"name\0\0\0\0");
        for cut in 0..whole.len() {
            assert!(Event::parse(&whole[..cut]).is_none(), "{cut}");
        }
        let (parsed, rest) = Event::parse(&whole).unwrap();
        assert_eq!((parsed.name(), rest.len()), (Some("name".into()), 0));
    }
}
