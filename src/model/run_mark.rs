//! The mark that every process of a run carries on its targets, by which a later run of the same policy knows them.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The environment variable with the mark. A shell reads its value as it is, since the value consists of hexadecimal
/// digits and one `-`.
pub const RUN_VARIABLE: &str = "ZHAUL_RUN";

/// The same for the processes that make a run's calls into the kernel of its own machine: a later run waits for them, and ends
/// none.
pub const CALLS_VARIABLE: &str = "ZHAUL_CALLS";

/// The name of such a process (`/proc/PID/comm`, 15 bytes at most), by which it is found: to read its environment may
/// block where the process blocks.
pub const CALLS_PROCESS: &str = "zhaul-zfs-calls";

/// Which policy of which machine, and which run of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunMark {
    policy: u64,
    run: u64,
}

impl RunMark {
    /// Run `run`, a number that no other run has, of the policy with the number `policy`. Only whoever holds the lock of the
    /// policy may make one: every other run with its number is then over.
    pub fn new(policy: u64, run: u64) -> Self {
        Self { policy, run }
    }

    /// The beginning of the variable's value in every run of the policy.
    pub fn policy_prefix(self) -> String {
        format!("{:016x}-", self.policy)
    }
}

/// The value of the variable.
impl fmt::Display for RunMark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}-{:016x}", self.policy, self.run)
    }
}

/// A process that an earlier run left on a target, and that was ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Orphan {
    /// Its number there.
    pub pid: u32,
    /// The beginning of its command line.
    pub command: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_one_word_to_every_shell_and_no_policy_is_the_beginning_of_another() {
        let mark = RunMark::new(0xab, 7);
        assert_eq!(mark.to_string(), "00000000000000ab-0000000000000007");
        assert!(mark.to_string().starts_with(&mark.policy_prefix()));
        assert!(!RunMark::new(0xabc, 7).to_string().starts_with(&mark.policy_prefix()));
    }
}
