//! What the plan asked for at each moment, as far as it decides what may be missing.

use super::judge::{Judge, Marks, TARGETS};
use crate::model::Level;

pub const SOURCES: usize = 3;

#[derive(Debug)]
pub struct Rules {
    level: [[Level; TARGETS]; SOURCES],
    /// Stricter levels of plans the lane may still go by.
    before: [[Option<Level>; TARGETS]; SOURCES],
    /// Targets that are not there, or that the lane has not been told of.
    pub absent: [bool; TARGETS],
    pub starting: [bool; TARGETS],
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            level: [[Level::Trace; TARGETS]; SOURCES],
            before: [[None; TARGETS]; SOURCES],
            absent: [false; TARGETS],
            starting: [false; TARGETS],
        }
    }
}

impl Rules {
    /// What may become of a line that is written now.
    pub fn mark(&self, source: usize, target: usize, level: Level, marks: &mut Marks) {
        let bit = 1 << target;
        let (now, before) = (self.level[source][target], self.before[source][target]);
        if !level.passes(now) {
            marks.filtered |= bit;
            if before.is_none() {
                marks.forbidden |= bit;
            }
        }
        if before.is_some_and(|before| !level.passes(before)) {
            marks.filtered |= bit;
        }
        if self.absent[target] || self.starting[target] {
            marks.gone |= bit;
        }
    }

    /// A plan with another least level was given.
    pub fn change(&mut self, source: usize, target: usize, new: Level, judge: &mut Judge) {
        let old = std::mem::replace(&mut self.level[source][target], new);
        if old == new {
            return;
        }
        let before = &mut self.before[source][target];
        *before = (*before).max(Some(old));
        let bit = 1 << target;
        let lines = judge.lines.iter().zip(&mut judge.marks).filter(|(line, _)| line.source == source);
        for (line, marks) in lines {
            if !line.level.passes(new) {
                // What arrived may be read again and be filtered then.
                marks.filtered |= bit;
            } else {
                marks.forbidden &= !bit;
            }
        }
    }

    /// The lane has the newest plan.
    pub fn obeyed(&mut self) {
        self.before = [[None; TARGETS]; SOURCES];
        self.starting = [false; TARGETS];
    }
}
