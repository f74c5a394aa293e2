//! The service manager of the simulated machine: it keeps open files beyond the processes that gave it them.

use super::world::World;

impl World {
    /// Without it, what it kept is closed.
    pub fn set_store(&mut self, there: bool) {
        match (there, self.stored.take()) {
            (true, kept) => self.stored = Some(kept.unwrap_or_default()),
            (false, kept) => kept.into_iter().flatten().for_each(|(_, inode)| self.let_go(inode)),
        }
    }

    /// Keeps an open file, once. False without a manager.
    pub fn store(&mut self, inode: u64, name: &str) -> bool {
        let Some(stored) = &mut self.stored else { return false };
        if !stored.iter().any(|(known, of)| known == name && *of == inode) {
            stored.push((name.to_owned(), inode));
            self.disk.opened(inode);
        }
        true
    }

    pub fn unstore(&mut self, name: &str) {
        let Some(stored) = &mut self.stored else { return };
        let gone: Vec<_> = stored.extract_if(.., |(known, _)| known == name).collect();
        gone.into_iter().for_each(|(_, inode)| self.let_go(inode));
    }

    fn let_go(&mut self, inode: u64) {
        self.disk.closed(inode);
        self.tell_if_gone(inode);
    }
}
