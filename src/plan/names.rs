//! What each source is called on a target.

use std::collections::BTreeMap;

use super::PlanError;
use super::select::Selected;
use crate::model::{DatasetName, Guid, Listing};
use crate::policy::Target;
/// What `selected` is called on `target`: `R/x` goes to `ROOT/x`, a root with children to `ROOT`, and a root without
/// children to `ROOT/<its last part>`, unless `ROOT` itself already carries one of its snapshots (`vm-backup.sh`
/// received it there, and it goes on there).
pub fn target_name(
    selected: &Selected<'_>,
    target: &Target,
    listing: &Listing,
) -> Result<DatasetName, crate::model::NameError> {
    match selected.dataset.name.below(&selected.root.dataset) {
        Some(relative) => target.root.child(relative),
        None if !selected.is_lone_root => Ok(target.root.clone()),
        None => {
            let adopted = listing.get(&target.root).is_some_and(|root| {
                let known: Vec<Guid> = selected.dataset.history.points().map(|point| point.guid).collect();
                root.history.snapshots().any(|snapshot| known.contains(&snapshot.guid))
            });
            if adopted { Ok(target.root.clone()) } else { target.root.child(selected.dataset.name.last()) }
        }
    }
}

/// Fails where two sources would be written to one name.
pub(super) fn check_collisions<'a>(
    target: &Target,
    names: impl IntoIterator<Item = (&'a DatasetName, &'a DatasetName)>,
) -> Result<(), PlanError> {
    let mut taken: BTreeMap<&DatasetName, &DatasetName> = BTreeMap::new();
    for (source, name) in names {
        if let Some(other) = taken.insert(name, source) {
            return Err(PlanError::Collision {
                first: other.clone(),
                second: source.clone(),
                target: target.name.clone(),
                name: name.clone(),
            });
        }
    }
    Ok(())
}
