//! `zhaul restore --abandon`: destroys what an interrupted restore has received, and nothing else.

use anyhow::anyhow;

use super::super::context::CommandContext;
use super::super::exit_code::{Code, Failure, OrExit};
use super::super::output;
use super::super::render::escape;
use super::Wanted;
use super::guest;
use crate::host::Restoring;
use crate::model::{
    Dataset, DatasetName, INCOMING_MARK, INCOMING_NAME, KeptMark, Listing, RESTORE_PROPERTY, VolumeName,
    aside_from,
};
use crate::plan::restore::What;

pub(super) fn abandon(args: Wanted<'_>, context: &CommandContext, here: &Restoring) -> Result<Code, Failure> {
    let listing = list(args, context, here)?;
    let is_meant = |dataset: &&Dataset| match (args.what, &args.options.to) {
        (_, Some(to)) | (What::Dataset(to), None) => is_place_of(&dataset.name, to),
        (What::Guest(id), None) => {
            let id = args.options.new_id.unwrap_or(*id);
            VolumeName::parse(dataset.name.last()).is_some_and(|one| one.guest == id)
        }
    };
    let is_incoming = |dataset: &&Dataset| {
        let place = dataset.name.parent().and_then(|place| listing.get(&place));
        place.is_some_and(|place| {
            place.name.last() == INCOMING_NAME && place.user.local(RESTORE_PROPERTY) == Some(INCOMING_MARK)
        })
    };
    let received: Vec<&Dataset> = listing.datasets().filter(is_incoming).filter(is_meant).collect();
    if let Some(stamp) = received.iter().find_map(|dataset| begun_stamp(dataset, &listing)) {
        let error = anyhow!(
            "some disks were set aside already ({stamp}), and what is to take their places is complete: nothing was done\n  \
             next: the same command without --abandon continues; afterwards `--put-back {stamp}` undoes it"
        );
        return Err(error).or_exit(Code::Blocked);
    }
    let has_file = guest::give_up(args, context)?;
    if received.is_empty() && !has_file {
        let error = anyhow!(
            "no interrupted restore of that exists here: nothing was done\n  \
             next: `zfs get -r -s local {RESTORE_PROPERTY}` names every one"
        );
        return Err(error).or_exit(Code::Usage);
    }
    for dataset in received {
        here.abandon(&dataset.name, dataset.guid).or_exit(Code::Failed)?;
        output::print(&format!("gave up {}\n", escape(dataset.name.as_str()))).or_exit(Code::Failed)?;
        if let Some(place) = dataset.name.parent() {
            here.remove_place(&place).or_exit(Code::Failed)?;
        }
    }
    Ok(Code::Done)
}

/// The stamp under which disks were set aside for what was received, if any was.
fn begun_stamp(received: &Dataset, listing: &Listing) -> Option<String> {
    let mark = received.user.local(RESTORE_PROPERTY)?;
    let stamp = match KeptMark::parse(mark) {
        Some(kept) => aside_from(&kept.aside)?.1,
        None => mark.split_once(' ')?.1.to_owned(),
    };
    let is_used = |dataset: &Dataset| aside_from(&dataset.name).is_some_and(|(_, of)| of == stamp);
    listing.datasets().any(is_used).then_some(stamp)
}

/// Whether `incoming` is where something called `to` is received.
fn is_place_of(incoming: &DatasetName, to: &DatasetName) -> bool {
    incoming.last() == to.last() && incoming.parent().and_then(|place| place.parent()) == to.parent()
}

fn list(args: Wanted<'_>, context: &CommandContext, here: &Restoring) -> Result<Listing, Failure> {
    let parent = match (args.what, &args.options.to) {
        (_, Some(to)) | (What::Dataset(to), None) => to.parent(),
        (What::Guest(_), None) => None,
    };
    if let Some(parent) = parent {
        return here.list(std::slice::from_ref(&parent)).or_exit(Code::Failed);
    }
    let roots: Vec<_> = context.policy.roots.iter().map(|root| root.dataset.clone()).collect();
    here.list(&roots).or_exit(Code::Failed)
}
