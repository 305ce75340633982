//! The data that the replications of one target share.

use std::collections::BTreeSet;

use crate::model::{Guid, Listing, SetAsideMark};
use crate::policy::Target;

/// The data that the replications of one target share.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ground<'a> {
    pub(super) target: &'a Target,
    pub(super) listing: &'a Listing,
    pub(super) is_append_only: bool,
    /// Set aside but for their children.
    pub(super) waiting: &'a [SetAsideMark],
    /// The GUIDs of all datasets that the source has, served or not; without those that a restore has put aside.
    pub(super) alive: &'a BTreeSet<Guid>,
}
