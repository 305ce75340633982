//! The words of findings about lineages that were set aside, or are to be.

use super::list;
use super::reason::reason_text;
use crate::plan::{AsideFinding, Place, StaysBecause};

/// The finding, in words.
pub(super) fn what(finding: &AsideFinding) -> String {
    match finding {
        AsideFinding::SetAside { copy, base, newer, written_bytes, because, keep_hours } => {
            let mut kept: Vec<String> = Vec::new();
            if !newer.is_empty() {
                kept.push(list(newer));
            }
            if written_bytes.0 > 0 {
                kept.push(format!("{written_bytes} written after its newest snapshot"));
            }
            let on = base
                .as_ref()
                .map_or_else(|| "starts over".to_owned(), |base| format!("continues from @{base}"));
            let stays = match keep_hours {
                Some(hours) => format!("for {} days", hours / 24),
                None => "for ever".to_owned(),
            };
            format!(
                "{copy} {on}, because {}; set aside and kept {stays}: {}",
                reason_text(because),
                if kept.is_empty() { "its snapshots".to_owned() } else { kept.join(", ") }
            )
        }
        AsideFinding::SetAsideAgain { copy, earlier, newer } if newer.is_empty() => format!(
            "{copy} was written to again, after it was set aside as {earlier} for the same cause: another program writes \
             to it; nothing is sent to it, and it stays as it is"
        ),
        AsideFinding::SetAsideAgain { copy, earlier, newer } => format!(
            "{copy} has {} again that is not zhaul's, after it was set aside as {earlier} for the same cause: another \
             program takes snapshots of it; nothing is sent to it, and it stays as it is",
            list(newer)
        ),
        AsideFinding::SetAsideTooSoon { copy, earlier, until } => format!(
            "{copy} cannot go on, and was set aside only a short time ago as {earlier}: an append-only target does that once \
             in a day, next after {until}; nothing is sent to it, and it stays as it is"
        ),
        AsideFinding::SetAsideUnfinished { copy } => {
            format!("{copy} is only just being set aside; nothing is sent in this run")
        }
        AsideFinding::RootMisfit { copy, because } => format!(
            "{copy} cannot be continued ({}), and is the target's own dataset, which is never renamed; the copy stays as it is",
            reason_text(because)
        ),
        AsideFinding::NameIsSetAside { copy } => {
            format!("{copy} is what was set aside of another copy, so that nothing else can have its name")
        }
        AsideFinding::KnownSetAside { copy, aside, snapshot } => {
            format!("{aside} has @{snapshot}, which the source has too, and {copy} lacks: it is sent again")
        }
        AsideFinding::MonthsSetAside { months, lineages } => {
            let months: Vec<String> = months.iter().map(ToString::to_string).collect();
            let lineages: Vec<String> = lineages.iter().map(ToString::to_string).collect();
            format!("{} is kept in {}", months.join(", "), lineages.join(", "))
        }
        AsideFinding::UnmarkedLineage { copy, lineage, .. } => format!(
            "{lineage} looks like an earlier lineage of {copy}, but carries no mark; it is never destroyed, and its \
             months do not count"
        ),
        AsideFinding::ExpiredStays { copy, because } => {
            let because = match because {
                StaysBecause::NoSuccessor => {
                    "the copy has received no snapshot of the same source since".to_owned()
                }
                StaysBecause::PartialReceive => "it holds a partial receive".to_owned(),
                StaysBecause::Children => "other datasets lie below it".to_owned(),
                StaysBecause::Foreign(points) => format!("{} is not zhaul's", list(points)),
                StaysBecause::InUse(points) => format!("{} is held or cloned", list(points)),
            };
            format!("{copy} has expired, but stays: {because}")
        }
    }
}

/// The next action.
pub(super) fn next(finding: &AsideFinding, place: &Place) -> Option<String> {
    Some(match finding {
        AsideFinding::SetAsideAgain { copy, .. } => format!(
            "stop that program on {place} (zpool history shows it), then: zfs rename {copy:#} {copy:#}.old; the next run sends \
             everything"
        ),
        AsideFinding::SetAsideTooSoon { copy, .. } => format!(
            "wait, the first run after that sets it aside; or on {place}, as root: zfs rename {copy:#} {copy:#}.old (the next run \
             sends everything)"
        ),
        AsideFinding::RootMisfit { copy, .. } => format!(
            "give the target another dataset in the policy, for example {copy}/new; the next run sends everything there, \
             and {copy} stays"
        ),
        AsideFinding::NameIsSetAside { .. } => "rename the source dataset (zfs rename)".to_owned(),
        AsideFinding::UnmarkedLineage { lineage, mark, .. } => format!(
            "on {place}, to let it expire: zfs set 'zhaul:set-aside={mark}' {lineage:#}; to see what is in it: zfs list -r -t \
             snapshot {lineage:#}"
        ),
        AsideFinding::ExpiredStays { copy, .. } => {
            format!("see what is in it: zfs list -r -t all -o name,userrefs,clones {copy:#}")
        }
        AsideFinding::SetAside { .. }
        | AsideFinding::SetAsideUnfinished { .. }
        | AsideFinding::KnownSetAside { .. }
        | AsideFinding::MonthsSetAside { .. } => return None,
    })
}
