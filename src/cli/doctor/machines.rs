//! The checks on every machine: its clock, its versions of OpenZFS, and its pools.

use jiff::SignedDuration;

use super::super::trouble::Trouble;
use super::super::verify::error_troubles;
use crate::discover::PoolAnswer;
use crate::model::HostState;
use crate::plan::{Place, Severity};

/// Targets date what they set aside by their own clocks, and this machine judges by its own when that expires.
const CLOCK_TOLERANCE: SignedDuration = SignedDuration::from_secs(60);

pub(super) fn check(answers: &[PoolAnswer]) -> Vec<Trouble> {
    let mut troubles = error_troubles(answers);
    troubles.extend(answers.iter().filter_map(clock));
    troubles.extend(answers.iter().filter_map(versions));
    troubles
}

fn about(place: &Place) -> String {
    match place {
        Place::Source => "this host".to_owned(),
        Place::Target(name) => name.0.clone(),
    }
}

fn clock(answer: &PoolAnswer) -> Option<Trouble> {
    let by = answer.clock_ahead;
    if by.abs() <= CLOCK_TOLERANCE {
        return None;
    }
    let direction = if by.is_positive() { "ahead of" } else { "behind" };
    Some(Trouble {
        severity: Severity::Warning,
        kind: "clock",
        about: about(&answer.place),
        what: format!("its clock is {} s {direction} this machine's", by.abs().as_secs()),
        next: "set the clocks of both machines by NTP; `timedatectl` and `chronyc tracking` show how they are set".to_owned(),
    })
}

/// Programs of one version with a module of another are what an upgrade leaves until the machine is restarted.
fn versions(answer: &PoolAnswer) -> Option<Trouble> {
    let state = answer.state.as_ref().ok()?;
    let (programs, module) = both_versions(state)?;
    if programs == module {
        return None;
    }
    Some(Trouble {
        severity: Severity::Note,
        kind: "zfs-versions",
        about: about(&answer.place),
        what: format!("its zfs programs have version {programs}, its kernel module has {module}"),
        next: "restart the machine after the upgrade of OpenZFS; `zfs version` shows both".to_owned(),
    })
}

/// `zfs-2.4.4-1` and `zfs-kmod-2.4.4-1`: the numbers, without what a distribution adds.
fn both_versions(state: &HostState) -> Option<(&str, &str)> {
    let number = |text: &'_ str| text.split(['-', '~', '+']).next().map(str::len);
    let find = |prefix: &str| {
        let rest = state.zfs_versions.iter().find_map(|line| line.strip_prefix(prefix))?;
        rest.get(..number(rest)?)
    };
    let module = find("zfs-kmod-")?;
    let programs = state.zfs_versions.iter().find(|line| !line.starts_with("zfs-kmod-"))?;
    let programs = programs.strip_prefix("zfs-")?;
    Some((programs.get(..number(programs)?)?, module))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{PoolState, Scrub, TargetName};

    fn answer(versions: &[&str], clock_ahead: i64, data_errors: u64) -> PoolAnswer {
        let pool = PoolState {
            pool: "tank8".to_owned(),
            health: "ONLINE".to_owned(),
            scrub: Scrub::Never,
            data_errors: Some(data_errors),
            damaged: Vec::new(),
            devices_with_errors: 0,
        };
        let zfs_versions = versions.iter().map(|line| (*line).to_owned()).collect();
        PoolAnswer {
            place: Place::Target(TargetName("nfs8".to_owned())),
            pool: "tank8".to_owned(),
            state: Ok(HostState { clock: jiff::Timestamp::UNIX_EPOCH, zfs_versions, pool }),
            clock_ahead: SignedDuration::from_secs(clock_ahead),
        }
    }

    #[test]
    fn clocks_versions_and_errors_are_reported_only_where_something_is_wrong() {
        let same = ["zfs-2.4.4-pve1", "zfs-kmod-2.4.4-1~bpo"];
        let kinds = |answer: PoolAnswer| check(&[answer]).iter().map(|one| one.kind).collect::<Vec<_>>();
        assert!(kinds(answer(&same, 60, 0)).is_empty());
        assert!(kinds(answer(&[], -60, 0)).is_empty());
        assert_eq!(kinds(answer(&same, 61, 0)), ["clock"]);
        assert_eq!(kinds(answer(&same, -3600, 2)), ["pool-data-errors", "clock"]);
        assert_eq!(kinds(answer(&["zfs-2.4.4-1", "zfs-kmod-2.3.1-1"], 0, 0)), ["zfs-versions"]);
    }
}
