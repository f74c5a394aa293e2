//! A sealed batch and what may become of it.

use bytes::Bytes;
use smallvec::SmallVec;

use crate::{
    model::{Nanos, ObjectId, Position},
    plan::{Framing, TargetKind},
    stats::{DropReason, Totals},
};

/// The format of a batch's bytes: bytes of one are noise to a peer that expects another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wire {
    Loki,
    Syslog(Framing),
    Console,
}

impl Wire {
    /// What a target of this kind understands.
    pub fn of(kind: &TargetKind) -> Self {
        match kind {
            TargetKind::Loki(_) => Self::Loki,
            TargetKind::Syslog(syslog) => Self::Syslog(syslog.framing),
            TargetKind::Console(_) => Self::Console,
        }
    }
}

/// Bytes ready for the wire, built once for every flow that wants the same bytes.
#[derive(Debug)]
pub struct Batch {
    /// Unique within its lane's life.
    pub id: u64,
    /// Compressed (Loki) or framed (syslog) bytes.
    pub body: Bytes,
    /// What `body` was made for: its target may have become another kind since.
    pub wire: Wire,
    /// Size before compression, in bytes: what credit is counted in.
    pub raw_bytes: usize,
    /// Lines inside.
    pub entries: u32,
    /// No line inside is younger, if that is known.
    pub newest: Option<Nanos>,
    /// Loki's `X-Scope-OrgID`; `None` leaves it to the target.
    pub tenant: Option<String>,
    /// What settles when this batch does.
    pub parts: Vec<Part>,
    /// What is known of each stream without decoding `body`, in the order they stand in it; empty for formats without
    /// streams.
    pub streams: Vec<StreamFact>,
}

/// What a lane noted of one Loki stream while it filled a batch, so that the way of a good batch never decodes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StreamFact {
    /// Of the label set as rendered: the same in every batch.
    pub hash: u64,
    /// Times of its oldest and its newest entry.
    pub oldest: Nanos,
    pub newest: Nanos,
    pub entries: u32,
    /// Bytes of its entries, encoded: a little more than what Loki counts against its rates (line and metadata).
    pub bytes: usize,
    /// Whose entries they are, in their order: what is lost of them is counted where it came from.
    pub runs: SmallVec<[Run; 1]>,
}

/// Neighbouring entries of one stream that came from one (reader, source).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// Index into `Batch::parts`.
    pub part: u32,
    pub entries: u32,
}

/// What one batch settles of one (reader, source): all records up to `end`, with their counts.
#[derive(Clone, Debug)]
pub struct Part {
    /// The lane's own index of the reader.
    pub reader: u32,
    pub source: ObjectId,
    /// Position after the last record counted.
    pub end: Position,
    /// What was read since the previous part, and what of it is settled without being sent (filtered, dropped). Lines
    /// inside the batch are `counts.unsettled()`.
    pub counts: Totals,
}

/// What became of a batch at one target.
#[derive(Clone, Debug)]
pub struct Verdict {
    pub batch: u64,
    pub target: ObjectId,
    pub outcome: Outcome,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The target has it all.
    Acked,
    /// All of it is settled, though not all of it arrived.
    Short(Shortfall),
    /// The target took it and refused some of it for good, without saying which.
    Refused(Refusal),
    /// The target is gone, disabled or of another kind now; the batch was not delivered and must be read again when it
    /// returns.
    Returned,
}

/// Lines the target refused for good, as an upper bound where it does not say which.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub entries: u32,
    /// In the target's words, shortened.
    pub reason: String,
}

/// What of a batch did not arrive and never will.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shortfall {
    pub losses: Vec<Loss>,
    /// Why, of the last one: in the target's words where it had any, shortened.
    pub reason: String,
}

/// So many lines of one part are lost alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loss {
    /// Index into `Batch::parts`.
    pub part: u32,
    pub fate: Fate,
    pub lines: u64,
}

/// What became of a line that its target does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fate {
    /// The target refused it, and it is kept nowhere.
    Refused,
    /// The target refused it, and it lies in the target's quarantine.
    Quarantined,
    /// A stated policy dropped it.
    Dropped(DropReason),
}

impl Shortfall {
    /// So many lines of `batch`, whose they are nobody says: they count where lines are, first part first.
    pub fn somewhere(batch: &Batch, refusal: &Refusal) -> Self {
        let mut shortfall = Self { losses: Vec::new(), reason: refusal.reason.clone() };
        let mut left = u64::from(refusal.entries);
        for (index, part) in (0..).zip(&batch.parts) {
            let lines = left.min(part.counts.unsettled());
            left -= lines;
            if lines > 0 {
                shortfall.add(index, Fate::Refused, lines);
            }
        }
        shortfall
    }

    /// Every line of `batch`, lost alike.
    pub fn whole(batch: &Batch, fate: Fate, reason: String) -> Self {
        let lines = batch.parts.iter().map(|part| part.counts.unsettled());
        let losses = (0..).zip(lines).filter(|(_, lines)| *lines > 0).map(|(part, lines)| Loss { part, fate, lines });
        Self { losses: losses.collect(), reason }
    }

    /// Adds `lines` lines of one part.
    pub fn add(&mut self, part: u32, fate: Fate, lines: u64) {
        match self.losses.iter_mut().find(|loss| loss.part == part && loss.fate == fate) {
            Some(loss) => loss.lines += lines,
            None => self.losses.push(Loss { part, fate, lines }),
        }
    }

    /// Counts one line of a part otherwise.
    pub fn move_one(&mut self, part: u32, from: Fate, to: Fate) {
        if let Some(loss) = self.losses.iter_mut().find(|loss| loss.part == part && loss.fate == from && loss.lines > 0)
        {
            loss.lines -= 1;
            self.add(part, to, 1);
        }
    }

    /// Counts all that was lost in one way otherwise.
    pub fn move_all(&mut self, from: Fate, to: Fate) {
        for index in 0..self.losses.len() {
            let Loss { part, fate, lines } = self.losses[index];
            if fate == from {
                self.losses[index].lines = 0;
                self.add(part, to, lines);
            }
        }
        self.losses.retain(|loss| loss.lines > 0);
    }

    /// What one part lost.
    pub fn of(&self, part: u32) -> Totals {
        let mut totals = Totals::default();
        for loss in self.losses.iter().filter(|loss| loss.part == part) {
            match loss.fate {
                Fate::Refused => totals.refused += loss.lines,
                Fate::Quarantined => totals.quarantined += loss.lines,
                Fate::Dropped(reason) => totals.dropped[reason as usize] += loss.lines,
            }
        }
        totals
    }

    pub fn lines(&self) -> u64 {
        self.losses.iter().map(|loss| loss.lines).sum()
    }
}
