//! The simulated world: disk, clock, chance and the processes that live in it.
//!
//! A process is what one `Sim` has open, watches and waits for. All that happens to the disk goes through here, so that
//! watches see it.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use super::{
    disk::Disk,
    fault::{Chance, FaultKind},
    process::{Due, Open, Process},
};
use crate::{
    model::Nanos,
    ring::{Completion, Handle, Watch, WatchKind},
};

/// 2026-01-01T00:00:00Z, when every simulated world begins.
const BEGINNING: Nanos = Nanos(1_767_225_600_000_000_000);
/// CPU time a byte read costs a lane.
const READ_COST: Duration = Duration::from_nanos(100);
/// A disk that no test fills by chance.
const CAPACITY: u64 = 1 << 40;
/// The least a turn takes. Without it a lane that never sleeps would wait for ever for what is due later.
const TURN: Duration = Duration::from_micros(1);
/// A journalling file system commits names about so often by itself.
const NAMES_SETTLE: Duration = Duration::from_secs(5);
/// Dirty pages are written back at about this age.
const CONTENT_SETTLE: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub(super) struct World {
    pub disk: Disk,
    pub chance: Chance,
    pub processes: BTreeMap<u32, Process>,
    /// Inodes of which every read fails.
    pub bad: BTreeSet<u64>,
    /// What lanes have spent: reading costs `READ_COST` a byte, all else nothing.
    pub cpu: Duration,
    /// What every sleep ends at: something outside the machine happens then.
    pub alarm: Option<Duration>,
    /// Size of the disk, in bytes.
    pub capacity: u64,
    /// What the service manager keeps, by name and inode; `None` without one.
    pub stored: Option<Vec<(String, u64)>>,
    now: Duration,
    /// Counts what became due, to keep equal times in order.
    order: u64,
    next_process: u32,
    names_settled: Duration,
    content_settled: Duration,
}

impl World {
    pub fn new(seed: u64) -> Self {
        Self {
            cpu: Duration::ZERO,
            disk: Disk::new(),
            chance: Chance::new(seed),
            processes: BTreeMap::new(),
            bad: BTreeSet::new(),
            alarm: None,
            capacity: CAPACITY,
            stored: None,
            now: Duration::ZERO,
            order: 0,
            next_process: 0,
            names_settled: Duration::ZERO,
            content_settled: Duration::ZERO,
        }
    }

    pub fn now(&self) -> Duration {
        self.now
    }

    pub fn pass(&mut self, time: Duration) {
        self.now += time;
    }

    pub fn wall(&self) -> Nanos {
        BEGINNING.plus(u64::try_from(self.now.as_nanos()).unwrap_or(u64::MAX))
    }

    pub fn begin_process(&mut self) -> u32 {
        self.next_process += 1;
        self.processes.insert(self.next_process, Process::default());
        self.next_process
    }

    pub fn process(&mut self, id: u32) -> io::Result<&mut Process> {
        self.processes.get_mut(&id).ok_or_else(|| io::Error::other("this simulated process was killed"))
    }

    /// Ends a process in order: what it persists is carried out, as the real rings do when they go away.
    pub fn end_process(&mut self, id: u32) {
        for due in self.forget_process(id) {
            if let Due::Persist { path, data, .. } = due {
                let _ = self.persist(&path, &data);
            }
        }
    }

    /// Ends a process in the midst of things: of the persists under way some were carried out, in order, and the next
    /// one may have left its new file.
    pub fn kill_process(&mut self, id: u32) {
        for due in self.forget_process(id) {
            let Due::Persist { path, data, .. } = due else { continue };
            // Whether it worked is told to nobody: who asked is gone.
            match self.chance.random.below(3) {
                0 => return self.chance.injected.note(FaultKind::PersistCut, 1),
                1 => {
                    let _ = self.write_beside(&path, &data);
                    return self.chance.injected.note(FaultKind::PersistCut, 1);
                }
                _ => {
                    let _ = self.persist(&path, &data);
                }
            }
        }
    }

    fn forget_process(&mut self, id: u32) -> Vec<Due> {
        let Some(process) = self.processes.remove(&id) else { return Vec::new() };
        for open in process.handles.into_iter().flatten() {
            self.disk.closed(open.inode);
            self.tell_if_gone(open.inode);
        }
        process.due.into_values().collect()
    }

    // ---- the disk, with its watchers ----

    pub fn create(&mut self, path: &Path) -> io::Result<u64> {
        let now = self.wall();
        let (inode, new) = self.disk.make_file(path, now)?;
        if new {
            self.tell_name(path);
        }
        Ok(inode)
    }

    pub fn write(&mut self, inode: u64, offset: u64, data: &[u8]) {
        let now = self.wall();
        self.disk.write(inode, offset, data, now);
        self.tell_content(inode);
    }

    pub fn truncate(&mut self, inode: u64, bytes: u64) {
        let now = self.wall();
        self.disk.truncate(inode, bytes, now);
        self.tell_content(inode);
    }

    pub fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let replaced = self.disk.look_up(to).ok();
        self.disk.rename(from, to)?;
        self.tell_name(from);
        self.tell_name(to);
        if let Some(inode) = replaced {
            self.tell_if_gone(inode);
        }
        Ok(())
    }

    pub fn remove(&mut self, path: &Path) -> io::Result<()> {
        let inode = self.disk.remove(path)?;
        self.tell_name(path);
        self.tell_if_gone(inode);
        Ok(())
    }

    /// With all that is below. Watches on the directories see nothing any more.
    pub fn remove_tree(&mut self, path: &Path) {
        for below in self.disk.tree(path) {
            if !self.disk.look_up(&below).is_ok_and(|inode| self.disk.meta(inode).directory) {
                let _ = self.remove(&below);
            } else {
                self.disk.remove_directory(&below);
                self.tell_name(&below);
            }
        }
    }

    pub fn close(&mut self, id: u32, handle: Handle) {
        let Ok(process) = self.process(id) else { return };
        let Some(slot) = process.handles.get_mut(handle.0 as usize) else { return };
        let Some(open) = slot.as_mut() else { return };
        open.closing = true;
        if open.reads == 0 {
            let inode = open.inode;
            *slot = None;
            self.disk.closed(inode);
            self.tell_if_gone(inode);
        }
    }

    fn persist(&mut self, path: &Path, data: &[u8]) -> io::Result<()> {
        let new = self.write_beside(path, data)?;
        if let Err(error) = self.rename(&new, path) {
            let _ = self.remove(&new);
            return Err(error);
        }
        self.disk.settle_names();
        Ok(())
    }

    fn write_beside(&mut self, path: &Path, data: &[u8]) -> io::Result<PathBuf> {
        let mut name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_owned();
        name.push(".new");
        let new = path.with_file_name(name);
        if self.disk.look_up(&new).is_ok() {
            self.remove(&new)?;
        }
        let inode = self.create(&new)?;
        self.write(inode, 0, data);
        self.disk.sync(inode);
        Ok(new)
    }

    pub fn free(&self) -> u64 {
        self.capacity.saturating_sub(self.disk.used())
    }

    // ---- watches ----

    pub fn watch(&mut self, id: u32, path: &Path, kind: WatchKind) -> io::Result<Watch> {
        let inode = self.disk.look_up(path)?;
        if self.chance.strikes(FaultKind::WatchRefused) {
            return Err(io::Error::from_raw_os_error(libc::ENOSPC));
        }
        if kind == WatchKind::Names && !self.disk.meta(inode).directory {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        let process = self.process(id)?;
        let watch = Watch(process.next_watch);
        process.next_watch = process.next_watch.wrapping_add(1);
        process.watches.insert(watch, (inode, kind));
        Ok(watch)
    }

    fn tell_name(&mut self, path: &Path) {
        if let Some(Ok(directory)) = path.parent().map(|parent| self.disk.look_up(parent)) {
            self.tell(directory, WatchKind::Names, Some(path));
        }
    }

    fn tell_content(&mut self, inode: u64) {
        self.tell(inode, WatchKind::ContentOnce, None);
        let Some(path) = self.disk.path_of(inode) else { return };
        if let Some(Ok(directory)) = path.parent().map(|parent| self.disk.look_up(parent)) {
            self.tell(directory, WatchKind::ContentOnce, Some(&path));
        }
    }

    /// A file that is gone for good will not change any more: its watches are over.
    pub(super) fn tell_if_gone(&mut self, inode: u64) {
        if self.disk.unreachable(inode) {
            self.tell(inode, WatchKind::ContentOnce, None);
        }
    }

    fn tell(&mut self, inode: u64, kind: WatchKind, path: Option<&Path>) {
        let name = path.and_then(Path::file_name);
        let Self { processes, chance, now, order, .. } = self;
        for process in processes.values_mut() {
            let concerned = process.watches.iter().filter(|(_, seen)| **seen == (inode, kind)).map(|(watch, _)| *watch);
            for watch in concerned.collect::<Vec<_>>() {
                if kind == WatchKind::ContentOnce && process.watches.remove(&watch).is_none() {
                    continue;
                }
                if chance.strikes(FaultKind::WatchLost) {
                    continue;
                }
                process.last_event = process.last_event.max(*now + chance.delay());
                let changed = Completion::Changed { watch, name: name.map(ToOwned::to_owned) };
                if chance.strikes(FaultKind::WatchOverflow) {
                    process.overflow(order, (kind == WatchKind::ContentOnce).then_some(watch));
                } else {
                    process.tell(order, changed);
                }
            }
        }
    }

    // ---- time ----

    /// Makes `due` happen, now or after a delay that chance has it.
    pub fn schedule(&mut self, id: u32, due: Due) {
        let mut at = self.now + self.chance.delay();
        self.order += 1;
        let order = self.order;
        if let Ok(process) = self.process(id) {
            if matches!(due, Due::Persist { .. }) {
                at = at.max(process.last_persist);
                process.last_persist = at;
            }
            process.due.insert((at, order), due);
        }
    }

    /// Lets time pass: to what is due next, by `wait` at most.
    pub fn sleep(&mut self, id: u32, wait: Duration) -> io::Result<()> {
        let now = self.now;
        let next = self.process(id)?.due.first_key_value().map(|((at, _), _)| *at);
        let alarm = self.alarm.take_if(|at| *at <= now + wait);
        let wait = next.into_iter().chain(alarm).fold(wait, |wait, at| at.saturating_sub(now).min(wait));
        self.now += wait.max(TURN);
        if self.now - self.names_settled >= NAMES_SETTLE {
            self.names_settled = self.now;
            self.disk.settle_names();
        }
        if self.now - self.content_settled >= CONTENT_SETTLE {
            self.content_settled = self.now;
            self.disk.sync_all();
        }
        Ok(())
    }

    /// Carries out all that is due.
    pub fn deliver(&mut self, id: u32, out: &mut Vec<Completion>) -> io::Result<()> {
        let now = self.now;
        loop {
            let process = self.process(id)?;
            let Some(first) = process.due.first_entry().filter(|first| first.key().0 <= now) else { return Ok(()) };
            let ((_, order), due) = first.remove_entry();
            let delivered = process.delivered;
            if !matches!(due, Due::Event(_)) {
                process.delivered = delivered.max(order);
                self.chance.injected.note(FaultKind::Overtaken, u64::from(order < delivered));
            }
            out.push(self.carry_out(id, due)?);
        }
    }

    fn carry_out(&mut self, id: u32, due: Due) -> io::Result<Completion> {
        match due {
            Due::Event(event) => Ok(event),
            Due::Read { token, handle, offset, mut buf, open } => {
                let process = self.process(id)?;
                process.reads -= 1;
                let slot = process.handles.get_mut(handle.0 as usize).and_then(Option::as_mut).filter(|_| open);
                let Some(slot) = slot else {
                    return Ok(Completion::Done { token, result: Err(io::Error::from_raw_os_error(libc::EBADF)), buf });
                };
                slot.reads -= 1;
                let Open { inode, closing, .. } = *slot;
                let result = self.read(inode, offset, &mut buf);
                if closing {
                    self.close(id, handle);
                }
                Ok(Completion::Done { token, result, buf })
            }
            Due::Persist { token, path, data } => {
                self.process(id)?.persists -= 1;
                let result = self.persist_or_fail(&path, &data).map(|()| data.len());
                Ok(Completion::Done { token, result, buf: data })
            }
        }
    }

    /// Throws for a call that fails as a whole.
    pub fn fail(&mut self, kind: FaultKind) -> io::Result<()> {
        let errno = if kind == FaultKind::OpenError { libc::EMFILE } else { libc::EIO };
        if self.chance.strikes(kind) { Err(io::Error::from_raw_os_error(errno)) } else { Ok(()) }
    }

    pub fn read(&mut self, inode: u64, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let content = self.disk.content(inode, offset);
        let there = content.len().min(buf.len());
        if there == 0 {
            return Ok(0);
        }
        let is_bad = self.bad.contains(&inode);
        self.chance.injected.note(FaultKind::ReadError, u64::from(is_bad));
        if is_bad || self.chance.strikes(FaultKind::ReadError) {
            return Err(io::Error::from_raw_os_error(libc::EIO));
        }
        let bytes = self.chance.read_length(there);
        buf[..bytes].copy_from_slice(&content[..bytes]);
        self.cpu += READ_COST * bytes as u32;
        Ok(bytes)
    }

    fn persist_or_fail(&mut self, path: &Path, data: &[u8]) -> io::Result<()> {
        if data.len() as u64 > self.free() {
            self.chance.injected.note(FaultKind::WriteFull, 1);
            return Err(io::Error::from_raw_os_error(libc::ENOSPC));
        }
        if self.chance.strikes(FaultKind::WriteFull) {
            return Err(io::Error::from_raw_os_error(libc::ENOSPC));
        }
        if self.chance.strikes(FaultKind::PersistFailure) {
            if self.chance.random.coin() {
                // The directory's fsync failed: the new content is there, for how long nobody knows.
                let new = self.write_beside(path, data)?;
                self.rename(&new, path)?;
            }
            return Err(io::Error::from_raw_os_error(libc::EIO));
        }
        self.persist(path, data)
    }
}
