//! Which processor a lab runs on. A kernel with one CPU of its own and the processes that it stands in for take turns, thousands
//! of times a second: on one processor a turn costs about a third of what it costs between two. So each lab gets one processor
//! for itself, and as many labs as there are processors can work side by side.

use std::fs::File;
use std::path::Path;

use rustix::fs::{FlockOperation, flock};
use rustix::thread::{CpuSet, sched_getaffinity};

/// One processor, taken until this is dropped.
#[derive(Debug)]
pub(crate) struct Cpu {
    /// Its number, as taskset(1) counts.
    pub(crate) number: usize,
    lock: Option<File>,
}

impl Cpu {
    /// A processor that no other lab has taken (each is a lock file in `runs`), or any one where all are taken. None where this
    /// process may not choose.
    pub(crate) fn take(runs: &Path) -> Option<Self> {
        let allowed = allowed();
        let free = allowed.iter().find_map(|&number| {
            let lock = File::create(runs.with_file_name(format!("cpu-{number}"))).ok()?;
            flock(&lock, FlockOperation::NonBlockingLockExclusive).ok()?;
            Some(Self { number, lock: Some(lock) })
        });
        let shared = || {
            let process = usize::try_from(std::process::id()).unwrap_or(0);
            let number = *allowed.get(process.checked_rem(allowed.len())?)?;
            Some(Self { number, lock: None })
        };
        free.or_else(shared)
    }

    /// Whether another lab works on it too.
    pub(crate) fn is_shared(&self) -> bool {
        self.lock.is_none()
    }
}

/// The processors that this process may use.
pub(crate) fn allowed() -> Vec<usize> {
    let set = sched_getaffinity(None).unwrap_or_else(|_| CpuSet::new());
    (0..CpuSet::MAX_CPU).filter(|&number| set.is_set(number)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_lab_has_a_processor_of_its_own_while_there_are_some() {
        let runs = std::env::temp_dir().join(format!("zhaul-lab-cpus-{}", std::process::id())).join("runs");
        std::fs::create_dir_all(&runs).unwrap();
        let taken: Vec<Cpu> = allowed().iter().filter_map(|_| Cpu::take(&runs)).collect();
        let mut numbers: Vec<usize> = taken.iter().map(|cpu| cpu.number).collect();
        numbers.sort_unstable();
        assert_eq!(numbers, allowed());
        // One more shares, and what was given back can be taken again.
        assert!(Cpu::take(&runs).is_some_and(|cpu| cpu.is_shared()));
        drop(taken);
        assert!(Cpu::take(&runs).is_some_and(|cpu| !cpu.is_shared()));
        std::fs::remove_dir_all(runs.parent().unwrap()).unwrap();
    }
}
