//! Nothing is destroyed that anyone may still want.

use std::collections::BTreeSet;

use super::{Listed, Promise, Proof};
use crate::model::{Answer, Change, Dataset, DatasetName, Guid, Point, PointKind};
use crate::plan::superseded::is_templates;
use crate::plan::{Action, Place, Reason, Step, ToDestroy};

/// Checks what `step` destroys.
pub(super) fn check(proof: &mut Proof<'_>, step: &Step) {
    match (&step.place, &step.action) {
        (Place::Source, Action::DestroyBookmarks { dataset, bookmarks }) => {
            check_bookmarks(proof, step, dataset, bookmarks);
        }
        (Place::Source, Action::Change(Change::DestroySnapshots { dataset, snapshots })) => {
            check_source(proof, step, dataset, snapshots);
        }
        (Place::Target(name), Action::Change(change)) => {
            if change.takes_away() && proof.keeps_all(name) {
                return proof.breach(step, Promise::NothingGoes);
            }
            if let Change::DestroySnapshots { dataset, snapshots } = change {
                check_backup(proof, step, dataset, snapshots);
            } else if let Change::DestroyDataset { guid, snapshots, .. } = change {
                check_dataset(proof, step, *guid, snapshots);
            }
        }
        (Place::Source, Action::Snapshot { .. } | Action::Bookmark { .. })
        | (Place::Target(_), Action::Send(_)) => {}
        (Place::Source, Action::Send(_) | Action::Change(_))
        | (
            Place::Target(_),
            Action::Snapshot { .. } | Action::Bookmark { .. } | Action::DestroyBookmarks { .. },
        ) => proof.breach(step, Promise::RightPlace),
    }
}

/// The points as they were listed; those that were not are breaches.
fn listed<'a>(
    proof: &mut Proof<'a>,
    step: &Step,
    kind: PointKind,
    to_destroy: &[ToDestroy],
) -> Vec<Listed<'a>> {
    let mut found = Vec::new();
    for one in to_destroy {
        let is_it = |(_, point): &&Listed<'a>| point.kind == kind && point.name == one.name;
        match proof.listed(&step.place, one.guid).iter().find(is_it).copied() {
            Some(known) => found.push(known),
            None => proof.breach(step, Promise::OnlyListed { point: one.name.clone() }),
        }
    }
    found
}

fn check_bookmarks(proof: &mut Proof<'_>, step: &Step, dataset: &DatasetName, to_destroy: &[ToDestroy]) {
    // The mark of a stream may be made and destroyed by the same run.
    let is_made = |one: &&ToDestroy| {
        let mut earlier = proof.plan.steps.iter().take_while(|earlier| earlier.id < step.id);
        one.why == Reason::NotSending
            && earlier.any(|earlier| match &earlier.action {
                Action::Bookmark { bookmarks } => bookmarks
                    .iter()
                    .any(|new| new.bookmark.dataset() == dataset && *new.bookmark.name() == one.name),
                Action::Snapshot { .. }
                | Action::Send(_)
                | Action::DestroyBookmarks { .. }
                | Action::Change(_) => false,
            })
    };
    let to_destroy: Vec<ToDestroy> = to_destroy.iter().filter(|one| !is_made(one)).cloned().collect();
    for (at, point) in listed(proof, step, PointKind::Bookmark, &to_destroy) {
        let marks_stream =
            to_destroy.iter().any(|one| one.guid == point.guid && one.why == Reason::NotSending);
        let is_own = proof.policy.name_format.is_own(&point.name)
            || (marks_stream && point.name.as_str().contains("-sending-"));
        if !is_own || at.name != *dataset {
            proof.breach(step, Promise::OnlyOwn { point: point.name.clone() });
        }
    }
}

fn check_source(proof: &mut Proof<'_>, step: &Step, dataset: &DatasetName, to_destroy: &[ToDestroy]) {
    let needed = proof.needed(step);
    let takes = |step: &&Step| match &step.action {
        Action::Snapshot { snapshots, .. } => snapshots.iter().any(|new| new.dataset() == dataset),
        Action::Bookmark { .. } | Action::Send(_) | Action::DestroyBookmarks { .. } | Action::Change(_) => {
            false
        }
    };
    let has_newer = needed.iter().any(takes);
    // A snapshot that could get no bookmark is left out when the step is carried out.
    let before = step.after.iter().filter_map(|id| proof.plan.steps.get(id.0));
    let mut marked: BTreeSet<Guid> = BTreeSet::new();
    for step in needed.iter().copied().chain(before) {
        if let Action::Bookmark { bookmarks } = &step.action {
            marked.extend(bookmarks.iter().filter_map(|new| new.guid));
        }
    }
    for (at, point) in listed(proof, step, PointKind::Snapshot, to_destroy) {
        check_own(proof, step, point);
        if newest_own(proof, at) == Some(point.guid) && !has_newer {
            proof.breach(step, Promise::NewestStays { point: point.name.clone() });
        }
        let is_marked = at.history.bookmarks().any(|other| other.guid == point.guid);
        if !is_marked && !marked.contains(&point.guid) {
            proof.breach(step, Promise::BookmarkFirst { point: point.name.clone() });
        }
    }
}

fn check_backup(proof: &mut Proof<'_>, step: &Step, dataset: &DatasetName, to_destroy: &[ToDestroy]) {
    let arrives = |step: &&Step| match &step.action {
        Action::Send(transfer) => transfer.target.dataset() == dataset,
        Action::Snapshot { .. }
        | Action::Bookmark { .. }
        | Action::DestroyBookmarks { .. }
        | Action::Change(_) => false,
    };
    let has_newer = proof.needed(step).iter().any(arrives);
    for (at, point) in listed(proof, step, PointKind::Snapshot, to_destroy) {
        check_own(proof, step, point);
        let why = to_destroy.iter().find(|one| one.guid == point.guid).map(|one| &one.why);
        let is_by_rule = matches!(why, Some(Reason::NotKept { .. })) && at.set_aside().is_none();
        if is_by_rule && newest_own(proof, at) == Some(point.guid) && !has_newer {
            proof.breach(step, Promise::NewestStays { point: point.name.clone() });
        }
    }
}

fn check_dataset(proof: &mut Proof<'_>, step: &Step, guid: Guid, to_destroy: &[ToDestroy]) {
    let is_set_aside =
        |dataset: &Dataset| dataset.guid == guid && dataset.set_aside().is_some_and(|mark| mark.done);
    let is_known = proof.inventory.targets.iter().any(|(name, answer)| match answer {
        Answer::Listed(listing) => {
            step.place == Place::Target(name.clone()) && listing.datasets().any(is_set_aside)
        }
        Answer::CouldNotAsk(_) => false,
    });
    if !is_known {
        proof.breach(step, Promise::OnlySetAside);
    }
    for (at, point) in listed(proof, step, PointKind::Snapshot, to_destroy) {
        if !at.set_aside().is_some_and(|mark| is_templates(&mark, &point.name)) {
            check_own(proof, step, point);
        }
    }
}

fn check_own(proof: &mut Proof<'_>, step: &Step, point: &Point) {
    if !proof.policy.name_format.is_own(&point.name) {
        proof.breach(step, Promise::OnlyOwn { point: point.name.clone() });
    }
}

fn newest_own(proof: &Proof<'_>, dataset: &Dataset) -> Option<Guid> {
    let mut snapshots = dataset.history.snapshots().rev();
    snapshots.find(|point| proof.policy.name_format.is_own(&point.name)).map(|point| point.guid)
}
