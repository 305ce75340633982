//! The worker script as the one fixed word that a login shell is given, and the words of its protocol.

use std::process::Command;
use std::sync::LazyLock;

/// The script as people read it.
const SCRIPT: &str = include_str!("worker.sh");

/// The worker's greeting, before the key; the number grows when the protocol changes.
pub(super) const HELLO: &str = "zhaul-worker 1";

/// The agent's greeting instead, before the number of its protocol and the key.
pub(super) const AGENT_HELLO: &str = "zhaul-agent";

/// The script on one line, without comments.
static LINE: LazyLock<String> = LazyLock::new(|| {
    let lines = SCRIPT.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.collect::<Vec<_>>().join(" ")
});

/// The command that ssh hands to the login shell of the remote machine, after `exec` and the mark of the run. Every
/// login shell (also csh and fish) reads this command alike. An agent is started instead where the policy wants one and
/// zhaul is installed.
pub(super) fn remote_command(wants_agent: bool) -> &'static str {
    static WORKER: LazyLock<String> = LazyLock::new(|| format!("sh -c '{}' zhaul worker", *LINE));
    static AGENT: LazyLock<String> = LazyLock::new(|| format!("sh -c '{}' zhaul agent", *LINE));
    if wants_agent { &AGENT } else { &WORKER }
}

/// The same worker on this machine.
pub(super) fn local_command() -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", &LINE]);
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_login_shell_can_change_the_script() {
        assert!(!LINE.contains(['\'', '\\', '!', '\n', '`', '\t']), "{}", *LINE);
        assert!(LINE.starts_with("LC_ALL=C;") && LINE.ends_with("exit 7"));
        assert!(LINE.len() < 4096);
    }

    #[test]
    fn the_script_is_valid_for_sh() {
        let status = Command::new("sh").args(["-n", "-c", &LINE]).status().unwrap();
        assert!(status.success());
    }
}
