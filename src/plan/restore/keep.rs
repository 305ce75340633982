//! Plans `zhaul rollback --keep`: a clone of the point takes the place of each disk, which is put aside with all that is newer.
//! Pure.
//!
//! Nothing is destroyed, so nothing is in the way: the clone is promoted, and has every snapshot up to the point; the disk that
//! was put aside keeps what is newer, its bookmarks and its GUID.

use super::{RestoreError, RollbackPlan, incoming, place};
use crate::model::{
    ASIDE_MARK, ASIDE_NAME, Dataset, DatasetName, Guid, INCOMING_MARK, KeptMark, Listing, RESTORE_PROPERTY,
    aside_from, aside_of,
};

/// The work on one disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeepDisk {
    /// The mark of the clone.
    pub mark: KeptMark,
    /// Where the clone is made.
    pub incoming: DatasetName,
    /// Where it is now, and what identifies it; `None` where it is still to be made.
    pub made: Option<(DatasetName, Guid)>,
}

impl KeepDisk {
    /// The stamp under which the disk is put aside.
    pub fn stamp(&self) -> String {
        aside_from(&self.mark.aside).map(|(_, stamp)| stamp).unwrap_or_default()
    }
}

/// The datasets that have to be listed before [`plan_keep`].
pub fn wanted_for_keep(plan: &RollbackPlan) -> Result<Vec<DatasetName>, RestoreError> {
    let mut wanted = Vec::new();
    for disk in &plan.disks {
        wanted.extend([disk.dataset.clone(), incoming(&disk.dataset)?, place(&disk.dataset)?]);
        wanted.extend(aside_place(&disk.dataset)?);
    }
    Ok(wanted)
}

/// Where disks beside this one are put aside.
pub fn aside_place(dataset: &DatasetName) -> Result<Option<DatasetName>, RestoreError> {
    Ok(dataset.parent().map(|parent| parent.child(ASIDE_NAME)).transpose()?)
}

/// The work for `plan`; clones that an interrupted command has made are used. `stamp` says when.
pub fn plan_keep(plan: &RollbackPlan, here: &Listing, stamp: &str) -> Result<Vec<KeepDisk>, RestoreError> {
    let earlier = plan.disks.iter().find_map(|disk| {
        let mark = mark_of(here.get(&incoming(&disk.dataset).ok()?)?)?;
        Some(aside_from(&mark.aside)?.1)
    });
    let stamp = match earlier {
        Some(earlier) => earlier,
        None => free_stamp(&plan.disks.iter().map(|disk| &disk.dataset).collect::<Vec<_>>(), here, stamp)?,
    };
    let mut disks = Vec::new();
    for disk in &plan.disks {
        let incoming = incoming(&disk.dataset)?;
        check_places(here, &disk.dataset)?;
        if here.has_children(&disk.dataset) {
            return Err(RestoreError::HasChildren { dataset: disk.dataset.clone() });
        }
        // ZFS moves no clone away from the dataset that it has its key from (dsl_dir_rename_crypt_check).
        let key_of = here.get(&disk.dataset).and_then(|dataset| dataset.settings.encryption_root.as_ref());
        if key_of.is_some_and(|root| disk.dataset.below(root).is_none()) {
            return Err(RestoreError::OwnKey { dataset: disk.dataset.clone() });
        }
        let name = || RestoreError::Exists {
            dataset: disk.dataset.clone(),
            has_point: true,
            point: None,
            missing: Vec::new(),
        };
        let canmount = here.get(&disk.dataset).map(|dataset| dataset.settings.canmount.clone());
        let mark = KeptMark {
            of: disk.dataset.clone(),
            old: disk.dataset_guid,
            aside: aside_of(&disk.dataset, &stamp)?.ok_or_else(name)?,
            point: disk.to.clone(),
            guid: disk.guid,
            kind: disk.kind,
            canmount: canmount.unwrap_or_else(|| "on".to_owned()),
        };
        let made = match here.get(&incoming) {
            None => None,
            Some(there) if mark_of(there).as_ref() == Some(&mark) => Some((incoming.clone(), there.guid)),
            Some(there) => {
                let point = mark_of(there).map(|mark| mark.point);
                return Err(RestoreError::OtherRestore { incoming, point });
            }
        };
        disks.push(KeepDisk { mark, incoming, made });
    }
    Ok(disks)
}

/// A stamp that none of these datasets was put aside with before.
pub fn free_stamp(datasets: &[&DatasetName], here: &Listing, stamp: &str) -> Result<String, RestoreError> {
    for number in 1..100 {
        let tried = if number == 1 { stamp.to_owned() } else { format!("{stamp}-{number}") };
        let mut is_taken = false;
        for dataset in datasets {
            for stamp in [tried.clone(), crate::model::opposite(&tried)] {
                is_taken |= aside_of(dataset, &stamp)?.is_some_and(|aside| here.get(&aside).is_some());
            }
        }
        if !is_taken {
            return Ok(tried);
        }
    }
    Ok(stamp.to_owned())
}

/// Refuses places that have the names of ours and are not.
pub(super) fn check_places(here: &Listing, dataset: &DatasetName) -> Result<(), RestoreError> {
    let places = [(Some(place(dataset)?), INCOMING_MARK), (aside_place(dataset)?, ASIDE_MARK)];
    for (place, mark) in places.into_iter().filter_map(|(place, mark)| Some((place?, mark))) {
        if here.get(&place).is_some_and(|there| there.user.local(RESTORE_PROPERTY) != Some(mark)) {
            return Err(RestoreError::PlaceTaken { place });
        }
    }
    Ok(())
}

/// Disks of which an interrupted command has made a clone, in the listing of a source.
pub fn begun(here: &Listing) -> Vec<KeepDisk> {
    let marked = here.datasets().filter_map(|dataset| Some((dataset, mark_of(dataset)?)));
    let disk = |(dataset, mark): (&Dataset, KeptMark)| {
        let incoming = incoming(&mark.of).ok()?;
        let is_there = dataset.name == incoming || dataset.name == mark.of;
        is_there.then(|| KeepDisk { mark, incoming, made: Some((dataset.name.clone(), dataset.guid)) })
    };
    marked.filter_map(disk).collect()
}

/// Whether any disk has left its place already: then the rest follows, whatever is asked for.
pub fn is_committed(disks: &[KeepDisk], here: &Listing) -> bool {
    disks.iter().any(|disk| {
        let is_in_place = disk.made.as_ref().is_some_and(|(at, _)| *at == disk.mark.of);
        is_in_place || here.get(&disk.mark.aside).is_some_and(|aside| aside.guid == disk.mark.old)
    })
}

fn mark_of(dataset: &Dataset) -> Option<KeptMark> {
    dataset.user.local(RESTORE_PROPERTY).and_then(KeptMark::parse)
}
