//! The marks of streams that are over: they go once nothing needs them any more.

use std::collections::{BTreeMap, BTreeSet};

use super::builder::{Builder, Order};
use super::needed::Replications;
use super::sending::marks;
use super::{Action, Place, Reason, Source, StepId, ToDestroy};
use crate::policy::Policy;

/// Removes the marks that nothing needs any more, since every target is known: at once where none has a part of the stream,
/// otherwise once the stream has arrived.
pub(super) fn plan_removal(
    builder: &mut Builder,
    policy: &Policy,
    source: &Source<'_>,
    replications: &Replications<'_>,
) {
    let dataset = source.selected.dataset;
    let mut by_needs: BTreeMap<Option<&BTreeSet<StepId>>, Vec<ToDestroy>> = BTreeMap::new();
    for (mark, _) in marks(&policy.name_format, dataset) {
        let is_alive = dataset.history.find_snapshot(mark.guid).is_some();
        // The last bookmark of a snapshot is more than a mark.
        let mut others = dataset.history.bookmarks().filter(|other| other.guid == mark.guid);
        let has_other = others.any(|other| other.name != mark.name);
        let is_needed =
            is_alive && (replications.has_unknown_target || replications.kept.contains(&mark.guid));
        if has_other && !is_needed {
            let to_destroy = ToDestroy::new(mark, Reason::NotSending);
            by_needs.entry(replications.needed_by.get(&mark.guid)).or_default().push(to_destroy);
        }
    }
    for new in builder.new_marks(&dataset.name) {
        let sends = new.guid.and_then(|guid| Some((guid, replications.needed_by.get(&guid)?)));
        if let Some((guid, sends)) = sends.filter(|_| !replications.has_unknown_target) {
            let name = new.bookmark.name().clone();
            let to_destroy = ToDestroy { name, guid, why: Reason::NotSending, used_bytes: 0 };
            by_needs.entry(Some(sends)).or_default().push(to_destroy);
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
