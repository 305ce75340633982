//! Points that lack a disk of the guest: what is said, so that no guest is put together of two moments.

use std::fmt::Write as _;

use super::super::args::AtArg;
use super::typed::{Asked, joined, place as place_word};
use crate::model::{DatasetName, PointName};
use crate::plan::Place;
use crate::plan::restore::{RestoreError, RestorePlan};

fn at(place: &Place) -> String {
    match place {
        Place::Source => place_word(place),
        Place::Target(_) => format!("on {}", place_word(place)),
    }
}

/// Disks that would stay as they are now beside disks of the point.
pub(super) fn two_moments(
    plan: &RestorePlan,
    stays: &[DatasetName],
    is_stated: bool,
    asked: Asked<'_>,
) -> String {
    let point = &plan.point;
    let (typed, from) = (asked.what, asked.place_option());
    let stopped = if is_stated { " --stopped" } else { "" };
    let mut text = format!(
        "@{point} {} has no snapshot of {}, which would stay as it is now beside disks of @{point}: nothing was done\n  next: ",
        at(&plan.from),
        joined(stays)
    );
    if let Some(complete) = &plan.complete {
        let _ = write!(
            text,
            "`zhaul restore {typed}{} --at {complete}{from} --replace{stopped}` takes the newest point that has all of it; ",
            asked.of_guest()
        );
    }
    let disks: Vec<String> = plan.volumes.iter().map(|volume| volume.volume.last().to_owned()).collect();
    let alone = Asked { disks: &disks, ..asked };
    let _ = write!(
        text,
        "`zhaul restore {typed}{} --at {point}{from} --replace{stopped}` restores only what the point has, and leaves the guest's \
         file as it is; `zhaul restore {typed}{} --at {point}{from} --as VMID` restores that beside, as another guest",
        alone.of_guest(),
        asked.of_guest()
    );
    text
}

/// What the restore was begun with is not at the point any more.
pub(super) fn lost(error: &RestoreError, asked: Asked<'_>) -> String {
    let RestoreError::Lost { point, place, lost, unlisted, complete } = error else {
        return String::new();
    };
    let another = match complete {
        Some(complete) => format!("`{}{}`", asked.again(Some(complete), &[]), asked.place_option()),
        None => format!("another point of `zhaul list {}`", asked.what),
    };
    let mut text = format!(
        "the restore of guest {} was begun with {}, and @{point} {} has lost its snapshot of that since: nothing was done",
        asked.what,
        joined(lost),
        at(place)
    );
    for (target, why) in unlisted {
        let _ = write!(text, "\n  {target} could not be listed, and may have it: {why}");
    }
    let wait = if unlisted.is_empty() { "" } else { "mend that, then the same command again; or " };
    let _ =
        write!(text, "\n  next: {wait}give up what was begun: `{}`; then restore {another}", asked.abandon());
    text
}

/// The advice where the machine that sends says that there is no such snapshot.
pub(super) fn gone(asked: Asked<'_>) -> String {
    format!(
        "the snapshot was destroyed there since the restore began, unless its pool is away: give up what was received: `{}`; then \
         restore another point of `zhaul list {}`",
        asked.abandon(),
        asked.what
    )
}

/// Some disks of the guest exist, and others do not.
pub(super) fn half_here(
    dataset: &DatasetName,
    missing: &[DatasetName],
    (point, has_point): (Option<&PointName>, bool),
    asked: Asked<'_>,
) -> String {
    let disks = missing.iter().map(|disk| format!(" --disk {}", disk.last()));
    let chosen = point.cloned().map(AtArg::Point);
    let only =
        Asked { at: asked.at.or(chosen.as_ref()), ..asked }.restore(dataset, "", &disks.collect::<String>());
    let other = match point.filter(|_| !has_point) {
        Some(point) => format!(" (@{point}, which {dataset} does not have)"),
        None => String::new(),
    };
    format!(
        "{dataset} exists, and nothing that exists is overwritten: nothing was done\n  \
         next: restore only what is missing{other}: `{only}`; or all of it in the place of what is there, which is set aside: `{}`",
        asked.in_its_place(dataset)
    )
}
