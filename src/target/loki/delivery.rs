//! One batch on its way: what of it is still to be sent, what is being found out, what is lost.
//!
//! It begins sealed and, if all goes well, ends so. Once decoded it is a list of cuts; a push takes some of them, and
//! they leave the list when Loki has them or never will. Cuts under suspicion (*probes*) are sent as they are, last one
//! first, until an answer clears or splits them.

use std::{collections::HashSet, sync::Arc, time::Duration};

use super::{
    plain::{Cut, Plain},
    screen::{Broken, Screen},
    session::Moment,
    stream::{Load, Streams, after},
};
use crate::{
    limits::LOKI_SPAN,
    model::Nanos,
    orders::{Batch, Fate, Shortfall},
    plan::TooOld,
    stats::DropReason,
};

/// One line that Loki will not take, for the quarantine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lost {
    /// Index into the batch's parts.
    pub part: u32,
    pub labels: String,
    pub time: Nanos,
    pub line: String,
    pub metadata: Vec<(String, String)>,
    /// In Loki's words where it had any.
    pub reason: String,
}

/// A batch whose every line has its fate.
#[derive(Debug)]
pub struct Settled {
    /// As given to `Session::accept`.
    pub ticket: u64,
    /// What did not arrive; nothing of it, as a rule.
    pub shortfall: Shortfall,
    /// The lines that `shortfall` counts as quarantined: whoever drives the session keeps them, or counts them anew.
    pub quarantine: Vec<Lost>,
}

impl Settled {
    /// The lines from `kept` on could not be kept: they are counted as `fate` instead.
    pub fn not_kept(&mut self, kept: usize, fate: Fate) {
        for lost in self.quarantine.drain(kept..) {
            self.shortfall.move_one(lost.part, Fate::Quarantined, fate);
        }
    }
}

/// What a push is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Share {
    /// The batch as it was sealed.
    Whole,
    Cuts(Vec<Cut>),
    /// The last of the probes.
    Probe(Vec<Cut>),
}

#[derive(Debug)]
pub struct Delivery {
    pub ticket: u64,
    pub batch: Arc<Batch>,
    /// `None` while sealed.
    plain: Option<Plain>,
    /// To be sent, in the order of each stream.
    pending: Vec<Cut>,
    /// To be sent as they are, the last one next.
    probes: Vec<Vec<Cut>>,
    /// Refused one by one by a Loki that has never taken anything.
    suspects: Vec<Cut>,
    /// Pushes spent on finding out who is to blame.
    pub probed: u32,
    done: bool,
    shortfall: Shortfall,
    quarantine: Vec<Lost>,
}

impl Delivery {
    pub fn new(ticket: u64, batch: Arc<Batch>) -> Self {
        Self {
            ticket,
            batch,
            plain: None,
            pending: Vec::new(),
            probes: Vec::new(),
            suspects: Vec::new(),
            probed: 0,
            done: false,
            shortfall: Shortfall::default(),
            quarantine: Vec::new(),
        }
    }

    pub fn is_done(&self) -> bool {
        let nothing_left = self.pending.is_empty() && self.probes.is_empty() && self.suspects.is_empty();
        self.done || (self.plain.is_some() && nothing_left)
    }

    pub fn settled(self) -> Settled {
        Settled { ticket: self.ticket, shortfall: self.shortfall, quarantine: self.quarantine }
    }

    /// The streams of which something is not settled.
    pub fn unsettled(&self) -> Vec<u64> {
        match &self.plain {
            None => self.batch.streams.iter().map(|fact| fact.hash).collect(),
            Some(plain) => {
                let cuts = self.pending.iter().chain(self.probes.iter().flatten()).chain(&self.suspects);
                cuts.map(|cut| plain.streams[cut.stream].hash).collect()
            }
        }
    }

    /// What of it can go now: not what waits (`busy` are streams of which something earlier waits), not more than
    /// `room` bytes, and no stream at risk in company.
    pub fn pick(
        &mut self,
        streams: &Streams,
        screen: &Screen,
        busy: &HashSet<u64>,
        room: usize,
        now: Moment,
    ) -> Option<Share> {
        if self.plain.is_none() {
            if self.passes_whole(streams, screen, room, now) {
                let waits = |load: &Load| busy.contains(&load.hash) || streams.is_held(load.hash, now.mono);
                if !facts(&self.batch).any(|load| waits(&load)) {
                    return Some(Share::Whole);
                }
            }
            if !self.open() {
                return None;
            }
        }
        self.screen(screen, now.wall);
        self.close_gaps();
        let plain = self.plain.as_ref()?;
        let waits = |cut: &Cut| {
            let hash = plain.streams[cut.stream].hash;
            busy.contains(&hash) || streams.is_held(hash, now.mono)
        };
        if let Some(probe) = self.probes.last() {
            return (!probe.iter().any(waits)).then(|| Share::Probe(probe.clone()));
        }
        gather(plain, &self.pending, streams, waits, room, now.mono).map(Share::Cuts)
    }

    fn passes_whole(&self, streams: &Streams, screen: &Screen, room: usize, now: Moment) -> bool {
        let alone = self.batch.streams.len() == 1;
        let fits = |load: &Load| {
            screen.passes(load.oldest, load.newest, now.wall)
                && after(load.oldest, LOKI_SPAN) >= load.newest
                && load.bytes <= streams.allowance(load.hash, now.mono)
                && (alone || !streams.is_at_risk(load, now.mono))
        };
        (self.batch.raw_bytes <= room || self.batch.entries <= 1) && facts(&self.batch).all(|load| fits(&load))
    }

    /// Decodes it; false if that cannot be done, and then it is done for.
    pub fn open(&mut self) -> bool {
        if self.plain.is_some() {
            return true;
        }
        match Plain::of(&self.batch) {
            Some(plain) => {
                self.pending = plain.all();
                self.plain = Some(plain);
                true
            }
            None => {
                let reason = "defect: a batch that cannot be decoded".to_owned();
                self.shortfall = Shortfall::whole(&self.batch, Fate::Refused, reason);
                self.done = true;
                false
            }
        }
    }

    /// The bytes of a share, and what they weigh.
    pub fn weigh(&self, share: &Share) -> (bytes::Bytes, Vec<Load>, usize) {
        match (share, &self.plain) {
            (Share::Cuts(cuts) | Share::Probe(cuts), Some(plain)) => {
                let loads = cuts.iter().map(|cut| plain.load(cut)).collect();
                (plain.request(cuts), loads, cuts.iter().map(|cut| plain.encoded_bytes(cut)).sum())
            }
            _ => (self.batch.body.clone(), facts(&self.batch).collect(), self.batch.raw_bytes),
        }
    }

    /// The cuts of a share, decoded if need be; `None` when that is a defect.
    pub fn cuts_of(&mut self, share: &Share) -> Option<Vec<Cut>> {
        match share {
            Share::Cuts(cuts) | Share::Probe(cuts) => Some(cuts.clone()),
            Share::Whole => self.open().then(|| self.pending.clone()),
        }
    }

    pub fn plain(&self) -> Option<&Plain> {
        self.plain.as_ref()
    }

    /// Loki has this share.
    pub fn delivered(&mut self, share: &Share) {
        match share {
            Share::Whole => self.done = true,
            Share::Cuts(_) | Share::Probe(_) => self.let_go(share),
        }
    }

    /// What is left of each stream becomes one cut again, as long as nobody knows its entries by their places.
    fn close_gaps(&mut self) {
        let Some(plain) = self.plain.as_mut().filter(|_| self.probes.is_empty() && self.suspects.is_empty()) else {
            return;
        };
        if self.pending.windows(2).any(|pair| pair[0].stream == pair[1].stream) {
            self.pending.sort_by_key(|cut| (cut.stream, cut.entries.start));
            self.pending = plain.keep_only(&self.pending);
        }
    }

    /// Takes a share off the lists.
    fn let_go(&mut self, share: &Share) {
        match share {
            Share::Whole => self.pending.clear(),
            Share::Probe(_) => drop(self.probes.pop()),
            Share::Cuts(cuts) => cuts.iter().for_each(|cut| self.forget(cut)),
        }
    }

    /// Takes a cut off what is pending, or off the probe that holds it.
    pub fn forget(&mut self, cut: &Cut) {
        remove(&mut self.pending, cut);
        for probe in &mut self.probes {
            remove(probe, cut);
        }
        self.probes.retain(|probe| !probe.is_empty());
    }

    /// Puts a share under suspicion in two halves; false if it is one entry and cannot be halved.
    pub fn split(&mut self, share: &Share, cuts: &[Cut]) -> bool {
        let [first, second] = match cuts {
            [one] => match one.halves() {
                Some([first, second]) => [vec![first], vec![second]],
                None => return false,
            },
            several => {
                let (first, second) = several.split_at(several.len().div_ceil(2));
                [first.to_vec(), second.to_vec()]
            }
        };
        self.let_go(share);
        self.probes.push(second);
        self.probes.push(first);
        true
    }

    /// What was under suspicion is only pending again: what is known of its streams has changed.
    pub fn unprobe(&mut self) {
        let suspects = std::mem::take(&mut self.suspects);
        self.pending.extend(std::mem::take(&mut self.probes).into_iter().flatten().chain(suspects));
        self.pending.sort_by_key(|cut| (cut.stream, cut.entries.start));
    }

    /// A cut that this Loki refuses, like everything it was ever given.
    pub fn suspect(&mut self, cut: &Cut) {
        self.forget(cut);
        self.suspects.push(cut.clone());
    }

    /// Nothing is left to send but what was refused by a Loki that has never taken anything.
    pub fn is_stuck(&self) -> bool {
        self.plain.is_some() && self.pending.is_empty() && self.probes.is_empty() && !self.suspects.is_empty()
    }

    /// This Loki takes lines after all: what it refused one by one is tried once more.
    pub fn retry_suspects(&mut self) {
        self.probes.extend(std::mem::take(&mut self.suspects).into_iter().map(|cut| vec![cut]));
    }

    /// Takes entries out that will never arrive.
    pub fn take_out(&mut self, cut: &Cut, fate: Fate, reason: &str) {
        self.forget(cut);
        self.lose(cut, fate, reason);
    }

    fn lose(&mut self, cut: &Cut, fate: Fate, reason: &str) {
        let Some(plain) = &self.plain else { return };
        for entry in plain.entries(cut) {
            self.shortfall.add(entry.part, fate, 1);
            if fate == Fate::Quarantined {
                self.quarantine.push(Lost {
                    part: entry.part,
                    labels: plain.labels(cut.stream).to_owned(),
                    time: entry.at.time,
                    line: plain.line(entry).to_owned(),
                    metadata: plain.metadata(entry),
                    reason: reason.to_owned(),
                });
            }
        }
        reason.clone_into(&mut self.shortfall.reason);
    }

    /// Does with entries of a wrong time what the target's `tooOld` says.
    pub fn take_out_of_time(&mut self, cut: &Cut, policy: TooOld, now: Nanos, reason: &str) {
        match policy {
            TooOld::Quarantine => self.take_out(cut, Fate::Quarantined, reason),
            TooOld::Drop => self.take_out(cut, Fate::Dropped(DropReason::TooOld), reason),
            TooOld::Restamp => {
                self.forget(cut);
                let Some(plain) = &mut self.plain else { return };
                for index in cut.entries.clone() {
                    let again = plain.restamp(cut.stream, index, now);
                    match self.pending.iter_mut().rfind(|pending| pending.stream == cut.stream) {
                        Some(last) if last.entries.end == again.entries.start => last.entries.end = again.entries.end,
                        _ => self.pending.push(again),
                    }
                }
            }
        }
    }

    /// Takes out what would be refused anyway; true if there was any.
    pub fn screen(&mut self, screen: &Screen, now: Nanos) -> bool {
        let Some(plain) = &self.plain else { return false };
        let mut found: Vec<(Cut, Broken)> = Vec::new();
        for cut in self.pending.iter().chain(self.probes.iter().flatten()) {
            for (index, entry) in cut.entries.clone().zip(plain.entries(cut)) {
                let Some(broken) = screen.judge(&entry.at, now) else { continue };
                match found.last_mut() {
                    Some((last, why)) if *why == broken && last.stream == cut.stream && last.entries.end == index => {
                        last.entries.end += 1;
                    }
                    _ => found.push((Cut { stream: cut.stream, entries: index..index + 1 }, broken)),
                }
            }
        }
        for (cut, broken) in &found {
            match broken {
                Broken::MaxAge => self.take_out(cut, Fate::Dropped(DropReason::MaxAge), "older than maxAge"),
                Broken::Time => {
                    let reason = "the time of the line is one this Loki does not take";
                    self.take_out_of_time(cut, screen.too_old, now, reason);
                }
                Broken::Size => {
                    self.take_out(cut, Fate::Quarantined, "larger than this Loki takes");
                }
            }
        }
        !found.is_empty()
    }
}

/// The loads of a sealed batch, by what its lane noted.
fn facts(batch: &Batch) -> impl Iterator<Item = Load> {
    batch.streams.iter().map(|fact| Load {
        hash: fact.hash,
        oldest: fact.oldest,
        newest: fact.newest,
        bytes: fact.bytes,
    })
}

/// Everything pending that may travel together, else one stream that is at risk, alone.
fn gather(
    plain: &Plain,
    pending: &[Cut],
    streams: &Streams,
    waits: impl Fn(&Cut) -> bool,
    room: usize,
    now: Duration,
) -> Option<Vec<Cut>> {
    let mut together: Vec<Cut> = Vec::new();
    let mut alone = None;
    let mut left = room;
    // One cut of each stream, and of a stream whose earlier entries stay behind none.
    let mut stays: HashSet<u64> = HashSet::new();
    for cut in pending {
        let hash = plain.streams[cut.stream].hash;
        if stays.contains(&hash) || waits(cut) {
            stays.insert(hash);
            continue;
        }
        let begun = plain.beginning(cut, left, streams.allowance(hash, now));
        if streams.is_at_risk(&plain.load(&begun), now) {
            alone.get_or_insert(cut);
            stays.insert(hash);
            continue;
        }
        let bytes = plain.encoded_bytes(&begun);
        if bytes > left && !together.is_empty() {
            break;
        }
        left = left.saturating_sub(bytes);
        stays.insert(hash);
        together.push(begun);
    }
    if !together.is_empty() {
        return Some(together);
    }
    let cut = alone?;
    Some(vec![plain.beginning(cut, room, streams.allowance(plain.streams[cut.stream].hash, now))])
}

/// Takes the entries of `cut` off the list.
fn remove(list: &mut Vec<Cut>, cut: &Cut) {
    let mut index = 0;
    while index < list.len() {
        let held = list[index].clone();
        let overlaps =
            held.stream == cut.stream && held.entries.start < cut.entries.end && cut.entries.start < held.entries.end;
        if !overlaps {
            index += 1;
            continue;
        }
        let before = held.entries.start..cut.entries.start.max(held.entries.start);
        let behind = cut.entries.end.min(held.entries.end)..held.entries.end;
        let left = [before, behind].into_iter().filter(|range| !range.is_empty());
        let left: Vec<Cut> = left.map(|entries| Cut { stream: cut.stream, entries }).collect();
        let count = left.len();
        list.splice(index..=index, left);
        index += count;
    }
}
