//! What the replications of one target have in common.

use std::collections::BTreeSet;

use crate::model::{Guid, Listing, SetAsideMark};
use crate::policy::Target;

/// What the replications of one target have in common.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ground<'a> {
    pub(super) target: &'a Target,
    pub(super) listing: &'a Listing,
    pub(super) is_append_only: bool,
    /// Set aside but for their children.
    pub(super) waiting: &'a [SetAsideMark],
    /// The GUIDs of all datasets that the source has, served or not.
    pub(super) alive: &'a BTreeSet<Guid>,
}
