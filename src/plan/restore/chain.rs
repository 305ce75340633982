//! Which streams bring a point here.
//!
//! A full stream of the point alone would leave nothing in common with a target that does not have that very snapshot, and
//! its next copy would be a full stream. So the chain begins with the oldest of the newest common snapshots of all targets,
//! and passes each of them on the way, and what clones begin at. A linked clone begins at its origin, where that is here.

use std::collections::BTreeSet;

use super::RestoreError;
use super::planned::{CloneOrigin, RestoreStream};
use super::points::Found;
use super::volumes::Volume;
use crate::model::{Guid, NameFormat, Point, PointName, TargetName};
use crate::plan::Place;

/// For each other place, the newest snapshot that it shares with the copy, not newer than the point.
fn shared<'a>(volume: &'a Volume<'_>, point: &Found<'_>) -> Vec<(TargetName, Option<&'a Point>)> {
    let until = point.point.createtxg;
    let there = point.copy.dataset;
    let mut shared = Vec::new();
    for other in volume.copies.iter().filter(|other| !other.is_set_aside && other.place != point.copy.place) {
        let Place::Target(target) = &other.place else { continue };
        let has: BTreeSet<Guid> = other.dataset.history.snapshots().map(|one| one.guid).collect();
        let of_copy = volume
            .copies
            .iter()
            .find(|copy| copy.dataset.name == there.name && copy.place == point.copy.place);
        let newest = of_copy.and_then(|copy| {
            let mut older = copy.dataset.history.snapshots().rev().filter(|one| one.createtxg <= until);
            older.find(|one| has.contains(&one.guid))
        });
        shared.push((target.clone(), newest));
    }
    shared
}

/// The streams, in their order.
pub(super) fn chain(
    volume: &Volume<'_>,
    point: &Found<'_>,
    format: &NameFormat,
    (begun_at, origin): (&BTreeSet<Guid>, Option<CloneOrigin>),
) -> Result<Vec<RestoreStream>, RestoreError> {
    let mut passed: Vec<&Point> =
        shared(volume, point).into_iter().filter_map(|(_, newest)| newest).collect();
    let is_passed = |one: &&Point| begun_at.contains(&one.guid) && one.createtxg < point.point.createtxg;
    passed.extend(point.copy.dataset.history.snapshots().filter(is_passed));
    passed.push(point.point);
    passed.sort_by_key(|one| one.createtxg);
    passed.dedup_by_key(|one| one.guid);
    let mut base = origin.as_ref().map(|origin| (origin.there.name().clone(), origin.guid));
    let mut origin = origin;
    let mut streams: Vec<RestoreStream> = Vec::new();
    for one in passed {
        let snapshot = point.copy.dataset.name.snapshot(&one.name)?;
        let mut name = first_name(volume, one, format);
        if streams.iter().any(|stream| stream.name == name) {
            name = NameFormat::name_with_guid(&name, one.guid)?;
        }
        streams.push(RestoreStream {
            snapshot,
            name,
            guid: one.guid,
            base,
            origin: origin.take(),
            token: None,
        });
        base = Some((one.name.clone(), one.guid));
    }
    Ok(streams)
}

/// A snapshot's name when it was taken, if any place still has it under that name: an archive names it by its month.
fn first_name(volume: &Volume<'_>, point: &Point, format: &NameFormat) -> PointName {
    let all = volume.copies.iter().flat_map(|copy| copy.dataset.history.points());
    let mut own = all.filter(|other| other.guid == point.guid && format.is_own(&other.name));
    own.next().map_or_else(|| point.name.clone(), |own| own.name.clone())
}

/// The targets that have a copy, and nothing of what the restored dataset will have.
pub(super) fn unrelated_targets(volume: &Volume<'_>, point: &Found<'_>) -> Vec<TargetName> {
    let shared = shared(volume, point);
    shared.into_iter().filter(|(_, newest)| newest.is_none()).map(|(target, _)| target).collect()
}
