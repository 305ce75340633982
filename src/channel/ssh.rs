//! The `ssh` child: its options, and why the remote command needs no quoting of data.

use std::fmt;
use std::path::PathBuf;
use std::process::Command;

use crate::model::{RUN_VARIABLE, RunMark};

/// Another machine, as the user's own `ssh` reaches it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ssh {
    /// Host name or alias; never taken for an option, whatever it starts with.
    pub host: String,
    /// Login name, if not ssh's default.
    pub user: Option<String>,
    /// Port, if not ssh's default.
    pub port: Option<u16>,
    /// A file for `ssh -F`, if not the user's.
    pub config: Option<PathBuf>,
}

/// Options that hold whatever the user's configuration says; everything else (keys, aliases, jump hosts, whether an
/// unknown host key is refused) is the user's.
const OPTIONS: [&str; 13] = [
    // No user is present to type a password or to accept a host key.
    "BatchMode=yes",
    "ConnectTimeout=15",
    // A peer that vanished is noticed after a minute.
    "ServerAliveInterval=15",
    "ServerAliveCountMax=4",
    // Streams are compressed already, or on purpose not.
    "Compression=no",
    // One connection for each session: a shared one would also share its cipher's one core, and a master that
    // outlives the run would keep our standard error open.
    "ControlMaster=no",
    "ControlPath=none",
    "RequestTTY=no",
    "RemoteCommand=none",
    "PermitLocalCommand=no",
    "ForwardAgent=no",
    "ForwardX11=no",
    "ClearAllForwardings=yes",
];

impl Ssh {
    /// The command that runs `remote` there, with the mark of `run` in its environment. The login shell of the other machine
    /// reads `remote`, whichever shell that is: it must be fixed text, never made from names. The environment is set by
    /// env(1): sshd takes only the variables of its `AcceptEnv`, and not every shell knows `NAME=value command`.
    pub fn command(&self, run: Option<RunMark>, remote: &'static str) -> Command {
        let mut command = Command::new("ssh");
        command.args(["-T", "-e", "none"]);
        if let Some(config) = &self.config {
            command.arg("-F").arg(config);
        }
        for option in OPTIONS {
            command.args(["-o", option]);
        }
        if let Some(user) = &self.user {
            command.args(["-l", user]);
        }
        if let Some(port) = self.port {
            command.args(["-p", &port.to_string()]);
        }
        command.args(["--", &self.host]);
        match run {
            Some(mark) => command.arg(format!("exec env {RUN_VARIABLE}={mark} {remote}")),
            None => command.arg(format!("exec {remote}")),
        };
        command
    }
}

impl fmt::Display for Ssh {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.host)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_and_user_are_operands_not_options() {
        let ssh = Ssh {
            host: "-oProxyCommand=touch".to_owned(),
            user: Some("-v".to_owned()),
            port: Some(2222),
            config: Some("/etc/zhaul/ssh config".into()),
        };
        let command = ssh.command(None, "true");
        let arguments: Vec<_> = command.get_args().map(|a| a.to_string_lossy().into_owned()).collect();
        let end = arguments.iter().position(|a| a == "--").unwrap();
        assert_eq!(arguments[end + 1..], ["-oProxyCommand=touch", "exec true"]);
        let user = arguments.iter().position(|a| a == "-l").unwrap();
        assert_eq!(arguments[user + 1], "-v", "getopt takes it as the value of -l");
        assert_eq!(arguments[3..5], ["-F", "/etc/zhaul/ssh config"]);
        assert!(arguments[..end].windows(2).any(|pair| pair == ["-o", "BatchMode=yes"]));
        let marked = ssh.command(Some(RunMark::new(1, 2)), "true");
        assert_eq!(
            marked.get_args().last().unwrap(),
            "exec env ZHAUL_RUN=0000000000000001-0000000000000002 true"
        );
    }
}
