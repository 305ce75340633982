//! How consistent restore points are: whether the guest's file systems were frozen when they were taken.

use std::collections::{BTreeMap, BTreeSet};

use crate::cli::context::CommandContext;
use crate::discover;
use crate::host::{Machine, Sending};
use crate::model::{DatasetKind, FILE_SYSTEM_CONSISTENT, Guid, SnapshotName};
use crate::plan::Place;
use crate::plan::restore::{GroupPoint, Volume};

/// For each snapshot of a volume, by GUID, whether the guest was frozen; without those that no place says anything of.
#[derive(Debug, Default)]
pub(super) struct Consistency {
    frozen: BTreeMap<Guid, bool>,
}

/// Of these volumes, in the words of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Level {
    /// The file systems were frozen.
    FileSystem,
    /// As after a power failure.
    Crash,
    /// As after a power failure, and not of one moment, since the volumes are on several pools.
    CrashOfEachPool,
    /// It is not known.
    Unknown,
}

impl Level {
    pub(super) fn text(self) -> &'static str {
        match self {
            Self::FileSystem => "file system",
            Self::Crash => "crash",
            Self::CrashOfEachPool => "crash, each pool",
            Self::Unknown => "-",
        }
    }

    /// For programs.
    pub(super) fn word(self) -> Option<&'static str> {
        match self {
            Self::FileSystem => Some("file-system"),
            Self::Crash => Some("crash"),
            Self::CrashOfEachPool => Some("crash-of-each-pool"),
            Self::Unknown => None,
        }
    }
}

fn is_of_machine(volume: &Volume<'_>) -> bool {
    volume.copies.iter().any(|copy| copy.dataset.kind == DatasetKind::Volume)
}

impl Consistency {
    /// Asks for what the snapshots of `volumes` say: this host first, and each target for those that were not frozen by then: one
    /// that was restored may have lost what its copy says. A place that does not answer says nothing; file systems of containers are not asked about.
    pub(super) fn of(context: &CommandContext, volumes: &[&Volume<'_>]) -> Self {
        let mut frozen = BTreeMap::new();
        let mut senders = discover::senders(&context.policy, &context.cancel);
        let here = Sending::new("source", Machine::Local, &context.cancel);
        let targets = context.policy.targets.iter();
        let targets = targets.filter_map(|target| {
            let sender = senders.remove(&target.name)?;
            Some((Place::Target(target.name.clone()), sender))
        });
        for (place, host) in std::iter::once((Place::Source, here)).chain(targets) {
            let copies = volumes.iter().flat_map(|volume| &volume.copies);
            let copies =
                copies.filter(|copy| copy.place == place && copy.dataset.kind == DatasetKind::Volume);
            let snapshots = copies.flat_map(|copy| {
                let points = copy.dataset.history.snapshots();
                points.filter_map(|point| Some((copy.dataset.name.snapshot(&point.name).ok()?, point.guid)))
            });
            let wanted: Vec<(SnapshotName, Guid)> =
                snapshots.filter(|(_, guid)| frozen.get(guid) != Some(&true)).collect();
            if wanted.is_empty() {
                continue;
            }
            match host.consistency(&wanted) {
                Ok(found) => frozen.extend(wanted.iter().zip(found).map(|((_, guid), property)| {
                    let is_frozen = |value: &str| value == FILE_SYSTEM_CONSISTENT;
                    (*guid, property.is_some_and(|found| found.is_local && is_frozen(&found.value)))
                })),
                Err(error) => tracing::info!("how consistent the points are is not known: {error}"),
            }
        }
        Self { frozen }
    }

    /// Of the points of one moment; `None` where no volume of a machine is among them.
    pub(super) fn level(&self, group: &GroupPoint<'_>, volumes: &[&Volume<'_>]) -> Option<Level> {
        let machines = volumes.iter().zip(&group.volumes).filter(|(volume, _)| is_of_machine(volume));
        let (mut answers, mut pools) = (Vec::new(), BTreeSet::new());
        for (volume, point) in machines {
            let Some(point) = point.as_ref().filter(|point| point.has_snapshot()) else { continue };
            answers.push(self.frozen.get(&point.guid).copied());
            pools.insert(volume.name.pool());
        }
        if answers.is_empty() {
            return None;
        }
        Some(if answers.iter().all(|answer| *answer == Some(true)) {
            Level::FileSystem
        } else if answers.contains(&None) {
            Level::Unknown
        } else if pools.len() > 1 {
            Level::CrashOfEachPool
        } else {
            Level::Crash
        })
    }

    /// Of one volume's point, for programs.
    pub(super) fn word(&self, guid: Guid) -> Option<&'static str> {
        let level = |is_frozen: &bool| if *is_frozen { Level::FileSystem } else { Level::Crash };
        self.frozen.get(&guid).map(level)?.word()
    }

    /// Whether the table has anything to say of it.
    pub(super) fn is_asked_for(volumes: &[&Volume<'_>]) -> bool {
        volumes.iter().any(|volume| is_of_machine(volume))
    }
}
