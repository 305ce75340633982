//! The datasets above the copies on a target, made where they are missing.

use std::collections::BTreeMap;

use super::builder::{Builder, Order};
use super::{FindingKind, Place, Reason, StepId};
use crate::model::{Change, CopyEncryption, Dataset, DatasetKind, DatasetName, Encryption, Listing};
use crate::policy::Target;

/// The datasets on the way to the copies on one target, and which step makes each that is missing.
#[derive(Debug)]
pub(super) struct Containers<'a> {
    place: Place,
    root: DatasetName,
    listing: &'a Listing,
    /// The datasets that are to be copies here, and whether each comes raw.
    copies: &'a BTreeMap<&'a DatasetName, Encryption>,
    made: BTreeMap<DatasetName, StepId>,
}

impl<'a> Containers<'a> {
    pub(super) fn new(
        target: &Target,
        listing: &'a Listing,
        copies: &'a BTreeMap<&'a DatasetName, Encryption>,
    ) -> Self {
        let place = Place::Target(target.name.clone());
        Self { place, root: target.root.clone(), listing, copies, made: BTreeMap::new() }
    }

    pub(super) fn made(&mut self, name: &DatasetName, step: StepId) {
        self.made.insert(name.clone(), step);
    }

    /// The steps that make the parent of `name`, none if it is there. Fails where nothing can be received below it.
    pub(super) fn parent_of(
        &mut self,
        builder: &mut Builder,
        name: &DatasetName,
    ) -> Result<Vec<StepId>, Box<FindingKind>> {
        let Some(parent) = name.parent() else {
            return Ok(Vec::new());
        };
        if let Some(step) = self.made.get(&parent) {
            return Ok(vec![*step]);
        }
        // A dataset below an interrupted receive would keep the receive from being aborted.
        let is_copy = self.copies.contains_key(&parent);
        if let Some(there) = self.listing.get(&parent).filter(|there| !is_copy || !there.is_only_begun()) {
            let is_volume = there.kind == DatasetKind::Volume;
            return if is_volume {
                Err(Box::new(FindingKind::ParentIsVolume { parent }))
            } else {
                Ok(Vec::new())
            };
        }
        if is_copy {
            return Err(Box::new(FindingKind::ParentMissing { parent }));
        }
        // Above the target's root nothing was listed; the step itself makes what is missing there.
        let needs =
            if parent.below(&self.root).is_some() { self.parent_of(builder, &parent)? } else { Vec::new() };
        let is_plain = self.encryption_of(&parent, Encryption::Off, None) == CopyEncryption::Off;
        let action = Change::CreateContainer { dataset: parent.clone(), is_plain };
        let step = builder.step(None, self.place.clone(), action, Reason::Container, Order::needs(needs));
        self.made.insert(parent, step);
        Ok(vec![step])
    }

    /// How the copy `name` of a source with this encryption is encrypted; `there` is the dataset that its stream goes into, if it
    /// makes none.
    pub(super) fn encryption_of(
        &self,
        name: &DatasetName,
        source: Encryption,
        there: Option<&Dataset>,
    ) -> CopyEncryption {
        if source == Encryption::On {
            return CopyEncryption::AsSent;
        }
        if let Some(there) = there {
            let is_encrypted = there.encryption == Encryption::On;
            return if is_encrypted { CopyEncryption::ByTarget } else { CopyEncryption::AsSent };
        }
        let mut above = name.parent();
        while let Some(dataset) = above {
            match (self.listing.get(&dataset), self.copies.get(&dataset)) {
                // The dataset that is there now may be set aside for it.
                (_, Some(Encryption::On)) => return CopyEncryption::Off,
                (Some(there), _) if there.encryption == Encryption::Off => return CopyEncryption::AsSent,
                (Some(there), _) => {
                    let is_raw = is_raw_copy(there, &self.root);
                    return if is_raw { CopyEncryption::Off } else { CopyEncryption::ByTarget };
                }
                (None, Some(Encryption::Off) | None) => above = dataset.parent(),
            }
        }
        // The datasets above the target's root were not listed: they may be encrypted.
        CopyEncryption::ByTarget
    }
}

/// Whether an encrypted dataset below the root of a target came raw, with a key that the target does not have: it is its own
/// encryption root, or another copy above it is.
pub(super) fn is_raw_copy(there: &Dataset, root: &DatasetName) -> bool {
    let encryption_root = there.settings.encryption_root.as_ref();
    encryption_root.is_some_and(|encryption_root| encryption_root.below(root).is_some())
}
