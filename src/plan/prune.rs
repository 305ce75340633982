//! The keep rules of a backup, applied on the backup's own host, where nothing is known of the sources.
//!
//! An append-only agent destroys nothing for its callers, so the rules have to be applied there. A copy is what carries the
//! mark of a writer; of that only own snapshots go, never the newest, which is what the next increment starts from, and never
//! one that a broken-off receive builds on. Of an archive's copy, which has months, nothing goes.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::builder::{Builder, Order};
use super::judge::{Candidate, judge};
use super::superseded::Expiry;
use super::{FindingKind, Place, Planned, Reason, Severity, months};
use crate::model::{Answer, Change, Dataset, Inventory, Listing, Point, ResumeToken, SET_ASIDE_PROPERTY};
use crate::policy::{BackupRules, Policy, Target, TargetKind};

/// Plans what the rules of each backup of `policy` give up; says of which snapshots it has to know more before that is final.
pub fn prune(policy: &Policy, inventory: &Inventory, now: Timestamp) -> Planned {
    let mut builder = Builder::new(now);
    for target in &policy.targets {
        let (TargetKind::Backup(rules), Some(Answer::Listed(listing))) =
            (&target.kind, inventory.targets.get(&target.name))
        else {
            continue;
        };
        for copy in listing.below(&target.root) {
            prune_copy(&mut builder, policy, target, rules, copy);
        }
        expire(&mut builder, policy, target, rules, listing);
    }
    builder.finish()
}

fn prune_copy(builder: &mut Builder, policy: &Policy, target: &Target, rules: &BackupRules, copy: &Dataset) {
    let place = Place::Target(target.name.clone());
    let time = |point: &Point| policy.name_format.time(&point.name);
    let own = copy.history.snapshots().rev();
    let own: Vec<Candidate<'_>> = own.filter_map(|point| Some((time(point)?, Some(point)))).collect();
    if own.is_empty() || copy.user.local(SET_ASIDE_PROPERTY).is_some() {
        return;
    }
    if copy.writer().is_none() {
        let kind = FindingKind::NotMarked { copy: copy.name.clone(), snapshots: own.len() };
        return builder.find(Severity::Warning, Some(&copy.name), place, kind);
    }
    if let Some(month) = copy.history.snapshots().find(|point| months::is_archives(&point.name)) {
        let kind = FindingKind::IsArchived { copy: copy.name.clone(), month: month.name.clone() };
        return builder.find(Severity::Warning, Some(&copy.name), place, kind);
    }
    let mut judged = judge(&rules.keep, policy, builder.at(), own);
    match copy.resume_token.as_deref().map(ResumeToken::parse) {
        None => {}
        Some(Ok(token)) => judged.keep(|point| Some(point.guid) == token.from_guid),
        // Any of them may be what the receive builds on.
        Some(Err(_)) => judged.keep(|_| true),
    }
    let snapshots = judged.resolve(builder, &copy.name, &place, &copy.name, Point::is_held_or_cloned);
    if !snapshots.is_empty() {
        let change = Change::DestroySnapshots { dataset: copy.name.clone(), snapshots };
        let reason = Reason::NotKept { rules: rules.keep };
        builder.step(Some(&copy.name), place, change, reason, Order::default());
    }
}

/// Plans the destruction of set-aside lineages, once their time is over.
fn expire(builder: &mut Builder, policy: &Policy, target: &Target, rules: &BackupRules, listing: &Listing) {
    let is_copy = |dataset: &&Dataset| dataset.writer().is_some() && dataset.set_aside().is_none();
    let copies: BTreeSet<_> = listing.below(&target.root).filter(is_copy).map(|copy| &copy.name).collect();
    let (keep, now) = (rules.keep_superseded, builder.at());
    Expiry { policy, target, listing, copies: &copies, not_renamed: &BTreeSet::new(), keep, now }
        .plan(builder);
}
