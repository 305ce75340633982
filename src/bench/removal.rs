//! Removes what a bench received: exactly that, or nothing.

use std::thread;
use std::time::Duration;

use crate::host::{HostError, Problem, TargetHost};
use crate::model::{Change, Dataset, DatasetName, Guid, Listing, PointName, ResumeToken};

/// A `zfs receive` that was cut off takes a moment to let go of its dataset.
const RETRIES: usize = 20;
const PAUSE: Duration = Duration::from_millis(500);

/// The outcome of a removal.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Removal {
    /// Nothing of it is there.
    Gone,
    /// It is still there, for this reason.
    Left(String),
}

/// Removes `dataset`, if what it holds is the snapshot of this GUID and name, or a broken-off receive of it, and nothing
/// else.
pub(super) fn remove(host: &dyn TargetHost, dataset: &DatasetName, guid: Guid, name: &PointName) -> Removal {
    let mut tries = RETRIES;
    loop {
        let removed =
            host.list(dataset).and_then(|listing| remove_listed(host, dataset, &listing, guid, name));
        tries -= 1;
        match removed {
            Ok(Some(removal)) => return removal,
            // Asked for and done; the next look shows it.
            Ok(None) if tries > 0 => {}
            Ok(None) => return Removal::Left("it comes again and again".to_owned()),
            Err(error) if tries > 0 && matches!(error.problem, Problem::Busy(_) | Problem::Changed(_)) => {
                thread::sleep(PAUSE);
            }
            Err(error) => return Removal::Left(error.chain()),
        }
    }
}

fn remove_listed(
    host: &dyn TargetHost,
    dataset: &DatasetName,
    listing: &Listing,
    guid: Guid,
    name: &PointName,
) -> Result<Option<Removal>, HostError> {
    let Some(found) = listing.get(dataset) else {
        return Ok(Some(Removal::Gone));
    };
    if listing.datasets().count() != 1 {
        return Ok(Some(Removal::Left("another dataset is below it".to_owned())));
    }
    let has_points = found.history.points().next().is_some();
    if let (Some(token), false) = (&found.resume_token, has_points) {
        let is_ours = ResumeToken::parse(token).is_ok_and(|token| token.to_guid == guid);
        if !is_ours {
            return Ok(Some(Removal::Left("what is half received there is another stream".to_owned())));
        }
        host.change(&Change::AbortReceive { dataset: dataset.clone(), token: token.clone() })?;
        return Ok(None);
    }
    if !is_exactly(found, guid, name) {
        return Ok(Some(Removal::Left("it is not what the bench received".to_owned())));
    }
    let snapshots = vec![(name.clone(), guid)];
    host.change(&Change::DestroyDataset { dataset: dataset.clone(), guid: found.guid, snapshots })?;
    Ok(None)
}

/// Whether the dataset's one and only point is this snapshot, and nothing was received over it.
fn is_exactly(dataset: &Dataset, guid: Guid, name: &PointName) -> bool {
    let points: Vec<_> = dataset.history.points().collect();
    let [point] = points.as_slice() else { return false };
    dataset.resume_token.is_none() && point.is_snapshot() && point.guid == guid && point.name == *name
}
