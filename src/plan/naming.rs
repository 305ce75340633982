//! The names of this run's snapshots: the present time, or a little later where names would not go up.
//!
//! Only a dataset's own points decide on its name, and those of the other volumes of its guest, which share one name: the
//! clock of another node, or of a dataset that is left out, moves nothing.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use super::select::Selected;
use crate::model::{DatasetName, NameError, NameFormat, PointName};

/// A clock that was ahead by at most this much is followed: names continue from the newest one, so that they keep their
/// order. Beyond it the newest name is taken for a mistake, and the present time is used.
const CLOCK_STEP_MAX: SignedDuration = SignedDuration::from_hours(36);

/// Names go up with createtxg but for clock steps, so the last few of each history are enough to find the newest.
const NEWEST: usize = 8;

/// A name, and the time in it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct RunName {
    pub(super) time: Timestamp,
    pub(super) name: PointName,
}

/// The name for each of `selected`, in its order.
pub(super) fn names(
    format: &NameFormat,
    selected: &[Selected<'_>],
    now: Timestamp,
) -> Result<Vec<RunName>, NameError> {
    let key = |one: &Selected<'_>| match one.guest_id {
        Some(id) => Ok(id),
        None => Err(one.dataset.name.clone()),
    };
    let mut groups: BTreeMap<Result<_, DatasetName>, Vec<&Selected<'_>>> = BTreeMap::new();
    for one in selected {
        groups.entry(key(one)).or_default().push(one);
    }
    let mut named = BTreeMap::new();
    for (key, members) in groups {
        named.insert(key, name(format, &members, now)?);
    }
    Ok(selected.iter().filter_map(|one| named.get(&key(one)).cloned()).collect())
}

/// The first name from now on that is later than the newest own one of these datasets, and that none of them has already.
fn name(format: &NameFormat, members: &[&Selected<'_>], now: Timestamp) -> Result<RunName, NameError> {
    let second = |time: Timestamp| Timestamp::from_second(time.as_second()).unwrap_or(time);
    let latest_followed = now.saturating_add(CLOCK_STEP_MAX).unwrap_or(now);
    let newest = members.iter().flat_map(|one| one.dataset.history.points().rev().take(NEWEST));
    let times = newest.filter_map(|point| format.time(&point.name));
    let ahead = times.filter(|time| *time >= second(now) && *time <= latest_followed).max();
    let mut time = match ahead {
        Some(newest) => next_second(second(newest)),
        None => second(now),
    };
    loop {
        let name = format.name(time)?;
        let is_taken = |one: &&Selected<'_>| one.dataset.history.points().any(|point| point.name == name);
        if !members.iter().any(is_taken) {
            return Ok(RunName { time, name });
        }
        time = next_second(time);
    }
}

fn next_second(time: Timestamp) -> Timestamp {
    time.saturating_add(SignedDuration::from_secs(1)).unwrap_or(time)
}
