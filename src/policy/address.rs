//! How a target is reached, and the grammar of the arguments that ssh gets.
//!
//! Stricter than OpenSSH's own `valid_hostname` and `valid_ruser` (ssh.c): an allow-list, since nothing here needs more.

use std::fmt;
use std::net::Ipv6Addr;
use std::path::PathBuf;

/// How a target is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// This machine.
    Local,
    /// Another machine, through the user's ssh.
    Ssh {
        /// Host name or alias, checked: no leading `-`, no shell or option characters.
        host: String,
        /// Login name, if not ssh's default.
        user: Option<String>,
        /// Port, if not ssh's default.
        port: Option<u16>,
        /// A file for `ssh -F`, if not the user's.
        config: Option<PathBuf>,
    },
}

/// The fault in an address, and what to write instead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct AddressFault {
    pub(super) what: String,
    pub(super) fix: &'static str,
}

const HOST_FIX: &str = "write HOST, USER@HOST, or \"local\" for this machine";

impl Address {
    /// Reads `HOST`, `USER@HOST` or `local`.
    pub(super) fn parse(text: &str) -> Result<Self, AddressFault> {
        if text == "local" {
            return Ok(Self::Local);
        }
        let (user, host) = match text.rsplit_once('@') {
            Some((user, host)) => (Some(user), host),
            None => (None, text),
        };
        check_host(text, host)?;
        if let Some(user) = user {
            check_user(user)?;
        }
        Ok(Self::Ssh { host: host.to_owned(), user: user.map(str::to_owned), port: None, config: None })
    }

    /// The machine's name, for people: `local` for this one.
    pub fn host(&self) -> &str {
        match self {
            Self::Local => "local",
            Self::Ssh { host, .. } => host,
        }
    }

    /// Whether both lead to one machine, as far as the names tell.
    pub(super) fn is_same_machine(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Local, Self::Local) => true,
            (Self::Ssh { host: a, port: p, .. }, Self::Ssh { host: b, port: q, .. }) => {
                a.eq_ignore_ascii_case(b) && p.unwrap_or(22) == q.unwrap_or(22)
            }
            (Self::Local, Self::Ssh { .. }) | (Self::Ssh { .. }, Self::Local) => false,
        }
    }
}

fn check_host(text: &str, host: &str) -> Result<(), AddressFault> {
    let fault = |what: String, fix| Err(AddressFault { what, fix });
    if host.is_empty() {
        return fault(format!("{text:?} names no host"), HOST_FIX);
    }
    if host.len() > 253 {
        return fault("the host name is longer than 253 characters".to_owned(), HOST_FIX);
    }
    if host.starts_with('-') {
        return fault(
            format!("the host {host:?} starts with '-', which ssh would take for an option"),
            HOST_FIX,
        );
    }
    if host.contains(':') {
        // Only a literal IPv6 address, with its zone if it has one.
        let (address, zone) = host.split_once('%').unwrap_or((host, "eth0"));
        let is_zone =
            !zone.is_empty() && zone.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
        if address.parse::<Ipv6Addr>().is_ok() && is_zone {
            return Ok(());
        }
        return fault(
            format!("{host:?} is neither a host name nor an IPv6 address"),
            "write the port as port = 22 and the dataset as dataset = \"tank/backup\", each on its own line",
        );
    }
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    match host.chars().find(|c| !allowed(*c)) {
        Some(bad) => fault(
            format!("the host {host:?} contains {bad:?}; only letters, digits and '-._' are allowed"),
            HOST_FIX,
        ),
        None => Ok(()),
    }
}

fn check_user(user: &str) -> Result<(), AddressFault> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-._+@".contains(c);
    let what = if user.is_empty() {
        "the login name before '@' is empty".to_owned()
    } else if user.starts_with('-') {
        format!("the login name {user:?} starts with '-', which ssh would take for an option")
    } else if let Some(bad) = user.chars().find(|c| !allowed(*c)) {
        format!("the login name {user:?} contains {bad:?}; only letters, digits and '-._+@' are allowed")
    } else {
        return Ok(());
    };
    Err(AddressFault { what, fix: HOST_FIX })
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local => f.write_str("local"),
            Self::Ssh { host, user: Some(user), .. } => write!(f, "{user}@{host}"),
            Self::Ssh { host, user: None, .. } => f.write_str(host),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_read() {
        for good in [
            "nfs8",
            "root@nfs8",
            "nfs8.example.org",
            "10.0.0.8",
            "fe80::1%vmbr0",
            "root@::1",
            "a@b@c",
            "local",
        ] {
            assert_eq!(Address::parse(good).unwrap().to_string(), good);
        }
        assert_eq!(Address::parse("local").unwrap(), Address::Local);
    }

    #[test]
    fn what_ssh_or_a_shell_could_misread_is_refused() {
        for (bad, why) in [
            ("", "no host"),
            ("root@", "no host"),
            ("@nfs8", "empty"),
            ("-oProxyCommand=reboot", "starts with '-'"),
            ("-l@nfs8", "starts with '-'"),
            ("root@-nfs8", "starts with '-'"),
            ("nfs 8", "' '"),
            ("nfs8\n", "'\\n'"),
            ("nfs8;reboot", "';'"),
            ("$HOSTNAME", "'$'"),
            ("`id`@nfs8", "'`'"),
            ("nfs8:22", "IPv6"),
            ("nfs8:tank/backup", "IPv6"),
            ("[::1]", "IPv6"),
            ("fe80::1%", "IPv6"),
            ("%h", "'%'"),
            ("nfs8/tank", "'/'"),
            ("nfsä", "'ä'"),
        ] {
            let fault = Address::parse(bad).unwrap_err();
            assert!(fault.what.contains(why), "{bad:?}: {}", fault.what);
        }
    }
}
