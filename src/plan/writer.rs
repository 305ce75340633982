//! One writer per copy: who may write it, and who takes it over.

use super::builder::Builder;
use super::replication::Replication;
use super::{AsideFinding, FindingKind, Reason, Severity, months};
use crate::model::{ARCHIVE_ASIDE, Change, Dataset, Guid, Point, PointKind};
use crate::policy::Policy;

/// Makes sure that the copy is this source's; claims one without a mark. Ends the replication where it is another's.
pub(super) fn resolve(builder: &mut Builder, policy: &Policy, replication: &mut Replication<'_>) {
    let Some(there) = replication.there else { return };
    if there.set_aside().is_some() {
        return replication.block(builder, AsideFinding::NameIsSetAside { copy: replication.name.clone() });
    }
    let common = replication.comparison.as_ref().and_then(|comparison| comparison.common);
    // The first receive of a clone, broken off: it has its origin before its first snapshot.
    let is_begun = there.history.newest_snapshot().is_none() && there.resume_token.is_some();
    let promoted = there.origin.as_ref().filter(|origin| !is_begun && !replication.is_linked(origin));
    if let Some(origin) = promoted {
        let kind = |is_continued| FindingKind::PromotedAway {
            copy: replication.name.clone(),
            origin: origin.clone(),
            is_continued,
        };
        if common.is_none() {
            return replication.block(builder, kind(false));
        }
        // An earlier zhaul continued archives as clones of what it had renamed.
        let is_branch =
            origin.dataset().as_str().starts_with(&format!("{}{ARCHIVE_ASIDE}", replication.name));
        let severity = if is_branch { Severity::Note } else { Severity::Warning };
        builder.find(severity, Some(&replication.dataset().name), replication.place.clone(), kind(true));
    }
    match there.writer() {
        Some(writer) if writer.guid == replication.writer.guid => {
            report_unsafe(builder, replication, there);
            // A copy whose mark has the present name and that is elsewhere was renamed on the target, by a person. The
            // GUID of one that is made in this run is not known yet.
            if writer.label != replication.writer.label && there.guid != Guid(0) {
                claim(builder, replication, there, Reason::SourceRenamed { from: writer.label });
            }
        }
        Some(writer) => {
            let newest = there.history.newest_snapshot();
            let is_here = newest
                .and_then(|newest| replication.find_at_source(newest.guid))
                .is_some_and(|point| point.kind == PointKind::Snapshot);
            // The HA manager starts a guest with what replication has brought last; what the copy has beyond that is set
            // aside. Without this the copy would be refused for ever, since the other node does not have the guest back.
            let has_moved_here = common.is_some() && is_of_cluster(replication, &writer.label);
            if is_here || has_moved_here {
                let kind = FindingKind::TakenOver {
                    copy: replication.name.clone(),
                    from: writer.label.clone(),
                    has_newest: is_here,
                };
                builder.find(
                    Severity::Warning,
                    Some(&replication.dataset().name),
                    replication.place.clone(),
                    kind,
                );
                claim(builder, replication, there, Reason::TakesOver { from: writer.label });
            } else if writer.label != replication.writer.label {
                let (copy, mark) = (replication.name.clone(), replication.writer.to_string());
                replication.is_of_another = true;
                replication.block(builder, FindingKind::OtherWriter { copy, writer: writer.label, mark });
            } else if common.is_some() {
                // The same dataset, restored or received again in its place.
                claim(builder, replication, there, Reason::TakesOver { from: writer.label });
            }
        }
        // It may be the copy of a source that is ahead of this one, such as a replica's original.
        None if common.is_some() && newest_is_unknown(policy, replication, there) => {
            let (copy, mark) = (replication.name.clone(), replication.writer.to_string());
            replication.is_of_another = true;
            replication.block(builder, FindingKind::UnclaimedCopy { copy, mark });
        }
        None if common.is_some() => claim(builder, replication, there, Reason::Unclaimed),
        None => {}
    }
}

/// Whether the guest is on this node by the word of a cluster that the node in this label, `host:dataset`, is one of. A guest of
/// another cluster may have the same number and the same snapshots: it was restored there.
fn is_of_cluster(replication: &Replication<'_>, label: &str) -> bool {
    let host = label.split(':').next().unwrap_or_default();
    let node = host.split('.').next().unwrap_or_default();
    replication.source.selected.cluster.is_some_and(|nodes| nodes.contains(node))
}

/// Whether the source does not know the newest snapshot that zhaul, or its predecessor, sent to the copy.
fn newest_is_unknown(policy: &Policy, replication: &Replication<'_>, there: &Dataset) -> bool {
    let is_sent = |point: &&Point| policy.name_format.is_own(&point.name) || months::is_archives(&point.name);
    let newest = there.history.snapshots().rev().find(is_sent);
    newest.is_some_and(|newest| !replication.knows(newest.guid))
}

fn claim(builder: &mut Builder, replication: &mut Replication<'_>, there: &Dataset, reason: Reason) {
    let (dataset, guid, writer) = (replication.name.clone(), there.guid, replication.writer.clone());
    replication.step(builder, Change::Claim { dataset, guid, writer }, reason);
}

/// Names what makes a copy of this source's unsafe: an admin has changed it, or a permission was missing.
fn report_unsafe(builder: &mut Builder, replication: &Replication<'_>, there: &Dataset) {
    for (safe, value) in there.unsafe_properties() {
        let kind = FindingKind::NotSafe {
            copy: replication.name.clone(),
            property: safe.name.to_owned(),
            value,
            wanted: safe.value.to_owned(),
        };
        builder.find(Severity::Failed, Some(&replication.dataset().name), replication.place.clone(), kind);
    }
}
