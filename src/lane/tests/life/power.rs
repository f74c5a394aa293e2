//! The machine goes off: what of the logs had been written back stays, and in some lives only that.
//!
//! Without a sync a power loss leaves a log shorter than it was, with zeroes or old sectors in it, under an older name
//! or under none, while the position in it may be younger. A line is promised then if all of it is still there and
//! begins behind a line feed; what it was fused with is nobody's line.

use super::{
    judge::Judge,
    kinds::Trouble,
    line::hash,
    machine::{Life, directory},
    writer::EVERY_TARGET,
};

impl Life {
    /// The machine goes off. Unless this life tears logs, they were synced.
    pub fn lose_power(&mut self) {
        if self.tears_logs {
            // What an application had composed and not written goes with it.
            self.chains.iter_mut().for_each(|chain| chain.forget_partial());
        } else {
            (0..self.chains.len()).for_each(|chain| self.flush(chain));
            self.disk.sync_tree("/var/log");
        }
        self.net.borrow().table.tell(|| {
            let slots = self.lane.iter().flat_map(|lane| lane.checkpoint.slots());
            format!("before the power loss\n{}", slots.map(|slot| format!("{slot:?}\n")).collect::<String>())
        });
        self.disk.power_loss();
        self.rotate_journal(true);
        self.note(Trouble::PowerLost);
        self.gone();
        self.net.borrow_mut().judge.power_lost();
        // What was counted in the last second is counted anew, and a ledger that was closed in it may be either.
        self.inexact_sources = u8::MAX;
        if self.tears_logs {
            self.look_at_the_logs();
        }
    }

    /// What became of each file that was ever written.
    fn look_at_the_logs(&mut self) {
        for source in 0..self.plan.sources.len() {
            self.disk.make_directory(directory(source));
        }
        let mut there = vec![None; self.net.borrow().judge.files.len()];
        for chain in &mut self.chains {
            let name = |number: u64| if number == 0 { chain.path.clone() } else { format!("{}.{number}", chain.path) };
            // Under names it had before it was renamed, or its directory was lost.
            let most = there.len() as u64;
            let found: Vec<u64> = (0..=most).filter(|number| self.disk.meta(name(*number)).is_some()).collect();
            chain.rotations = found.last().copied().unwrap_or_default();
            for name in found.into_iter().map(name) {
                let meta = self.disk.meta(&name).unwrap_or_default();
                let file = self.net.borrow().judge.known.get(&(meta.inode, meta.generation)).copied();
                if let Some(file) = file {
                    there[file] = self.disk.content(&name);
                }
            }
        }
        let mut net = self.net.borrow_mut();
        for (file, content) in there.into_iter().enumerate() {
            match content {
                Some(content) => net.judge.torn(file, &content),
                None => net.judge.file_gone(file, EVERY_TARGET),
            }
        }
    }
}

impl Judge {
    /// A power loss left this of a file.
    fn torn(&mut self, file: usize, content: &[u8]) {
        let came_back = self.files[file].unlinked;
        let is_intact = |line: &super::line::Line| {
            let begins = line.start == 0 || content.get(line.start as usize - 1) == Some(&b'\n');
            let ends = content.get(line.end as usize - 1) == Some(&b'\n');
            let text = content.get(line.start as usize..(line.end as usize).saturating_sub(1));
            begins && ends && text.is_some_and(|text| line.hash == hash(&String::from_utf8_lossy(text)))
        };
        let (mut end, mut lost) = (0, Vec::new());
        for id in &self.files[file].lines {
            let line = &self.lines[*id as usize];
            end = end.max(line.end);
            if !is_intact(line) {
                lost.push(*id);
            }
        }
        if lost.is_empty() && !came_back {
            return;
        }
        for id in &lost {
            let marks = &mut self.marks[*id as usize];
            marks.gone |= EVERY_TARGET & !marks.arrived;
        }
        // Without the line between them equal ones need not be neighbours any more.
        let groups: Vec<u32> = lost.iter().filter_map(|id| self.lines[*id as usize].twin).collect();
        for (line, marks) in self.lines.iter().zip(&mut self.marks) {
            if line.twin.is_some_and(|group| groups.contains(&group)) {
                marks.gone = EVERY_TARGET;
            }
        }
        self.fragments = true;
        let known = &mut self.files[file];
        (known.disturbed, known.unlinked) = (true, false);
        // What is written where something was read already may be taken for that.
        known.risky_below = known.risky_below.max(end);
        known.is_fused = content.last().is_some_and(|last| *last != b'\n');
    }
}
