//! `zhaul restore --abandon`: destroys what an interrupted restore has received, and nothing else.
//!
//! What has its place already may be in use for all that is known here: it stays, and the message says how to end its restore.

use std::collections::BTreeSet;

use anyhow::anyhow;

use super::super::context::CommandContext;
use super::super::exit_code::{Code, Failure, OrExit};
use super::super::lock::{self, Restored};
use super::super::output;
use super::super::render::{count, escape, shell_word, unlisted_here_next, unlisted_what};
use super::{Wanted, asked, guest_file, list_here, storages};
use crate::discover;
use crate::execute::restore::destroy_received;
use crate::host::Restoring;
use crate::model::{
    Dataset, DatasetName, Guid, INCOMING_MARK, INCOMING_NAME, KeptMark, Listing, PointName, Proxmox,
    RESTORE_PROPERTY, Unlisted, VolumeName, aside_from,
};
use crate::plan::restore::What;

/// What there is of the restore.
struct Found<'a> {
    /// In the place of restores.
    received: Vec<&'a Dataset>,
    /// In their own places, with the mark of a restore that was not ended.
    placed: Vec<(&'a Dataset, Mark)>,
    /// The guest's file is the restore's, and not complete.
    has_file: bool,
}

/// The mark of a dataset that a restore has put into its place.
pub(super) struct Mark {
    pub(super) point: Option<PointName>,
    /// Whether it took the place of another.
    pub(super) replaces: bool,
}

pub(super) fn abandon(args: Wanted<'_>, context: &CommandContext, here: &Restoring) -> Result<Code, Failure> {
    let proxmox = discover::proxmox_of(&context.policy);
    storages::wanted(args, &proxmox)?;
    // Before anything is looked at: what is restored now is not given up, and no restore begins meanwhile.
    let _alone = lock::alone(&names(args, context))?;
    let places = places(args, context, &proxmox);
    let listing = list_here(here, &places)?;
    check_listed(args, &places, &listing)?;
    let found = Found::of(args, context, &listing);
    let destinations = found.received.iter().filter_map(|dataset| destination(&dataset.name));
    let of_each: Vec<_> = destinations.map(Restored::Dataset).filter(|one| !is_named(one, args)).collect();
    let _of_each = lock::alone(&of_each)?;
    found.check(args, context, &listing, &proxmox)?;
    for dataset in &found.received {
        if let Err(error) = destroy_received(here, &dataset.name, dataset.guid, &context.cancel) {
            let error = anyhow!(
                "{}\n  next: a receive into it may still be ending (`pgrep -af 'zfs receive'` shows it), or something has it open; \
                 then the same command again",
                error.chain()
            );
            return Err(error).or_exit(Code::Failed);
        }
        output::print(&format!("gave up {}\n", escape(dataset.name.as_str()))).or_exit(Code::Failed)?;
    }
    // Last: as long as it is there, the same command finds what is left.
    if let (true, Some(id)) = (guest_file::give_up(args, context)?, guest_file::number(args)) {
        output::print(&format!("gave up the file of guest {id}\n")).or_exit(Code::Failed)?;
    }
    Ok(Code::Done)
}

/// What is restored, by the command alone.
fn names<'a>(args: Wanted<'_>, context: &'a CommandContext) -> Vec<Restored<'a>> {
    let guest = guest_file::number(args).zip(context.policy.guest_config.as_deref());
    let guest = guest.map(|(id, directory)| Restored::Guest(id, directory));
    guest.or_else(|| dataset(args).cloned().map(Restored::Dataset)).into_iter().collect()
}

fn is_named(restored: &Restored<'_>, args: Wanted<'_>) -> bool {
    guest_file::number(args).is_none()
        && matches!(restored, Restored::Dataset(name) if dataset(args) == Some(name))
}

/// The one dataset that is restored, by its future name.
fn dataset(args: Wanted<'_>) -> Option<&DatasetName> {
    match (args.what, &args.options.to) {
        (_, Some(to)) | (What::Dataset(to), None) => Some(to),
        (What::Guest(_), None) => None,
    }
}

/// Whether the restore makes a dataset of this name.
fn is_meant(args: Wanted<'_>, name: &DatasetName) -> bool {
    match (dataset(args), guest_file::number(args)) {
        (Some(to), _) => name == to,
        (None, id) => VolumeName::parse(name.last()).is_some_and(|one| Some(one.guest) == id),
    }
}

/// Refuses where a part of the restore may be that nothing is known of: once the rest and the guest's file are gone,
/// nothing names that part any more, and what has its place there already would no longer stop this command.
fn check_listed(args: Wanted<'_>, places: &[DatasetName], listing: &Listing) -> Result<(), Failure> {
    let is_absent = |why: &&Unlisted| **why == Unlisted::Missing;
    let roots = places.iter().filter_map(|place| Some((place.as_str(), listing.why_unlisted(place)?)));
    let below = listing.unlisted().filter(|(name, _)| {
        let of_restores = name.split('/').any(|part| part == INCOMING_NAME);
        of_restores || DatasetName::new(name).is_ok_and(|name| is_meant(args, &name))
    });
    let unknown: Vec<_> = roots.chain(below).filter(|(_, why)| !is_absent(why)).collect();
    if unknown.is_empty() {
        return Ok(());
    }
    let what: BTreeSet<String> = unknown.iter().map(|(name, why)| unlisted_what(name, why)).collect();
    let next: BTreeSet<String> = unknown.iter().map(|(name, why)| unlisted_here_next(name, why)).collect();
    let join = |all: BTreeSet<String>| all.into_iter().collect::<Vec<_>>().join("; ");
    let error = anyhow!(
        "{}, and a part of the restore may be there: nothing was given up\n  next: {}; then the same command again",
        escape(&join(what)),
        escape(&join(next))
    );
    Err(error).or_exit(Code::Failed)
}

impl<'a> Found<'a> {
    fn of(args: Wanted<'_>, context: &CommandContext, listing: &'a Listing) -> Self {
        let (mut received, mut placed) = (Vec::new(), Vec::new());
        for dataset in listing.datasets() {
            if is_incoming(dataset, listing) {
                received.extend(destination(&dataset.name).filter(|to| is_meant(args, to)).map(|_| dataset));
            } else if is_meant(args, &dataset.name) {
                placed.extend(mark(dataset).map(|mark| (dataset, mark)));
            }
        }
        Self { received, placed, has_file: guest_file::is_begun(args, context) }
    }

    /// Refuses where there is nothing to give up, and where more was done than receiving.
    fn check(
        &self,
        args: Wanted<'_>,
        context: &CommandContext,
        listing: &Listing,
        proxmox: &Proxmox,
    ) -> Result<(), Failure> {
        if let Some(stamp) = self.received.iter().find_map(|dataset| begun_stamp(dataset, listing)) {
            let error = anyhow!(
                "some disks were set aside already ({stamp}), and what is to take their places is complete: nothing was done\n  \
                 next: the same command without --abandon continues; afterwards `--put-back {stamp}` undoes it"
            );
            return Err(error).or_exit(Code::Blocked);
        }
        if !self.placed.is_empty() {
            return Err(self.in_their_places(args)).or_exit(Code::Blocked);
        }
        if self.has_file && guest_file::has_all_disks(args, context, listing, proxmox) {
            let replace = if self.received.is_empty() { "" } else { " --replace" };
            let error = anyhow!(
                "every disk in the file of the guest is in its place, and only the restored file is not written, or what was \
                 there not set aside: nothing was done\n  next: `{}{replace}` ends the restore",
                asked(args).again(None, &[])
            );
            return Err(error).or_exit(Code::Blocked);
        }
        if self.received.is_empty() && !self.has_file {
            let error = anyhow!(
                "no interrupted restore of that exists here: nothing was done\n  \
                 next: `zfs get -r -s local {RESTORE_PROPERTY}` names every one"
            );
            return Err(error).or_exit(Code::Usage);
        }
        Ok(())
    }

    fn in_their_places(&self, args: Wanted<'_>) -> anyhow::Error {
        let point = self.placed.iter().find_map(|(_, mark)| mark.point.as_ref());
        let replace = if self.placed.iter().any(|(_, mark)| mark.replaces) { " --replace" } else { "" };
        // Without a file of its own it was a restore of single disks, or there is no Proxmox VE.
        let is_of_disks = !self.has_file && dataset(args).is_none() && args.options.new_id.is_none();
        let all = self.received.iter().copied().chain(self.placed.iter().map(|(dataset, _)| *dataset));
        let disks: Vec<&str> = all.filter(|_| is_of_disks).map(|dataset| dataset.name.last()).collect();
        let placed: Vec<_> = self.placed.iter().map(|(dataset, _)| escape(dataset.name.as_str())).collect();
        anyhow!(
            "an interrupted restore has put {} into place already ({}), and --abandon destroys only what is not in place: \
             nothing was done\n  \
             next: `{}{replace}` ends the restore; or destroy by hand what nothing needs: `{}`; then the same command again",
            count(placed.len(), "dataset"),
            placed.join(", "),
            asked(args).again(point, &disks),
            placed
                .iter()
                .map(|name| format!("zfs destroy -r {}", shell_word(name)))
                .collect::<Vec<_>>()
                .join(" && ")
        )
    }
}

/// The mark of a restore on what it has put into its place.
pub(super) fn mark(dataset: &Dataset) -> Option<Mark> {
    let mark = dataset.user.local(RESTORE_PROPERTY)?;
    let guid = Guid(mark.split(' ').next()?.parse().ok()?);
    let point = dataset.history.find_snapshot(guid).map(|point| point.name.clone());
    Some(Mark { point, replaces: mark.contains(' ') })
}

/// The stamp under which disks were set aside for what was received, if any was.
pub(super) fn begun_stamp(received: &Dataset, listing: &Listing) -> Option<String> {
    let mark = received.user.local(RESTORE_PROPERTY)?;
    let stamp = match KeptMark::parse(mark) {
        Some(kept) => aside_from(&kept.aside)?.1,
        None => mark.split_once(' ')?.1.to_owned(),
    };
    let is_used = |dataset: &Dataset| aside_from(&dataset.name).is_some_and(|(_, of)| of == stamp);
    listing.datasets().any(is_used).then_some(stamp)
}

/// Whether a restore receives it, or has received it, and it is not in its place yet.
pub(super) fn is_incoming(dataset: &Dataset, listing: &Listing) -> bool {
    let place = dataset.name.parent().and_then(|place| listing.get(&place));
    place.is_some_and(|place| {
        place.name.last() == INCOMING_NAME && place.user.local(RESTORE_PROPERTY) == Some(INCOMING_MARK)
    })
}

/// The place of what is received in `incoming`.
pub(super) fn destination(incoming: &DatasetName) -> Option<DatasetName> {
    incoming.parent()?.parent()?.child(incoming.last()).ok()
}

/// Where it may have been received: a guest's disks below the roots of the policy and on every storage.
fn places(args: Wanted<'_>, context: &CommandContext, proxmox: &Proxmox) -> Vec<DatasetName> {
    if let Some(parent) = dataset(args).and_then(DatasetName::parent) {
        return vec![parent];
    }
    let roots = context.policy.roots.iter().map(|root| root.dataset.clone());
    let storages = proxmox.storages.iter().flatten().map(|storage| storage.dataset.clone());
    roots.chain(storages).collect()
}
