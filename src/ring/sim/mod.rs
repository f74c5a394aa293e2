//! The simulated backend: a disk, a clock and their faults, all from one seed.
//!
//! The production code above the seam runs here through years of crashes in seconds, and a failing run is told by its
//! seed alone. A test holds the `SimWorld` and plays everybody else: it writes and rotates logs, kills processes and
//! cuts the power. The code under test holds a `Sim` and sees a ring like any other.
//!
//! Simulated: regular files and directories by absolute path. Not simulated: links, permissions, special files.

mod disk;
mod fault;
mod manager;
mod process;
mod random;
#[cfg(test)]
mod tests;
mod world;

pub use fault::{FaultKind, Faults, Injected};

use std::{
    io,
    path::Path,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use super::{Completion, Entry, Handle, Mapping, Meta, Now, Op, ReadNow, Ring, Space, Waker, Watch, WatchKind};
use crate::limits;
use disk::SECTOR_BYTES;
use process::{Due, Open};
use world::World;

/// Whole pages are mapped.
const PAGE_BYTES: usize = 4096;

/// One simulated machine. Clones are the same machine.
#[derive(Clone, Debug)]
pub struct SimWorld(Arc<Mutex<World>>);

impl SimWorld {
    /// An empty disk at 2026-01-01T00:00:00Z, without faults.
    pub fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(World::new(seed))))
    }

    /// Begins a process on this machine.
    pub fn ring(&self) -> Sim {
        let mut world = self.world();
        let id = world.begin_process();
        let now = Now { mono: world.now(), wall: world.wall() };
        Sim { world: self.clone(), id, rung: Arc::new(AtomicBool::new(false)), now, inherited: false }
    }

    /// From now on.
    pub fn set_faults(&self, faults: Faults) {
        self.world().chance.faults = faults;
    }

    /// Faults that took effect so far.
    pub fn injected(&self) -> Injected {
        self.world().chance.injected
    }

    pub fn now(&self) -> Now {
        let world = self.world();
        Now { mono: world.now(), wall: world.wall() }
    }

    /// With all its parents.
    /// Lets time pass while nothing looks.
    pub fn pass(&self, time: Duration) {
        self.world().pass(time);
    }

    pub fn make_directory(&self, path: impl AsRef<Path>) {
        self.world().disk.make_directory(path.as_ref());
    }

    /// Writes at the end, making the file if there is none. Its directory must be there.
    pub fn append(&self, path: impl AsRef<Path>, data: &[u8]) -> io::Result<()> {
        let mut world = self.world();
        let inode = world.create(path.as_ref())?;
        let end = world.disk.meta(inode).size;
        world.write(inode, end, data);
        Ok(())
    }

    /// Writes over what is there, making the file if there is none.
    pub fn write_at(&self, path: impl AsRef<Path>, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut world = self.world();
        let inode = world.create(path.as_ref())?;
        world.write(inode, offset, data);
        Ok(())
    }

    /// Shortens, or lengthens with zeroes.
    pub fn truncate(&self, path: impl AsRef<Path>, bytes: u64) -> io::Result<()> {
        let mut world = self.world();
        let inode = world.disk.look_up(path.as_ref())?;
        world.truncate(inode, bytes);
        Ok(())
    }

    pub fn rename(&self, from: impl AsRef<Path>, to: impl AsRef<Path>) -> io::Result<()> {
        self.world().rename(from.as_ref(), to.as_ref())
    }

    pub fn remove(&self, path: impl AsRef<Path>) -> io::Result<()> {
        self.world().remove(path.as_ref())
    }

    /// Unlinks a directory with all that is below; what is open stays readable.
    pub fn remove_tree(&self, path: impl AsRef<Path>) {
        self.world().remove_tree(path.as_ref());
    }

    /// What `stat` would say, without faults.
    pub fn meta(&self, path: impl AsRef<Path>) -> Option<Meta> {
        let world = self.world();
        world.disk.look_up(path.as_ref()).ok().map(|inode| world.disk.meta(inode))
    }

    /// Files that processes have open.
    pub fn open_files(&self) -> usize {
        self.world().processes.values().map(|process| process.handles.iter().flatten().count()).sum()
    }

    /// Something outside the machine happens at this time: no sleep goes beyond it.
    pub fn alarm(&self, at: Option<Duration>) {
        self.world().alarm = at;
    }

    /// From now on every read of this file fails, or none does for its own sake.
    pub fn fail_reads(&self, path: impl AsRef<Path>, fail: bool) {
        let mut world = self.world();
        if let Ok(inode) = world.disk.look_up(path.as_ref()) {
            if fail {
                world.bad.insert(inode)
            } else {
                world.bad.remove(&inode)
            };
        }
    }

    /// How large the disk is. Beyond it writes fail with ENOSPC.
    pub fn set_capacity(&self, bytes: u64) {
        self.world().capacity = bytes;
    }

    /// Whether a service manager keeps descriptors over the death of a process. Without one (the default), or when the
    /// machine goes off, what it kept is gone.
    pub fn set_descriptor_store(&self, there: bool) {
        self.world().set_store(there);
    }

    /// Names of the descriptors the service manager keeps.
    pub fn stored(&self) -> Vec<String> {
        self.world().stored.iter().flatten().map(|(name, _)| name.clone()).collect()
    }

    /// The whole content of a file; `None` without one.
    pub fn content(&self, path: impl AsRef<Path>) -> Option<Vec<u8>> {
        let world = self.world();
        let inode = world.disk.look_up(path.as_ref()).ok()?;
        Some(world.disk.content(inode, 0).to_vec())
    }

    /// Makes all that was written so far survive a power loss.
    pub fn sync_all(&self) {
        self.world().disk.sync_all();
    }

    /// Makes what was written below a path survive a power loss, and all names.
    pub fn sync_tree(&self, path: impl AsRef<Path>) {
        self.world().disk.sync_tree(path.as_ref());
    }

    /// SIGKILL to every process: what was written stays, persists under way may or may not have happened. Calls on
    /// their rings fail from now on.
    pub fn kill(&self) {
        let mut world = self.world();
        for id in world.processes.keys().copied().collect::<Vec<_>>() {
            world.kill_process(id);
        }
    }

    /// The machine goes off and on again: what was persisted stays, what was merely written may be torn or gone.
    pub fn power_loss(&self) {
        self.kill();
        let mut world = self.world();
        let is_there = world.stored.is_some();
        world.set_store(false);
        world.set_store(is_there);
        let World { disk, chance, .. } = &mut *world;
        let damage = disk.power_loss(&mut chance.random);
        chance.injected.note(FaultKind::TornFile, damage.torn_files);
        chance.injected.note(FaultKind::UndoneName, damage.undone_names);
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A ring of the simulated machine. Its clock only moves in `reap`: to what is due next or by `wait`, and a little
/// always.
#[derive(Debug)]
pub struct Sim {
    world: SimWorld,
    id: u32,
    rung: Arc<AtomicBool>,
    now: Now,
    /// What was stored has been given out.
    inherited: bool,
}

impl Sim {
    fn open_inode(&self, world: &mut World, inode: u64) -> io::Result<Handle> {
        let handles = &mut world.process(self.id)?.handles;
        let open = Some(Open { inode, reads: 0, closing: false });
        let index = handles.iter().position(Option::is_none).unwrap_or(handles.len());
        match handles.get_mut(index) {
            Some(slot) => *slot = open,
            None => handles.push(open),
        }
        world.disk.opened(inode);
        Ok(Handle(index as u32))
    }

    fn inode(&self, world: &mut World, handle: Handle) -> io::Result<u64> {
        let open = world.process(self.id)?.handles.get(handle.0 as usize).copied().flatten();
        match open {
            Some(open) if !open.closing => Ok(open.inode),
            _ => Err(io::Error::from_raw_os_error(libc::EBADF)),
        }
    }
}

impl Drop for Sim {
    fn drop(&mut self) {
        self.world.world().end_process(self.id);
    }
}

impl Ring for Sim {
    fn backend(&self) -> &'static str {
        "sim"
    }

    fn now(&self) -> Now {
        self.now
    }

    fn cpu(&self) -> Duration {
        self.world.world().cpu
    }

    fn waker(&self) -> Waker {
        let rung = Arc::clone(&self.rung);
        Waker::new(move || rung.store(true, Ordering::Release))
    }

    fn open(&mut self, path: &Path) -> io::Result<Handle> {
        let mut world = self.world.world();
        world.process(self.id)?;
        let inode = world.disk.look_up(path)?;
        if world.disk.meta(inode).directory {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        world.fail(FaultKind::OpenError)?;
        self.open_inode(&mut world, inode)
    }

    fn create(&mut self, path: &Path) -> io::Result<Handle> {
        let mut world = self.world.world();
        world.process(self.id)?;
        world.fail(FaultKind::OpenError)?;
        let inode = world.create(path)?;
        self.open_inode(&mut world, inode)
    }

    fn close(&mut self, handle: Handle) {
        self.world.world().close(self.id, handle);
    }

    fn stat(&mut self, handle: Handle) -> io::Result<Meta> {
        let mut world = self.world.world();
        world.fail(FaultKind::StatError)?;
        let inode = self.inode(&mut world, handle)?;
        Ok(world.disk.meta(inode))
    }

    fn stat_path(&mut self, path: &Path) -> io::Result<Meta> {
        let mut world = self.world.world();
        world.process(self.id)?;
        let inode = world.disk.look_up(path)?;
        world.fail(FaultKind::StatError)?;
        Ok(Meta { generation: 0, ..world.disk.meta(inode) })
    }

    fn list(&mut self, directory: &Path, max: usize) -> io::Result<Vec<Entry>> {
        let mut world = self.world.world();
        world.process(self.id)?;
        world.fail(FaultKind::ListError)?;
        world.disk.list(directory, max)
    }

    fn remove(&mut self, path: &Path) -> io::Result<()> {
        let mut world = self.world.world();
        world.process(self.id)?;
        world.remove(path)
    }

    fn space(&mut self, directory: &Path) -> io::Result<Space> {
        let mut world = self.world.world();
        world.process(self.id)?;
        world.disk.look_up(directory)?;
        Ok(Space { total: world.capacity, free: world.free() })
    }

    fn store(&mut self, handle: Handle, name: &str) -> io::Result<bool> {
        let mut world = self.world.world();
        let inode = self.inode(&mut world, handle)?;
        Ok(world.store(inode, name))
    }

    fn unstore(&mut self, name: &str) -> io::Result<()> {
        let mut world = self.world.world();
        world.process(self.id)?;
        world.unstore(name);
        Ok(())
    }

    fn inherited(&mut self) -> Vec<(String, Handle)> {
        if std::mem::replace(&mut self.inherited, true) {
            return Vec::new();
        }
        let mut world = self.world.world();
        let stored = world.stored.clone().unwrap_or_default();
        let open = |(name, inode)| Some((name, self.open_inode(&mut world, inode).ok()?));
        stored.into_iter().filter_map(open).collect()
    }

    fn read_now(&mut self, handle: Handle, offset: u64, buf: &mut [u8]) -> io::Result<ReadNow> {
        let mut world = self.world.world();
        let inode = self.inode(&mut world, handle)?;
        let at_end = world.disk.content(inode, offset).is_empty();
        let World { chance, .. } = &mut *world;
        if !at_end && chance.strikes(FaultKind::WouldBlock) {
            return Ok(ReadNow::WouldBlock);
        }
        world.read(inode, offset, buf).map(ReadNow::Ready)
    }

    /// Its bytes stay what they are now, which is no other than what a mapping may be expected to have: nobody changes
    /// what was written and is not cut off.
    fn map(&mut self, handle: Handle, offset: u64, bytes: usize) -> io::Result<Mapping> {
        let mut world = self.world.world();
        let inode = self.inode(&mut world, handle)?;
        if world.bad.contains(&inode) {
            return Err(io::Error::from_raw_os_error(libc::EIO));
        }
        let World { chance, disk, .. } = &mut *world;
        if chance.strikes(FaultKind::WouldBlock) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let content = disk.content(inode, offset);
        let bytes = content.len().min(bytes) / PAGE_BYTES * PAGE_BYTES;
        if bytes == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(Mapping::copied(content[..bytes].to_vec()))
    }

    fn write(&mut self, handle: Handle, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut world = self.world.world();
        let inode = self.inode(&mut world, handle)?;
        let end = offset + data.len() as u64;
        let is_full = end.saturating_sub(world.disk.meta(inode).size) > world.free();
        let World { chance, .. } = &mut *world;
        if is_full {
            chance.injected.note(FaultKind::WriteFull, 1);
            return Err(io::Error::from_raw_os_error(libc::ENOSPC));
        }
        let error = match data {
            [] => None,
            _ if chance.strikes(FaultKind::WriteFull) => Some(libc::ENOSPC),
            _ if chance.strikes(FaultKind::WriteError) => Some(libc::EIO),
            _ => None,
        };
        if let Some(error) = error {
            // By whole sectors, as a power loss has it.
            let written = chance.random.below(data.len() as u64) as usize / SECTOR_BYTES * SECTOR_BYTES;
            world.write(inode, offset, &data[..written]);
            return Err(io::Error::from_raw_os_error(error));
        }
        world.write(inode, offset, data);
        Ok(())
    }

    fn watch(&mut self, path: &Path, kind: WatchKind) -> io::Result<Watch> {
        self.world.world().watch(self.id, path, kind)
    }

    fn unwatch(&mut self, watch: Watch) {
        if let Ok(process) = self.world.world().process(self.id) {
            process.unwatch(watch);
        }
    }

    fn submit(&mut self, op: Op) -> Result<(), Op> {
        let mut world = self.world.world();
        let Ok(process) = world.process(self.id) else { return Err(op) };
        let due = match op {
            Op::Read { .. } if process.reads == limits::RING_READS_MAX => return Err(op),
            Op::Persist { .. } if process.persists == limits::RING_PERSISTS_MAX => return Err(op),
            Op::Read { token, handle, offset, buf } => {
                process.reads += 1;
                process.read(token, handle, offset, buf)
            }
            Op::Persist { token, path, data } => {
                process.persists += 1;
                Due::Persist { token, path, data }
            }
        };
        world.schedule(self.id, due);
        Ok(())
    }

    fn reap(&mut self, wait: Duration, out: &mut Vec<Completion>) -> io::Result<()> {
        let rung = self.rung.swap(false, Ordering::AcqRel);
        let mut world = self.world.world();
        world.sleep(self.id, if rung { Duration::ZERO } else { wait })?;
        let delivered = world.deliver(self.id, out);
        self.now = Now { mono: world.now(), wall: world.wall() };
        delivered
    }
}
