//! The configuration that the snapshots of a point carry. A target that was damaged or tampered with can hold any: what is of another
//! guest, or no configuration at all, is not used, and is named.

use std::collections::BTreeMap;

use super::super::context::CommandContext;
use super::super::exit_code::{Code, Failure, OrExit};
use super::super::render::escape;
use super::{Wanted, words};
use crate::host::Sending;
use crate::model::{GuestConfig, GuestId, GuestKind, SnapshotName, TargetName};
use crate::plan::Place;
use crate::plan::restore::{RestorePlan, Volumes, What};

/// What the copies of a point carry.
pub(super) enum Stored {
    /// A configuration, and the properties that it was read from.
    Usable(Box<GuestConfig>, BTreeMap<String, String>),
    /// Only what cannot be used: where the first one is, and why.
    Unusable(String),
    /// None has any.
    Never,
}

/// The configuration of the first volume that carries one: where it is restored from, else on whatever copy of the point. What was
/// received here has none before the end of its restore.
pub(super) fn stored(
    args: Wanted<'_>,
    context: &CommandContext,
    known: &Volumes<'_>,
    plan: &RestorePlan,
    targets: &BTreeMap<TargetName, Sending>,
) -> Result<Stored, Failure> {
    let What::Guest(id) = args.what else { return Ok(Stored::Never) };
    let read = |place: &Place, snapshot: &SnapshotName| match place {
        Place::Source => Some(context.source.config(snapshot)),
        Place::Target(name) => targets.get(name).map(|target| target.config(snapshot)),
    };
    let kinds = kinds(args, *id, known, plan);
    let mut unusable = None;
    for volume in &plan.volumes {
        let Some(properties) = read(&plan.from, &volume.copy) else { continue };
        let properties = properties.or_exit(Code::Failed)?;
        match usable(&properties, *id, &kinds) {
            Ok(Some(config)) => return Ok(found(config, properties, unusable)),
            Ok(None) => {}
            Err(why) => note(&mut unusable, &plan.from, &volume.copy, &why),
        }
    }
    for volume in &plan.volumes {
        for (name, copy) in
            known.volumes.iter().flat_map(|one| one.copies.iter().map(|copy| (&one.name, copy)))
        {
            let Some(point) = copy.dataset.history.find_snapshot(volume.guid) else { continue };
            let Ok(snapshot) = copy.dataset.name.snapshot(&point.name) else { continue };
            let properties = read(&copy.place, &snapshot)
                .and_then(|read| read.inspect_err(|error| tracing::debug!("{error}")).ok());
            let Some(properties) = properties else { continue };
            match usable(&properties, *id, &kinds) {
                Ok(Some(config)) => return Ok(found(config, properties, unusable)),
                // That of a guest that was restored from this one under another number is in its place.
                Err(why) if *name == volume.volume => note(&mut unusable, &copy.place, &snapshot, &why),
                Ok(None) | Err(_) => {}
            }
        }
    }
    Ok(unusable.map_or(Stored::Never, Stored::Unusable))
}

fn found(config: GuestConfig, properties: BTreeMap<String, String>, unusable: Option<String>) -> Stored {
    if let Some(unusable) = unusable {
        tracing::warn!("{unusable}; that of another disk or place is used instead");
    }
    Stored::Usable(Box::new(config), properties)
}

/// One is enough to say.
fn note(unusable: &mut Option<String>, place: &Place, snapshot: &SnapshotName, why: &str) {
    unusable.get_or_insert_with(|| {
        format!(
            "the configuration in {} ({}) is not used, since {why}",
            escape(&snapshot.to_string()),
            escape(&words::place(place))
        )
    });
}

/// The configuration in these properties, if it is of this guest.
fn usable(
    properties: &BTreeMap<String, String>,
    id: GuestId,
    kinds: &[GuestKind],
) -> Result<Option<GuestConfig>, String> {
    let Some(config) = GuestConfig::parse(properties).map_err(|why| why.to_string())? else {
        return Ok(None);
    };
    if config.id != id {
        return Err(format!("it is of guest {}", config.id));
    }
    if !kinds.contains(&config.kind) {
        return Err(format!("it is of {}, and no disk is", words::kind(config.kind)));
    }
    Ok(Some(config))
}

/// The kinds of guest that have such disks: on ZFS a container has file systems, `subvol-` and `basevol-`. A number that was used by one
/// of each has disks of both.
fn kinds(args: Wanted<'_>, id: GuestId, known: &Volumes<'_>, plan: &RestorePlan) -> Vec<GuestKind> {
    // A single disk may be of either name.
    let is_part = !args.options.disks.is_empty() || !args.without.is_empty();
    let others = known.volumes.iter().filter(|volume| is_part && volume.is_disk_of(id));
    let names = plan.volumes.iter().map(|volume| &volume.volume).chain(others.map(|volume| &volume.name));
    let mut kinds: Vec<GuestKind> = names.map(|name| GuestKind::of_volume(name.last())).collect();
    kinds.sort_unstable();
    kinds.dedup();
    kinds
}
