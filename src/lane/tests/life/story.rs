//! What happens in a life: a beginning, some hundred events from the dice, an end without faults, and the reckoning.

use std::time::Duration;

use super::{
    isolation,
    judge::{Invariant, TARGETS, demand},
    kinds::{Table, Trouble},
    machine::{Life, TARGET_NAMES, TargetSort, directory, target_plan},
    peer::Manners,
    rare::Focus,
    rules::SOURCES,
    writer::Chain,
};
use crate::{limits, model::Level, orders::LaneOrder, ring::Faults, stats::Totals};

const MINUTE: Duration = Duration::from_secs(60);

/// What may happen in this life. Not everything in each: what excuses a loss would hide others.
#[derive(Debug)]
pub struct Character {
    pub focus: Option<Focus>,
    pub crashes: bool,
    pub power: bool,
    pub truncates: bool,
    pub deletes: bool,
    pub plans: bool,
    pub deletes_targets: bool,
    disk_fills: bool,
    bursts: u64,
    events: u64,
}

/// One life, and what took effect in it.
pub fn live(seed: u64, tells: bool) -> Table {
    if isolation::compares(seed) {
        let (calm, dead) = isolation::compare(seed);
        let table = Table::telling(tells);
        table.tell(|| format!("the lag's median and p99 are {calm:?}, and {dead:?} while the other target is dead"));
        return table;
    }
    let mut life = begin(seed);
    life.net.borrow_mut().table.tells = tells;
    let character = character(&mut life, Focus::of(seed));
    life.tell(|life| format!("{character:?}, {} logs, targets {:?}", life.chains.len(), life.plan.targets.len()));
    set_out(&mut life);
    if let Some(focus) = character.focus {
        focus.set_out(&mut life);
    }
    for _ in 0..character.events {
        match character.focus {
            Some(focus) if life.dice.one_in(2) => focus.event(&mut life),
            _ => event(&mut life, &character),
        }
        if life.lane.is_none() && life.dice.one_in(2) {
            life.tell(|_| "started".to_owned());
            life.start();
        }
    }
    life.tell(|_| "the end begins".to_owned());
    end(&mut life);
    reckon(&life);
    let mut table = life.net.borrow().table.clone();
    table.add_disk(&life.disk.injected());
    table
}

fn begin(seed: u64) -> Life {
    let mut dice = super::dice::Dice::new(seed ^ 0xbe61);
    let sources = 1 + dice.below(SOURCES as u64) as usize;
    // One of them has a tenant.
    let has_journal = Focus::of(seed) == Some(Focus::Journal);
    let sources = if has_journal || Focus::of(seed) == Some(Focus::Refusals) { SOURCES } else { sources };
    let sorts = [TargetSort::Loki, dice.one_of(&[TargetSort::Loki, TargetSort::Syslog]), TargetSort::Syslog];
    let targets = 1 + dice.below(TARGETS as u64) as usize;
    let mut life = Life::new(seed, sources, &sorts[..targets], has_journal);
    for source in usize::from(has_journal)..sources {
        for number in 0..1 + life.dice.below(2) {
            life.chains.push(Chain::new(source, format!("{}/log{number}.log", directory(source))));
        }
    }
    life.has_long_lines = life.dice.one_in(3);
    life
}

fn character(life: &mut Life, focus: Option<Focus>) -> Character {
    let dice = &mut life.dice;
    let destructive = dice.one_in(3);
    let mut character = Character {
        focus,
        crashes: !dice.one_in(5),
        power: dice.one_in(3),
        truncates: destructive && dice.one_in(2),
        deletes: destructive && dice.one_in(2),
        plans: dice.one_in(2),
        deletes_targets: dice.one_in(8),
        disk_fills: dice.one_in(4),
        bursts: dice.one_of(&[20, 100, 400]),
        events: 40 + dice.below(100),
    };
    if let Some(focus) = focus {
        focus.shape(life, &mut character);
    }
    character
}

/// A file that was never seen is nobody's: the story begins when the first ones are known. Then come the faults.
fn set_out(life: &mut Life) {
    for chain in 0..life.chains.len() {
        life.write(chain, 3);
        life.flush(chain);
    }
    life.log_to_journal(3);
    life.until(MINUTE, |life| {
        let net = life.net.borrow();
        let all = net.judge.lines.iter().filter(|line| line.twin.is_none()).count() as u64;
        (0..life.plan.targets.len()).all(|target| net.judge.first_arrivals[target] == all)
    });
    life.until(MINUTE, Life::is_quiet);
    let (some, rough) =
        (Faults { delay: 200, delay_max: Duration::from_millis(50), ..Faults::default() }, Faults::rough());
    let heavy = Faults {
        short_read: 400,
        would_block: 600,
        read_error: 30,
        stat_error: 30,
        list_error: 30,
        open_error: 30,
        watch_lost: 200,
        watch_refused: 200,
        ..rough
    };
    life.faults = life.dice.one_of(&[Faults::default(), some, rough, rough, heavy]);
    life.disk.set_faults(life.faults);
    for target in 0..life.plan.targets.len() {
        let faults = life.dice.one_of(&[0, 0, 50, 150, 400]);
        life.set_manners(target, Manners { faults, ..Manners::default() });
    }
}

fn event(life: &mut Life, character: &Character) {
    let chain = life.dice.below(life.chains.len() as u64) as usize;
    match life.dice.below(40) {
        0..=13 => {
            let lines = life.dice.below(character.bursts) + 1;
            life.write(chain, lines);
            life.tell(|life| format!("{} lines after a write to log {chain}", life.net.borrow().judge.lines.len()));
        }
        14..=15 => life.rotate(chain),
        16 if character.truncates && life.dice.one_in(2) => life.truncate(chain),
        16 if character.truncates => life.copy_truncate(chain),
        17 if character.deletes => delete(life, chain),
        18 => {
            let target = life.dice.below(life.plan.targets.len() as u64) as usize;
            let manners = life.net.borrow().manners[target];
            life.set_manners(target, Manners { is_dead: !manners.is_dead, ..manners });
        }
        19 if character.crashes => life.kill(),
        20 if character.power => life.lose_power(),
        21 if character.crashes => restart(life),
        22 if character.disk_fills => {
            life.note(Trouble::DiskFull);
            life.disk.set_faults(Faults { write_full: 1_000, ..life.faults });
            let turns = life.dice.below(200);
            life.turns(turns as usize);
            life.disk.set_faults(life.faults);
        }
        23 => {
            let path = life.chains[chain].path.clone();
            life.note(Trouble::ReadsFailing);
            life.disk.fail_reads(&path, true);
            let turns = life.dice.below(60);
            life.turns(turns as usize);
            // By all names it may have by now.
            life.disk.fail_reads(&path, false);
        }
        24..=27 if character.plans => change_plan(life, character),
        _ => {
            let turns = life.dice.one_of(&[1, 3, 10, 40, 120]);
            life.turns(turns);
        }
    }
}

pub fn delete(life: &mut Life, chain: usize) {
    match life.dice.below(5) {
        0 => {
            let source = life.chains[chain].source;
            life.lose_directory(source);
        }
        1 | 2 => life.delete(chain, true),
        _ => life.delete(chain, false),
    }
}

/// An orderly end and a new beginning.
pub fn restart(life: &mut Life) {
    if life.lane.is_none() {
        return;
    }
    life.order(LaneOrder::Drain);
    let turns = life.dice.below(80);
    life.turns(turns as usize);
    life.order(LaneOrder::Halt);
    life.turn();
    life.note(Trouble::Restarted);
    life.gone();
    if life.dice.one_in(2) {
        life.start();
    }
}

fn change_plan(life: &mut Life, character: &Character) {
    let target = life.dice.below(life.net.borrow().judge.targets.len().min(TARGETS) as u64) as usize;
    let source = life.dice.below(life.plan.sources.len() as u64) as usize;
    match life.dice.below(8) {
        0 | 1 => {
            let level = life.dice.one_of(&[Level::Trace, Level::Info, Level::Warn]);
            if life.dice.one_in(2) && life.target(target).is_some() {
                life.change_target(target, |target| target.min_level = level);
            } else {
                life.change_source(source, |source| source.min_level = level);
            }
            life.note(Trouble::LevelChanged);
            life.levels_changed();
            life.tell(|life| format!("{:?}", life.rules));
        }
        2 => {
            let value = life.dice.below(100).to_string();
            life.change_source(source, |source| source.labels = vec![("changing".to_owned(), value)]);
            life.net.borrow_mut().judge.relabelled();
            life.note(Trouble::LabelsChanged);
        }
        // A target made anew begins when source and target are enabled: not to be told from outside.
        3..=5 if character.deletes_targets => {}
        3 | 4 => {
            let Some(enabled) = life.target(target).map(|target| target.enabled) else { return };
            life.change_target(target, |target| target.enabled = !enabled);
            life.note(if enabled { Trouble::TargetDisabled } else { Trouble::TargetEnabled });
            life.gone_for_parked();
        }
        5 => {
            let enabled = life.plan.sources[source].enabled;
            life.change_source(source, |source| source.enabled = !enabled);
            life.note(Trouble::SourceDisabled);
            life.gone_for_parked();
        }
        6 => {
            let bytes = limits::QUEUE_BYTES_MIN << life.dice.below(3);
            life.queue_bytes = life.queue_bytes.max(bytes);
            life.change_target(target, |target| target.queue_bytes = bytes);
            life.note(Trouble::QueueChanged);
        }
        _ if character.deletes_targets => life.delete_or_make(target),
        _ => {}
    }
}

impl Life {
    fn tell(&self, what: impl FnOnce(&Self) -> String) {
        self.net.borrow().table.tell(|| what(self));
    }

    /// Tells the rules the levels that hold now.
    pub fn levels_changed(&mut self) {
        let judge = &mut self.net.borrow_mut().judge;
        for (source, plan) in self.plan.sources.iter().enumerate() {
            for target in &self.plan.targets {
                let at = TARGET_NAMES.iter().position(|name| *name == target.name).unwrap_or_default();
                self.rules.change(source, at, plan.min_level.max(target.min_level), judge);
            }
        }
    }

    /// Rotated files are let go although a disabled target never got them, and it is told: they may be missing there.
    pub fn gone_for_parked(&mut self) {
        let mut live = Vec::new();
        for chain in &self.chains {
            live.extend(self.disk.meta(&chain.path).map(|meta| (meta.inode, meta.generation)));
        }
        let judge = &mut self.net.borrow_mut().judge;
        let files = live.iter().filter_map(|key| judge.known.get(key).copied());
        let live: Vec<usize> = files.chain(judge.journal).collect();
        for file in (0..judge.files.len()).filter(|file| !live.contains(file)) {
            let Some(first) = judge.files[file].lines.first() else { continue };
            let source = &self.plan.sources[judge.lines[*first as usize].source];
            for (at, name) in TARGET_NAMES.iter().enumerate() {
                let target = self.plan.targets.iter().find(|target| target.name == *name);
                if target.is_some_and(|target| !target.enabled || !source.enabled) {
                    judge.file_gone(file, 1 << at);
                    self.inexact_targets |= 1 << at;
                }
            }
        }
    }

    /// Deletes a target, or makes one anew under the old name: another one, that starts now.
    pub fn delete_or_make(&mut self, at: usize) {
        self.inexact_targets |= 1 << at;
        let name = TARGET_NAMES[at];
        if let Some(found) = self.plan.targets.iter().position(|target| target.name == name) {
            if self.plan.targets.len() == 1 {
                return;
            }
            self.rules.absent[at] = true;
            self.plan.targets.remove(found);
            self.net.borrow_mut().judge.target_forgotten(at);
            self.note(Trouble::TargetDeleted);
        } else {
            let is_loki = self.net.borrow().judge.distinct & 1 << at != 0;
            let sort = if is_loki { TargetSort::Loki } else { TargetSort::Syslog };
            let mut plan = target_plan(name, sort);
            plan.id.0 ^= self.dice.below(u64::MAX);
            let net = &mut *self.net.borrow_mut();
            net.judge.targets.retain(|_, index| *index != at);
            net.judge.targets.insert(plan.id, at);
            net.judge.target_forgotten(at);
            (self.rules.absent[at], self.rules.starting[at]) = (false, true);
            self.plan.targets.push(std::sync::Arc::new(plan));
            net.table.note(Trouble::TargetMadeAnew);
        }
        self.levels_changed();
        self.give_plan();
    }
}

/// Faults end, everything is enabled, and all must come to rest.
pub fn end(life: &mut Life) {
    for chain in 0..life.chains.len() {
        life.flush(chain);
    }
    life.faults = Faults::default();
    life.disk.set_faults(life.faults);
    for chain in &life.chains {
        for number in 0..200 {
            let path = if number == 0 { chain.path.clone() } else { format!("{}.{number}", chain.path) };
            life.disk.fail_reads(&path, false);
        }
    }
    if life.dice.one_in(2) {
        life.kill();
    }
    for target in 0..TARGETS {
        life.set_manners(target, Manners::default());
        if life.target(target).is_some_and(|target| !target.enabled) {
            life.change_target(target, |target| target.enabled = true);
        }
    }
    for source in 0..life.plan.sources.len() {
        if !life.plan.sources[source].enabled {
            life.change_source(source, |source| source.enabled = true);
        }
    }
    if life.lane.is_none() {
        life.start();
    }
    // Rotated files are let go after a while, and new ones are looked for now and then.
    let from = life.disk.now().mono;
    life.until(4 * MINUTE, |life| life.disk.now().mono > from + MINUTE + Duration::from_secs(30) && life.is_quiet());
    let from = life.disk.now().mono;
    life.until(MINUTE, |life| life.disk.now().mono > from + 2 * limits::REPORT_INTERVAL && life.is_quiet());
}

/// Everything arrived, everything was counted, nothing leaked.
pub fn reckon(life: &Life) {
    life.tell(|life| {
        let lane = life.lane.as_ref();
        let flow =
            |flow: &crate::lane::flow::Flow| (flow.target.0 % 1000, flow.settled().offset(), flow.head().offset());
        let readers = lane.iter().flat_map(|lane| lane.readers.values()).map(|reader| {
            let flows: Vec<_> = reader.flows.iter().map(flow).collect();
            format!("{} {:?} {flows:?}\n", reader.path(), reader.file().map(|file| (file.size, file.draining)))
        });
        let known: Vec<_> = life.net.borrow().judge.known.iter().map(|(key, file)| (*file, *key)).collect();
        let troubles = lane.map(|lane| lane.troubles.clone());
        let slots = lane.iter().flat_map(|lane| lane.checkpoint.slots());
        let slots: String = slots.map(|slot| format!("{slot:?}\n")).collect();
        format!("{slots}readers {}files {known:?}\n{troubles:#?}", readers.collect::<String>())
    });
    life.net.borrow().judge.check_arrivals();
    check_leaks(life);
    let lanes = life.board.lanes();
    let Some(report) = lanes.first() else { return };
    demand(report.imbalances == 0, Invariant::Ledger, || format!("{} imbalances", report.imbalances));
    for flow in &report.flows {
        let source = life.plan.sources.iter().position(|source| source.id == flow.source);
        let target = life.net.borrow().judge.targets.get(&flow.target).copied();
        let (Some(source), Some(target)) = (source, target) else { continue };
        demand(flow.in_flight == 0 && flow.totals.balances(0), Invariant::Ledger, || format!("at rest: {flow:#?}"));
        if life.inexact_targets & 1 << target == 0 && life.inexact_sources & 1 << source == 0 {
            check_ledger(life, source, target, &flow.totals);
        }
    }
}

fn check_ledger(life: &Life, source: usize, target: usize, totals: &Totals) {
    let (judge, bit) = (&life.net.borrow().judge, 1 << target);
    let (mut all, mut arrived, mut filtered, mut sure, mut lost) = (0, 0, 0, 0, 0);
    for (line, marks) in judge.lines.iter().zip(&judge.marks).filter(|(line, _)| line.source == source) {
        let missing = line.twin.is_none() && marks.arrived & bit == 0;
        all += 1;
        arrived += u64::from(!missing);
        filtered += u64::from((marks.filtered | marks.forbidden) & bit != 0);
        sure += u64::from((marks.filtered | marks.forbidden | marks.refused) & bit == 0);
        lost += u64::from(missing && marks.refused & bit != 0 && marks.filtered & bit == 0);
    }
    let told =
        || format!("source {source}, target {target}: {all} lines, {arrived} arrived, {lost} refused: {totals:?}");
    let refused = totals.refused + totals.quarantined;
    demand(totals.read == all, Invariant::Ledger, told);
    demand(totals.delivered <= arrived && totals.delivered + refused >= sure, Invariant::Ledger, told);
    demand(totals.filtered <= filtered, Invariant::Ledger, told);
    demand(refused >= lost, Invariant::Ledger, told);
}

fn check_leaks(life: &Life) {
    let Some(lane) = &life.lane else { return };
    let hold = |holds: bool, what: &str| demand(holds, Invariant::Memory, || format!("{what} at rest"));
    hold(lane.pool.lent() == 0, "chunks are lent");
    let jobs = usize::from(lane.keeping.has_token());
    hold(lane.awaiting.len() == lane.passes() + jobs, "reads are awaited");
    hold(lane.targets.in_flight() == 0, "batches are in flight");
    hold(lane.targets.iter().all(|(_, target)| target.in_flight_bytes == 0), "bytes are in flight");
    let open = life.disk.open_files();
    let journals = life.journal.as_ref().map_or(0, |journal| journal.files_there());
    hold(
        open <= lane.readers.len() + journals + 1,
        &format!("{open} files are open for {} readers", lane.readers.len()),
    );
}
