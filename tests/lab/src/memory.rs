//! How much memory a lab gets. It is a sparse file in /dev/shm: what the lab touches must be there, or it dies of SIGBUS.

use anyhow::{Result, bail};

use crate::say;

/// MiB without which a lab does not boot.
const LEAST: u64 = 1536;
/// MiB that the tests want.
const WANTED: u64 = 4096;
/// MiB that a lab makes use of.
const MOST: u64 = 6144;

/// MiB that are free.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Free {
    memory: u64,
    shm: u64,
}

impl Free {
    pub(crate) fn now() -> Self {
        let available = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let line = available.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
        let memory = line.and_then(|text| text.trim().trim_end_matches(" kB").parse::<u64>().ok());
        let shm = rustix::fs::statvfs("/dev/shm")
            .map_or(0, |found| found.f_bavail.saturating_mul(found.f_frsize) >> 20);
        Self { memory: memory.unwrap_or(0) >> 10, shm }
    }

    /// The MiB that labs may use: some memory stays for the programs outside.
    fn usable(self) -> u64 {
        (self.memory.saturating_mul(7) / 10).min(self.shm.saturating_mul(9) / 10)
    }

    /// How many labs have what the tests want, side by side; one at least, `most` at most.
    pub(crate) fn labs(self, most: usize) -> usize {
        usize::try_from(self.usable() / WANTED).unwrap_or(most).clamp(1, most.max(1))
    }

    /// The memory of each of `labs` labs, as the kernel's `mem=` wants it.
    pub(crate) fn for_each(self, labs: usize) -> Result<String> {
        let Self { memory, shm } = self;
        let mib = (self.usable() / u64::try_from(labs.max(1))?).min(MOST);
        if mib < LEAST {
            bail!(
                "the lab needs 1.5 GiB of memory at least: {memory} MiB are free, /dev/shm has room for {shm} MiB. \
                   Make room (mount -o remount,size=4G /dev/shm), or force it with --mem"
            );
        }
        if mib < WANTED {
            say::line(format_args!(
                "only {mib} MiB of memory for the lab ({memory} MiB free, {shm} MiB in /dev/shm)"
            ));
        }
        Ok(format!("{mib}M"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labs_share_what_is_free() {
        let free = Free { memory: 20_000, shm: 24_000 };
        assert_eq!(free.labs(2), 2);
        assert_eq!(free.labs(8), 3);
        assert_eq!(free.for_each(1).unwrap(), "6144M");
        assert_eq!(free.for_each(3).unwrap(), "4666M");
        let little = Free { memory: 3000, shm: 24_000 };
        assert_eq!(little.labs(4), 1);
        assert_eq!(little.for_each(1).unwrap(), "2100M");
        assert!(little.for_each(2).is_err());
    }
}
