//! Which datasets the policy selects, and what each is called on a target.

use std::collections::BTreeMap;

use super::PlanError;
use crate::model::{Dataset, DatasetName, Guest, Guid, Inventory, Listing};
use crate::plan::Request;
use crate::policy::{Policy, SourceRoot, Target};

/// A dataset that is to be backed up.
#[derive(Debug, Clone, Copy)]
pub struct Selected<'a> {
    /// The dataset as the source listed it.
    pub dataset: &'a Dataset,
    /// The root that selected it.
    pub root: &'a SourceRoot,
    /// Whether it is a root that has no children.
    pub is_lone_root: bool,
    /// The guest it is a volume of, if one.
    pub guest: Option<&'a Guest>,
}

/// Every dataset that `policy` and `request` select, by name.
pub fn select<'a>(
    policy: &'a Policy,
    inventory: &'a Inventory,
    source: &'a Listing,
    request: &Request,
) -> Vec<Selected<'a>> {
    let mut guests = BTreeMap::new();
    let mut excluded = std::collections::BTreeSet::new();
    for guest in &inventory.guests {
        guests.extend(guest.volumes.iter().map(|volume| (volume.as_str(), guest)));
        excluded.extend(guest.excluded_volumes.iter().map(String::as_str));
    }
    let mut selected = Vec::new();
    for root in &policy.roots {
        let has_children = source.has_children(&root.dataset);
        for dataset in source.datasets().filter(|dataset| dataset.name.is_within(&root.dataset)) {
            let is_root = dataset.name == root.dataset;
            let guest = guests.get(dataset.name.last()).copied();
            let is_wanted = (!is_root || !has_children || root.include_root)
                && !dataset.is_opted_out()
                && policy.is_selected(&dataset.name)
                && !policy.is_excluded(&dataset.name)
                && !excluded.contains(dataset.name.last())
                && (request.guests.is_empty()
                    || guest.is_some_and(|guest| request.guests.contains(&guest.id)));
            if is_wanted {
                selected.push(Selected { dataset, root, is_lone_root: is_root && !has_children, guest });
            }
        }
    }
    selected.sort_by(|a, b| a.dataset.name.cmp(&b.dataset.name));
    selected
}

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
