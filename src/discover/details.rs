//! Plans, asks for what the plan lacks, and plans again.

use std::collections::BTreeMap;
use std::thread;

use super::Targets;
use crate::host::{HostError, SourceHost};
use crate::model::{
    Answer, DatasetName, Details, Guid, Inventory, LineHistory, LineageMark, SnapshotName, Unlisted,
    UserProperty,
};
use crate::plan::{MissingDetails, Place, Plan, Planned};
use crate::stream::threads::beside_or_here;

/// How often a plan is made at most. Two are the rule; each one more takes a snapshot that turned out to be of no use.
const ROUNDS_MAX: usize = 8;

const DIED: &str = "the thread that asked it died; this is a bug";

/// The plan that `plan` makes of `inventory`, which learns on the way what it lacks. Where it still lacks something after
/// many rounds, the last plan leaves what it concerns alone and says so.
pub fn complete<E>(
    inventory: &mut Inventory,
    source: &dyn SourceHost,
    targets: &Targets,
    mut plan: impl FnMut(&Inventory) -> Result<Planned, E>,
) -> Result<Plan, E> {
    let mut planned = plan(inventory)?;
    for _ in 1..ROUNDS_MAX {
        if planned.wants.is_empty() {
            break;
        }
        load_details(inventory, source, targets, &planned.wants);
        planned = plan(inventory)?;
    }
    Ok(planned.plan)
}

/// Adds to `inventory` what `wants` names, from all hosts and all pools of the source at once. A snapshot that is gone is
/// taken out; a host that cannot be asked any more is noted as such, and so are the datasets of a source pool.
pub fn load_details(
    inventory: &mut Inventory,
    source: &dyn SourceHost,
    targets: &Targets,
    wants: &MissingDetails,
) {
    thread::scope(|scope| {
        let lineage = beside_or_here(scope, "lineage", || lineage(source, wants));
        let histories = beside_or_here(scope, "history", || line_histories(source, wants));
        let mut asked = Vec::new();
        for (place, snapshots) in wants.places() {
            let parts = match (snapshots, place) {
                (Err(error), _) => vec![(None, Err(error.to_string()))],
                (Ok(snapshots), Place::Source) => {
                    by_pool(snapshots).into_iter().map(|(pool, some)| (Some(pool), Ok(some))).collect()
                }
                (Ok(snapshots), Place::Target(_)) => vec![(None, Ok(snapshots))],
            };
            for (pool, snapshots) in parts {
                let ask = move || match (snapshots?, place) {
                    (snapshots, Place::Source) => pair(snapshots, |some| source.details(some)),
                    (snapshots, Place::Target(name)) => match targets.get(name) {
                        Some(target) => pair(snapshots, |some| target.details(some)),
                        None => Err("no such host is set up; this is a bug".to_owned()),
                    },
                };
                asked.push((place, pool, beside_or_here(scope, "details", ask)));
            }
        }
        for (place, pool, thread) in asked {
            let loaded = thread.join();
            note(inventory, place, pool.as_deref(), loaded.unwrap_or_else(|| Err(DIED.to_owned())));
        }
        note_histories(inventory, histories.join().unwrap_or_else(|| Err(DIED.to_owned())));
        let loaded = lineage.join();
        for (pool, loaded) in loaded.unwrap_or_default() {
            note_lineage(inventory, &pool, loaded);
        }
    });
}

/// These snapshots of the source by their pools: a pool that hangs does not block the answers about the others.
fn by_pool(snapshots: Vec<(SnapshotName, Guid)>) -> BTreeMap<String, Vec<(SnapshotName, Guid)>> {
    let mut by_pool: BTreeMap<String, Vec<_>> = BTreeMap::new();
    for (name, guid) in snapshots {
        by_pool.entry(name.dataset().pool().to_owned()).or_default().push((name, guid));
    }
    by_pool
}

/// Notes that a pool of the source could not be asked; where it is the only one, the source could not.
fn leave_out(source: &mut Answer, pool: &str, why: String) {
    let Answer::Listed(listing) = source else { return };
    let names = listing.datasets().map(|dataset| dataset.name.clone());
    let (lost, kept): (Vec<DatasetName>, Vec<_>) = names.partition(|name| name.pool() == pool);
    if kept.is_empty() {
        *source = Answer::CouldNotAsk(why);
        return;
    }
    for name in lost {
        listing.mark_unlisted(name.as_str(), Unlisted::Failed(why.clone()));
    }
}

/// The details of each snapshot, or why they could not be read.
type LoadedDetails = Result<Vec<(SnapshotName, Guid, Option<Details>)>, String>;

fn pair(
    snapshots: Vec<(SnapshotName, Guid)>,
    ask: impl Fn(&[(SnapshotName, Guid)]) -> Result<Vec<Option<Details>>, HostError>,
) -> LoadedDetails {
    let details = ask(&snapshots).map_err(|error| error.chain())?;
    if details.len() != snapshots.len() {
        return Err("the answer has more or fewer snapshots than requested; this is a bug".to_owned());
    }
    Ok(snapshots.into_iter().zip(details).map(|((name, guid), details)| (name, guid, details)).collect())
}

fn note(inventory: &mut Inventory, place: &Place, pool: Option<&str>, loaded: LoadedDetails) {
    let answer = match place {
        Place::Source => Some(&mut inventory.source),
        Place::Target(name) => inventory.targets.get_mut(name),
    };
    match (answer, loaded) {
        (Some(Answer::Listed(listing)), Ok(loaded)) => {
            let mut by_dataset: BTreeMap<DatasetName, Vec<(Guid, Option<Details>)>> = BTreeMap::new();
            for (name, guid, details) in loaded {
                by_dataset.entry(name.dataset().clone()).or_default().push((guid, details));
            }
            for (name, learnt) in by_dataset {
                if let Some(dataset) = listing.get_mut(&name) {
                    dataset.history.add_details(learnt);
                }
            }
        }
        (Some(answer), Err(why)) => match pool {
            Some(pool) => leave_out(answer, pool, why),
            None => *answer = Answer::CouldNotAsk(why),
        },
        // Nothing was listed there, so nothing was wanted.
        (Some(Answer::CouldNotAsk(_)) | None, _) => {}
    }
}

/// The lineage property of each snapshot of the source.
type LoadedLineage = Result<Vec<(SnapshotName, Guid, Option<UserProperty>)>, String>;

fn lineage(source: &dyn SourceHost, wants: &MissingDetails) -> Vec<(String, LoadedLineage)> {
    match wants.lineage() {
        Ok(snapshots) => {
            let loaded = by_pool(snapshots).into_iter();
            loaded.map(|(pool, some)| (pool, lineage_of(source, some))).collect()
        }
        // A name that is none is of no pool.
        Err(error) => vec![(String::new(), Err(error.to_string()))],
    }
}

fn lineage_of(source: &dyn SourceHost, snapshots: Vec<(SnapshotName, Guid)>) -> LoadedLineage {
    let loaded = source.lineage(&snapshots).map_err(|error| error.chain())?;
    if loaded.len() != snapshots.len() {
        return Err("the answer has more or fewer snapshots than requested; this is a bug".to_owned());
    }
    Ok(snapshots.into_iter().zip(loaded).map(|((name, guid), property)| (name, guid, property)).collect())
}

/// When each source dataset that somebody wants to know of left its line.
type LoadedHistories = Result<Vec<(DatasetName, LineHistory)>, String>;

fn line_histories(source: &dyn SourceHost, wants: &MissingDetails) -> LoadedHistories {
    let datasets = wants.line_histories();
    if datasets.is_empty() {
        return Ok(Vec::new());
    }
    let loaded = source.line_histories(&datasets).map_err(|error| error.chain())?;
    Ok(datasets.into_iter().zip(loaded).collect())
}

fn note_histories(inventory: &mut Inventory, loaded: LoadedHistories) {
    match (&mut inventory.source, loaded) {
        (Answer::Listed(listing), Ok(loaded)) => {
            for (name, history) in loaded {
                if let Some(dataset) = listing.get_mut(&name) {
                    dataset.line_history = Some(history);
                }
            }
        }
        (source @ Answer::Listed(_), Err(why)) => *source = Answer::CouldNotAsk(why),
        (Answer::CouldNotAsk(_), _) => {}
    }
}

fn note_lineage(inventory: &mut Inventory, pool: &str, loaded: LoadedLineage) {
    match (&mut inventory.source, loaded) {
        (Answer::Listed(listing), Ok(loaded)) => {
            for (name, guid, property) in loaded {
                if let Some(dataset) = listing.get_mut(name.dataset()) {
                    let mark = LineageMark::read(property.as_ref(), dataset.guid);
                    dataset.lineage.insert(guid, mark);
                }
            }
        }
        (source @ Answer::Listed(_), Err(why)) if pool.is_empty() => *source = Answer::CouldNotAsk(why),
        (source, Err(why)) => leave_out(source, pool, why),
        (Answer::CouldNotAsk(_), _) => {}
    }
}
