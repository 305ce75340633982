//! Which restore point is meant, and from where it is taken.

use std::collections::BTreeMap;

use jiff::tz::TimeZone;

use super::points::{GroupPoint, group_points, points};
use super::volumes::{Copy, Volume, Volumes};
use super::{At, RestoreError, RestoreRequest, What, find};
use crate::model::{DatasetName, NameFormat, PointName, SnapshotName};
use crate::plan::Place;
use crate::policy::Policy;

/// The moment to restore, and the place that it is taken from.
pub(super) struct Choice<'a> {
    pub(super) point: GroupPoint<'a>,
    pub(super) place: Place,
    /// The newest moment that has all volumes, where this one lacks some.
    pub(super) complete: Option<PointName>,
}

/// The volumes that are meant, with the copies of each that count, and their point.
pub(super) struct Chosen<'a> {
    pub(super) meant: Vec<Volume<'a>>,
    pub(super) choice: Choice<'a>,
}

/// Chooses what `request` asks for.
pub(super) fn choose<'a>(
    policy: &Policy,
    volumes: &Volumes<'a>,
    request: &RestoreRequest,
) -> Result<Chosen<'a>, RestoreError> {
    let found = find(volumes, request)?;
    let what = match &request.what {
        What::Guest(id) => format!("guest {id}"),
        What::Dataset(name) => name.to_string(),
    };
    // A copy that was named is meant itself, not what took its place.
    let named = match &request.what {
        What::Dataset(name) if !found.iter().any(|volume| volume.name == *name) => Some(name),
        What::Dataset(_) | What::Guest(_) => None,
    };
    let meant: Vec<Volume<'_>> = found.iter().map(|volume| meant(volume, named)).collect();
    let all: Vec<&Volume<'_>> = meant.iter().collect();
    let (format, zone) = (&policy.name_format, &policy.time_zone);
    let choice = choose_for(&what, (&found, &all), request, format, zone)?;
    Ok(Chosen { meant, choice })
}

/// The place that a restore would take its point from, and the snapshots there, by their volumes: also of those that are left out, where
/// the point has them.
pub fn snapshots_of(
    policy: &Policy,
    volumes: &Volumes<'_>,
    request: &RestoreRequest,
) -> Result<(Place, BTreeMap<DatasetName, SnapshotName>), RestoreError> {
    let all = RestoreRequest { without: Vec::new(), ..request.clone() };
    let Chosen { meant, choice } =
        choose(policy, volumes, &all).or_else(|_| choose(policy, volumes, request))?;
    let snapshots = meant.iter().zip(&choice.point.volumes).filter_map(|(volume, point)| {
        let found = point.as_ref()?.snapshot_at(&choice.place)?;
        Some((volume.name.clone(), found.copy.dataset.name.snapshot(&found.point.name).ok()?))
    });
    Ok((choice.place.clone(), snapshots.collect()))
}

/// The volume with the copies that count: the one that was named alone, else those that are written.
fn meant<'a>(volume: &Volume<'a>, named: Option<&DatasetName>) -> Volume<'a> {
    let counts = |copy: &&Copy<'a>| match named {
        Some(name) => copy.dataset.name == *name && copy.place != Place::Source,
        None => !copy.is_set_aside,
    };
    let copies: Vec<Copy<'a>> = volume.copies.iter().filter(counts).cloned().collect();
    let copies = if copies.is_empty() { volume.copies.clone() } else { copies };
    Volume { name: volume.name.clone(), copies }
}

/// Chooses what is restored, from the copies that are `meant`; where these lack the point, the others are named that have it.
fn choose_for<'a>(
    what: &str,
    (all, meant): (&[&Volume<'_>], &[&Volume<'a>]),
    request: &RestoreRequest,
    format: &NameFormat,
    zone: &TimeZone,
) -> Result<Choice<'a>, RestoreError> {
    let (at, from) = (request.at.as_ref(), request.from.as_ref());
    let chosen = choose_point(what, meant, at, from, format, zone);
    chosen.map_err(|error| with_set_aside(error, all, from, format, zone))
}

/// Chooses the newest moment that `at` allows, from the place that is asked for, else from the nearest that has all of it. A
/// moment that lacks a volume is only taken where it was asked for by name.
fn choose_point<'a>(
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
    let is_by_name = matches!(at, Some(At::Point(_)));
    // Beside a point that was asked for by its name, any other will do.
    let is_complete = |group: &&GroupPoint<'_>| {
        (is_by_name || is_meant(group)) && is_there(group) && group.is_complete_at(&place_of(group))
    };
    let is_whole = group.is_complete_at(&place);
    let complete = groups.iter().filter(|_| !is_whole).find(is_complete).map(|group| group.name.clone());
    if !is_whole && !is_by_name {
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
            complete,
        });
    }
    let mut groups = groups;
    Ok(Choice { point: groups.swap_remove(chosen), place, complete })
}

/// The same error, or that only what was set aside of the datasets has the point.
fn with_set_aside(
    error: RestoreError,
    volumes: &[&Volume<'_>],
    from: Option<&Place>,
    format: &NameFormat,
    zone: &TimeZone,
) -> RestoreError {
    let RestoreError::NoSuchPoint { what, at: Some(At::Point(name)), .. } = &error else { return error };
    let mut set_aside = Vec::new();
    for volume in volumes {
        let all = points(volume, format, zone);
        let named = all
            .iter()
            .filter(|point| point.name == *name || point.found.iter().any(|one| one.point.name == *name));
        let found = named.flat_map(|point| &point.found).filter(|one| {
            let is_wanted = from.is_none_or(|from| one.copy.place == *from);
            one.copy.is_set_aside && one.point.is_snapshot() && is_wanted
        });
        set_aside.extend(found.map(|one| (one.copy.dataset.name.clone(), volume.name.clone())));
    }
    if set_aside.is_empty() {
        return error;
    }
    RestoreError::OnlySetAside { what: what.clone(), point: name.clone(), set_aside }
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
