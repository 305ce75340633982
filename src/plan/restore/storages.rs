//! The storages that a guest's disks were on, and what its disks are called where they are restored.
//!
//! On the host that was lost a disk was a volume of a storage of Proxmox VE. Another host may have a storage of the same id on
//! another pool, or storages of other ids. The guest's stored file has the ids.

use std::collections::{BTreeMap, BTreeSet};

use super::config::{self, plain, volumes_of};
use super::{DRILL_PREFIX, RestoreError, RestoreRequest, Volume, Volumes, find};
use crate::model::{DatasetName, Proxmox};
use crate::plan::Place;

/// Where a line of a guest's stored file says that a disk was.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct FormerPlace {
    /// The storage's id.
    pub storage: String,
    /// The volume, as it was called there.
    pub volume: String,
}

impl FormerPlace {
    /// Whether a line of the file means it. The disks of a guest that becomes a template get other prefixes.
    pub(super) fn is_of(&self, (storage, volume): (&str, &str)) -> bool {
        self.storage == storage && plain(&self.volume) == plain(volume)
    }
}

/// The places of volumes, by their names.
pub type FormerPlaces = BTreeMap<DatasetName, FormerPlace>;

/// Where the disks of a guest go, by where they were.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Storages {
    /// The dataset of the storage that every disk goes to of which `of` says nothing.
    pub every: Option<DatasetName>,
    /// The dataset of the storage that the disks of a former storage go to, by the id of that, or by its dataset.
    pub of: BTreeMap<String, DatasetName>,
    /// The storages of this host: id and dataset.
    pub here: BTreeMap<String, DatasetName>,
    /// The ids of the storages that volumes were on, where this host has none with that dataset and the stored file says it.
    pub former: BTreeMap<DatasetName, String>,
}

impl Storages {
    /// The storages of this host, and nothing that was asked for.
    pub fn new(proxmox: &Proxmox) -> Self {
        let storages = proxmox.storages.iter().flatten();
        let here = storages.map(|storage| (storage.id.clone(), storage.dataset.clone())).collect();
        Self { here, ..Self::default() }
    }

    /// Whether this host has a storage on the dataset that the volume was in.
    pub fn is_known(&self, volume: &DatasetName) -> bool {
        volume.parent().is_some_and(|parent| self.here.values().any(|dataset| *dataset == parent))
    }

    /// Whether a former storage of `of` means the one that this volume was on.
    pub fn is_on(&self, volume: &DatasetName, of: &str) -> bool {
        let parent = volume.parent();
        self.former.get(volume).is_some_and(|id| id == of)
            || parent.as_ref().is_some_and(|parent| parent.as_str() == of)
            || parent.is_some() && self.here.get(of) == parent.as_ref()
    }

    /// Adds to an error which storages the volumes were on that have no place here.
    pub(super) fn explain<'a>(
        &self,
        mut error: RestoreError,
        volumes: impl Iterator<Item = &'a DatasetName>,
    ) -> RestoreError {
        if let RestoreError::NoParent { former, storages, .. } = &mut error
            && !self.here.is_empty()
        {
            let is_lost = |volume: &&DatasetName| {
                let id = self.former.get(*volume);
                self.wanted(volume).is_none()
                    && !self.is_known(volume)
                    && id.is_none_or(|id| !self.here.contains_key(id))
            };
            let name = |volume: &DatasetName| match self.former.get(volume) {
                Some(id) => Some(id.clone()),
                None => volume.parent().map(|parent| parent.to_string()),
            };
            let names: BTreeSet<String> = volumes.filter(is_lost).filter_map(name).collect();
            former.extend(names);
            storages.extend(self.here.keys().cloned());
        }
        error
    }

    /// The dataset that a person wants the volume in.
    fn wanted(&self, volume: &DatasetName) -> Option<&DatasetName> {
        let of = self.of.iter().find(|(of, _)| self.is_on(volume, of));
        of.map(|(_, to)| to).or(self.every.as_ref())
    }

    /// The dataset that the volume goes below: the one that was asked for, else its own if this host has a storage there, else that of
    /// the storage with the same id.
    fn parent(&self, volume: &DatasetName) -> Option<DatasetName> {
        let of_id = || self.here.get(self.former.get(volume)?).filter(|_| !self.is_known(volume));
        self.wanted(volume).or_else(of_id).cloned().or_else(|| volume.parent())
    }
}

/// The future names of the volumes that are meant, by their names. Where disks of one name come together on one storage, one keeps
/// its name, and the others get the next numbers that are free, as Proxmox VE numbers disks.
pub(super) fn targets(
    volumes: &Volumes<'_>,
    request: &RestoreRequest,
) -> Result<BTreeMap<DatasetName, DatasetName>, RestoreError> {
    // Disks that are not restored count, too: the numbers are the same whichever of them are.
    let all = RestoreRequest { without: Vec::new(), ..request.clone() };
    let mut wanted = Vec::new();
    for volume in find(volumes, &all)? {
        wanted.push((&volume.name, target(&volume.name, request)?));
    }
    // What has its place keeps it, where an interrupted restore is continued.
    wanted.sort_by_key(|(volume, to)| *volume != to);
    let names: BTreeSet<DatasetName> = wanted.iter().map(|(_, to)| to.clone()).collect();
    let (mut taken, mut targets) = (BTreeSet::new(), BTreeMap::new());
    for (volume, to) in wanted {
        let is_moved = request.storages.wanted(volume).is_some();
        let to = if taken.contains(&to) && is_moved { free(&to, &names, &taken)? } else { to };
        taken.insert(to.clone());
        targets.insert(volume.clone(), to);
    }
    Ok(targets)
}

/// The name with the lowest number that is in neither set.
fn free(
    name: &DatasetName,
    names: &BTreeSet<DatasetName>,
    taken: &BTreeSet<DatasetName>,
) -> Result<DatasetName, RestoreError> {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|c| c.is_ascii_digit());
    let stem = name.last().rsplit_once('-').filter(|(_, number)| is_number(number));
    let stem = stem.map_or(name.last(), |(stem, _)| stem);
    let Some(parent) = name.parent() else { return Ok(name.clone()) };
    for number in 0..=names.len() + taken.len() {
        let other = parent.child(&format!("{stem}-{number}"))?;
        if !names.contains(&other) && !taken.contains(&other) {
            return Ok(other);
        }
    }
    Ok(name.clone())
}

/// The future name of a volume, wherever others go.
fn target(volume: &DatasetName, request: &RestoreRequest) -> Result<DatasetName, RestoreError> {
    if let Some(to) = &request.to {
        return Ok(to.clone());
    }
    if request.is_drill {
        let name = format!("{DRILL_PREFIX}{}", volume.last());
        return Ok(volume.parent().map_or_else(|| Ok(volume.clone()), |parent| parent.child(&name))?);
    }
    let last = request.new_id.and_then(|id| config::renumbered(volume.last(), id));
    let last = last.as_deref().unwrap_or(volume.last());
    match request.storages.parent(volume) {
        Some(parent) => Ok(parent.child(last)?),
        None => Ok(volume.clone()),
    }
}

/// The lines of the guest's stored file that name the volumes: storage and volume. A volume's name decides where it is on one storage
/// alone, or else the name of its copies, where it got another one here; of several storages the one whose id its copies are below, as
/// disks of one name are distinguished on a target; and the last one that is left. What is not certain is not there.
pub fn former_places(config: &str, volumes: &[&Volume<'_>]) -> FormerPlaces {
    let lines: BTreeSet<FormerPlace> = volumes_of(config)
        .into_iter()
        .map(|(storage, volume)| FormerPlace { storage: storage.to_owned(), volume: volume.to_owned() })
        .collect();
    let candidates: Vec<BTreeSet<&FormerPlace>> =
        volumes.iter().map(|volume| candidates(&lines, volume)).collect();
    let mut found: Vec<Option<&FormerPlace>> = Vec::new();
    for (volume, candidates) in volumes.iter().zip(&candidates) {
        let is_above = |place: &&&FormerPlace| {
            let copies = volume.copies.iter().filter(|copy| copy.place != Place::Source);
            let mut above = copies.filter_map(|copy| copy.dataset.name.parent());
            above.any(|above| above.last() == place.storage)
        };
        found.push(
            only(candidates.iter().copied()).or_else(|| only(candidates.iter().filter(is_above).copied())),
        );
    }
    for at in 0..volumes.len() {
        let Some(own) = candidates.get(at).filter(|_| found.get(at) == Some(&None)) else { continue };
        let others = || candidates.iter().zip(&found).enumerate().filter(|(other, _)| *other != at);
        let are_certain = others().all(|(_, (places, found))| found.is_some() || places.is_disjoint(own));
        let left = own.iter().filter(|place| !others().any(|(_, (_, found))| *found == Some(**place)));
        let last = only(left.copied()).filter(|_| are_certain);
        if let Some(found) = found.get_mut(at) {
            *found = last;
        }
    }
    let is_one_disks =
        |place: &&FormerPlace| found.iter().filter(|other| **other == Some(*place)).count() == 1;
    let places = volumes
        .iter()
        .zip(&found)
        .filter_map(|(volume, place)| Some((volume.name.clone(), place.filter(is_one_disks)?.clone())));
    places.collect()
}

/// The lines that may name the volume.
fn candidates<'a>(lines: &'a BTreeSet<FormerPlace>, volume: &Volume<'_>) -> BTreeSet<&'a FormerPlace> {
    let named = |name: &str| {
        let name = plain(name);
        lines.iter().filter(move |line| plain(&line.volume) == name)
    };
    let own: BTreeSet<&FormerPlace> = named(volume.name.last()).collect();
    if !own.is_empty() {
        return own;
    }
    let copies = volume.copies.iter().filter(|copy| copy.place != Place::Source);
    copies.flat_map(|copy| named(copy.dataset.name.last())).collect()
}

/// The only one, if there is just one.
fn only<T>(mut of: impl Iterator<Item = T>) -> Option<T> {
    of.next().filter(|_| of.next().is_none())
}
