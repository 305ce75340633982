//! The evidence that a dataset on a target is the copy of a source.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use crate::model::{
    ARCHIVE_ASIDE, BACKUP_ASIDE, Dataset, DatasetName, GuestId, Guid, Point, ResumeToken, SET_ASIDE_PROPERTY,
    SetAsideMark, Txg, VolumeName, WRITER_PROPERTY,
};
use crate::plan::comparison::GuidIndex;

/// How many of a copy's newest snapshots are looked for one by one before all are compared: mostly the first is known.
const NEWEST: usize = 4;

/// A source's evidence for a copy.
#[derive(Debug, Clone, Copy)]
pub(super) struct Evidence {
    /// The copy says that this source writes it.
    is_writer: bool,
    /// How many snapshots of the copy are newer than the newest common one.
    unknown: usize,
    is_selected: bool,
    /// The source has a bookmark of the newest common point: its snapshot was taken there, not received.
    is_marked: bool,
    /// The source's newest point that the copy has, or is about to have.
    pub(super) reaches: Option<Txg>,
}

impl Evidence {
    /// The evidence of `source` for `copy`, if any.
    pub(super) fn of(source: &Dataset, is_selected: bool, copy: &Dataset) -> Option<Self> {
        let writer = copy.user.local(WRITER_PROPERTY).and_then(|value| value.split(' ').next());
        let is_writer = writer.is_some_and(|guid| guid == source.guid.0.to_string());
        let common = newest_common(source, copy);
        if common.is_none() && !is_writer {
            return None;
        }
        let point = common.map(|(_, point)| point);
        let is_it = |bookmark: &Point| point.is_some_and(|point| bookmark.guid == point.guid);
        Some(Self {
            is_writer,
            unknown: common.map_or(usize::MAX, |(unknown, _)| unknown),
            is_selected,
            is_marked: source.history.bookmarks().rev().any(is_it),
            reaches: point.map(|point| point.createtxg),
        })
    }

    /// How good the claim is beside that of another source to the same copy; greater is better.
    pub(super) fn claim(self) -> (bool, Reverse<usize>, bool, bool) {
        (self.is_writer, Reverse(self.unknown), self.is_selected, self.is_marked)
    }
}

/// The source's newest point that the copy has, and how many newer snapshots the copy has. Without snapshots, the point
/// that a partial receive will make.
fn newest_common<'a>(source: &'a Dataset, copy: &Dataset) -> Option<(usize, &'a Point)> {
    let copied = || copy.history.snapshots().rev().map(|point| point.guid).enumerate();
    if copied().next().is_none() {
        let token = ResumeToken::parse(copy.resume_token.as_deref()?).ok()?;
        return Some((0, newest(source, token.to_guid)?));
    }
    let first = copied().take(NEWEST).find_map(|(unknown, guid)| Some((unknown, newest(source, guid)?)));
    if first.is_some() {
        return first;
    }
    let mut rest = copied().skip(NEWEST).peekable();
    rest.peek()?;
    let index = GuidIndex::new(&source.history);
    rest.find_map(|(unknown, guid)| Some((unknown, index.find(guid)?)))
}

fn newest(source: &Dataset, guid: Guid) -> Option<&Point> {
    source.history.points().rev().find(|point| point.guid == guid)
}

/// Whether it was set aside, by its own mark, or one that this version cannot read, or by the name that earlier versions gave
/// it. A mark of another dataset counts for nothing, and one with a writer and no mark is a copy, whatever its name says: its
/// source has, or had, such a name.
pub(super) fn is_set_aside(there: &Dataset) -> bool {
    let is_named = |infix: &str| there.name.last().contains(infix);
    let is_called_so = is_named(BACKUP_ASIDE) || is_named(ARCHIVE_ASIDE);
    match there.user.local(SET_ASIDE_PROPERTY) {
        Some(mark) => SetAsideMark::parse(mark).is_none() || there.set_aside().is_some(),
        None => is_called_so && there.writer().is_none(),
    }
}

/// The copies among these that are named after disks of guests, by guest.
pub(super) fn of_guests<'a>(
    copies: impl Iterator<Item = &'a Dataset>,
) -> BTreeMap<GuestId, Vec<&'a Dataset>> {
    let mut by_guest: BTreeMap<GuestId, Vec<&Dataset>> = BTreeMap::new();
    for copy in copies.filter(|copy| copy.has_begun() && !is_set_aside(copy)) {
        if let Some(guest) = guest_of_numbered(&copy.name) {
            by_guest.entry(guest).or_default().push(copy);
        }
    }
    by_guest
}

/// The copies that `source` continues though they are named after another disk of its guest: where a migration finds the name
/// of a disk taken on the other node, the disk gets the next free number there. Disks that were renamed here have their GUID
/// still, and their copies follow them.
pub(super) fn renumbered<'a>(
    source: &Dataset,
    of_guests: &'a BTreeMap<GuestId, Vec<&Dataset>>,
) -> impl Iterator<Item = &'a DatasetName> {
    let copies = guest_of_numbered(&source.name).and_then(|guest| of_guests.get(&guest));
    let is_continued = |copy: &&&Dataset| match copy.writer() {
        Some(writer) if writer.guid == source.guid => is_written_for(copy, &source.name),
        _ => {
            let newest = copy.history.newest_snapshot();
            newest.is_some_and(|newest| source.history.find_snapshot(newest.guid).is_some())
        }
    };
    let continued = copies.into_iter().flatten().filter(is_continued);
    continued.map(|copy| &copy.name).collect::<Vec<_>>().into_iter()
}

/// The guest of a disk with a name that Proxmox VE numbers, `vm-100-disk-0`. Other names are people's.
fn guest_of_numbered(name: &DatasetName) -> Option<GuestId> {
    let (_, number) = name.last().rsplit_once("-disk-")?;
    let is_number = number.bytes().all(|c| c.is_ascii_digit());
    VolumeName::parse(name.last()).filter(|_| is_number).map(|volume| volume.guest)
}

/// Whether the copy says that a dataset called `source` writes it, perhaps one that was recreated since.
pub(super) fn is_written_for(copy: &Dataset, source: &DatasetName) -> bool {
    let place = copy.user.local(WRITER_PROPERTY).and_then(|value| value.split_once(' '));
    place.and_then(|(_, place)| place.split_once(':')).is_some_and(|(_, name)| name == source.as_str())
}
