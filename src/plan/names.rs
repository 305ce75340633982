//! The name of each source on a target.
//!
//! `R/x` goes to `ROOT/x`, a root with children to `ROOT`, a root without children to `ROOT/<its last part>`. Where two
//! sources want one name, who has a copy under it, by GUID, keeps it; the other is distinguished by its storage's id or
//! by more of its own path: `ROOT/<storage>/x`. Every dataset below a root counts, also those that this run leaves out:
//! their copies are theirs. A container that holds other copies is no place for a copy either, and never has to make
//! way.

mod candidates;
mod evidence;

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{
    Dataset, DatasetName, Guid, Inventory, Listing, NameError, SET_ASIDE_PROPERTY, VolumeName,
};
use crate::policy::{Policy, SourceRoot, Target};
use candidates::Candidates;
use evidence::Evidence;

/// The name of one source on a target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CopyName {
    /// The name; `taken_by` says who has the one that would be usual, where it is not the usual one.
    Called {
        /// The copy.
        name: DatasetName,
        /// The source whose copy has the usual name; the usual name itself where it is a mere container.
        taken_by: Option<DatasetName>,
    },
    /// No name that it could have is valid.
    Invalid(NameError),
    /// There is a copy that could be this source's or another one's.
    Contested {
        /// The copy.
        name: DatasetName,
        /// The other source.
        other: DatasetName,
        /// Whether the other one is known; false where it could not be listed.
        is_listed: bool,
    },
}

/// The names of all sources on one target.
#[derive(Debug, Default)]
pub struct Names {
    /// By source.
    selected: BTreeMap<DatasetName, CopyName>,
    /// The copies of sources that are left out, with the source.
    left_out: BTreeMap<DatasetName, DatasetName>,
    /// Copies that no source has, as far as everything is known.
    orphans: Vec<DatasetName>,
}

impl Names {
    /// The name of the copy of `source`; `None` if it is not selected.
    pub fn get(&self, source: &DatasetName) -> Option<&CopyName> {
        self.selected.get(source)
    }

    /// The copies that no selected source has, with the source that is left out, if it is one's. A set-aside lineage is
    /// none.
    pub(super) fn orphans(&self) -> impl Iterator<Item = (&DatasetName, Option<&DatasetName>)> {
        let left_out = self.left_out.iter().map(|(copy, source)| (copy, Some(source)));
        left_out.chain(self.orphans.iter().map(|copy| (copy, None)))
    }

    /// Every name that a selected source has or contests.
    pub fn taken(&self) -> BTreeSet<&DatasetName> {
        let names = self.selected.values().filter_map(|name| match name {
            CopyName::Called { name, .. } | CopyName::Contested { name, .. } => Some(name),
            CopyName::Invalid(_) => None,
        });
        names.collect()
    }
}

/// A dataset below a root.
#[derive(Debug)]
struct Source<'a> {
    dataset: &'a Dataset,
    is_selected: bool,
    candidates: Result<Candidates, NameError>,
}

/// A part of the source of which nothing is known, and where its copies would usually be.
#[derive(Debug)]
struct Unseen {
    name: DatasetName,
    copies: DatasetName,
}

/// The parts that could not be listed below the roots.
fn unseen(policy: &Policy, source: &Listing, target: &Target) -> Vec<Unseen> {
    let mut unseen = Vec::new();
    for root in policy.roots.iter().map(|root| &root.dataset) {
        if source.get(root).is_none() {
            unseen.push(Unseen { name: root.clone(), copies: target.root.clone() });
        }
        let below = source.unlisted().filter_map(|(name, _)| DatasetName::new(name).ok());
        unseen.extend(below.filter_map(|name| {
            let copies = target.root.child(name.below(root)?).ok()?;
            Some(Unseen { name, copies })
        }));
    }
    unseen
}

/// Names every source of `selected` on `target`, which has `there`.
pub fn names(
    policy: &Policy,
    inventory: &Inventory,
    source: &Listing,
    selected: &BTreeSet<&DatasetName>,
    target: &Target,
    there: &Listing,
) -> Names {
    let containers: Vec<&DatasetName> = there
        .below(&target.root)
        .filter(|one| one.name.parent().as_ref() == Some(&target.root))
        .filter(|one| !one.has_begun() && there.has_children(&one.name))
        .map(|one| &one.name)
        .collect();
    let of_guests = evidence::of_guests(there.below(&target.root));
    let of_root = |root: &SourceRoot| {
        let is_lone = !source.has_children(&root.dataset);
        let all = source.get(&root.dataset).into_iter().chain(source.below(&root.dataset));
        let all = all.filter(|dataset| !dataset.is_being_restored()).map(|dataset| Source {
            dataset,
            is_selected: selected.contains(&dataset.name),
            candidates: Candidates::new(
                &dataset.name,
                &root.dataset,
                is_lone,
                target,
                inventory,
                &containers,
            )
            .map(|names| names.with_earlier(evidence::renumbered(dataset, &of_guests))),
        });
        all.collect::<Vec<_>>()
    };
    let sources: Vec<Source<'_>> = policy.roots.iter().flat_map(of_root).collect();
    let unseen = unseen(policy, source, target);
    let mut naming = Naming {
        sources: &sources,
        unseen: &unseen,
        target,
        there,
        called: BTreeMap::new(),
        decided: BTreeSet::new(),
        names: Names::default(),
    };
    naming.keep_what_is_there();
    naming.name_what_is_new();
    naming.names.orphans = orphans(&naming, inventory);
    naming.names
}

/// Copies that no source below the roots has. One that may be of a source that could not be listed, or is of a guest
/// of another node, is none.
fn orphans(naming: &Naming<'_>, inventory: &Inventory) -> Vec<DatasetName> {
    let taken = naming.names.taken();
    // Of a guest of another node by its name, unless a dataset that is backed up here writes it: that was renamed.
    let selected = naming.sources.iter().filter(|source| source.is_selected);
    let writers: BTreeSet<Guid> = selected.map(|source| source.dataset.guid).collect();
    let is_elsewhere = |one: &Dataset| {
        let volume = VolumeName::parse(one.name.last());
        volume.is_some_and(|volume| inventory.proxmox.elsewhere.contains_key(&volume.guest))
            && one.writer().is_none_or(|writer| !writers.contains(&writer.guid))
    };
    let is_orphan = |one: &&Dataset| {
        let name = &one.name;
        let is_known = taken.contains(name) || naming.called.contains_key(name) || is_elsewhere(one);
        let may_be_unseen = naming.unseen.iter().any(|unseen| name.is_within(&unseen.copies));
        // A lineage may have no snapshot: what somebody wrote to a copy. Under a name that it was not given, it never expires.
        let is_data = one.has_begun() || one.user.local(SET_ASIDE_PROPERTY).is_some();
        is_data && !evidence::is_set_aside(one) && !is_known && !may_be_unseen
    };
    let all =
        naming.there.get(&naming.target.root).into_iter().chain(naming.there.below(&naming.target.root));
    all.filter(is_orphan).map(|one| one.name.clone()).collect()
}

struct Naming<'a> {
    sources: &'a [Source<'a>],
    unseen: &'a [Unseen],
    target: &'a Target,
    there: &'a Listing,
    /// Which source has which name.
    called: BTreeMap<DatasetName, &'a DatasetName>,
    /// Sources of which there is a copy.
    decided: BTreeSet<&'a DatasetName>,
    names: Names,
}

impl<'a> Naming<'a> {
    /// Gives each copy that is there to the source that it is a copy of. A source whose claim to one copy is the weaker one
    /// may have a copy under another name.
    fn keep_what_is_there(&mut self) {
        let mut open: Vec<(&'a Source<'a>, Vec<(&'a DatasetName, Evidence)>)> = Vec::new();
        for source in self.sources {
            let Ok(candidates) = &source.candidates else { continue };
            let found = candidates.all().filter_map(|name| {
                Some((name, Evidence::of(source.dataset, source.is_selected, self.there.get(name)?)?))
            });
            let mut found: Vec<_> = found.collect();
            // Of several copies the one that is furthest ahead continues; of equals the one with the usual name.
            found.sort_by_key(|(_, evidence)| std::cmp::Reverse(evidence.reaches));
            open.push((source, found));
        }
        loop {
            let mut claims: BTreeMap<&DatasetName, Vec<(&'a Source<'a>, Evidence)>> = BTreeMap::new();
            for (source, found) in &mut open {
                found.retain(|(name, _)| !self.called.contains_key(*name));
                if let Some((name, evidence)) = found.first() {
                    claims.entry(name).or_default().push((source, *evidence));
                }
            }
            if claims.is_empty() {
                return;
            }
            for (name, claimants) in claims {
                self.decide(name, claimants);
            }
            open.retain(|(source, _)| !self.decided.contains(&source.dataset.name));
        }
    }

    /// Gives a copy to the best of those that claim it; where two are equal, to none.
    fn decide(&mut self, name: &DatasetName, mut claimants: Vec<(&'a Source<'a>, Evidence)>) {
        claimants.sort_by_key(|(_, evidence)| std::cmp::Reverse(evidence.claim()));
        let Some((winner, evidence)) = claimants.first().copied() else { return };
        let equal: Vec<_> = claimants.iter().filter(|(_, other)| other.claim() == evidence.claim()).collect();
        let (first, second) = match equal.as_slice() {
            [(first, _), (second, _), ..] if winner.is_selected => (first, second),
            _ => return self.call(winner, name.clone(), None),
        };
        for (source, _) in &equal {
            self.decided.insert(&source.dataset.name);
            let other = if source.dataset.name == first.dataset.name { second } else { first };
            let other = other.dataset.name.clone();
            let contested = CopyName::Contested { name: name.clone(), other, is_listed: true };
            self.names.selected.insert(source.dataset.name.clone(), contested);
        }
        self.called.insert(name.clone(), &winner.dataset.name);
    }

    fn call(&mut self, source: &Source<'a>, name: DatasetName, taken_by: Option<DatasetName>) {
        self.called.insert(name.clone(), &source.dataset.name);
        self.decided.insert(&source.dataset.name);
        if source.is_selected {
            self.names.selected.insert(source.dataset.name.clone(), CopyName::Called { name, taken_by });
        } else {
            self.names.left_out.insert(name, source.dataset.name.clone());
        }
    }

    /// Names the selected sources of which there is no copy, in the order of the policy, parents first.
    fn name_what_is_new(&mut self) {
        let mut wanted: BTreeMap<&DatasetName, usize> = BTreeMap::new();
        for candidates in self.sources.iter().filter_map(|source| source.candidates.as_ref().ok()) {
            *wanted.entry(&candidates.usual).or_default() += 1;
        }
        for source in self.sources.iter().filter(|source| source.is_selected) {
            if self.names.selected.contains_key(&source.dataset.name) {
                continue;
            }
            let candidates = match &source.candidates {
                Ok(candidates) => candidates,
                Err(error) => {
                    let invalid = CopyName::Invalid(error.clone());
                    self.names.selected.insert(source.dataset.name.clone(), invalid);
                    continue;
                }
            };
            let usual =
                self.below_parent(source, &candidates.usual).unwrap_or_else(|| candidates.usual.clone());
            let is_only = wanted.get(&usual).is_none_or(|count| *count <= 1);
            if let Some(other) = self.unseen_owner(source, &usual) {
                let contested = CopyName::Contested { name: usual, other, is_listed: false };
                self.names.selected.insert(source.dataset.name.clone(), contested);
                continue;
            }
            // A copy of which nothing is known may exist: nothing begins elsewhere meanwhile.
            let unknown = std::iter::once(&usual).chain(&candidates.others);
            let unknown = unknown.into_iter().find(|name| self.there.why_unlisted(name).is_some()).cloned();
            if let Some(name) = unknown {
                self.names
                    .selected
                    .insert(source.dataset.name.clone(), CopyName::Called { name, taken_by: None });
                continue;
            }
            if self.is_usable(source, &usual, is_only) {
                self.call(source, usual, None);
                continue;
            }
            let other = candidates.others.iter().find(|name| {
                let is_usual_elsewhere = self.above(name).any(|above| wanted.contains_key(&above));
                let mut above = self.above(name).filter_map(|one| self.there.get(&one));
                let is_free = self.there.get(name).is_none() && !above.any(Dataset::has_begun);
                !is_usual_elsewhere && is_free && !self.called.contains_key(*name)
            });
            let by = self.called.get(&usual).map_or_else(|| usual.clone(), |by| (*by).clone());
            if let Some(name) = other.cloned() {
                self.call(source, name, Some(by));
            } else {
                let contested = CopyName::Contested { name: usual, other: by, is_listed: true };
                self.names.selected.insert(source.dataset.name.clone(), contested);
            }
        }
    }

    /// Where the copy of the source's parent is, unless that is a root: datasets below a root go below the target's.
    fn below_parent(&self, source: &Source<'_>, usual: &DatasetName) -> Option<DatasetName> {
        if usual.parent()? == self.target.root {
            return None;
        }
        match self.names.get(&source.dataset.name.parent()?)? {
            CopyName::Called { name, .. } => name.child(source.dataset.name.last()).ok(),
            CopyName::Invalid(_) | CopyName::Contested { .. } => None,
        }
    }

    /// Who may have the copy `name`, which is none of `source`'s, but could not be listed.
    fn unseen_owner(&self, source: &Source<'_>, name: &DatasetName) -> Option<DatasetName> {
        let there = self.there.get(name).filter(|there| there.has_begun())?;
        if evidence::is_written_for(there, &source.dataset.name) {
            return None;
        }
        let may_be = |unseen: &&Unseen| {
            let is_above = source.dataset.name.is_within(&unseen.name);
            !is_above && name.is_within(&unseen.copies)
        };
        self.unseen.iter().find(may_be).map(|unseen| unseen.name.clone())
    }

    /// `name` and the datasets between it and the target's root.
    fn above(&self, name: &DatasetName) -> impl Iterator<Item = DatasetName> {
        let root = self.target.root.clone();
        std::iter::successors(Some(name.clone()), DatasetName::parent).take_while(move |one| *one != root)
    }

    /// Whether a source without a copy may begin one under its usual name: no source has the name, and the dataset
    /// there is neither a container nor, where several sources want the name, a copy of which it is not known whose it
    /// is.
    fn is_usable(&self, source: &Source<'_>, name: &DatasetName, is_only: bool) -> bool {
        if self.called.contains_key(name) {
            return false;
        }
        let Some(there) = self.there.get(name) else {
            return true;
        };
        if there.has_begun() {
            return is_only || evidence::is_written_for(there, &source.dataset.name);
        }
        *name != self.target.root && !self.there.has_children(name)
    }
}

#[cfg(test)]
mod tests;
