//! What a target that cannot be listed may still need: a second bookmark, `#NAME-sending-TIME`, on a snapshot whose stream
//! takes more than one run.
//!
//! A stream goes on only while its snapshot exists. A listed target shows with its resume token which one it needs; one
//! that is down shows nothing, and the source prunes on. So that a stream completes also over a link that is down for
//! longer than `keep-last` runs between two tries, its snapshot is marked before the stream goes on, and stays while some
//! target cannot be listed. The mark is a bookmark, not a hold: a hold on the source makes Proxmox VE's `zfs destroy` and
//! rollback of a guest fail. A killed run leaves the mark, and a mark that is lost costs nothing but the stream's start.
//!
//! Only a copy that holds a partial receive shows that its streams break: the first try of a stream is not marked. If its
//! snapshot goes before the target is back, the partial receive is aborted, and the stream that takes its place is marked.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};

use super::builder::{Builder, Order};
use super::lane::Lane;
use super::needed::Lanes;
use super::outbound::Outbound;
use super::{Action, Doomed, NewBookmark, Place, Reason, Source, StepId};
use crate::model::{Dataset, Guid, NameFormat, Point, PointName};
use crate::policy::Policy;

const INFIX: &str = "-sending-";

/// For how long after the last try a marked snapshot stays for a target that is down; then the stream starts anew.
const KEPT_FOR: SignedDuration = SignedDuration::from_hours(24 * 30);

/// A mark that is older is made again at the next try.
const RENEWED_AFTER: SignedDuration = SignedDuration::from_hours(24 * 10);

/// The marks of a dataset, each with the time of the try that it was made for.
fn marks<'a>(format: &'a NameFormat, dataset: &'a Dataset) -> impl Iterator<Item = (&'a Point, Timestamp)> {
    let time = |mark: &Point| {
        let (snapshot, time) = mark.name.as_str().rsplit_once(INFIX)?;
        let is_own = PointName::new(snapshot).is_ok_and(|snapshot| format.is_own(&snapshot));
        if is_own { format.time(&PointName::new(time).ok()?) } else { None }
    };
    dataset.history.bookmarks().filter_map(move |mark| Some((mark, time(mark)?)))
}

/// The snapshots that stay because a target that is down may need them.
pub(super) fn protected(
    policy: &Policy,
    source: &Source<'_>,
    lanes: &Lanes<'_>,
    now: Timestamp,
) -> BTreeSet<Guid> {
    if !lanes.has_unknown_target {
        return BTreeSet::new();
    }
    let is_fresh = |time: Timestamp| now.duration_since(time) <= KEPT_FOR;
    let fresh = marks(&policy.name_format, source.selected.dataset).filter(|(_, time)| is_fresh(*time));
    fresh.map(|(mark, _)| mark.guid).collect()
}

/// Marks `what` before its stream begins or goes on. Gives the step to wait for; that it fails stops nothing.
pub(super) fn mark(builder: &mut Builder, lane: &Lane<'_>, what: Outbound<'_>) -> Option<StepId> {
    let dataset = lane.dataset();
    let (format, now) = (lane.source.format, lane.source.time);
    let is_fresh = |time: Timestamp| now.duration_since(time) <= RENEWED_AFTER;
    let mut known = marks(format, dataset).filter(|(_, time)| is_fresh(*time));
    if known.any(|(mark, _)| Some(mark.guid) == what.guid()) {
        return None;
    }
    let name = PointName::new(&format!("{}{INFIX}{}", what.name(), format.name(now).ok()?)).ok()?;
    let bookmark = dataset.name.bookmark(&name).ok()?;
    let new = NewBookmark { bookmark, of: what.name().clone(), guid: what.guid() };
    match (what, lane.source.taken.bookmark) {
        (Outbound::Pending(_), Some(step)) => {
            builder.add_bookmark(step, new);
            None
        }
        (Outbound::Pending(_), None) => None,
        (Outbound::Taken(_), _) => Some(builder.mark(&dataset.name, new)),
    }
}

/// Removes the marks that nothing needs any more, since every target is known: at once where none has a part of the stream,
/// otherwise once the stream has arrived.
pub(super) fn plan_removal(builder: &mut Builder, policy: &Policy, source: &Source<'_>, lanes: &Lanes<'_>) {
    let dataset = source.selected.dataset;
    let mut by_needs: BTreeMap<Option<&BTreeSet<StepId>>, Vec<Doomed>> = BTreeMap::new();
    for (mark, _) in marks(&policy.name_format, dataset) {
        let is_alive = dataset.history.find_snapshot(mark.guid).is_some();
        // The last bookmark of a snapshot is more than a mark.
        let mut others = dataset.history.bookmarks().filter(|other| other.guid == mark.guid);
        let has_other = others.any(|other| other.name != mark.name);
        let is_needed = is_alive && (lanes.has_unknown_target || lanes.kept.contains(&mark.guid));
        if has_other && !is_needed {
            let doomed = Doomed::new(mark, Reason::NotSending);
            by_needs.entry(lanes.needed_by.get(&mark.guid)).or_default().push(doomed);
        }
    }
    for new in builder.new_marks(&dataset.name) {
        let sends = new.guid.and_then(|guid| Some((guid, lanes.needed_by.get(&guid)?)));
        if let Some((guid, sends)) = sends.filter(|_| !lanes.has_unknown_target) {
            let name = new.bookmark.name().clone();
            let doomed = Doomed { name, guid, why: Reason::NotSending, used_bytes: 0 };
            by_needs.entry(Some(sends)).or_default().push(doomed);
        }
    }
    // A mark that nothing needs is no reason for a run that has nothing else to do to change anything.
    by_needs.retain(|sends, _| sends.is_some() || source.pending.is_some());
    for (sends, bookmarks) in by_needs {
        let action = Action::DestroyBookmarks { dataset: dataset.name.clone(), bookmarks };
        let order = Order::needs(sends.into_iter().flatten().copied());
        builder.step(Some(&dataset.name), Place::Source, action, Reason::NotSending, order);
    }
}
