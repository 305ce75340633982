//! The datasets that `zhaul restore --replace` puts aside. Pure.
//!
//! The stamp is in the marks of the received datasets before anything leaves its place: an interrupted restore
//! continues with the same stamp.

use super::keep::{check_places, free_stamp};
use super::{Replaced, RestoreError, RestoreRequest, Stage, VolumeRestore};
use crate::model::{Dataset, DatasetName, Listing, RESTORE_PROPERTY, aside_of};

/// Whether a dataset that exists is to be replaced by what is received into `incoming`. As long as the guest's file is not
/// complete, everything was received: what has left `incoming` is in its place.
pub(super) fn is_replaced(here: &Listing, request: &RestoreRequest, incoming: &DatasetName) -> bool {
    request.replace.is_some() && (!request.is_begun || here.get(incoming).is_some())
}

/// Finds what is put aside, and gives the stamp, if there is anything.
pub(super) fn plan_replaced(
    here: &Listing,
    request: &RestoreRequest,
    restores: &mut [VolumeRestore],
) -> Result<Option<String>, RestoreError> {
    let Some(fresh) = &request.replace else { return Ok(None) };
    // Nothing gets its place before all is received, so what was not received is in its place.
    if restores.iter().any(|restore| restore.stage == Stage::Finish) {
        for restore in restores.iter_mut().filter(|restore| restore.stage == Stage::Receive) {
            if here.get(&restore.to).is_some() && here.get(&restore.incoming).is_none() {
                restore.stage = Stage::Done;
                restore.streams.clear();
            }
        }
    }
    let marked = restores.iter().flat_map(|restore| [&restore.incoming, &restore.to]);
    let marked = marked.into_iter().find_map(|name| stamp_of(here.get(name)?));
    // A mark with a stamp is of a replacing restore, whatever of it is in its place already.
    let mut is_any = request.is_taken || marked.is_some();
    let stamp = match marked {
        Some(stamp) => stamp,
        None => free_stamp(&restores.iter().map(|restore| &restore.to).collect::<Vec<_>>(), here, fresh)?,
    };
    for restore in restores.iter_mut() {
        is_any |= restore.stage == Stage::Finish;
        let is_to_come = matches!(restore.stage, Stage::Receive | Stage::Rename);
        let Some(there) = here.get(&restore.to).filter(|_| is_to_come) else { continue };
        if here.has_children(&restore.to) {
            return Err(RestoreError::HasChildren { dataset: restore.to.clone() });
        }
        // ZFS moves no clone away from the key of its origin (dsl_dir_rename_crypt_check).
        if let Some(key_of) = there.settings.encryption_root.as_ref()
            && *key_of != there.name
            && there.name.below(key_of).is_none()
        {
            return Err(RestoreError::OriginsKey { dataset: restore.to.clone(), key_of: key_of.clone() });
        }
        check_places(here, &restore.to)?;
        let aside = aside_of(&restore.to, &stamp)?;
        let aside = aside.ok_or_else(|| RestoreError::Exists {
            dataset: restore.to.clone(),
            has_point: false,
            point: None,
            missing: Vec::new(),
        })?;
        restore.replaces = Some(Replaced { guid: there.guid, aside });
        is_any = true;
    }
    Ok(is_any.then_some(stamp))
}

/// The stamp in the mark of a restore: `GUID STAMP`.
fn stamp_of(dataset: &Dataset) -> Option<String> {
    let (guid, stamp) = dataset.user.local(RESTORE_PROPERTY)?.split_once(' ')?;
    guid.parse::<u64>().ok().map(|_| stamp.to_owned())
}
