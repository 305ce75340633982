//! Copies whose source is gone: they are named, and a backup's keep rules still apply to them.
//!
//! The rules count snapshots, so they change nothing by themselves once no new ones come. But an admin who lowers them wants
//! room, and would find it everywhere but in the copies of guests that exist no more.

use std::collections::BTreeSet;

use super::builder::{Builder, Order};
use super::ground::Ground;
use super::judge::{Candidate, judge};
use super::view::View;
use super::{Known, Orphan, Place, Reason};
use crate::model::{Change, Dataset, DatasetName, Point, ProxmoxState};
use crate::policy::{BackupRules, TargetKind};

/// Names the copies of one target that nothing is sent to, and prunes those of sources that are gone. `not_renamed` are names
/// that copies are to get, but not in this run.
pub(super) fn plan(
    builder: &mut Builder,
    known: Known<'_>,
    ground: Ground<'_>,
    view: &View<'_>,
    not_renamed: &BTreeSet<&DatasetName>,
) {
    let Ground { target, listing, is_append_only, .. } = ground;
    for (copy, source) in view.called.orphans() {
        let there = listing.get(copy);
        builder.orphan(Orphan {
            target: target.name.clone(),
            copy: copy.clone(),
            source: source.cloned(),
            snapshots: there.map_or(0, |there| there.history.snapshots().count()),
            newest: there.and_then(|there| Some(there.history.newest_snapshot()?.name.clone())),
            is_partial: there.is_some_and(|there| there.resume_token.is_some()),
        });
        let (TargetKind::Backup(rules), None, Some(there)) = (&target.kind, source, there) else { continue };
        let is_there = !not_renamed.iter().any(|name| copy.is_within(name));
        if let Some(source) = gone(known, there).filter(|_| is_there && !is_append_only) {
            prune(builder, known, Place::Target(target.name.clone()), rules, &source, there);
        }
    }
}

/// The source of a copy, if it is certain that it was on this host, below a root of this policy, and is there no more. Other
/// hosts and other policies may keep copies below the same root of the target.
fn gone(known: Known<'_>, copy: &Dataset) -> Option<DatasetName> {
    let Known { policy, inventory, listing, request } = known;
    let is_in_doubt = matches!(inventory.proxmox.state, ProxmoxState::InDoubt(_));
    if is_in_doubt || !request.guests.is_empty() || copy.resume_token.is_some() {
        return None;
    }
    let writer = copy.writer()?;
    let source = DatasetName::new(writer.label.strip_prefix(&format!("{}:", inventory.host))?).ok()?;
    let mut roots = policy.roots.iter().map(|root| &root.dataset);
    let was_here = roots.any(|root| source.is_within(root) && listing.get(root).is_some());
    let is_here = listing.get(&source).is_some()
        || listing.why_unlisted(&source).is_some()
        || listing.datasets().any(|dataset| dataset.guid == writer.guid);
    (was_here && !is_here).then_some(source)
}

/// Plans what the rules give up. The newest own snapshot always stays.
fn prune(
    builder: &mut Builder,
    known: Known<'_>,
    place: Place,
    rules: &BackupRules,
    source: &DatasetName,
    copy: &Dataset,
) {
    let format = &known.policy.name_format;
    let own = copy.history.snapshots().rev();
    let own: Vec<Candidate<'_>> =
        own.filter_map(|point| Some((format.time(&point.name)?, Some(point)))).collect();
    let judged = judge(&rules.keep, known.policy, builder.at(), own);
    let snapshots = judged.resolve(builder, source, &place, &copy.name, Point::is_held_or_cloned);
    if snapshots.is_empty() {
        return;
    }
    let action = Change::DestroySnapshots { dataset: copy.name.clone(), snapshots };
    let step = builder.step(None, place, action, Reason::NotKept { rules: rules.keep }, Order::default());
    builder.first(step);
}
