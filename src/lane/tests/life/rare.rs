//! Lives that are about one thing: what is rare in the others happens often there.
//!
//! They have seeds of their own, so that every other seed stays the life it was.

use std::time::Duration;

use super::{
    machine::Life,
    peer::Manners,
    story::{Character, delete, restart},
};
use crate::ring::Faults;

/// What a life is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Focus {
    /// Targets go and come back under their names.
    Targets,
    /// Directories and rotations go, logs are copied away.
    Names,
    /// Peers refuse some, a tenant, what is too large.
    Refusals,
    /// Disks that fail to write, watches that overflow, kills.
    Disk,
    /// The power goes, and the ends of the logs with it.
    Power,
    /// A journal that is rotated and vacuumed.
    Journal,
}

impl Focus {
    pub fn of(seed: u64) -> Option<Self> {
        let all = [Self::Targets, Self::Names, Self::Refusals, Self::Disk];
        match seed % 8 {
            2 => Some(if seed % 16 == 2 { Self::Journal } else { Self::Power }),
            5 => Some(all[(seed / 8 % 4) as usize]),
            _ => None,
        }
    }

    /// Makes room for it.
    pub fn shape(self, life: &mut Life, character: &mut Character) {
        character.crashes = true;
        match self {
            Self::Targets => (character.plans, character.deletes_targets) = (true, true),
            Self::Names => (character.truncates, character.deletes) = (true, true),
            Self::Refusals | Self::Disk | Self::Journal => {}
            Self::Power => (character.power, life.tears_logs) = (true, true),
        }
    }

    /// What begins when the first lines have arrived.
    pub fn set_out(self, life: &mut Life) {
        match self {
            Self::Refusals => (0..life.plan.targets.len()).for_each(|target| {
                life.set_manners(target, Manners { faults: 400, is_dead: false, refuses: true });
            }),
            Self::Disk => {
                life.faults = Faults {
                    write_error: 100,
                    write_full: 20,
                    persist_failure: 150,
                    list_error: 100,
                    open_error: 50,
                    watch_overflow: 300,
                    watch_refused: 100,
                    delay_max: Duration::from_millis(500),
                    ..Faults::rough()
                };
                life.disk.set_faults(life.faults);
            }
            // What was there before the story is not what a power loss takes.
            Self::Power => life.disk.sync_all(),
            // What cannot be read of a journal is damage, which costs entries and is counted; and a file that cannot be
            // opened for a moment comes behind those that can.
            Self::Journal => {
                let (read_error, open_error, stat_error, list_error) = (0, 0, 0, 0);
                life.faults = Faults { read_error, open_error, stat_error, list_error, ..life.faults };
                life.disk.set_faults(life.faults);
            }
            Self::Targets | Self::Names => {}
        }
    }

    /// One event of its own.
    pub fn event(self, life: &mut Life) {
        let chain = life.dice.below(life.chains.len() as u64) as usize;
        match self {
            Self::Targets => {
                let target = life.dice.below(life.net.borrow().judge.targets.len() as u64) as usize;
                life.delete_or_make(target);
            }
            Self::Names => match life.dice.below(6) {
                0 => delete(life, chain),
                1 => {
                    let source = life.chains[chain].source;
                    life.lose_directory(source);
                }
                2 => life.rotate_unfinished(chain),
                3 => {
                    life.rotate(chain);
                    life.delete(chain, false);
                }
                4 => life.truncate(chain),
                _ => life.copy_truncate(chain),
            },
            Self::Refusals => life.write(chain, 20),
            Self::Disk => match life.dice.below(3) {
                0 => life.kill(),
                1 => restart(life),
                _ => life.write(chain, 5),
            },
            Self::Journal => match life.dice.below(8) {
                0 | 1 => life.rotate_journal(false),
                2 | 3 => life.vacuum_journal(),
                _ => {
                    let entries = 1 + life.dice.below(60);
                    life.log_to_journal(entries);
                }
            },
            Self::Power => match life.dice.below(4) {
                0 => life.lose_power(),
                1 => life.rotate(chain),
                _ => life.write(chain, 30),
            },
        }
    }
}
