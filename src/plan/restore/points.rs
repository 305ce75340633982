//! The points of one volume, or of all volumes of a guest, over all places: what can be gone back to.

use std::collections::BTreeMap;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::volumes::{Copy, Volume};
use crate::model::{Guid, Month, NameFormat, Point, PointKind, PointName};
use crate::plan::Place;

/// One moment of one volume: all points with one GUID.
#[derive(Debug)]
pub struct VolumePoint<'a> {
    /// The GUID, which identifies it everywhere.
    pub guid: Guid,
    /// Its name where it was taken, as far as that is known; else its name on the archive.
    pub name: PointName,
    /// When it was taken, by its name: of one that only an archive knows by its month, when that month began.
    pub time: Option<Timestamp>,
    /// Where it is, in the order of the copies.
    pub found: Vec<Found<'a>>,
}

/// A point in one place.
#[derive(Debug, Clone)]
pub struct Found<'a> {
    /// Where.
    pub copy: Copy<'a>,
    /// The snapshot or bookmark there.
    pub point: &'a Point,
}

impl<'a> VolumePoint<'a> {
    /// The snapshot of a place.
    pub fn snapshot_at(&self, place: &Place) -> Option<&Found<'a>> {
        self.found.iter().find(|found| found.copy.place == *place && found.point.is_snapshot())
    }

    /// Whether any place has its data.
    pub fn has_snapshot(&self) -> bool {
        self.found.iter().any(|found| found.point.is_snapshot())
    }
}

/// Every point of a volume, newest first; those without a time by their order here or there, last.
pub fn points<'a>(volume: &Volume<'a>, format: &NameFormat, zone: &TimeZone) -> Vec<VolumePoint<'a>> {
    let mut by_guid: BTreeMap<Guid, Vec<Found<'a>>> = BTreeMap::new();
    for copy in &volume.copies {
        for point in copy.dataset.history.points().filter(|point| !point.is_destroy_deferred()) {
            by_guid.entry(point.guid).or_default().push(Found { copy: copy.clone(), point });
        }
    }
    let mut points: Vec<VolumePoint<'a>> = by_guid
        .into_iter()
        .map(|(guid, mut found)| {
            let best = found.iter().min_by_key(|one| {
                (
                    format.time(&one.point.name).is_none(),
                    one.copy.is_archive,
                    one.point.kind == PointKind::Bookmark,
                )
            });
            let name = best.map(|one| one.point.name.clone());
            // A bookmark beside its snapshot says nothing more.
            let has_snapshot = |found: &[Found<'_>], place: &Place| {
                found.iter().any(|one| one.copy.place == *place && one.point.kind == PointKind::Snapshot)
            };
            let with_snapshot: Vec<Place> = found
                .iter()
                .filter(|one| has_snapshot(&found, &one.copy.place))
                .map(|one| one.copy.place.clone())
                .collect();
            found.retain(|one| {
                one.point.kind == PointKind::Snapshot || !with_snapshot.contains(&one.copy.place)
            });
            (guid, name, found)
        })
        .filter_map(|(guid, name, found)| {
            let name = name?;
            Some(VolumePoint { guid, time: time(&name, format, zone), name, found })
        })
        .collect();
    points.sort_by(|a, b| {
        let txg = |point: &VolumePoint<'_>| point.found.first().map(|found| found.point.createtxg);
        b.time.cmp(&a.time).then(txg(b).cmp(&txg(a))).then_with(|| b.name.cmp(&a.name))
    });
    points
}

/// When a point of this name was taken, as far as the name has a time.
pub(super) fn time(name: &PointName, format: &NameFormat, zone: &TimeZone) -> Option<Timestamp> {
    let month = |name: &PointName| {
        let text = name.as_str();
        if let Some(month) = Month::parse(text) {
            return Some(month.start(zone));
        }
        let (month, day) = Month::parse_day(text)?;
        let days = i64::from(day) - 1;
        month.start(zone).checked_add(jiff::SignedDuration::from_hours(24 * days)).ok()
    };
    format.time(name).or_else(|| month(name))
}

/// One moment of a guest, or of a single dataset: the points of its volumes that were taken together.
#[derive(Debug)]
pub struct GroupPoint<'a> {
    /// Its name; volumes may have more digits in theirs.
    pub name: PointName,
    /// When it was taken, by its name.
    pub time: Option<Timestamp>,
    /// For each volume of the group, in its order, the point of that moment; `None` where it has none.
    pub volumes: Vec<Option<VolumePoint<'a>>>,
}

impl GroupPoint<'_> {
    /// Whether every volume has a snapshot of this moment in `place`.
    pub fn is_complete_at(&self, place: &Place) -> bool {
        self.volumes
            .iter()
            .all(|point| point.as_ref().is_some_and(|point| point.snapshot_at(place).is_some()))
    }

    /// How many volumes have a snapshot of this moment in `place`.
    pub fn count_at(&self, place: &Place) -> usize {
        let there = self.volumes.iter().flatten().filter(|point| point.snapshot_at(place).is_some());
        there.count()
    }

    /// The places that have a snapshot of any volume.
    pub fn places(&self) -> Vec<Place> {
        let found = self.volumes.iter().flatten().flat_map(|point| &point.found);
        let mut places: Vec<Place> =
            found.filter(|one| one.point.is_snapshot()).map(|one| one.copy.place.clone()).collect();
        places.sort();
        places.dedup();
        places
    }
}

/// The key that points of one moment share: a time, or, where that is only about right, also a name.
type Moment = (Option<Timestamp>, Option<PointName>);

/// The moments of a group of volumes, newest first. Points belong together by their time, where their names have one,
/// else by their name.
pub fn group_points<'a>(
    volumes: &[&Volume<'a>],
    format: &NameFormat,
    zone: &TimeZone,
) -> Vec<GroupPoint<'a>> {
    let mut moments: BTreeMap<Moment, Vec<Option<VolumePoint<'a>>>> = BTreeMap::new();
    for (place, volume) in volumes.iter().enumerate() {
        for point in points(volume, format, zone) {
            let key = match point.time {
                Some(time) if format.time(&point.name).is_some() => (Some(time), None),
                time => (time, Some(point.name.clone())),
            };
            let slots = moments.entry(key.clone()).or_default();
            slots.resize_with(volumes.len(), || None);
            let Some(slot) = slots.get_mut(place) else { continue };
            if slot.is_none() {
                *slot = Some(point);
                continue;
            }
            // Two points of one name: from lines that have nothing to do with each other.
            let other = NameFormat::name_with_guid(&point.name, point.guid).ok();
            let slots = moments.entry((key.0, other)).or_default();
            slots.resize_with(volumes.len(), || None);
            if let Some(slot) = slots.get_mut(place) {
                *slot = Some(point);
            }
        }
    }
    let group = |((time, _), volumes): (_, Vec<Option<VolumePoint<'a>>>)| {
        let name = volumes.iter().flatten().map(|point| &point.name).min_by_key(|name| name.as_str().len());
        let name = name?.clone();
        Some(GroupPoint { name, time, volumes })
    };
    let mut groups: Vec<GroupPoint<'a>> = moments.into_iter().filter_map(group).collect();
    groups.reverse();
    join_by_month(&mut groups, format);
    groups
}

/// An archive that alone knows some volumes of a month, and others know the rest under its own name: one moment.
fn join_by_month(groups: &mut Vec<GroupPoint<'_>>, format: &NameFormat) {
    let mut at = 0;
    while let Some(group) = groups.get(at) {
        if format.is_own(&group.name) {
            at += 1;
            continue;
        }
        let fits = |other: &GroupPoint<'_>| {
            let found = other.volumes.iter().flatten().flat_map(|point| &point.found);
            let is_named = found.into_iter().any(|one| one.copy.is_archive && one.point.name == group.name);
            let is_apart = other.volumes.iter().zip(&group.volumes).all(|(a, b)| a.is_none() || b.is_none());
            is_named && is_apart
        };
        let Some(other) = groups.iter().position(fits).filter(|other| *other != at) else {
            at += 1;
            continue;
        };
        let joined = groups.remove(at);
        let other = if other > at { other - 1 } else { other };
        if let Some(other) = groups.get_mut(other) {
            for (slot, point) in other.volumes.iter_mut().zip(joined.volumes) {
                if slot.is_none() {
                    *slot = point;
                }
            }
        }
    }
}
