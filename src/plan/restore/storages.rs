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

#[cfg(test)]
mod tests {
    use super::super::{At, Copy, What};
    use super::*;
    use crate::model::{Dataset, DatasetKind, GuestId, Guid, TargetName};

    fn name(text: &str) -> DatasetName {
        DatasetName::new(text).unwrap()
    }

    /// What is on the backup, by the names at the lost host and of the copies.
    fn places(config: &str, volumes: &[(&str, &str)]) -> Vec<String> {
        let copies: Vec<Dataset> =
            volumes.iter().map(|(_, copy)| Dataset::new(name(copy), Guid(1), DatasetKind::Volume)).collect();
        let volume = |(volume, dataset): (&(&str, &str), _)| {
            let place = Place::Target(TargetName("backup".to_owned()));
            let copy = Copy { place, is_archive: false, is_set_aside: false, dataset };
            Volume { name: name(volume.0), copies: vec![copy] }
        };
        let volumes: Vec<Volume<'_>> = volumes.iter().zip(&copies).map(volume).collect();
        let found = former_places(config, &volumes.iter().collect::<Vec<_>>());
        found.iter().map(|(name, place)| format!("{name} {}:{}", place.storage, place.volume)).collect()
    }

    #[test]
    fn a_disk_is_of_the_line_that_can_only_be_its_own() {
        let two = "scsi0: z:vm-1-disk-0\nscsi1: fast:vm-1-disk-0\nscsi2: fast:vm-1-disk-1\n";
        let (a, b) = (("p/a/vm-1-disk-0", "t/vm-1-disk-0"), ("q/b/vm-1-disk-0", "t/fast/vm-1-disk-0"));
        let c = ("q/b/vm-1-disk-1", "t/vm-1-disk-1");
        let all = [
            "p/a/vm-1-disk-0 z:vm-1-disk-0",
            "q/b/vm-1-disk-0 fast:vm-1-disk-0",
            "q/b/vm-1-disk-1 fast:vm-1-disk-1",
        ];
        assert_eq!(places(two, &[a, b, c]), all);
        // Without the other, or where no copy is below an id, nothing says which it is.
        assert_eq!(places(two, &[a, c]), all[2..]);
        assert_eq!(places(two, &[a, ("q/b/vm-1-disk-0", "t/b/vm-1-disk-0"), c]), all[2..]);
        // A storage that is in the file of no guest's disk, and a copy that was renamed.
        assert_eq!(places("scsi0: z:vm-1-disk-0\n", &[a]), all[..1]);
        let renamed = ("q/b/vm-1-disk-7", "t/fast/vm-1-disk-0");
        assert_eq!(places(two, &[a, renamed]), [all[0], "q/b/vm-1-disk-7 fast:vm-1-disk-0"]);
        // One line is not two disks'.
        assert_eq!(places("scsi0: z:vm-1-disk-0\n", &[a, b]), Vec::<String>::new());
        assert_eq!(places("[snap]\nscsi0: z:vm-1-disk-0\n", &[a]), Vec::<String>::new());
    }

    #[test]
    fn what_was_asked_for_comes_before_the_own_place_and_that_before_the_same_id() {
        let here = [("z", "p/new"), ("slow", "p/old")].map(|(id, at)| (id.to_owned(), name(at)));
        let former = |volume: &str| BTreeMap::from([(name(volume), "z".to_owned())]);
        let mut storages =
            Storages { here: here.into(), former: former("q/a/vm-1-disk-0"), ..Storages::default() };
        let parent = |storages: &Storages, volume: &str| storages.parent(&name(volume)).unwrap().to_string();
        assert_eq!(parent(&storages, "q/a/vm-1-disk-0"), "p/new");
        assert_eq!(parent(&storages, "q/b/vm-1-disk-0"), "q/b");
        storages.former = former("p/old/vm-1-disk-0");
        assert_eq!(parent(&storages, "p/old/vm-1-disk-0"), "p/old");
        for of in ["z", "p/old", "slow"] {
            storages.of = BTreeMap::from([(of.to_owned(), name("x"))]);
            assert_eq!(parent(&storages, "p/old/vm-1-disk-0"), "x", "{of}");
        }
        storages.every = Some(name("y"));
        assert_eq!(parent(&storages, "q/b/vm-1-disk-0"), "y");
    }

    #[test]
    fn disks_of_one_name_get_the_next_free_numbers_and_keep_them_once_they_are_there() {
        let request = RestoreRequest {
            what: What::Guest(GuestId(1)),
            without: vec![name("p/a/vm-1-disk-0")],
            at: None::<At>,
            from: None,
            to: None,
            is_begun: false,
            begun_with: Vec::new(),
            is_taken: false,
            new_id: None,
            storages: Storages { every: Some(name("s")), ..Storages::default() },
            replace: None,
            is_drill: false,
        };
        let copy = Dataset::new(name("t/x"), Guid(1), DatasetKind::Volume);
        let called = |names: &[&str]| {
            let volume = |volume: &&str| {
                let place = Place::Target(TargetName("backup".to_owned()));
                let copy = Copy { place, is_archive: false, is_set_aside: false, dataset: &copy };
                Volume { name: name(volume), copies: vec![copy] }
            };
            let volumes = Volumes { volumes: names.iter().map(volume).collect(), unlisted: Vec::new() };
            let targets = targets(&volumes, &request).unwrap();
            targets.iter().map(|(volume, to)| format!("{volume} {to}")).collect::<Vec<_>>()
        };
        let three = called(&["p/a/vm-1-disk-0", "p/a/vm-1-disk-1", "q/b/vm-1-disk-0"]);
        assert_eq!(
            three,
            [
                "p/a/vm-1-disk-0 s/vm-1-disk-0",
                "p/a/vm-1-disk-1 s/vm-1-disk-1",
                "q/b/vm-1-disk-0 s/vm-1-disk-2"
            ]
        );
        let one_is_there = called(&["p/a/vm-1-disk-0", "p/a/vm-1-disk-1", "s/vm-1-disk-2"]);
        assert_eq!(one_is_there[2], "s/vm-1-disk-2 s/vm-1-disk-2");
        assert_eq!(
            called(&["q/b/vm-1-disk-0", "s/vm-1-disk-0"]),
            ["q/b/vm-1-disk-0 s/vm-1-disk-1", "s/vm-1-disk-0 s/vm-1-disk-0"]
        );
    }
}
