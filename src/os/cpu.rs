//! Processors: cores allowed, and which core a lane may have.
//!
//! Storage daemons spin on fixed cores, and a lane that lands there steals half of one. So a lane is pinned only where
//! somebody has said which cores are for the rest; otherwise the scheduler, which sees who spins, places it better.

use std::{fs, io};

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// Cores the calling thread may run on, ascending. Empty when the kernel does not say (more than 1,024 cores).
pub fn allowed() -> Vec<usize> {
    let Ok(set) = sched_getaffinity(None) else { return Vec::new() };
    (0..CpuSet::MAX_CPU).filter(|core| set.is_set(*core)).collect()
}

/// Cores taken from the general scheduler (`isolcpus`) or from its tick (`nohz_full`), ascending.
pub fn isolated() -> Vec<usize> {
    let mut cores = core_list_of("/sys/devices/system/cpu/isolated");
    cores.extend(core_list_of("/sys/devices/system/cpu/nohz_full"));
    cores.sort_unstable();
    cores.dedup();
    cores
}

/// Cores that run at all, ascending.
pub fn online() -> Vec<usize> {
    core_list_of("/sys/devices/system/cpu/online")
}

/// The core for lane number `lane` (from 0), or in words why it should run unpinned.
pub fn choose(lane: usize) -> Result<usize, String> {
    choose_from(lane, &allowed(), &isolated(), &online())
}

/// Confines the calling thread to one core, and with it the threads it starts later.
pub fn pin(core: usize) -> io::Result<()> {
    if core >= CpuSet::MAX_CPU {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("core {core}: at most {}", CpuSet::MAX_CPU)));
    }
    let mut set = CpuSet::new();
    set.set(core);
    Ok(sched_setaffinity(None, &set)?)
}

fn choose_from(lane: usize, allowed: &[usize], isolated: &[usize], online: &[usize]) -> Result<usize, String> {
    let ours: Vec<usize> = allowed.iter().copied().filter(|core| !isolated.contains(core)).collect();
    if ours.is_empty() {
        return Err("unpinned: every core allowed here is isolated or nohz_full".to_owned());
    }
    if online.iter().all(|core| ours.contains(core)) {
        return Err(format!(
            "unpinned: no core is set aside on this machine, all {} are open to everybody",
            ours.len()
        ));
    }
    // From the end: interrupts and the odd jobs of a system gather on the first core.
    match ours.iter().rev().nth(lane) {
        Some(core) => Ok(*core),
        None => Err(format!("unpinned: lane {lane} and only {} core(s) allowed", ours.len())),
    }
}

fn core_list_of(file: &str) -> Vec<usize> {
    fs::read_to_string(file).map(|text| parse_core_list(&text)).unwrap_or_default()
}

/// The kernel's list format, `0-3,8,10-11` (Documentation/admin-guide/cputopology.rst). What is not of this form, such
/// as the `(null)` of an unset `nohz_full`, is left away.
fn parse_core_list(text: &str) -> Vec<usize> {
    let mut cores = Vec::new();
    for part in text.trim().split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        if let (Ok(first), Ok(last)) = (first.parse::<usize>(), last.parse::<usize>()) {
            cores.extend(first..=last.min(CpuSet::MAX_CPU));
        }
    }
    cores
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_s_lists_are_understood() {
        assert_eq!(parse_core_list("0-3,8,10-11\n"), [0, 1, 2, 3, 8, 10, 11]);
        assert_eq!(parse_core_list("(null)\n"), Vec::<usize>::new());
        assert_eq!(parse_core_list("\n"), Vec::<usize>::new());
    }

    #[test]
    fn a_lane_never_takes_an_isolated_core() {
        let online = [0, 1, 2, 3];
        assert_eq!(choose_from(0, &online, &[2, 3], &online), Ok(1));
        assert_eq!(choose_from(1, &online, &[2, 3], &online), Ok(0));
        assert!(choose_from(2, &online, &[2, 3], &online).unwrap_err().contains("only 2 core"));
        assert!(choose_from(0, &[2, 3], &[2, 3], &online).unwrap_err().contains("isolated"));
        assert!(choose_from(0, &online, &[], &online).unwrap_err().contains("no core is set aside"));
        assert_eq!(choose_from(0, &[1, 2], &[], &online), Ok(2), "a cpuset sets cores aside as well");
    }

    #[test]
    fn a_pinned_thread_stays_there() {
        let core = *allowed().last().unwrap();
        let seen = std::thread::spawn(move || pin(core).map(|()| allowed())).join().unwrap().unwrap();
        assert_eq!(seen, [core]);
        assert!(pin(1 << 20).is_err());
    }
}
