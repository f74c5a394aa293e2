//! A file system in memory that knows what a power loss would leave of it.
//!
//! Content becomes durable by `sync`, names by `settle_names`, and both by themselves after a while. A power loss keeps
//! a prefix of the later changes of names (a journal commits in order) and, sector by sector, the old or the new
//! content. Numbers of freed inodes are taken again at once, as real file systems do; only the generation tells them
//! apart.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::{Path, PathBuf},
};

use super::random::Random;
use crate::{
    model::Nanos,
    ring::{Entry, Meta},
};

/// What a disk writes wholly or not at all.
pub(super) const SECTOR_BYTES: usize = 512;
const ROOT: u64 = 2;

#[derive(Debug)]
pub(super) struct Disk {
    inodes: BTreeMap<u64, Inode>,
    names: BTreeMap<PathBuf, u64>,
    /// Names as a power loss now would find them at least.
    settled: BTreeMap<PathBuf, u64>,
    /// Changes since, in order.
    unsettled: Vec<Change>,
    free: BTreeSet<u64>,
    next: u64,
    generation: u64,
}

#[derive(Debug, Default)]
struct Inode {
    generation: u64,
    directory: bool,
    data: Vec<u8>,
    modified: Nanos,
    links: u64,
    opens: u64,
    durable_bytes: usize,
    /// Durable content of the sectors changed since.
    durable_sectors: BTreeMap<usize, Vec<u8>>,
}

#[derive(Clone, Debug)]
enum Change {
    Link(PathBuf, u64),
    Unlink(PathBuf),
    Rename(PathBuf, PathBuf),
}

/// What a power loss did.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Damage {
    pub torn_files: u64,
    pub undone_names: u64,
}

impl Disk {
    pub fn new() -> Self {
        let root = Inode { directory: true, links: 1, ..Inode::default() };
        let names = BTreeMap::from([(PathBuf::from("/"), ROOT)]);
        Self {
            inodes: BTreeMap::from([(ROOT, root)]),
            settled: names.clone(),
            names,
            unsettled: Vec::new(),
            free: BTreeSet::new(),
            next: ROOT + 1,
            generation: 0,
        }
    }

    pub fn look_up(&self, path: &Path) -> io::Result<u64> {
        self.names.get(path).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Any name of the inode.
    pub fn path_of(&self, inode: u64) -> Option<PathBuf> {
        self.names.iter().find(|(_, number)| **number == inode).map(|(path, _)| path.clone())
    }

    pub fn meta(&self, inode: u64) -> Meta {
        let Some(node) = self.inodes.get(&inode) else { return Meta::default() };
        Meta {
            device: 1,
            inode,
            generation: node.generation,
            size: node.data.len() as u64,
            links: node.links,
            modified: node.modified,
            regular: !node.directory,
            directory: node.directory,
        }
    }

    /// Bytes of all content, that of deleted files somebody holds open included.
    pub fn used(&self) -> u64 {
        self.inodes.values().map(|node| node.data.len() as u64).sum()
    }

    pub fn list(&self, directory: &Path, max: usize) -> io::Result<Vec<Entry>> {
        if !self.meta(self.look_up(directory)?).directory {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        let below = self.names.range(directory.to_owned()..).take_while(|(path, _)| path.starts_with(directory));
        let children = below.filter(|(path, _)| path.parent() == Some(directory));
        let entry = |(path, inode): (&PathBuf, &u64)| {
            Some(Entry { name: path.file_name()?.to_owned(), directory: self.meta(*inode).directory })
        };
        let mut entries: Vec<Entry> = children.filter_map(entry).collect();
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        entries.truncate(max);
        Ok(entries)
    }

    pub fn make_directory(&mut self, path: &Path) {
        let missing: Vec<&Path> = path.ancestors().filter(|part| !self.names.contains_key(*part)).collect();
        for part in missing.into_iter().rev() {
            self.make(part, true, Nanos::default());
        }
    }

    /// The file of that name and whether it was made now. The directory must be there.
    pub fn make_file(&mut self, path: &Path, now: Nanos) -> io::Result<(u64, bool)> {
        if let Some(inode) = self.names.get(path) {
            return if self.meta(*inode).directory {
                Err(io::ErrorKind::IsADirectory.into())
            } else {
                Ok((*inode, false))
            };
        }
        self.look_up(path.parent().unwrap_or(Path::new("/")))?;
        Ok((self.make(path, false, now), true))
    }

    fn make(&mut self, path: &Path, directory: bool, now: Nanos) -> u64 {
        self.generation += 1;
        let inode = self.free.pop_first().unwrap_or_else(|| {
            self.next += 1;
            self.next - 1
        });
        let node = Inode { generation: self.generation, directory, modified: now, links: 1, ..Inode::default() };
        self.inodes.insert(inode, node);
        self.names.insert(path.to_owned(), inode);
        self.unsettled.push(Change::Link(path.to_owned(), inode));
        inode
    }

    /// Bytes from `offset` on, none at the end.
    pub fn content(&self, inode: u64, offset: u64) -> &[u8] {
        let data = self.inodes.get(&inode).map_or(&[][..], |node| &node.data);
        let from = usize::try_from(offset).unwrap_or(usize::MAX).min(data.len());
        &data[from..]
    }

    pub fn write(&mut self, inode: u64, offset: u64, data: &[u8], now: Nanos) {
        let Some(node) = self.inodes.get_mut(&inode) else { return };
        let from = offset as usize;
        let end = from + data.len();
        node.keep_durable(from.min(node.data.len()), end);
        if node.data.len() < end {
            node.data.resize(end, 0);
        }
        node.data[from..end].copy_from_slice(data);
        node.modified = now;
    }

    pub fn truncate(&mut self, inode: u64, bytes: u64, now: Nanos) {
        let Some(node) = self.inodes.get_mut(&inode) else { return };
        let bytes = bytes as usize;
        node.keep_durable(bytes.min(node.data.len()), node.data.len());
        node.data.resize(bytes, 0);
        node.modified = now;
    }

    pub fn sync(&mut self, inode: u64) {
        if let Some(node) = self.inodes.get_mut(&inode) {
            node.sync();
        }
    }

    pub fn sync_all(&mut self) {
        self.inodes.values_mut().for_each(Inode::sync);
        self.settle_names();
    }

    /// Makes all names durable. Returns the inodes that are gone by it.
    pub fn settle_names(&mut self) -> Vec<u64> {
        for change in self.unsettled.drain(..) {
            change.apply(&mut self.settled);
        }
        let unused = |(inode, node): (&u64, &Inode)| (node.links == 0 && node.opens == 0).then_some(*inode);
        let gone: Vec<u64> = self.inodes.iter().filter_map(unused).collect();
        for inode in &gone {
            self.inodes.remove(inode);
            self.free.insert(*inode);
        }
        gone
    }

    /// Replaces what has the name `to`, as rename(2) does.
    pub fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        self.look_up(from)?;
        self.look_up(to.parent().unwrap_or(Path::new("/")))?;
        if from == to {
            return Ok(());
        }
        if let Some(replaced) = self.names.get(to).copied() {
            if self.meta(replaced).directory {
                return Err(io::ErrorKind::IsADirectory.into());
            }
            self.unlink_inode(replaced);
        }
        let change = Change::Rename(from.to_owned(), to.to_owned());
        change.apply(&mut self.names);
        self.unsettled.push(change);
        Ok(())
    }

    pub fn remove(&mut self, path: &Path) -> io::Result<u64> {
        let inode = self.look_up(path)?;
        if self.meta(inode).directory {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        self.unlink_inode(inode);
        self.names.remove(path);
        self.unsettled.push(Change::Unlink(path.to_owned()));
        Ok(inode)
    }

    /// The path and all below it, the deepest first.
    pub fn tree(&self, path: &Path) -> Vec<PathBuf> {
        let below = self.names.range(path.to_owned()..).take_while(|(name, _)| name.starts_with(path));
        let mut tree: Vec<PathBuf> = below.map(|(name, _)| name.clone()).collect();
        tree.reverse();
        tree
    }

    /// Unlinks an empty directory.
    pub fn remove_directory(&mut self, path: &Path) {
        if let Some(inode) = self.names.remove(path) {
            self.unlink_inode(inode);
            self.unsettled.push(Change::Unlink(path.to_owned()));
        }
    }

    /// Makes the content of all files below `path` durable, and all names.
    pub fn sync_tree(&mut self, path: &Path) {
        for below in self.tree(path) {
            if let Ok(inode) = self.look_up(&below) {
                self.sync(inode);
            }
        }
        self.settle_names();
    }

    fn unlink_inode(&mut self, inode: u64) {
        if let Some(node) = self.inodes.get_mut(&inode) {
            node.links = node.links.saturating_sub(1);
        }
    }

    pub fn opened(&mut self, inode: u64) {
        if let Some(node) = self.inodes.get_mut(&inode) {
            node.opens += 1;
        }
    }

    pub fn closed(&mut self, inode: u64) {
        if let Some(node) = self.inodes.get_mut(&inode) {
            node.opens = node.opens.saturating_sub(1);
        }
    }

    /// Whether nobody can reach it any more, though a power loss might bring it back.
    pub fn unreachable(&self, inode: u64) -> bool {
        self.inodes.get(&inode).is_none_or(|node| node.links == 0 && node.opens == 0)
    }

    /// Nothing may be open any more.
    pub fn power_loss(&mut self, random: &mut Random) -> Damage {
        let mut damage = Damage::default();
        let kept = random.below(self.unsettled.len() as u64 + 1) as usize;
        damage.undone_names = (self.unsettled.len() - kept) as u64;
        self.unsettled.truncate(kept);
        self.inodes.values_mut().for_each(|node| node.links = 0);
        for change in self.unsettled.drain(..) {
            change.apply(&mut self.settled);
        }
        self.names = self.settled.clone();
        for inode in self.names.values() {
            if let Some(node) = self.inodes.get_mut(inode) {
                node.links += 1;
            }
        }
        self.settle_names();
        for node in self.inodes.values_mut() {
            damage.torn_files += u64::from(node.tear(random));
        }
        damage
    }
}

impl Change {
    fn apply(&self, names: &mut BTreeMap<PathBuf, u64>) {
        match self {
            Self::Link(path, inode) => {
                names.insert(path.clone(), *inode);
            }
            Self::Unlink(path) => {
                names.remove(path);
            }
            Self::Rename(from, to) => {
                let moved: Vec<PathBuf> = names.keys().filter(|path| path.starts_with(from)).cloned().collect();
                for path in moved {
                    let Some(inode) = names.remove(&path) else { continue };
                    let new = match path.strip_prefix(from) {
                        Ok(rest) if !rest.as_os_str().is_empty() => to.join(rest),
                        _ => to.clone(),
                    };
                    names.insert(new, inode);
                }
            }
        }
    }
}

impl Inode {
    /// Remembers the durable content of the sectors from byte `from` to `end` before they change.
    fn keep_durable(&mut self, from: usize, end: usize) {
        let last = end.min(self.durable_bytes);
        for sector in from / SECTOR_BYTES..last.div_ceil(SECTOR_BYTES) {
            let start = sector * SECTOR_BYTES;
            let stop = (start + SECTOR_BYTES).min(self.durable_bytes).min(self.data.len());
            if start < stop {
                self.durable_sectors.entry(sector).or_insert_with(|| self.data[start..stop].to_vec());
            }
        }
    }

    fn sync(&mut self) {
        self.durable_sectors.clear();
        self.durable_bytes = self.data.len();
    }

    /// What a power loss leaves. True if that differs from what was there.
    fn tear(&mut self, random: &mut Random) -> bool {
        let (written, durable) = (self.data.len(), self.durable_bytes);
        let before = self.data.clone();
        let kept = match written >= durable {
            true => durable + random.below((written - durable) as u64 + 1) as usize,
            false if random.coin() => written,
            false => durable,
        };
        self.data.resize(kept.max(written), 0);
        for (sector, old) in &self.durable_sectors {
            let start = sector * SECTOR_BYTES;
            if (start >= written || random.coin()) && start + old.len() <= self.data.len() {
                self.data[start..start + old.len()].copy_from_slice(old);
            }
        }
        // A sector whose length was recorded before its content reads as zeroes.
        for start in (durable.next_multiple_of(SECTOR_BYTES)..kept).step_by(SECTOR_BYTES) {
            if random.below(8) == 0 {
                self.data[start..(start + SECTOR_BYTES).min(kept)].fill(0);
            }
        }
        self.data.truncate(kept);
        self.sync();
        self.data != before
    }
}
