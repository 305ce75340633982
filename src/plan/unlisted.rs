//! Datasets that could not be listed: named, left out, and never taken for absent.

use super::builder::Builder;
use super::{FindingKind, Place, Severity};
use crate::model::{BACKUP_PROPERTY, Dataset, DatasetName, Listing, Unlisted};
use crate::policy::{Policy, Target};

/// Every root, and every dataset below one that the policy may select, of which nothing is known, and why.
pub fn unlisted_sources(policy: &Policy, listing: &Listing) -> Vec<(String, Unlisted)> {
    let mut unlisted = Vec::new();
    for root in policy.roots.iter().map(|root| &root.dataset) {
        if listing.get(root).is_none() {
            let why = listing.why_unlisted(root).cloned().unwrap_or(Unlisted::Missing);
            unlisted.push((root.to_string(), why));
        }
    }
    for (name, why) in listing.unlisted() {
        let is_root = policy.roots.iter().any(|root| root.dataset.as_str() == name);
        if !is_root && may_be_selected(policy, listing, name) {
            unlisted.push((name.to_owned(), why.clone()));
        }
    }
    unlisted
}

/// Reports what nothing is known of.
pub(super) fn report_source(builder: &mut Builder, policy: &Policy, listing: &Listing) {
    for (name, why) in unlisted_sources(policy, listing) {
        report(builder, &name, why);
    }
    for dataset in listing.datasets() {
        report_odd_opt_out(builder, dataset);
    }
}

fn report(builder: &mut Builder, name: &str, why: Unlisted) {
    let dataset = DatasetName::new(name).ok();
    let kind = FindingKind::SourceNotListed { name: name.to_owned(), why };
    builder.find(Severity::Failed, dataset.as_ref(), Place::Source, kind);
}

/// Reports a `zhaul:backup` that is none of `on`, `off` and `never`: whoever set it may have meant to leave the dataset out.
fn report_odd_opt_out(builder: &mut Builder, dataset: &Dataset) {
    let property = dataset.user.get(BACKUP_PROPERTY).filter(|property| property.is_local);
    if let Some(odd) = property.filter(|property| !matches!(property.value.as_str(), "on" | "off" | "never"))
    {
        let kind = FindingKind::OddOptOut { value: odd.value.clone() };
        builder.find(Severity::Warning, Some(&dataset.name), Place::Source, kind);
    }
}

/// Whether nothing that is known excludes a dataset: no pattern, and no property that it would inherit.
fn may_be_selected(policy: &Policy, listing: &Listing, name: &str) -> bool {
    let Ok(dataset) = DatasetName::new(name) else {
        // Not even its name can be matched.
        return true;
    };
    let mut above = std::iter::successors(dataset.parent(), DatasetName::parent);
    let is_opted_out = above.find_map(|parent| listing.get(&parent)).is_some_and(Dataset::is_opted_out);
    policy.is_selected(&dataset) && !policy.is_excluded(&dataset) && !is_opted_out
}

/// Whether nothing is known of a copy, or of a dataset that could be an earlier lineage of it. If so, reports that nothing
/// is done with it: a full send to what only seems to be absent would fail, or set aside what is fine.
pub(super) fn refuse_copy(
    builder: &mut Builder,
    target: &Target,
    listing: &Listing,
    dataset: &DatasetName,
    copy: &DatasetName,
) -> bool {
    let lineages = format!("{copy}.");
    let unknown = match listing.why_unlisted(copy) {
        Some(why) => Some((copy.as_str(), why)),
        None => listing.unlisted().find(|(name, _)| name.starts_with(&lineages)),
    };
    let Some((name, why)) = unknown else {
        return false;
    };
    let kind = FindingKind::CopyNotListed { copy: copy.clone(), name: name.to_owned(), why: why.clone() };
    builder.find(Severity::Failed, Some(dataset), Place::Target(target.name.clone()), kind);
    true
}
