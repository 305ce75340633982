//! What a begun restore has lost: the point had it when the restore began, and has it no more, as after a `zhaul prune` meanwhile.

use super::choice::Choice;
use super::{RestoreError, RestoreRequest, VolumeRestore, incoming};
use crate::model::{Dataset, DatasetName, Listing, RESTORE_PROPERTY, TargetName};

/// Refuses to end a restore without what it was begun with: that of which something was received, though it is `missing` at the
/// point now, and what the guest's begun file names, unless it is restored or here.
pub(super) fn check(
    unlisted: &[(TargetName, String)],
    (here, request): (&Listing, &RestoreRequest),
    chosen: &Choice<'_>,
    restores: &[VolumeRestore],
    missing: Vec<DatasetName>,
) -> Result<(), RestoreError> {
    // A drill says so of its own, and nothing depends on how it ends.
    if request.is_drill {
        return Ok(());
    }
    let mut lost = Vec::new();
    for to in missing {
        let is_marked = |there: &Dataset| there.user.local(RESTORE_PROPERTY).is_some();
        if here.get(&incoming(&to)?).is_some() || here.get(&to).is_some_and(is_marked) {
            lost.push(to);
        }
    }
    for named in &request.begun_with {
        let is_restored = restores.iter().any(|restore| restore.to == *named);
        if !is_restored && here.get(named).is_none() && !lost.contains(named) {
            lost.push(named.clone());
        }
    }
    if lost.is_empty() {
        return Ok(());
    }
    Err(RestoreError::Lost {
        point: chosen.point.name.clone(),
        place: chosen.place.clone(),
        lost,
        unlisted: unlisted.to_vec(),
        complete: chosen.complete.clone(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::{GroupPoint, Storages, What};
    use super::*;
    use crate::model::{GuestId, PointName};
    use crate::plan::Place;

    #[test]
    fn what_the_begun_file_names_is_restored_or_here_or_lost() {
        let disk = |name: &str| DatasetName::new(name).unwrap();
        let name = |name: &str| PointName::new(name).unwrap();
        let mut request = RestoreRequest {
            what: What::Guest(GuestId(100)),
            without: Vec::new(),
            at: None,
            from: None,
            to: None,
            is_begun: true,
            begun_with: vec![disk("tank/vm-100-disk-1")],
            is_taken: false,
            new_id: None,
            storages: Storages::default(),
            replace: None,
            is_drill: false,
        };
        let point = GroupPoint { name: name("one"), time: None, volumes: Vec::new() };
        let chosen = Choice { point, place: Place::Source, complete: Some(name("two")) };
        let here = Listing::default();
        let found = |request: &RestoreRequest| check(&[], (&here, request), &chosen, &[], Vec::new());
        let lost = RestoreError::Lost {
            point: name("one"),
            place: Place::Source,
            unlisted: Vec::new(),
            lost: request.begun_with.clone(),
            complete: Some(name("two")),
        };
        assert_eq!(found(&request), Err(lost));
        request.is_drill = true;
        assert_eq!(found(&request), Ok(()));
        request.is_drill = false;
        request.begun_with.clear();
        assert_eq!(found(&request), Ok(()));
    }
}
