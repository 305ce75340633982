//! Plans, asks for what the plan lacks, and plans again.

use std::collections::BTreeMap;
use std::thread;

use super::Targets;
use crate::host::{HostError, SourceHost};
use crate::model::{
    Answer, DatasetName, Details, Guid, Inventory, LineHistory, LineageMark, SnapshotName, UserProperty,
};
use crate::plan::{Place, Plan, Planned, Wants};

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
        learn(inventory, source, targets, &planned.wants);
        planned = plan(inventory)?;
    }
    Ok(planned.plan)
}

/// Adds to `inventory` what `wants` names, from all hosts at once. A snapshot that is gone is taken out; a host that cannot
/// be asked any more is noted as such.
pub fn learn(inventory: &mut Inventory, source: &dyn SourceHost, targets: &Targets, wants: &Wants) {
    thread::scope(|scope| {
        let lineage = scope.spawn(|| lineage(source, wants));
        let histories = scope.spawn(|| line_histories(source, wants));
        let mut asked = Vec::new();
        for (place, snapshots) in wants.places() {
            let ask = move || match (snapshots, place) {
                (Err(error), _) => Err(error.to_string()),
                (Ok(snapshots), Place::Source) => pair(snapshots, |some| source.details(some)),
                (Ok(snapshots), Place::Target(name)) => match targets.get(name) {
                    Some(target) => pair(snapshots, |some| target.details(some)),
                    None => Err("no such host is set up; this is a bug".to_owned()),
                },
            };
            asked.push((place, scope.spawn(ask)));
        }
        for (place, thread) in asked {
            let told = thread.join();
            note(inventory, place, told.unwrap_or_else(|_| Err(DIED.to_owned())));
        }
        note_histories(inventory, histories.join().unwrap_or_else(|_| Err(DIED.to_owned())));
        let told = lineage.join();
        note_lineage(inventory, told.unwrap_or_else(|_| Err(DIED.to_owned())));
    });
}

/// What was told of each snapshot, or why nothing was.
type Told = Result<Vec<(SnapshotName, Guid, Option<Details>)>, String>;

fn pair(
    snapshots: Vec<(SnapshotName, Guid)>,
    ask: impl Fn(&[(SnapshotName, Guid)]) -> Result<Vec<Option<Details>>, HostError>,
) -> Told {
    let details = ask(&snapshots).map_err(|error| error.chain())?;
    if details.len() != snapshots.len() {
        return Err("it told of more or fewer snapshots than it was asked for; this is a bug".to_owned());
    }
    Ok(snapshots.into_iter().zip(details).map(|((name, guid), details)| (name, guid, details)).collect())
}

fn note(inventory: &mut Inventory, place: &Place, told: Told) {
    let answer = match place {
        Place::Source => Some(&mut inventory.source),
        Place::Target(name) => inventory.targets.get_mut(name),
    };
    match (answer, told) {
        (Some(Answer::Listed(listing)), Ok(told)) => {
            let mut by_dataset: BTreeMap<DatasetName, Vec<(Guid, Option<Details>)>> = BTreeMap::new();
            for (name, guid, details) in told {
                by_dataset.entry(name.dataset().clone()).or_default().push((guid, details));
            }
            for (name, learnt) in by_dataset {
                if let Some(dataset) = listing.get_mut(&name) {
                    dataset.history.learn(learnt);
                }
            }
        }
        (Some(answer), Err(why)) => *answer = Answer::CouldNotAsk(why),
        // Nothing was listed there, so nothing was wanted.
        (Some(Answer::CouldNotAsk(_)) | None, _) => {}
    }
}

/// What each snapshot of the source says of its lineage.
type ToldLineage = Result<Vec<(SnapshotName, Guid, Option<UserProperty>)>, String>;

fn lineage(source: &dyn SourceHost, wants: &Wants) -> ToldLineage {
    let snapshots = wants.lineage().map_err(|error| error.to_string())?;
    if snapshots.is_empty() {
        return Ok(Vec::new());
    }
    let told = source.lineage(&snapshots).map_err(|error| error.chain())?;
    if told.len() != snapshots.len() {
        return Err("it told of more or fewer snapshots than it was asked for; this is a bug".to_owned());
    }
    Ok(snapshots.into_iter().zip(told).map(|((name, guid), property)| (name, guid, property)).collect())
}

/// When each source dataset that somebody wants to know of left its line.
type ToldHistories = Result<Vec<(DatasetName, LineHistory)>, String>;

fn line_histories(source: &dyn SourceHost, wants: &Wants) -> ToldHistories {
    let datasets = wants.line_histories();
    if datasets.is_empty() {
        return Ok(Vec::new());
    }
    let told = source.line_histories(&datasets).map_err(|error| error.chain())?;
    Ok(datasets.into_iter().zip(told).collect())
}

fn note_histories(inventory: &mut Inventory, told: ToldHistories) {
    match (&mut inventory.source, told) {
        (Answer::Listed(listing), Ok(told)) => {
            for (name, history) in told {
                if let Some(dataset) = listing.get_mut(&name) {
                    dataset.line_history = Some(history);
                }
            }
        }
        (source @ Answer::Listed(_), Err(why)) => *source = Answer::CouldNotAsk(why),
        (Answer::CouldNotAsk(_), _) => {}
    }
}

fn note_lineage(inventory: &mut Inventory, told: ToldLineage) {
    match (&mut inventory.source, told) {
        (Answer::Listed(listing), Ok(told)) => {
            for (name, guid, property) in told {
                if let Some(dataset) = listing.get_mut(name.dataset()) {
                    let mark = LineageMark::read(property.as_ref(), dataset.guid);
                    dataset.lineage.insert(guid, mark);
                }
            }
        }
        (source @ Answer::Listed(_), Err(why)) => *source = Answer::CouldNotAsk(why),
        (Answer::CouldNotAsk(_), _) => {}
    }
}
