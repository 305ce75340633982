//! Constraints between the parts of a policy: nothing is its own backup, and no two things share a place.

use super::{Pattern, SourceRoot, Target};
use crate::model::DatasetName;

/// Which part of the policy is at fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Root(usize),
    Exclude(usize),
    TargetName(usize),
    TargetRoot(usize),
}

/// Parts that contradict each other, and what to change.
#[derive(Debug)]
pub(super) struct Clash {
    pub(super) part: Part,
    pub(super) what: String,
    pub(super) fix: String,
}

fn clash(part: Part, what: String, fix: impl Into<String>) -> Result<(), Clash> {
    let fix = fix.into();
    Err(Clash { part, what, fix })
}

/// Checks everything that concerns more than one key.
pub(super) fn check(roots: &[SourceRoot], exclude: &[Pattern], targets: &[Target]) -> Result<(), Clash> {
    check_roots(roots)?;
    for (place, pattern) in exclude.iter().enumerate() {
        if let Some(root) = roots.iter().find(|root| pattern.matches(&root.dataset)) {
            let what =
                format!("{pattern:?} leaves out the whole of {}", root.dataset, pattern = pattern.as_str());
            return clash(Part::Exclude(place), what, "make it name datasets below, or remove the root");
        }
    }
    check_target_names(targets)?;
    for (place, target) in targets.iter().enumerate() {
        check_against_roots(place, target, roots)?;
        check_against_targets(place, target, targets.get(..place).unwrap_or_default())?;
    }
    Ok(())
}

fn check_roots(roots: &[SourceRoot]) -> Result<(), Clash> {
    for (place, root) in roots.iter().enumerate() {
        let others = roots.get(..place).unwrap_or_default();
        let Some(other) = others.iter().find(|other| is_nested(&root.dataset, &other.dataset)) else {
            continue;
        };
        let (a, b) = (&root.dataset, &other.dataset);
        if a == b {
            return clash(Part::Root(place), format!("{a} is listed twice"), "remove one of them");
        }
        let (inner, outer) = if a.is_within(b) { (a, b) } else { (b, a) };
        return clash(
            Part::Root(place),
            format!("{inner} is below {outer}, so it is selected already"),
            format!("remove {inner}, or list the parts of {outer} one by one"),
        );
    }
    Ok(())
}

fn check_target_names(targets: &[Target]) -> Result<(), Clash> {
    for (place, target) in targets.iter().enumerate() {
        let mut others = targets.iter().take(place);
        if others.any(|other| other.name == target.name) {
            return clash(
                Part::TargetName(place),
                format!("two targets are called {}", target.name),
                format!("give one another name, for example name = \"{}-2\"", target.name),
            );
        }
    }
    Ok(())
}

fn check_against_roots(place: usize, target: &Target, roots: &[SourceRoot]) -> Result<(), Clash> {
    if target.address != super::Address::Local {
        return Ok(());
    }
    let Some(root) = roots.iter().find(|root| is_nested(&root.dataset, &target.root)) else {
        return Ok(());
    };
    let (source, copies) = (&root.dataset, &target.root);
    let what = if copies.is_within(source) {
        format!("the copies in {copies} would be within the source {source} and be backed up again")
    } else {
        format!("the source {source} is within {copies}, where its own copies would go")
    };
    clash(Part::TargetRoot(place), what, "let the copies go to a dataset apart from the sources")
}

fn check_against_targets(place: usize, target: &Target, others: &[Target]) -> Result<(), Clash> {
    let shares = |other: &&Target| {
        other.address.is_same_machine(&target.address) && is_nested(&other.root, &target.root)
    };
    let Some(other) = others.iter().find(shares) else {
        return Ok(());
    };
    let what = format!(
        "{} on {} overlaps {} of the target {}",
        target.root,
        target.address.host(),
        other.root,
        other.name
    );
    clash(Part::TargetRoot(place), what, "give each target a dataset of its own, neither below the other")
}

fn is_nested(a: &DatasetName, b: &DatasetName) -> bool {
    a.is_within(b) || b.is_within(a)
}
