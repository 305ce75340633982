//! Restores and drills that have not ended: what there is of them here, and the commands that end them.

use super::super::lock::{self, Restored};
use super::super::render::{escape, shell_word};
use super::abandon::{begun_stamp, destination, is_incoming, mark};
use crate::host::{GuestFile, GuestFiles};
use crate::model::{Dataset, GuestId, Listing, RESTORE_PROPERTY, VolumeName};
use crate::plan::restore::DRILL_PREFIX;
use crate::policy::Policy;

/// How a restore stands that has not ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::cli) enum Unended {
    /// A command carries it out at this moment.
    UnderWay,
    /// It was interrupted; the commands that end it.
    Interrupted(String),
    /// A drill was interrupted, which has left what it received.
    Drill,
}

/// How the restore stands that a dataset is of; `None` where it is of none.
pub(in crate::cli) fn of_dataset(policy: &Policy, dataset: &Dataset, here: &Listing) -> Option<Unended> {
    if !is_of_restore(dataset, here) {
        return None;
    }
    let is_placed = !is_incoming(dataset, here);
    let of = if is_placed { dataset.name.clone() } else { destination(&dataset.name)? };
    let guest = VolumeName::parse(of.last()).map(|volume| volume.guest);
    let is_guest_under_way = guest.is_some_and(|id| of_guest(policy, id, here) == Some(Unended::UnderWay));
    if is_guest_under_way || lock::is_under_way(&Restored::Dataset(of.clone())) {
        return Some(Unended::UnderWay);
    }
    if !is_placed && of.last().starts_with(DRILL_PREFIX) {
        return Some(Unended::Drill);
    }
    let next = match guest.filter(|id| is_file_begun(policy, *id)) {
        Some(id) => ways_to_end(id, here),
        None => ways(&shell_word(&escape(of.as_str())), &[dataset], here),
    };
    Some(Unended::Interrupted(next))
}

/// Whether it is of a restore or drill that has not ended, and not of a rollback, which is ended otherwise. Cut in mid-stream
/// it has no mark but the one of its place.
fn is_of_restore(dataset: &Dataset, here: &Listing) -> bool {
    match dataset.user.local(RESTORE_PROPERTY) {
        Some(_) => mark(dataset).is_some(),
        None => is_incoming(dataset, here),
    }
}

/// How the restore stands that wrote a guest's file; `None` where none did.
pub(in crate::cli) fn of_guest(policy: &Policy, id: GuestId, here: &Listing) -> Option<Unended> {
    let directory = policy.guest_config.as_deref()?;
    if !is_file_begun(policy, id) {
        return None;
    }
    if lock::is_under_way(&Restored::Guest(id, directory)) {
        return Some(Unended::UnderWay);
    }
    Some(Unended::Interrupted(ways_to_end(id, here)))
}

/// Whether a restore that has not ended wrote the guest's file.
fn is_file_begun(policy: &Policy, id: GuestId) -> bool {
    let directory = policy.guest_config.as_deref();
    directory.is_some_and(|directory| GuestFiles::new(directory).find(id) == GuestFile::OfRestore)
}

/// The commands that end the interrupted restore of a guest.
fn ways_to_end(id: GuestId, here: &Listing) -> String {
    let is_its = |dataset: &&Dataset| {
        let is_disk = VolumeName::parse(dataset.name.last()).is_some_and(|volume| volume.guest == id);
        is_disk && is_of_restore(dataset, here)
    };
    let parts: Vec<&Dataset> = here.datasets().filter(is_its).collect();
    ways(&id.to_string(), &parts, here)
}

fn ways(what: &str, parts: &[&Dataset], here: &Listing) -> String {
    let marks: Vec<_> = parts.iter().filter_map(|part| mark(part)).collect();
    let point = marks.iter().find_map(|mark| mark.point.as_ref());
    let at = point.map_or_else(String::new, |point| format!(" --at {}", shell_word(&escape(point.as_str()))));
    let replace = if marks.iter().any(|mark| mark.replaces) { " --replace" } else { "" };
    let example = format!("`zhaul restore {what}{at}{replace}`");
    // As `--abandon` itself decides.
    let is_only_received = |part: &&Dataset| is_incoming(part, here) && begun_stamp(part, here).is_none();
    if parts.iter().all(is_only_received) {
        format!(
            "the command that began it continues it, for example {example}; `zhaul restore {what} --abandon` gives it up"
        )
    } else {
        format!("the command that began it ends it, for example {example}")
    }
}
