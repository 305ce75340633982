//! One writer per copy: who may write it, and who takes it over.

use super::builder::Builder;
use super::lane::Lane;
use super::{AsideFinding, FindingKind, Reason, Severity, months};
use crate::model::{ARCHIVE_ASIDE, Change, Dataset, Guid, Point, PointKind};
use crate::policy::Policy;

/// Makes sure that the copy is this source's; claims one that nobody has marked. Ends the lane where it is another's.
pub(super) fn settle(builder: &mut Builder, policy: &Policy, lane: &mut Lane<'_>) {
    let Some(there) = lane.there else { return };
    if there.set_aside().is_some() {
        return lane.block(builder, AsideFinding::NameIsSetAside { copy: lane.name.clone() });
    }
    let common = lane.line.as_ref().and_then(|line| line.common);
    if let Some(origin) = &there.origin {
        let kind =
            |goes_on| FindingKind::PromotedAway { copy: lane.name.clone(), origin: origin.clone(), goes_on };
        if common.is_none() {
            return lane.block(builder, kind(false));
        }
        // An earlier zhaul continued archives as clones of what it had renamed.
        let is_branch = origin.dataset().as_str().starts_with(&format!("{}{ARCHIVE_ASIDE}", lane.name));
        let severity = if is_branch { Severity::Note } else { Severity::Warning };
        builder.find(severity, Some(&lane.dataset().name), lane.place.clone(), kind(true));
    }
    match there.writer() {
        Some(writer) if writer.guid == lane.writer.guid => {
            report_unsafe(builder, lane, there);
            // A copy whose mark has the present name and that lies elsewhere was renamed on the target, by a person. The GUID of
            // one that is made in this run is not known yet.
            if writer.label != lane.writer.label && there.guid != Guid(0) {
                claim(builder, lane, there, Reason::SourceRenamed { from: writer.label });
            }
        }
        Some(writer) => {
            let newest = there.history.newest_snapshot();
            let is_here = newest
                .and_then(|newest| lane.find_at_source(newest.guid))
                .is_some_and(|point| point.kind == PointKind::Snapshot);
            if is_here {
                let kind = FindingKind::TakenOver { copy: lane.name.clone(), from: writer.label.clone() };
                builder.find(Severity::Warning, Some(&lane.dataset().name), lane.place.clone(), kind);
                claim(builder, lane, there, Reason::TakesOver { from: writer.label });
            } else if writer.label != lane.writer.label {
                let (copy, mark) = (lane.name.clone(), lane.writer.to_string());
                lane.is_of_another = true;
                lane.block(builder, FindingKind::OtherWriter { copy, writer: writer.label, mark });
            } else if common.is_some() {
                // The same dataset, restored or received anew in its place.
                claim(builder, lane, there, Reason::TakesOver { from: writer.label });
            }
        }
        // It may be the copy of a source that is ahead of this one, such as a replica's original.
        None if common.is_some() && newest_is_unknown(policy, lane, there) => {
            let (copy, mark) = (lane.name.clone(), lane.writer.to_string());
            lane.is_of_another = true;
            lane.block(builder, FindingKind::UnclaimedCopy { copy, mark });
        }
        None if common.is_some() => claim(builder, lane, there, Reason::Unclaimed),
        None => {}
    }
}

/// Whether the source does not know the newest snapshot that zhaul, or its predecessor, sent to the copy.
fn newest_is_unknown(policy: &Policy, lane: &Lane<'_>, there: &Dataset) -> bool {
    let is_sent = |point: &&Point| policy.name_format.is_own(&point.name) || months::is_archives(&point.name);
    let newest = there.history.snapshots().rev().find(is_sent);
    newest.is_some_and(|newest| !lane.knows(newest.guid))
}

fn claim(builder: &mut Builder, lane: &mut Lane<'_>, there: &Dataset, reason: Reason) {
    let (dataset, guid, writer) = (lane.name.clone(), there.guid, lane.writer.clone());
    lane.step(builder, Change::Claim { dataset, guid, writer }, reason);
}

/// Names what makes a copy of this source's unsafe: somebody has changed it, or a permission was missing.
fn report_unsafe(builder: &mut Builder, lane: &Lane<'_>, there: &Dataset) {
    for (safe, value) in there.unsafe_properties() {
        let kind = FindingKind::NotSafe {
            copy: lane.name.clone(),
            property: safe.name.to_owned(),
            value,
            wanted: safe.value.to_owned(),
        };
        builder.find(Severity::Failed, Some(&lane.dataset().name), lane.place.clone(), kind);
    }
}
