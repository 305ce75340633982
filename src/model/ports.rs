//! The ports that may be listened on: those that a firewall lets through.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Ports from first to last; the default leaves the choice to the system.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PortRange {
    first: u16,
    last: u16,
}

/// The first port that every user may listen on (Linux, `net.ipv4.ip_unprivileged_port_start` as shipped).
const PRIVILEGED_END: u16 = 1024;

/// Why a text is no range of ports.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("'{0}' is no range of ports: write 50000-50100, or 50000, or 0 for any free port")]
pub struct PortRangeError(String);

impl PortRange {
    /// Whether it has a port that only root may listen on, where services of the system are expected.
    pub fn is_privileged(self) -> bool {
        (1..PRIVILEGED_END).contains(&self.first)
    }

    /// All of them, in the order in which they are tried.
    pub fn ports(self) -> RangeInclusive<u16> {
        self.first..=self.last
    }
}

impl FromStr for PortRange {
    type Err = PortRangeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || PortRangeError(text.to_owned());
        // Not `u16::from_str` alone: that takes a plus sign.
        let port = |digits: &str| {
            let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
            digits.parse::<u16>().ok().filter(|_| is_number).ok_or_else(wrong)
        };
        let (first, last) = match text.split_once('-') {
            Some((first, last)) => (port(first)?, port(last)?),
            None => (port(text)?, port(text)?),
        };
        // Any free port is not one of a range.
        if first > last || (first == 0 && last != 0) {
            return Err(wrong());
        }
        Ok(Self { first, last })
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last {
            write!(f, "{}", self.first)
        } else {
            write!(f, "{}-{}", self.first, self.last)
        }
    }
}

impl TryFrom<String> for PortRange {
    type Error = PortRangeError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<PortRange> for String {
    fn from(range: PortRange) -> Self {
        range.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_and_written_as_one_types_them() {
        for text in ["0", "50000", "50000-50100", "1-65535"] {
            assert_eq!(text.parse::<PortRange>().unwrap().to_string(), text);
            let json = format!("\"{text}\"");
            assert_eq!(
                serde_json::to_string(&serde_json::from_str::<PortRange>(&json).unwrap()).unwrap(),
                json
            );
        }
        assert_eq!("7-7".parse::<PortRange>().unwrap().to_string(), "7");
        assert_eq!(PortRange::default(), "0".parse().unwrap());
        let is_privileged = |text: &str| text.parse::<PortRange>().unwrap().is_privileged();
        assert!(is_privileged("1-65535") && is_privileged("1023") && !is_privileged("1024-2000"));
        assert!(!is_privileged("0"), "any free port is none of those");
        for text in ["", "-", "5-", "-5", "+5", "9-8", "0-9", "65536", "1-65536", "1 - 2", "a", "1-2-3"] {
            assert_eq!(text.parse::<PortRange>(), Err(PortRangeError(text.to_owned())), "{text}");
        }
    }
}
