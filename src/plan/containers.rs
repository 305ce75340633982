//! The datasets above the copies on a target, made where they are missing.

use std::collections::{BTreeMap, BTreeSet};

use super::builder::{Builder, Order};
use super::{Place, Reason, StepId};
use crate::model::{Change, DatasetName, Listing};
use crate::policy::Target;

/// The datasets on the way to the copies on one target, and which step makes each that is missing.
#[derive(Debug)]
pub(super) struct Containers<'a> {
    place: Place,
    root: DatasetName,
    listing: &'a Listing,
    copies: &'a BTreeSet<&'a DatasetName>,
    made: BTreeMap<DatasetName, StepId>,
}

impl<'a> Containers<'a> {
    pub(super) fn new(target: &Target, listing: &'a Listing, copies: &'a BTreeSet<&'a DatasetName>) -> Self {
        let place = Place::Target(target.name.clone());
        Self { place, root: target.root.clone(), listing, copies, made: BTreeMap::new() }
    }

    pub(super) fn made(&mut self, name: &DatasetName, step: StepId) {
        self.made.insert(name.clone(), step);
    }

    /// The steps that make the parent of `name`, none if it is there. Fails with a parent that is itself a copy, but is
    /// not received in this plan.
    pub(super) fn parent_of(
        &mut self,
        builder: &mut Builder,
        name: &DatasetName,
    ) -> Result<Vec<StepId>, DatasetName> {
        let Some(parent) = name.parent() else {
            return Ok(Vec::new());
        };
        if let Some(step) = self.made.get(&parent) {
            return Ok(vec![*step]);
        }
        if self.listing.get(&parent).is_some() {
            return Ok(Vec::new());
        }
        if self.copies.contains(&parent) {
            return Err(parent);
        }
        // Above the target's root nothing was listed; the step itself makes what is missing there.
        let needs =
            if parent.below(&self.root).is_some() { self.parent_of(builder, &parent)? } else { Vec::new() };
        let action = Change::CreateContainer { dataset: parent.clone() };
        let step = builder.step(None, self.place.clone(), action, Reason::Container, Order::needs(needs));
        self.made.insert(parent, step);
        Ok(vec![step])
    }
}
