//! Which datasets there are to restore, and where each of them, or a copy of it, is.
//!
//! A source that exists has the copies that a run would serve. A copy that no source claims is of one that is gone: of
//! the dataset that its writer's mark names, else of the one that would be called so on this target.

use std::collections::{BTreeMap, BTreeSet};

use super::super::{CopyName, Place, Request, names, select};
use crate::model::{
    ARCHIVE_ASIDE, Answer, BACKUP_ASIDE, Dataset, DatasetName, GuestId, Inventory, Listing, TargetName,
    VolumeName, VolumeRole,
};
use crate::policy::{Policy, Target, TargetKind};

/// A dataset of which there is something to restore.
#[derive(Debug)]
pub struct Volume<'a> {
    /// Its name on this host, now or formerly.
    pub name: DatasetName,
    /// Itself, if it exists, and its copies: in the policy's order, what was set aside last.
    pub copies: Vec<Copy<'a>>,
}

/// One place that has points of a volume.
#[derive(Debug, Clone)]
pub struct Copy<'a> {
    /// Where.
    pub place: Place,
    /// Whether it is on an archive, whose names are months.
    pub is_archive: bool,
    /// Whether it was set aside: an earlier line, which is not written any more.
    pub is_set_aside: bool,
    /// The dataset there.
    pub dataset: &'a Dataset,
}

impl Volume<'_> {
    /// The guest whose volume it is named after.
    pub fn guest(&self) -> Option<GuestId> {
        VolumeName::parse(self.name.last()).map(|volume| volume.guest)
    }

    /// Whether it is a disk of this guest with more than what was set aside of it.
    pub fn is_disk_of(&self, guest: GuestId) -> bool {
        VolumeName::parse(self.name.last())
            .is_some_and(|volume| volume.guest == guest && volume.role == VolumeRole::Disk)
            && self.copies.iter().any(|copy| !copy.is_set_aside)
    }
}

/// Everything that can be restored, by name, and the targets that could not be listed, with the reason.
#[derive(Debug, Default)]
pub struct Volumes<'a> {
    /// By name.
    pub volumes: Vec<Volume<'a>>,
    /// Targets of which nothing is known.
    pub unlisted: Vec<(TargetName, String)>,
}

/// The volumes that can be restored.
pub fn volumes<'a>(policy: &Policy, inventory: &'a Inventory, request: &Request) -> Volumes<'a> {
    let nothing = Listing::default();
    let here = match &inventory.source {
        Answer::Listed(listing) => Some(listing),
        Answer::CouldNotAsk(_) => None,
    };
    let mut by_name: BTreeMap<DatasetName, Vec<Copy<'a>>> = BTreeMap::new();
    for dataset in here.into_iter().flat_map(Listing::datasets).filter(|one| !one.is_being_restored()) {
        let copy = Copy { place: Place::Source, is_archive: false, is_set_aside: false, dataset };
        by_name.entry(dataset.name.clone()).or_default().push(copy);
    }
    let (mut unlisted, mut lost) = (Vec::new(), Lost::default());
    for target in &policy.targets {
        let there = match inventory.targets.get(&target.name) {
            Some(Answer::Listed(there)) => there,
            Some(Answer::CouldNotAsk(why)) => {
                unlisted.push((target.name.clone(), why.clone()));
                continue;
            }
            None => continue,
        };
        let source = here.unwrap_or(&nothing);
        let claimed = claimed(policy, inventory, source, target, there, request);
        for dataset in there.datasets().filter(|one| is_copy(one)) {
            let line = set_aside_from(dataset);
            let name = line.as_ref().unwrap_or(&dataset.name);
            let source = claimed.get(name).cloned();
            let source = source.or_else(|| lost.name(policy, inventory, target, (dataset, name)));
            let copy = Copy {
                place: Place::Target(target.name.clone()),
                is_archive: matches!(target.kind, TargetKind::Archive(_)),
                is_set_aside: line.is_some(),
                dataset,
            };
            by_name.entry(source.unwrap_or_else(|| dataset.name.clone())).or_default().push(copy);
        }
    }
    let mut volumes: Vec<Volume<'a>> =
        by_name.into_iter().map(|(name, copies)| Volume { name, copies }).collect();
    for volume in &mut volumes {
        volume.copies.sort_by_key(|copy| copy.is_set_aside);
    }
    volumes.retain(|volume| volume.copies.iter().any(|copy| !copy.dataset.history.is_empty()));
    Volumes { volumes, unlisted }
}

/// The sources that exist, by what their copies on `target` are called.
fn claimed(
    policy: &Policy,
    inventory: &Inventory,
    source: &Listing,
    target: &Target,
    there: &Listing,
    request: &Request,
) -> BTreeMap<DatasetName, DatasetName> {
    let selected = select(policy, inventory, source, request).selected;
    let selected: BTreeSet<&DatasetName> = selected.iter().map(|one| &one.dataset.name).collect();
    let names = names(policy, inventory, source, &selected, target, there);
    let mut claimed = BTreeMap::new();
    for source in selected {
        if let Some(CopyName::Called { name, .. }) = names.get(source) {
            claimed.insert(name.clone(), source.clone());
        }
    }
    let left_out = names.orphans().filter_map(|(copy, source)| Some((copy.clone(), source?.clone())));
    for (copy, source) in left_out {
        claimed.entry(copy).or_insert(source);
    }
    claimed
}

/// Whether the dataset holds a copy of something.
fn is_copy(there: &Dataset) -> bool {
    there.history.newest_snapshot().is_some()
}

/// The name of the copy whose lineage was set aside: by its mark, or by the name that earlier versions gave it.
fn set_aside_from(there: &Dataset) -> Option<DatasetName> {
    if let Some(mark) = there.set_aside() {
        return Some(mark.of);
    }
    let last = there.name.last();
    let cut = [BACKUP_ASIDE, ARCHIVE_ASIDE].iter().find_map(|infix| last.rfind(infix))?;
    there.name.parent()?.child(last.get(..cut)?).ok()
}

/// The sources that are gone. All copies of one have one name, although a target alone may not say what it was.
#[derive(Debug, Default)]
struct Lost {
    by_label: BTreeMap<String, DatasetName>,
    by_path: BTreeMap<String, DatasetName>,
}

impl Lost {
    /// The name of the source that this copy, or the copy that it was set aside from, was of.
    fn name(
        &mut self,
        policy: &Policy,
        inventory: &Inventory,
        target: &Target,
        (copy, line): (&Dataset, &DatasetName),
    ) -> Option<DatasetName> {
        let writer = copy.writer();
        let found = || origin(policy, inventory, target, copy, line);
        if let Some(writer) = writer {
            if let Some(name) = self.by_label.get(&writer.label) {
                return Some(name.clone());
            }
            // Of a host that was not like this one.
            let name = found().or_else(|| DatasetName::new(writer.label.split_once(':')?.1).ok())?;
            return Some(self.by_label.entry(writer.label).or_insert(name).clone());
        }
        let path = line.below(&target.root)?.to_owned();
        let name = found().unwrap_or_else(|| line.clone());
        Some(self.by_path.entry(path).or_insert(name).clone())
    }
}

/// The name of a copy's source, where the source is gone and was below a root of this host.
fn origin(
    policy: &Policy,
    inventory: &Inventory,
    target: &Target,
    copy: &Dataset,
    line: &DatasetName,
) -> Option<DatasetName> {
    let is_below_a_root = |name: &DatasetName| policy.roots.iter().any(|root| name.is_within(&root.dataset));
    let written = copy.writer().and_then(|writer| {
        let (_, name) = writer.label.split_once(':')?;
        DatasetName::new(name).ok()
    });
    if let Some(name) = written.filter(is_below_a_root) {
        return Some(name);
    }
    let roots = || policy.roots.iter().map(|root| &root.dataset);
    let Some(relative) = line.below(&target.root) else {
        // ROOT itself: the copy of a root that is sent, or of one without children.
        return if policy.roots.len() == 1 { roots().next().cloned() } else { None };
    };
    if let Some(root) = roots().find(|root| root.last() == relative) {
        return Some(root.clone());
    }
    // Distinguished by the storage's id, or by more of the source's own path.
    if let Some((first, rest)) = relative.split_once('/') {
        let storage = inventory.proxmox.storages.iter().flatten().find(|storage| storage.id == first);
        let named = storage.and_then(|storage| storage.dataset.child(rest).ok()).filter(is_below_a_root);
        let by_path = roots().find_map(|root| {
            let mut suffixes = root.as_str().match_indices('/').map(|(at, _)| at + 1).chain([0]);
            let root_text = root.as_str();
            suffixes.find_map(|at| {
                let rest = relative.strip_prefix(root_text.get(at..)?)?.strip_prefix('/')?;
                root.child(rest).ok()
            })
        });
        if let Some(name) = named.or(by_path) {
            return Some(name);
        }
    }
    if policy.roots.len() == 1 { roots().next()?.child(relative).ok() } else { None }
}
