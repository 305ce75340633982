//! `zhaul restore --put-back STAMP`: datasets that `restore --replace` or `rollback --keep` has set aside return to
//! their places, and the present ones are set aside in turn. Nothing is destroyed; killed anywhere, the same command
//! continues.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use anyhow::{Context, anyhow};

use super::super::context::CommandContext;
use super::super::exit_code::{Code, Failure, OrExit};
use super::super::guest_state;
use super::super::render::escape;
use super::super::{lock, output};
use super::Wanted;
use super::unended::{self, Unended};
use super::{guest_file, kept_text};
use crate::host::{GuestFiles, Restoring};
use crate::model::{
    ASIDE_MARK, ASIDE_NAME, Dataset, DatasetKind, DatasetName, GuestId, Guid, Listing, PUT_BACK_MARK,
    RESTORE_PROPERTY, aside_from, aside_of, opposite,
};
use crate::plan::restore::{What, guest_of, is_guests_disk};

/// One dataset that is put back.
struct Disk {
    to: DatasetName,
    kind: DatasetKind,
    /// Where it is set aside, if it is not in its place already.
    aside: Option<(DatasetName, Guid)>,
    /// The dataset in its place, which is to be set aside.
    present: Option<Guid>,
    /// Where that goes, or has gone.
    opposite: DatasetName,
    /// Whether something is there already.
    is_opposite_there: bool,
    /// Whether an interrupted command has put back what is in its place.
    is_marked: bool,
}

pub(super) fn put_back(
    args: Wanted<'_>,
    context: &CommandContext,
    here: &Restoring,
    stamp: &str,
) -> Result<Code, Failure> {
    let _lock = if args.options.dry_run {
        None
    } else {
        Some(lock::take(&context.policy, context.policy_file.as_deref(), Duration::ZERO, &context.cancel)?)
    };
    let (inventory, _) = context.source_inventory()?;
    let listing = list(context, here, args)?;
    let disks = disks(&listing, stamp, |to| is_guests_disk(args.what, to, &inventory.proxmox))?;
    // The guest's disks were lost when it was replaced: only its file was there.
    let file = guest_file::aside_file(args, context, stamp);
    if disks.is_empty() && file.is_none() {
        return Err(nothing(&listing, stamp));
    }
    let id = guest_of(args.what);
    let files = context.policy.guest_config.as_deref().filter(|directory| directory.exists());
    let files = files.map(GuestFiles::new).zip(id.filter(|_| matches!(args.what, What::Guest(_))));
    let is_begun = match &files {
        Some((files, id)) => files.current(*id).or_exit(Code::Failed)?.is_some_and(|file| file.is_begun),
        None => false,
    };
    if !is_begun && !disks.is_empty() && disks.iter().all(|disk| disk.aside.is_none() && !disk.is_marked) {
        return Err(put_back_before(args.what, &disks, stamp));
    }
    let mut text: String = disks.iter().map(plan_line).collect();
    if let Some(file) = file.filter(|_| disks.is_empty()) {
        let _ = writeln!(text, "  {}", escape(&file.display().to_string()));
    }
    output::print(&format!("put back what was set aside as {stamp}\n{text}")).or_exit(Code::Failed)?;
    if let Some(id) = id {
        check_ended(id, context, &listing)?;
        guest_state::check_guest(id, &inventory, is_begun)?;
        guest_state::check_stopped(id, args.options.stopped, &inventory)?;
    }
    guest_state::check_unused(disks.iter().map(|disk| (&disk.to, disk.kind)))?;
    if args.options.dry_run {
        return Ok(Code::Done);
    }
    let exchanged = exchange(here, &disks, files.as_ref(), stamp);
    exchanged.map_err(|failure| Failure {
        code: failure.code,
        error: anyhow!(
            "{:#}\n  some disks may be exchanged already; run the same command again to finish",
            failure.error
        ),
    })?;
    let mut done = String::new();
    for disk in &disks {
        let _ = writeln!(done, "{} is back", escape(disk.to.as_str()));
    }
    let opposites = disks.iter().filter(|disk| disk.present.is_some() || disk.is_opposite_there);
    let opposites: Vec<&DatasetName> = opposites.map(|disk| &disk.opposite).collect();
    let file = guest_file::aside_file(args, context, &opposite(stamp));
    done.push_str(&kept_text(args.what, &opposite(stamp), opposites.into_iter(), file.as_deref()));
    output::print(&done).context("cannot print the report").or_exit(Code::Failed)?;
    Ok(Code::Done)
}

/// Refuses in the middle of a restore: what was set aside for it is exchanged, and the lock of the guest is the restore's own.
fn check_ended(id: GuestId, context: &CommandContext, listing: &Listing) -> Result<(), Failure> {
    let next = match unended::of_guest(&context.policy, id, listing) {
        None => return Ok(()),
        Some(Unended::Interrupted(next)) => next,
        Some(Unended::UnderWay | Unended::Drill) => "wait for it to end".to_owned(),
    };
    let error = anyhow!(
        "a restore of guest {id} has not ended, and the lock in the guest's file is its own: nothing was done\n  \
         next: {next}; then the same command again"
    );
    Err(error).or_exit(Code::Blocked)
}

fn plan_line(disk: &Disk) -> String {
    let mut text = format!("  {}\n", escape(disk.to.as_str()));
    if disk.aside.is_none() {
        text = format!("  {} is in its place already\n", escape(disk.to.as_str()));
    } else if disk.present.is_some() {
        let _ = writeln!(text, "    what is there now goes to {}", escape(disk.opposite.as_str()));
    }
    text
}

fn exchange(
    here: &Restoring,
    disks: &[Disk],
    files: Option<&(GuestFiles, GuestId)>,
    stamp: &str,
) -> Result<(), Failure> {
    let cannot = "cannot write the guest's file\n  next: see that the node is quorate (`pvecm status`)";
    if let Some((files, id)) = files
        && let Some(current) = files.current(*id).context(cannot).or_exit(Code::Blocked)?
    {
        files.begin_rollback(current.kind, *id).context(cannot).or_exit(Code::Blocked)?;
    }
    // No run takes a guest of which one disk is marked.
    for (aside, guid) in disks.iter().filter_map(|disk| disk.aside.as_ref()) {
        here.mark(aside, *guid, &format!("{PUT_BACK_MARK}{stamp}")).or_exit(Code::Failed)?;
    }
    let mut back = Vec::new();
    for disk in disks {
        if let Some((aside, guid)) = &disk.aside {
            if let Some(present) = disk.present {
                here.set_aside(&disk.to, present, &disk.opposite).or_exit(Code::Failed)?;
            }
            here.put_in_place(aside, *guid, &disk.to).or_exit(Code::Failed)?;
        }
        let listing = here.list(std::slice::from_ref(&disk.to)).or_exit(Code::Failed)?;
        let there =
            listing.get(&disk.to).ok_or_else(|| anyhow!("{} is gone", disk.to)).or_exit(Code::Failed)?;
        // The snapshots before the point went with what is put aside now.
        here.promote(&disk.to, there.guid, &disk.opposite).or_exit(Code::Failed)?;
        here.take_reservations_back(&disk.opposite, &disk.to);
        if disk.kind == DatasetKind::Filesystem
            && let Some(problem) = here.remount(&disk.to)
        {
            tracing::warn!("{} is back, but not mounted: {problem}", disk.to);
        }
        back.push((&disk.to, there.guid));
    }
    for (dataset, guid) in back {
        here.unmark(dataset, guid).or_exit(Code::Failed)?;
    }
    let Some((files, id)) = files else { return Ok(()) };
    let is_put_back = files.put_back(*id, stamp, &opposite(stamp)).context(cannot).or_exit(Code::Failed)?;
    if !is_put_back
        && let Some(current) = files.current(*id).context(cannot).or_exit(Code::Failed)?
        && current.is_begun
    {
        // There is no other file to put in its place.
        files
            .finish_rollback(current.kind, *id, &current.text, None)
            .context(cannot)
            .or_exit(Code::Failed)?;
    }
    Ok(())
}

/// Every dataset of the stamp, put aside or put back already.
fn disks(
    listing: &Listing,
    stamp: &str,
    is_meant: impl Fn(&DatasetName) -> bool,
) -> Result<Vec<Disk>, Failure> {
    let (back, mark) = (opposite(stamp), format!("{PUT_BACK_MARK}{stamp}"));
    let mut found: BTreeMap<DatasetName, (Option<&Dataset>, Option<&Dataset>)> = BTreeMap::new();
    for dataset in set_asides(listing) {
        let Some((to, of)) = aside_from(&dataset.name).filter(|(to, _)| is_meant(to)) else { continue };
        let slot = found.entry(to).or_default();
        if of == stamp {
            slot.0 = Some(dataset);
        } else if of == back {
            slot.1 = Some(dataset);
        }
    }
    found.retain(|_, (aside, gone)| aside.is_some() || gone.is_some());
    if found.values().all(|(aside, _)| aside.is_none()) && stamp.ends_with("-back") {
        return Ok(Vec::new());
    }
    let mut disks = Vec::new();
    for (to, (aside, gone)) in found {
        let there = listing.get(&to);
        let opposite = aside_of(&to, &back).or_exit(Code::Failed)?;
        let opposite = opposite.ok_or_else(|| anyhow!("{to} has no place aside")).or_exit(Code::Failed)?;
        if aside.is_some() && gone.is_some() && there.is_some() {
            let error = anyhow!(
                "{to} and {opposite} exist both: nothing was done\n  \
                 next: `zfs rename` the one that is not needed, then the same command again"
            );
            return Err(error).or_exit(Code::Blocked);
        }
        let kind = aside.or(there).or(gone).map_or(DatasetKind::Volume, |dataset| dataset.kind);
        disks.push(Disk {
            aside: aside.map(|dataset| (dataset.name.clone(), dataset.guid)),
            is_opposite_there: gone.is_some(),
            is_marked: there.is_some_and(|there| there.user.local(RESTORE_PROPERTY) == Some(mark.as_str())),
            present: there.map(|dataset| dataset.guid),
            to,
            kind,
            opposite,
        });
    }
    Ok(disks)
}

/// The datasets directly below a place of ours.
fn set_asides(listing: &Listing) -> impl Iterator<Item = &Dataset> {
    listing.datasets().filter(|dataset| {
        let place = dataset.name.parent().and_then(|place| listing.get(&place));
        place.is_some_and(|place| {
            place.name.last() == ASIDE_NAME && place.user.local(RESTORE_PROPERTY) == Some(ASIDE_MARK)
        })
    })
}

/// Nothing is left to be done; what is in its place now may be another state.
fn put_back_before(what: &What, disks: &[Disk], stamp: &str) -> Failure {
    let names: Vec<String> = disks.iter().map(|disk| format!("\n  {}", escape(disk.to.as_str()))).collect();
    let names = names.concat();
    let error = anyhow!(
        "what was set aside as {stamp} was put back before: nothing was done{names}\n  \
         next: `zhaul doctor` lists what is set aside now; `zhaul restore {what} --put-back {}` brings back what was there before it",
        opposite(stamp)
    );
    Failure { code: Code::Usage, error }
}

fn nothing(listing: &Listing, stamp: &str) -> Failure {
    let mut known: Vec<String> = set_asides(listing).map(|dataset| format!("\n  {}", dataset.name)).collect();
    known.truncate(20);
    let known = if known.is_empty() { " there is nothing".to_owned() } else { known.concat() };
    let error = anyhow!(
        "nothing of that was put aside as {stamp}: nothing was done; put aside on this host:{known}\n  \
         next: what stands after the last dot of a name is the word after --put-back"
    );
    Failure { code: Code::Usage, error }
}

fn list(context: &CommandContext, here: &Restoring, args: Wanted<'_>) -> Result<Listing, Failure> {
    let mut wanted: Vec<DatasetName> = context.policy.roots.iter().map(|root| root.dataset.clone()).collect();
    if let What::Dataset(name) = args.what {
        wanted.push(name.clone());
    }
    let beside: Vec<DatasetName> =
        wanted.iter().filter_map(|root| root.parent()?.child(ASIDE_NAME).ok()).collect();
    wanted.extend(beside);
    super::list_here(here, &wanted)
}
