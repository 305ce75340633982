//! The data that the replications of one target share.

use std::collections::{BTreeMap, BTreeSet};

use super::view::View;
use crate::model::{Dataset, Guid, Listing, SetAsideMark};
use crate::policy::Target;

/// The data that the replications of one target share.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ground<'a> {
    pub(super) target: &'a Target,
    pub(super) listing: &'a Listing,
    pub(super) is_append_only: bool,
    /// Set aside but for their children.
    pub(super) waiting: &'a [SetAsideMark],
    /// The copies below the target's root, by the GUID of the dataset that has written them, whatever they are called now.
    pub(super) written: &'a BTreeMap<Guid, Vec<&'a Dataset>>,
    /// The GUIDs of all datasets that the source has, served or not; without those that a restore has put aside.
    pub(super) alive: &'a BTreeSet<Guid>,
}

/// The copies on `target`, by the GUID of the dataset that has written them.
pub(super) fn written_by<'a>(
    target: &Target,
    view: Option<&'a View<'_>>,
) -> BTreeMap<Guid, Vec<&'a Dataset>> {
    let mut written: BTreeMap<Guid, Vec<&Dataset>> = BTreeMap::new();
    for copy in view.into_iter().flat_map(|view| view.listing.below(&target.root)) {
        if let Some(writer) = copy.writer() {
            written.entry(writer.guid).or_default().push(copy);
        }
    }
    written
}
