//! What was interrupted on this host: restores, rollbacks and drills, and what they have set aside.

use super::super::render::shell_word;
use super::super::restore::{Unended, unended, unended_of_guest};
use super::super::trouble::Trouble;
use crate::model::{
    ASIDE_MARK, ASIDE_NAME, Dataset, DatasetName, GuestId, INCOMING_MARK, KeptMark, Listing, PUT_BACK_MARK,
    RESTORE_PROPERTY, VolumeName, aside_from,
};
use crate::plan::Severity;
use crate::policy::Policy;

fn trouble(about: String, what: &str, next: String) -> Trouble {
    Trouble { severity: Severity::Blocked, kind: "interrupted", about, what: what.to_owned(), next }
}

/// The guest's file is a restore's that has not ended.
pub(super) fn guest(id: GuestId, unended: Unended) -> Option<Trouble> {
    let Unended::Interrupted(next) = unended else { return None };
    let what = "a restore of it was interrupted, and holds its number and its lock until it is ended";
    Some(trouble(format!("guest {id}"), what, next))
}

/// A dataset that something has left which was interrupted.
pub(super) fn dataset(policy: &Policy, dataset: &Dataset, here: &Listing) -> Option<Trouble> {
    let about = dataset.name.to_string();
    match unended(policy, dataset, here) {
        Some(Unended::UnderWay) => return None,
        Some(Unended::Interrupted(next)) => {
            let what = "is of a restore that was interrupted; it uses space, and is not backed up";
            return Some(trouble(about, what, next));
        }
        Some(Unended::Drill) => {
            return Some(Trouble {
                severity: Severity::Warning,
                kind: "drill-left",
                what: "was left by a drill that was interrupted, and uses space".to_owned(),
                next: format!("`zfs destroy -r {}`; the same drill again does it, too", shell_word(&about)),
                about,
            });
        }
        None => {}
    }
    let mark = dataset.user.local(RESTORE_PROPERTY)?;
    if [INCOMING_MARK, ASIDE_MARK].contains(&mark) {
        return None;
    }
    let next = match (KeptMark::parse(mark), mark.strip_prefix(PUT_BACK_MARK)) {
        (Some(kept), _) => {
            format!(
                "`zhaul rollback {} --keep --to {}` continues it, or the same of {} alone if that was the command",
                guest_or_name(&kept.of),
                kept.point,
                kept.of
            )
        }
        (None, Some(stamp)) => {
            let of = aside_from(&dataset.name).map_or_else(|| dataset.name.clone(), |(of, _)| of);
            format!("`zhaul restore {} --put-back {stamp}` continues it", guest_or_name(&of))
        }
        (None, None) => {
            "the interrupted `zhaul restore` again, which continues; or the same with --abandon".to_owned()
        }
    };
    Some(trouble(about, "a restore or rollback of it was interrupted; it is not backed up", next))
}

/// The argument for all volumes that were begun together: a guest's volumes are exchanged together.
fn guest_or_name(dataset: &DatasetName) -> String {
    VolumeName::parse(dataset.last()).map_or_else(|| dataset.to_string(), |volume| volume.guest.to_string())
}

/// A dataset that was set aside, which nothing removes by itself.
pub(super) fn set_aside(policy: &Policy, dataset: &Dataset, here: &Listing) -> Option<Trouble> {
    let place = dataset.name.parent().filter(|place| place.last() == ASIDE_NAME)?;
    here.get(&place)?.user.local(RESTORE_PROPERTY).filter(|mark| *mark == ASIDE_MARK)?;
    let (of, stamp) = aside_from(&dataset.name)?;
    let back = format!("`zhaul restore {} --put-back {stamp}`", guest_or_name(&of));
    let note = |what: String, next: String| Trouble {
        severity: Severity::Note,
        kind: "set-aside",
        about: dataset.name.to_string(),
        what,
        next,
    };
    let kept = format!("is kept since {of} was rolled back or restored, and uses space");
    let present = here.get(&of);
    let guest = VolumeName::parse(of.last()).map(|volume| volume.guest);
    let of_guest = guest.and_then(|id| unended_of_guest(policy, id, here));
    let unended = of_guest.or_else(|| unended(policy, present?, here));
    // It may be the only whole state there is.
    let unended_next = match unended {
        Some(Unended::Interrupted(next)) => Some(format!("{next}; afterwards {back} undoes it")),
        Some(Unended::UnderWay | Unended::Drill) => Some("wait for it to end".to_owned()),
        None if present.is_some_and(|present| present.user.local(RESTORE_PROPERTY).is_some()) => {
            Some(format!("end first what was interrupted in {of}"))
        }
        None => None,
    };
    if let Some(next) = unended_next {
        return Some(note(
            format!("was in the place of {of}, of which a restore or rollback has not ended"),
            next,
        ));
    }
    // Where nothing has its place, it may be all that is left.
    Some(match present {
        Some(_) => {
            note(kept, format!("{back}; or, when it is needed no more, `zfs destroy -r '{}'`", dataset.name))
        }
        None => note(kept, format!("{back}: nothing is in its place now")),
    })
}
