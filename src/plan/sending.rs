//! A second bookmark, `#NAME-sending-TIME`, for a target that cannot be listed: it marks a snapshot whose stream takes
//! more than one run.
//!
//! A stream continues only while its snapshot exists. A listed target shows with its resume token which one it needs;
//! one that is down shows nothing, and the source prunes on. So that a stream completes also over a link that is down
//! for longer than `keep-last` runs between two tries, its snapshot is marked before the stream continues, and stays
//! while some target cannot be listed. The mark is a bookmark, not a hold: a hold on the source makes Proxmox VE's
//! `zfs destroy` and rollback of a guest fail. A killed run leaves the mark, and a mark that is lost costs nothing but
//! the stream's start.
//!
//! Only a copy that holds a partial receive shows that its streams break: the first try of a stream is not marked. If its
//! snapshot goes before the target is back, the partial receive is aborted, and the stream that takes its place is marked.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};

use super::builder::Builder;
use super::outbound::Outbound;
use super::{NewBookmark, Source, StepId};
use crate::model::{Dataset, Guid, NameFormat, Point, PointName};
use crate::policy::Policy;

const INFIX: &str = "-sending-";

/// For how long after the last try a marked snapshot stays for a target that is down; then the stream starts over.
const KEPT_FOR: SignedDuration = SignedDuration::from_hours(24 * 30);

/// A mark that is older is made again at the next try.
const RENEWED_AFTER: SignedDuration = SignedDuration::from_hours(24 * 10);

/// The marks of a dataset, each with the time of the try that it was made for.
pub(super) fn marks<'a>(
    format: &'a NameFormat,
    dataset: &'a Dataset,
) -> impl Iterator<Item = (&'a Point, Timestamp)> {
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
    has_unknown_target: bool,
    now: Timestamp,
) -> BTreeSet<Guid> {
    if !has_unknown_target {
        return BTreeSet::new();
    }
    let is_fresh = |time: Timestamp| now.duration_since(time) <= KEPT_FOR;
    let fresh = marks(&policy.name_format, source.selected.dataset).filter(|(_, time)| is_fresh(*time));
    fresh.map(|(mark, _)| mark.guid).collect()
}

/// Marks `what` before its stream begins or continues. Gives the step to wait for; that it fails stops nothing.
pub(super) fn mark(builder: &mut Builder, source: &Source<'_>, what: Outbound<'_>) -> Option<StepId> {
    let dataset = source.selected.dataset;
    let (format, now) = (source.format, source.time);
    let is_fresh = |time: Timestamp| now.duration_since(time) <= RENEWED_AFTER;
    let mut known = marks(format, dataset).filter(|(_, time)| is_fresh(*time));
    if known.any(|(mark, _)| Some(mark.guid) == what.guid()) {
        return None;
    }
    let name = PointName::new(&format!("{}{INFIX}{}", what.name(), format.name(now).ok()?)).ok()?;
    let bookmark = dataset.name.bookmark(&name).ok()?;
    let new = NewBookmark { bookmark, of: what.name().clone(), guid: what.guid() };
    match (what, source.taken.bookmark) {
        (Outbound::Pending(_), Some(step)) => {
            builder.add_bookmark(step, new);
            None
        }
        (Outbound::Pending(_), None) => None,
        (Outbound::Taken(_), _) => Some(builder.mark(&dataset.name, new)),
    }
}
