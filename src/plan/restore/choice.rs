//! Which restore point is meant, and from where it is taken.

use jiff::tz::TimeZone;

use super::points::{GroupPoint, group_points};
use super::volumes::Volume;
use super::{At, RestoreError};
use crate::model::{NameFormat, PointName};
use crate::plan::Place;

/// The moment to restore, and the place that it is taken from.
pub(super) struct Choice<'a> {
    pub(super) point: GroupPoint<'a>,
    pub(super) place: Place,
}

/// Chooses the newest moment that `at` allows, from the place that is asked for, else from the nearest that has all of it. A
/// moment that lacks a volume is only taken where it was asked for by name.
pub(super) fn choose<'a>(
    what: &str,
    volumes: &[&Volume<'a>],
    at: Option<&At>,
    from: Option<&Place>,
    format: &NameFormat,
    zone: &TimeZone,
) -> Result<Choice<'a>, RestoreError> {
    let groups = group_points(volumes, format, zone);
    let is_there = |group: &GroupPoint<'_>| match from {
        Some(place) => group.count_at(place) > 0,
        None => !group.places().is_empty(),
    };
    let is_meant = |group: &GroupPoint<'_>| match at {
        None => true,
        Some(At::Time(time)) => group.time.is_some_and(|taken| taken <= *time),
        Some(At::Point(name)) => is_named(group, name),
    };
    let none = || RestoreError::NoSuchPoint {
        what: what.to_owned(),
        at: at.cloned(),
        from: from.cloned(),
        oldest: groups.iter().rev().find(|group| is_there(group)).map(|group| group.name.clone()),
        newest: groups.iter().find(|group| is_there(group)).map(|group| group.name.clone()),
    };
    let chosen = groups.iter().position(|group| is_meant(group) && is_there(group)).ok_or_else(none)?;
    let place_of = |group: &GroupPoint<'_>| match from {
        Some(place) => place.clone(),
        None => best_place(group),
    };
    let group = groups.get(chosen).ok_or_else(none)?;
    let place = place_of(group);
    if !group.is_complete_at(&place) && !matches!(at, Some(At::Point(_))) {
        let is_complete = |group: &&GroupPoint<'_>| {
            is_meant(group) && is_there(group) && group.is_complete_at(&place_of(group))
        };
        let missing = volumes
            .iter()
            .zip(&group.volumes)
            .filter(|(_, point)| point.as_ref().is_none_or(|point| point.snapshot_at(&place).is_none()));
        let missing = missing.map(|(volume, _)| volume.name.clone()).collect();
        return Err(RestoreError::Incomplete {
            what: what.to_owned(),
            point: group.name.clone(),
            place,
            missing,
            complete: groups.iter().find(is_complete).map(|group| group.name.clone()),
        });
    }
    let mut groups = groups;
    Ok(Choice { point: groups.swap_remove(chosen), place })
}

/// By the name that it has here, or in any place.
fn is_named(group: &GroupPoint<'_>, name: &PointName) -> bool {
    let found = group.volumes.iter().flatten().flat_map(|point| &point.found);
    group.name == *name || found.into_iter().any(|one| one.point.name == *name)
}

/// The place with most of it: this machine before a backup, a backup before an archive.
fn best_place(group: &GroupPoint<'_>) -> Place {
    let is_archive = |place: &Place| {
        let found = group.volumes.iter().flatten().flat_map(|point| &point.found);
        found.into_iter().any(|one| one.copy.place == *place && one.copy.is_archive)
    };
    let rank = |place: &Place| {
        let distance = match place {
            Place::Source => 0,
            Place::Target(_) if !is_archive(place) => 1,
            Place::Target(_) => 2,
        };
        (usize::MAX - group.count_at(place), distance)
    };
    group.places().into_iter().min_by_key(rank).unwrap_or(Place::Source)
}
