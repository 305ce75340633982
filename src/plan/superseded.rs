//! Old lines that were renamed aside: how they are named, and when they expire.

use jiff::Timestamp;

use super::builder::{Builder, Order};
use super::lane::Lane;
use super::{Doomed, FindingKind, Place, Reason, Severity};
use crate::model::{BACKUP_ASIDE, Change, Dataset, DatasetName, Listing, NameFormat, Point, PointName};
use crate::policy::{BackupRules, Policy, Target};

/// The date in such a name is always written like this, whatever the policy's snapshots are called.
fn date_format() -> Option<NameFormat> {
    NameFormat::new(NameFormat::DEFAULT).ok()
}

/// Adds the step that renames the target's line aside; the lane then begins anew. Gives the new name.
pub(super) fn plan_aside(
    builder: &mut Builder,
    lane: &mut Lane<'_>,
    there: &Dataset,
    infix: &str,
    because: Reason,
) -> Option<DatasetName> {
    if lane.has_children {
        let copy = lane.name.clone();
        lane.block(builder, FindingKind::SetAsideHasChildren { copy, because });
        return None;
    }
    let date = date_format().and_then(|format| format.name(lane.source.time).ok());
    let aside = date.and_then(|date| DatasetName::new(&format!("{}{infix}{date}", lane.name)).ok());
    let longest = there.history.snapshots().max_by_key(|point| point.name.as_str().len());
    let fits = |name: &DatasetName| longest.is_none_or(|point| name.snapshot(&point.name).is_ok());
    let Some(aside) = aside.filter(fits) else {
        lane.block(builder, FindingKind::SetAsideName { copy: lane.name.clone() });
        return None;
    };
    let action = Change::RenameDataset { from: lane.name.clone(), guid: there.guid, to: aside.clone() };
    lane.step(builder, action, because);
    lane.start_anew();
    Some(aside)
}

/// The date at which a dataset of this name was superseded, and what its line was called.
fn superseded_at(name: &DatasetName) -> Option<(DatasetName, Timestamp)> {
    let (line, date) = name.as_str().rsplit_once(BACKUP_ASIDE)?;
    let time = date_format()?.time(&PointName::new(date).ok()?)?;
    Some((DatasetName::new(line).ok()?, time))
}

/// Adds the destruction of superseded lines that have had their time. A line that still has anything which is not ours,
/// or is held, cloned, has children or a receive under way, or has no successor with a complete snapshot, stays.
pub(super) fn plan_expiry(
    builder: &mut Builder,
    policy: &Policy,
    rules: &BackupRules,
    target: &Target,
    listing: &Listing,
    now: Timestamp,
) {
    let Some(keep) = rules.keep_superseded else { return };
    for old in listing.below(&target.root) {
        let Some((line, since)) = superseded_at(&old.name) else {
            continue;
        };
        if since.saturating_add(keep).is_ok_and(|expiry| expiry > now) {
            continue;
        }
        let place = Place::Target(target.name.clone());
        let successor = listing.get(&line).and_then(|new| new.history.newest_snapshot());
        let is_all_ours = old.history.points().all(|point| policy.name_format.is_own(&point.name));
        let may_go = is_all_ours && old.resume_token.is_none() && !listing.has_children(&old.name);
        let may_go = may_go
            && successor.is_some_and(|newest| builder.knows(&place, &line, [newest]))
            && builder.knows(&place, &old.name, old.history.points());
        if !may_go || old.history.points().any(Point::is_pinned) {
            let kind = FindingKind::ExpiredStays { copy: old.name.clone() };
            builder.find(Severity::Note, None, place, kind);
            continue;
        }
        let why = Reason::SupersededSince { since };
        let snapshots = old.history.snapshots().map(|point| Doomed::new(point, why.clone())).collect();
        let action = Change::DestroyDataset { dataset: old.name.clone(), guid: old.guid, snapshots };
        builder.step(None, place, action, why, Order::default());
    }
}
