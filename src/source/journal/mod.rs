//! Stand-in until the journal reader is merged.
use std::{io, path::PathBuf};

use crate::{
    model::{JournalPosition, Nanos},
    plan::{JournalInput, StartAt},
    ring::{Ring, Token},
    source::Next,
};

#[derive(Debug)]
pub struct JournalCursor;
#[derive(Debug)]
pub enum JournalStart {
    Resume(JournalPosition),
    At(StartAt, Nanos),
}
impl JournalCursor {
    pub fn new(_: &[PathBuf], _: Vec<JournalInput>, _: JournalStart) -> Self {
        Self
    }
    pub fn next<R: Ring>(&mut self, _: &mut R, _: Token) -> Next<'_> {
        Next::Idle
    }
    pub fn complete(&mut self, _: io::Result<usize>, _: Vec<u8>) {}
    pub fn changed(&mut self) {}
    pub fn position(&self) -> JournalPosition {
        JournalPosition::default()
    }
    pub fn set_selectors(&mut self, _: Vec<JournalInput>) {}
    pub fn take_troubles(&mut self) -> Vec<String> {
        Vec::new()
    }
    pub fn unattributed(&self) -> u64 {
        0
    }
    pub fn release<R: Ring>(&mut self, _: &mut R) {}
}
