//! Advice where ssh(1) cannot log in, by its error message (`sshconnect.c`, `sshconnect2.c` of OpenSSH).

/// Phrases, more specific ones first: a host key that has changed also fails verification.
const HELP: [(&str, &str); 11] = [
    (
        "HOST IDENTIFICATION HAS CHANGED",
        "compare the key with the host's own (`ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub` there); if the host has a new key, remove the \
         old one (`ssh-keygen -R HOST`) and log in once by hand; if not, another machine answers in its place",
    ),
    (
        "Host key verification failed",
        "log in once by hand as the user that runs zhaul (`ssh HOST`), and compare the key that ssh shows with the host's own",
    ),
    (
        "Permission denied (",
        "add the public key of the user that runs zhaul to `~/.ssh/authorized_keys` there; `ssh -v HOST` shows which keys are offered",
    ),
    (
        "Too many authentication failures",
        "name one key for this host in `~/.ssh/config` (`IdentityFile`, and `IdentitiesOnly yes`)",
    ),
    ("Could not resolve hostname", "check `host` in the policy, and the name in DNS or `/etc/hosts`"),
    ("Connection refused", "no sshd listens there: `systemctl status ssh` there, and check the port"),
    ("Connection timed out", UNREACHED),
    ("No route to host", UNREACHED),
    ("Network is unreachable", UNREACHED),
    ("Bad configuration option", "correct the file that `ssh-config` names"),
    (
        "after the login began",
        "log in by hand (`ssh HOST true`): it must end at once; start files of the login shell must not read standard input",
    ),
];

const UNREACHED: &str = "check that the host is up, its address, and the firewalls on the way";

/// The next action for a login that failed with these words; `None` where they are of something else.
pub fn login_advice(said: &str) -> Option<&'static str> {
    HELP.iter().find(|(phrase, _)| said.contains(phrase)).map(|(_, help)| *help)
}

/// The same for a connection that is needed; where the words are of something else, what to look at first.
pub fn connection_advice(said: &str) -> &'static str {
    login_advice(said).unwrap_or("check that the host is up and that ssh logs in without a password")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_has_changed_is_not_one_that_is_new() {
        let changed = "WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!; Host key verification failed.";
        assert!(login_advice(changed).unwrap().contains("ssh-keygen -R"));
        assert!(login_advice("Host key verification failed.").unwrap().contains("log in once by hand"));
        assert_eq!(login_advice("Broken pipe"), None);
    }
}
