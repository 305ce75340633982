//! The messages before, and instead of, a restore.

use std::borrow::Cow;

use jiff::Timestamp;

use super::super::render::{
    duration_text, escape, shell_word, target_unlisted_advice, unlisted_here_next, unlisted_what,
};
use super::lacking;
pub(in crate::cli) use super::typed::Asked;
pub(super) use super::typed::{joined, place};
use crate::channel::connection_advice;
use crate::host::{HostError, Problem};
use crate::model::{DatasetName, GuestKind, PointName, TargetName, Unlisted, VolumeName, is_of_template};
use crate::plan::restore::{At, RestoreError, RestoreNote, RestorePlan, What};

/// A kind of guest, with its article.
pub(super) fn kind(kind: GuestKind) -> &'static str {
    match kind {
        GuestKind::Machine => "a virtual machine",
        GuestKind::Container => "a container",
    }
}

/// `3 d 2 h old`.
pub(super) fn age(time: Timestamp, now: Timestamp) -> String {
    match std::time::Duration::try_from(now.duration_since(time)) {
        Ok(age) => format!("{} old", duration_text(age)),
        Err(_) => "dated in the future".to_owned(),
    }
}

/// The number of the guest has passed to one of another kind, whose file this is.
pub(super) fn other_kind(file: &str, of: GuestKind, disk: Option<&DatasetName>, asked: Asked<'_>) -> String {
    let (typed, of) = (asked.what, kind(of));
    let next = match disk {
        // Alone, a disk is no part of the guest that has the number now.
        Some(disk) => {
            let (at, from) = (asked.at("--at"), asked.place_option());
            format!("restore the disk by its own name: `zhaul restore {disk}{at}{from}`")
        }
        None => format!(
            "restore it under a number that is free: `zhaul restore {typed}{0} --as VMID`; or in the place of what is there, which is \
             set aside: `zhaul restore {typed}{0} --replace`",
            format_args!("{}{}{}", asked.of_guest(), asked.at("--at"), asked.place_option())
        ),
    };
    format!(
        "the number {typed} is taken by {}, and this point is of {of}: nothing was done\n  next: {next}",
        escape(file)
    )
}

fn exists(dataset: &DatasetName, has_point: bool, asked: Asked<'_>) -> String {
    if let (Some(new_id), What::Guest(id)) = (asked.new_id, asked.what) {
        let again = asked.restore(dataset, "", " --as VMID");
        return format!(
            "{dataset} exists, and nothing that exists is overwritten: nothing was done\n  \
             next: restore guest {id} under a number that is free instead of {new_id}: `{again}`"
        );
    }
    let is_guest = matches!(asked.what, What::Guest(_));
    let (beside, in_its_place) = (asked.beside(dataset), asked.in_its_place(dataset));
    if is_guest && is_of_template(dataset.last()) {
        return format!(
            "{dataset} exists, and clones may need it: nothing was done\n  next: restore it beside: `{beside}`, or the whole template: \
             `zhaul restore {} --as VMID`",
            asked.what
        );
    }
    if has_point {
        format!(
            "{dataset} exists, and has this snapshot already: nothing was done\n  \
             next: to go back to it: `{}`; to restore it in the place of what is there, which is set aside: \
             `{in_its_place}`; to have it beside: `{beside}`",
            asked.rollback(dataset)
        )
    } else {
        format!(
            "{dataset} exists, and nothing that exists is overwritten: nothing was done\n  \
             next: restore it beside: `{beside}`; or in the place of what is there, which is set aside: `{in_its_place}`"
        )
    }
}

/// The error, its meaning for the data, and the next action.
pub(super) fn error_text(error: &RestoreError, asked: Asked<'_>) -> String {
    let typed = asked.what;
    match error {
        RestoreError::NothingFound { what, unlisted, known } => nothing_found(what, unlisted, known),
        RestoreError::NotHere { what, known } => not_here(what, known, asked),
        RestoreError::NoSuchPoint { .. } => no_such_point(error, typed),
        RestoreError::OnlySetAside { what, point, set_aside } => only_set_aside(what, point, set_aside),
        RestoreError::Incomplete { what, point, place: at, missing, complete } => {
            let lacks = format!(
                "the newest point of {what} on {}, @{point}, lacks {}; nothing was done",
                place(at),
                joined(missing)
            );
            let options = asked.of_guest();
            let all = complete.as_ref().map(|complete| {
                format!(
                    "`zhaul restore {typed}{options} --at {complete}` restores the newest point that has all of it; "
                )
            });
            let all = all.unwrap_or_default();
            format!(
                "{lacks}\n  next: {all}`zhaul restore {typed}{options} --at {point}` restores what there is of @{point}"
            )
        }
        RestoreError::Lost { .. } => lacking::lost(error, asked),
        RestoreError::Exists { dataset, missing, point, has_point }
            if !missing.is_empty() && asked.new_id.is_none() && matches!(typed, What::Guest(_)) =>
        {
            lacking::half_here(dataset, missing, (point.as_ref(), *has_point), asked)
        }
        RestoreError::Exists { dataset, has_point, .. } => exists(dataset, *has_point, asked),
        RestoreError::HasChildren { dataset } => format!(
            "datasets lie below {dataset}, which would go with it: nothing was done\n  next: restore the point beside: `{}`",
            asked.beside(dataset)
        ),
        RestoreError::OwnKey { dataset } => format!(
            "{dataset} is encrypted with a key of its own, and ZFS puts no clone of it into its place: nothing was done\n  \
             next: roll back without --keep, or restore the point beside: `{}`",
            asked.beside(dataset)
        ),
        RestoreError::OriginsKey { dataset, key_of } => format!(
            "{dataset} is a clone with the encryption key of {key_of}, and ZFS does not let it be set aside: nothing was done\n  \
             next: restore the point beside: `{}`",
            asked.beside(dataset)
        ),
        RestoreError::SameName { dataset } => format!(
            "two disks of the guest would be called {dataset}: nothing was done\n  \
             next: leave --storage out, or restore each disk by its own name with --to"
        ),
        RestoreError::NoParent { parent, is_pool_missing, former, storages } => {
            no_parent(parent, *is_pool_missing, (former, storages), asked)
        }
        RestoreError::NotListed { dataset, why } => not_listed(dataset, why),
        RestoreError::PlaceTaken { place } => format!(
            "{place} exists and is not zhaul's, and restores are received there: nothing was done\n  \
             next: `zfs rename {place} {place}-old`"
        ),
        RestoreError::OtherRestore { incoming, point } => {
            let point = point.as_ref().map(|name: &PointName| format!(" of @{name}")).unwrap_or_default();
            format!(
                "an interrupted restore{point} is in {incoming}: nothing was done\n  \
                 next: go on with it by the command that began it, or give it up: `{}`",
                asked.abandon()
            )
        }
        RestoreError::Name(error) => format!(
            "a name cannot be used: {error}; nothing was done\n  next: choose a shorter one with --to"
        ),
    }
}

fn only_set_aside(what: &str, point: &PointName, set_aside: &[(DatasetName, DatasetName)]) -> String {
    let commands = set_aside
        .iter()
        .map(|(aside, dataset)| format!("`zhaul restore {aside} --at {point} --to {dataset}-restored`"));
    format!(
        "{what} has @{point} only in what was set aside: nothing was done\n  next: restore that beside what there is: {}",
        commands.collect::<Vec<_>>().join("; ")
    )
}

fn no_such_point(error: &RestoreError, typed: &What) -> String {
    let RestoreError::NoSuchPoint { what, at, from, oldest, newest } = error else { return String::new() };
    let place = from.as_ref().map_or_else(|| "in any place".to_owned(), |from| format!("on {}", place(from)));
    let point = match at {
        None => "no snapshot".to_owned(),
        Some(At::Point(name)) => format!("no snapshot @{name}"),
        Some(At::Time(time)) => format!("no snapshot that is not newer than {time}"),
    };
    let span = match (oldest, newest) {
        (Some(oldest), Some(newest)) => format!("; the oldest is @{oldest}, the newest @{newest}"),
        _ => String::new(),
    };
    format!("{what} has {point} {place}{span}; nothing was done\n  next: `zhaul list {typed}`")
}

fn not_listed(dataset: &DatasetName, why: &Unlisted) -> String {
    let next = match why {
        Unlisted::Changing => "the same command again".to_owned(),
        Unlisted::Missing
        | Unlisted::NoPool
        | Unlisted::Suspended
        | Unlisted::BadName(_)
        | Unlisted::Failed(_) => {
            format!("{}; then the same command again", unlisted_here_next(dataset.as_str(), why))
        }
    };
    format!("{}: nothing was done\n  next: {next}", unlisted_what(dataset.as_str(), why))
}

fn nothing_found(what: &str, unlisted: &[(TargetName, String)], known: &[DatasetName]) -> String {
    let lines = unlisted.iter().map(|(target, why)| format!("\n  {target} could not be listed: {why}"));
    let lines: String = lines.collect();
    let mend = unlisted.iter().map(|(target, why)| {
        format!(
            "so that {target} can be listed: {}; then the same command again; ",
            target_unlisted_advice(why)
        )
    });
    let mend: String = mend.collect();
    format!(
        "nothing of {what} is known here or on any target that could be listed; nothing was done{lines}{}\n  \
         next: {mend}`zhaul list` names all that can be restored",
        examples(known)
    )
}

fn not_here(what: &str, known: &[DatasetName], asked: Asked<'_>) -> String {
    let (typed, is_guest) = (asked.what, matches!(asked.what, What::Guest(_)));
    let lacks = if is_guest { "has no disk here" } else { "is no dataset here" };
    format!(
        "{what} {lacks} that can be rolled back; nothing was done{}\n  \
         next: `zhaul restore {typed}` brings back what is lost, or ends a restore that was begun; `zhaul list {typed}` shows what \
         there is of it",
        examples(known)
    )
}

fn examples(known: &[DatasetName]) -> String {
    let some = known.get(..known.len().min(5)).unwrap_or_default();
    if some.is_empty() { String::new() } else { format!("\n  there is for example: {}", joined(some)) }
}

fn no_parent(
    parent: &DatasetName,
    is_pool_missing: bool,
    (former, storages): (&[String], &[String]),
    asked: Asked<'_>,
) -> String {
    let (what, mend) = if is_pool_missing {
        (
            format!("the pool {} is not imported here", parent.pool()),
            format!("`zpool import {}`", parent.pool()),
        )
    } else {
        (
            format!("{parent} does not exist here, so nothing can be restored below it"),
            format!("`zfs create -p {parent}`"),
        )
    };
    let to = if is_pool_missing { "--to another pool" } else { "--to another dataset" };
    if !matches!(asked.what, What::Guest(_)) || former.is_empty() {
        return format!("{what}: nothing was done\n  next: {mend}, or {to}");
    }
    // The only storage is meant.
    let storage = if let [only] = storages { only.as_str() } else { "STORAGE" };
    let options = former.iter().map(|of| format!(" --storage {}", shell_word(&format!("{of}={storage}"))));
    let one_of = if storages.len() > 1 {
        format!(", where STORAGE is one of this host's: {}", escape(&storages.join(", ")))
    } else {
        String::new()
    };
    format!(
        "{what}, and this host has no storage where disks of guest {typed} were, {were}: nothing was done\n  \
         next: put them on another storage: `{command}{options}`{one_of}; or {mend}",
        typed = asked.what,
        were = escape(&former.join(", ")),
        command = asked.command(),
        options = options.collect::<String>(),
    )
}

/// A note before the restore.
pub(super) fn note_text(note: &RestoreNote) -> String {
    match note {
        RestoreNote::TargetNotListed { target, why } => {
            format!("{target} could not be listed, and may have newer points: {why}")
        }
        RestoreNote::VolumeMissing { volume } => {
            format!("this point has no snapshot of {volume}, which is not restored")
        }
        RestoreNote::NewerPoint { point } => format!("there is a newer point, @{point}"),
        RestoreNote::NothingInCommon { volume, target } => format!(
            "the copy of {volume} on {target} has no snapshot that is restored: the next stream there is a full one"
        ),
        RestoreNote::EncryptedClone { volume, encrypted } => format!(
            "{volume} was a linked clone, and {encrypted} is encrypted: it is restored in full, since ZFS would not let an encrypted \
             clone be renamed"
        ),
        RestoreNote::OriginMissing { volume, of, point, set_aside: Some(set_aside) } => {
            let parent = of.parent().map_or_else(String::new, |parent| format!("{parent}/"));
            format!(
                "{volume} was a linked clone of an earlier {of}@{point}, whose copy was set aside: it is restored in full; \
                 `zhaul restore {set_aside} --to {parent}NAME` first, with a name that is free, keeps it linked"
            )
        }
        RestoreNote::OriginMissing { volume, of, point, set_aside: None } => {
            let what = VolumeName::parse(of.last()).map_or_else(|| of.to_string(), |of| of.guest.to_string());
            format!(
                "{volume} was a linked clone of {of}@{point}, which is not in the pool that it is restored to: it is restored in full; \
                 `zhaul restore {what}` first, if that is lost too, keeps it linked"
            )
        }
        RestoreNote::BegunInFull { volume } => format!(
            "{volume} is a linked clone whose restore was begun in full, and is continued so; to restore it as a clone: the same command \
             with --abandon, then again without"
        ),
        RestoreNote::OriginFirst { volume, of } => {
            format!(
                "{volume} is restored as a clone of {of}, which comes first: less than its full size is received"
            )
        }
        RestoreNote::ChildrenLeft { children } => {
            format!(
                "datasets below it have copies of their own and are restored for themselves: {}",
                joined(children)
            )
        }
    }
}

/// The line that prints the configuration that a restored point carries.
pub(super) fn decode_line(plan: &RestorePlan) -> String {
    let snapshot =
        plan.volumes.first().map(|volume| format!("{}@{}", volume.to, volume.point)).unwrap_or_default();
    format!(
        "zfs get -Hp -o value \"$(seq -s, -f zhaul:config-%g 0 63)\" {snapshot} | tr -d '\\n-' | base64 -d | gunzip"
    )
}

/// The next action after a failure: what was received is kept.
pub(super) fn advice(error: &HostError, asked: Asked<'_>) -> Cow<'static, str> {
    let advice = match &error.problem {
        Problem::NotFound if error.operation == "send" => return lacking::gone(asked).into(),
        Problem::PoolHangs(_) => {
            "zpool status shows which devices do not answer; resume the pool (zpool clear), then give the same command again"
        }
        Problem::Unreachable(text) => {
            let advice = connection_advice(text);
            return format!("{advice}; then run the same command again, which continues").into();
        }
        Problem::NoSpace(_) => "make room, then run the same command again: it keeps what was received",
        Problem::Denied(_) => "use an ssh key that may read the copies; then give the same command again",
        Problem::Locked => {
            "load the key of the dataset above (zfs load-key); then give the same command again"
        }
        Problem::Busy(_) => {
            "an earlier restore may still be ending; wait a moment and give the same command again"
        }
        Problem::Exists => {
            "rename what has the name, then run the same command again: it keeps what was received"
        }
        Problem::NotFound
        | Problem::Held
        | Problem::Cloned
        | Problem::Modified
        | Problem::Changed(_)
        | Problem::Cancelled
        | Problem::Stalled(_)
        | Problem::Protocol(_)
        | Problem::Unsafe(_)
        | Problem::NeverReceivable(_)
        | Problem::Other(_) => {
            "run the same command again, which keeps what was received; --abandon gives it up"
        }
    };
    advice.into()
}
