//! When lineages that were set aside expire. Only what carries the mark ever does, and only on a backup.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};

use super::builder::{Builder, Order};
use super::{AsideFinding, Place, Reason, Severity, StaysBecause, StepId, ToDestroy};
use crate::model::{
    ARCHIVE_ASIDE, BACKUP_ASIDE, Change, Dataset, DatasetName, Listing, NameFormat, Point, PointKind,
    PointName, SET_ASIDE_PROPERTY, SetAside, SetAsideCause, SetAsideMark, Writer, is_template_snapshot,
};
use crate::policy::{Policy, Target};

/// Everything that expiry looks at.
pub(super) struct Expiry<'a> {
    pub(super) policy: &'a Policy,
    pub(super) target: &'a Target,
    pub(super) listing: &'a Listing,
    /// The names of the copies that this policy writes.
    pub(super) copies: &'a BTreeSet<&'a DatasetName>,
    /// Where copies are to come, with all below them, but not in this run.
    pub(super) not_renamed: &'a BTreeSet<&'a DatasetName>,
    pub(super) keep: Option<SignedDuration>,
    pub(super) now: Timestamp,
}

impl Expiry<'_> {
    fn place(&self) -> Place {
        Place::Target(self.target.name.clone())
    }

    /// Adds the destruction of lineages that have had their time, clones before what they are clones of.
    pub(super) fn plan(&self, builder: &mut Builder) {
        let Some(keep) = self.keep else { return };
        let has_expired = |mark: &SetAsideMark| {
            mark.done && mark.at.saturating_add(keep).is_ok_and(|expiry| expiry <= self.now)
        };
        let is_there = |old: &&Dataset| !self.not_renamed.iter().any(|copy| old.name.is_within(copy));
        let marked = self
            .listing
            .below(&self.target.root)
            .filter(is_there)
            .filter_map(|old| Some((old, old.set_aside()?)));
        let mut waiting: Vec<(&Dataset, SetAsideMark)> =
            marked.filter(|(old, mark)| has_expired(mark) && !self.copies.contains(&old.name)).collect();
        let mut gone: Vec<(&Dataset, StepId)> = Vec::new();
        // A clone of another one goes before it: again and again, until nothing more can go.
        loop {
            let count = waiting.len();
            waiting.retain(|(old, mark)| {
                if self.stays(builder, old, mark, &gone).is_some() {
                    return true;
                }
                let step = self.destroy(builder, old, mark, &gone);
                gone.push((old, step));
                false
            });
            if waiting.len() == count {
                break;
            }
        }
        for (old, mark) in waiting {
            if let Some(because) = self.stays(builder, old, &mark, &gone) {
                let kind = AsideFinding::ExpiredStays { copy: old.name.clone(), because };
                builder.find(Severity::Note, None, self.place(), kind);
            }
        }
    }

    fn destroy(
        &self,
        builder: &mut Builder,
        old: &Dataset,
        mark: &SetAsideMark,
        gone: &[(&Dataset, StepId)],
    ) -> StepId {
        let why = Reason::SupersededSince { since: mark.at };
        let snapshots = old.history.snapshots().map(|point| ToDestroy::new(point, why.clone())).collect();
        let action = Change::DestroyDataset { dataset: old.name.clone(), guid: old.guid, snapshots };
        let clones = gone.iter().filter(|(clone, _)| is_clone_of(clone, old)).map(|(_, step)| *step);
        builder.step(None, self.place(), action, why, Order::needs(clones))
    }

    /// Why an expired lineage stays.
    fn stays(
        &self,
        builder: &mut Builder,
        old: &Dataset,
        mark: &SetAsideMark,
        gone: &[(&Dataset, StepId)],
    ) -> Option<StaysBecause> {
        if !self.has_successor(builder, old, mark) {
            return Some(StaysBecause::NoSuccessor);
        }
        if old.resume_token.is_some() {
            return Some(StaysBecause::PartialReceive);
        }
        if self.listing.has_children(&old.name) {
            return Some(StaysBecause::Children);
        }
        let is_foreign =
            |point: &&Point| !self.policy.name_format.is_own(&point.name) && !is_templates(mark, &point.name);
        let foreign = old.history.points().filter(is_foreign);
        let foreign: Vec<PointName> = foreign.map(|point| point.name.clone()).collect();
        if !foreign.is_empty() {
            return Some(StaysBecause::Foreign(foreign));
        }
        builder.knows(&self.place(), &old.name, old.history.points());
        let in_use = old.history.points().filter(|point| {
            let clones = gone.iter().filter(|(clone, _)| {
                clone
                    .origin
                    .as_ref()
                    .is_some_and(|origin| *origin.dataset() == old.name && *origin.name() == point.name)
            });
            point.is_held_or_cloned_but_for(u32::try_from(clones.count()).unwrap_or(u32::MAX))
        });
        let in_use: Vec<PointName> = in_use.map(|point| point.name.clone()).collect();
        (!in_use.is_empty()).then_some(StaysBecause::InUse(in_use))
    }

    /// Whether the copy has a complete restore point that it received after the lineage was set aside: since then nothing
    /// but a receive brought it snapshots that are newer than the base.
    fn has_successor(&self, builder: &mut Builder, old: &Dataset, mark: &SetAsideMark) -> bool {
        let Some(copy) = self.listing.get(&mark.of) else { return false };
        let base_here = mark.base.as_ref().and_then(|base| copy.history.find_snapshot(base.guid));
        // A restored source has another GUID, and a guest that has moved another label: then the base shows that it is the line.
        let is_its_own = copy.writer().is_some_and(|writer| {
            let has_label = mark.writer_label.as_ref() == Some(&writer.label);
            writer.guid == mark.writer || has_label || base_here.is_some()
        });
        // The copy may itself have been set aside since, and its base with it.
        let origin = old.origin.as_ref().and_then(|origin| {
            self.listing.get(origin.dataset())?.history.named(PointKind::Snapshot, origin.name())
        });
        let base = mark.base.as_ref().map(|_| base_here.or(origin));
        let is_after = |point: &&Point| match base {
            None => true,
            Some(base) => base.is_some_and(|base| point.createtxg > base.createtxg),
        };
        let newest = copy.history.snapshots().rev().find(is_after);
        is_its_own && newest.is_some_and(|newest| builder.knows(&self.place(), &copy.name, [newest]))
    }

    /// Names the lineages that an earlier zhaul renamed, and that carry no mark: none of them is ever destroyed.
    pub(super) fn report_unmarked(&self, builder: &mut Builder) {
        for old in self.listing.below(&self.target.root) {
            // One with a writer of its own is a copy, whatever its name says.
            let is_copy = self.copies.contains(&old.name) || old.writer().is_some();
            if old.user.local(SET_ASIDE_PROPERTY).is_some() || is_copy {
                continue;
            }
            let Some(of) = by_name(&old.name) else { continue };
            let Some(copy) = self.listing.get(&of) else { continue };
            let writer = copy.writer().unwrap_or(Writer { guid: copy.guid, label: String::new() });
            let cause = SetAsideCause::NothingInCommon;
            let wish = SetAside { dataset: of.clone(), guid: old.guid, base: None, cause, writer };
            let mut mark = SetAsideMark::begun(&wish, old.name.clone(), builder.at());
            mark.done = true;
            let kind =
                AsideFinding::UnmarkedLineage { copy: of, lineage: old.name.clone(), mark: mark.to_string() };
            builder.find(Severity::Note, None, self.place(), kind);
        }
    }
}

/// Whether it is the `@__base__` of a template's copy, which a run has sent.
pub(super) fn is_templates(mark: &SetAsideMark, point: &PointName) -> bool {
    is_template_snapshot(&mark.of, point)
}

fn is_clone_of(clone: &Dataset, old: &Dataset) -> bool {
    clone.origin.as_ref().is_some_and(|origin| *origin.dataset() == old.name)
}

/// The copy whose lineage an earlier zhaul renamed, by that lineage's name. It expires as if it were set aside now.
fn by_name(name: &DatasetName) -> Option<DatasetName> {
    let format = NameFormat::new(NameFormat::DEFAULT).ok()?;
    [BACKUP_ASIDE, ARCHIVE_ASIDE].iter().find_map(|infix| {
        let (copy, date) = name.as_str().rsplit_once(infix)?;
        format.time(&PointName::new(date).ok()?)?;
        DatasetName::new(copy).ok()
    })
}
