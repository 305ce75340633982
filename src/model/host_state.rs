//! The state of a machine and of one of its pools: its clock, the versions of OpenZFS, and the output of
//! `zpool status`.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

/// A machine and the pool below which it keeps something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostState {
    /// The time on its clock.
    pub clock: Timestamp,
    /// The output of `zfs version`: of the programs, and of the kernel module.
    pub zfs_versions: Vec<String>,
    /// The pool.
    pub pool: PoolState,
}

/// How a pool is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PoolState {
    /// Its name there.
    pub pool: String,
    /// `ONLINE` where all is well.
    pub health: String,
    /// When all that it holds was last read and compared with its checksums.
    pub scrub: Scrub,
    /// How many files, volumes and snapshots have lost data; `None` where that is not reported.
    pub data_errors: Option<u64>,
    /// What has lost data, as `zpool status -v` names it: `tank/copy@2026-Jan:/file`, `tank/volume:<0x1>`; at most
    /// [`DAMAGED_MAX`]. Empty where the names are not reported.
    #[serde(default)]
    pub damaged: Vec<String>,
    /// How many devices count errors.
    pub devices_with_errors: u64,
}

/// The number of names of what has lost data that are read.
pub const DAMAGED_MAX: usize = 1000;

/// The characters of such a name that are read; a dataset and its snapshot have 255 at most.
const DAMAGED_NAME_MAX: usize = 400;

/// The characters of all names together: an agent's answer is one message, of 1 MiB at most, in which one character may take 10
/// bytes.
const DAMAGED_TEXT_MAX: usize = 50_000;

/// The last scrub.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Scrub {
    /// There was none since the pool was made or the machine started to report it.
    Never,
    /// One is under way, or paused.
    UnderWay,
    /// The last one came to its end.
    Ended {
        /// When.
        at: Timestamp,
        /// Errors that it could not repair.
        errors: u64,
    },
    /// The last scan was a resilver or was cancelled: it says nothing of the last scrub.
    NotTold,
}

impl PoolState {
    /// Reads `zpool status POOL`, printed in the C locale and in UTC. `None` where it is no such text.
    pub fn parse(text: &str) -> Option<Self> {
        let value = |key: &str| {
            let mut lines = text.lines();
            lines.find_map(|line| line.trim_start().strip_prefix(key)?.strip_prefix(": ").map(str::trim))
        };
        Some(Self {
            pool: value("pool")?.to_owned(),
            health: value("state")?.to_owned(),
            scrub: value("scan").map_or(Scrub::Never, scrub),
            data_errors: value("errors").and_then(data_errors),
            damaged: Vec::new(),
            devices_with_errors: devices_with_errors(text),
        })
    }

    /// Reads the names in `zpool status -v POOL`.
    pub fn parse_damaged(text: &str) -> Vec<String> {
        let list = text.lines().skip_while(|line| !line.starts_with("errors: Permanent errors")).skip(1);
        let names = list.map(str::trim_start).filter(|name| !name.is_empty());
        let mut left = DAMAGED_TEXT_MAX;
        let cut = names.take(DAMAGED_MAX).map(|name| name.chars().take(DAMAGED_NAME_MAX).collect::<String>());
        cut.take_while(|name| {
            left = left.saturating_sub(name.chars().count());
            left > 0
        })
        .collect()
    }
}

/// Reads `scrub repaired 0B in 00:00:01 with 0 errors on Sun Nov  8 21:00:01 2026` and its like.
fn scrub(text: &str) -> Scrub {
    if text.starts_with("none requested") {
        return Scrub::Never;
    }
    if text.starts_with("scrub in progress") || text.starts_with("scrub paused") {
        return Scrub::UnderWay;
    }
    let ended = || {
        let (what, when) = text.strip_prefix("scrub repaired ")?.rsplit_once(" on ")?;
        let errors = what.rsplit_once(" with ")?.1.strip_suffix(" errors")?.parse().ok()?;
        let when = when.split_whitespace().collect::<Vec<_>>().join(" ");
        let at = DateTime::strptime("%a %b %d %H:%M:%S %Y", when).ok()?;
        Some(Scrub::Ended { at: at.to_zoned(TimeZone::UTC).ok()?.timestamp(), errors })
    };
    ended().unwrap_or(Scrub::NotTold)
}

fn data_errors(text: &str) -> Option<u64> {
    if text == "No known data errors" {
        return Some(0);
    }
    text.split_once(" data errors")?.0.parse().ok()
}

/// Rows `NAME STATE READ WRITE CKSUM` with a count that is not 0.
fn devices_with_errors(text: &str) -> u64 {
    let rows = text.lines().skip_while(|line| !line.trim_start().starts_with("NAME ")).skip(1);
    let rows = rows.take_while(|line| !line.trim_start().starts_with("errors:"));
    let counts = rows.filter_map(|row| {
        let words: Vec<&str> = row.split_whitespace().collect();
        words.get(2..5).map(|counts| counts.iter().any(|count| *count != "0"))
    });
    counts.map(u64::from).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As OpenZFS 2.4 prints it, with the parts that differ in place of `SCAN` and `ERRORS`.
    const STATUS: &str = "  pool: tank8\n state: ONLINE\nSCANconfig:\n\n\tNAME        STATE     READ WRITE CKSUM\n\
        \ttank8       ONLINE       0     0     0\n\t  mirror-0  ONLINE       0     0     0\n\
        \t    vdb     ONLINE       0     0    12\n\t    vdc     DEGRADED   1.2K     0     0  too many errors\n\n\
        errors: ERRORS\n";

    fn parse(scan: &str, errors: &str) -> PoolState {
        PoolState::parse(&STATUS.replace("SCAN", scan).replace("ERRORS", errors)).unwrap()
    }

    #[test]
    fn what_zpool_status_prints_is_understood() {
        let state = parse("", "No known data errors");
        assert_eq!((state.pool.as_str(), state.health.as_str()), ("tank8", "ONLINE"));
        assert_eq!((state.scrub, state.data_errors, state.devices_with_errors), (Scrub::Never, Some(0), 2));
        for (scan, expected) in [
            ("none requested", Scrub::Never),
            ("scrub in progress since Sun Nov 29 01:00:00 2026", Scrub::UnderWay),
            ("scrub paused since Sun Nov 29 01:00:00 2026", Scrub::UnderWay),
            ("scrub canceled on Sun Nov 29 01:00:00 2026", Scrub::NotTold),
            ("resilvered 1M in 00:00:01 with 0 errors on Sun Nov 29 01:00:00 2026", Scrub::NotTold),
            (
                "scrub repaired 0B in 00:00:01 with 3 errors on Sun Nov  8 21:00:01 2026",
                Scrub::Ended { at: "2026-11-08T21:00:01Z".parse().unwrap(), errors: 3 },
            ),
            (
                "scrub repaired 4K in 1 days 02:00:00 with 0 errors on Sun Nov 29 01:00:00 2026",
                Scrub::Ended { at: "2026-11-29T01:00:00Z".parse().unwrap(), errors: 0 },
            ),
        ] {
            assert_eq!(parse(&format!("  scan: {scan}\n"), "").scrub, expected, "{scan}");
        }
        assert_eq!(parse("", "3 data errors, use '-v' for a list").data_errors, Some(3));
        let listed = STATUS.replace(
            "errors: ERRORS\n",
            "errors: Permanent errors have been detected in the following files:\n\n        tank8/a@1:/a file\n        \
             tank8/b:<0x1>\n",
        );
        assert_eq!(PoolState::parse_damaged(&listed), ["tank8/a@1:/a file", "tank8/b:<0x1>"]);
        assert_eq!(PoolState::parse_damaged(STATUS), Vec::<String>::new());
        assert_eq!(parse("", "List of errors unavailable: permission denied").data_errors, None);
        for odd in ["", "cannot open 'x': no such pool", "pool: x", "pool:\nstate:", "\u{0}"] {
            assert_eq!(PoolState::parse(odd), None, "{odd}");
        }
    }
}
