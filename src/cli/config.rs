//! `zhaul config`: an example to start from, and a check that says in words what a configuration means.

use std::fmt::Write as _;

use jiff::Timestamp;

use super::args::ConfigCommand;
use super::context::CommandContext;
use super::exit_code::{Code, Failure, OrExit};
use super::output;
use super::policy_source;
use super::render::{count, duration_text, escape, left_out_lines, unlisted_what};
use crate::model::{Inventory, Listing, ProxmoxState};
use crate::plan::{Request, Selection, select};
use crate::policy::{
    Address, ArchiveDivergence, ArchiveRules, BackupDivergence, BackupRules, EXAMPLE, KeepRules, OnNoBase,
    Policy, Target, TargetKind,
};

/// Carries out `zhaul config`.
pub(super) fn config(command: &ConfigCommand) -> Result<Code, Failure> {
    let mut code = Code::Done;
    let text = match command {
        ConfigCommand::Example => EXAMPLE.to_owned(),
        ConfigCommand::Check { policy, show_datasets: false, .. } => {
            policy_text(&policy_source::load(policy)?)
        }
        ConfigCommand::Check { policy, log, .. } => {
            let context = CommandContext::open(policy, *log, None)?;
            let (inventory, listing) = context.source_inventory()?;
            if listing.unlisted().next().is_some() {
                code = Code::Failed;
            }
            policy_text(&context.policy) + &selection_text(&context.policy, &inventory, &listing, context.now)
        }
    };
    output::print(&text).or_exit(Code::Failed)?;
    Ok(code)
}

/// Which datasets each root selects, and which patterns match nothing below any root.
fn selection_text(policy: &Policy, inventory: &Inventory, listing: &Listing, now: Timestamp) -> String {
    let request = Request { now, take_snapshot: false, force_archive: false, guests: Vec::new() };
    let Selection { selected, left_out, .. } = select(policy, inventory, listing, &request);
    let mut text = String::from("Selected\n");
    for root in &policy.roots {
        let of_root: Vec<_> = selected.iter().filter(|one| one.root == root).collect();
        let _ = writeln!(text, "  {} below {}", count(of_root.len(), "dataset"), root.dataset);
        for one in of_root {
            let guest = one.guest_id.map(|id| format!(", guest {id}")).unwrap_or_default();
            let _ = writeln!(text, "    {}{guest}", one.dataset.name);
        }
    }
    for (name, why) in listing.unlisted() {
        let _ = writeln!(text, "  not listed: {}", escape(&unlisted_what(name, why)));
    }
    if let ProxmoxState::InDoubt(why) = &inventory.proxmox.state {
        let _ = writeln!(text, "  Proxmox VE's configuration cannot be relied upon: {}", escape(why));
    }
    for why in inventory.proxmox.unreadable.values() {
        let _ = writeln!(text, "  a guest's configuration cannot be read: {}", escape(why));
    }
    let lines = left_out_lines(&left_out);
    if !lines.is_empty() {
        let _ = write!(text, "Left out\n{lines}");
    }
    for pattern in &policy.exclude {
        if !listing.datasets().any(|dataset| pattern.matches(&dataset.name)) {
            let _ = writeln!(text, "  the exclude pattern {pattern} matches nothing");
        }
    }
    text
}

/// The policy in words.
fn policy_text(policy: &Policy) -> String {
    let mut text = String::from("Source\n");
    for root in &policy.roots {
        let itself = if root.include_root { ", and itself" } else { "" };
        let _ = writeln!(text, "  every dataset below {}{itself}", root.dataset);
    }
    for pattern in &policy.exclude {
        let _ = writeln!(text, "  except {pattern}");
    }
    match &policy.guest_config {
        Some(directory) => {
            let _ = writeln!(text, "  guests are looked up in {}", directory.display());
        }
        None => text.push_str("  guests are not looked up\n"),
    }
    if policy.guest_config.is_some() {
        let _ = match policy.freeze {
            Some(limit) => writeln!(
                text,
                "  those whose agent is on are frozen for their snapshots, for {} at most",
                signed_text(limit)
            ),
            None => writeln!(text, "  no guest is frozen for its snapshots"),
        };
    }
    let zone = policy.time_zone.iana_name().unwrap_or("a fixed offset");
    let _ = writeln!(
        text,
        "  snapshots are named {} in UTC; days and months begin as in {zone}",
        policy.name_format
    );
    let _ = writeln!(text, "  {}", keep_text(&policy.keep_at_source));
    match policy.keep_bookmarks {
        Some(number) => {
            let _ = writeln!(text, "  the newest {} without a snapshot stay", count(number, "bookmark"));
        }
        None => text.push_str("  bookmarks stay for ever\n"),
    }
    for target in &policy.targets {
        text.push_str(&target_text(target));
    }
    let transfer = &policy.transfer;
    let rate = &transfer.rate;
    let _ = writeln!(
        text,
        "Transfers\n  {} at a time, {} of buffer each, {rate}\n  one that stands still for {} is given up until the \
         next run\nLock\n  {}",
        transfer.jobs,
        transfer.buffer,
        signed_text(transfer.stall_limit),
        policy.lock.as_ref().map_or_else(
            || "one of this policy's own in /run/zhaul".to_owned(),
            |path| path.display().to_string()
        )
    );
    text
}

fn target_text(target: &Target) -> String {
    let place = match &target.address {
        Address::Local => "this machine".to_owned(),
        Address::Ssh { host, user, port, .. } => {
            let user = user.as_ref().map(|user| format!("{user}@")).unwrap_or_default();
            let port = port.map(|port| format!(", port {port}")).unwrap_or_default();
            format!("{user}{host} by ssh{port}")
        }
    };
    let what = if target.intermediates { "every snapshot" } else { "the newest snapshot" };
    let (kind, rules) = match &target.kind {
        TargetKind::Backup(rules) => ("Backup", backup_text(rules, what)),
        TargetKind::Archive(rules) => ("Archive", archive_text(rules)),
    };
    format!("{kind} {}\n  {} on {place}\n{rules}", target.name, target.root)
}

fn backup_text(rules: &BackupRules, what: &str) -> String {
    let mut text = format!("  each run sends {what}\n  {}\n", keep_text(&rules.keep));
    text.push_str(match rules.on_divergence {
        BackupDivergence::Keep => {
            "  what it has after the newest snapshot in common is set aside, and the copy continues\n"
        }
        BackupDivergence::Remove => "  own snapshots there that a rollback left behind are removed\n",
        BackupDivergence::Stop => "  where it has newer snapshots than the source, a person decides\n",
    });
    match (rules.on_no_base, rules.keep_superseded) {
        (OnNoBase::Stop, _) => text.push_str("  where nothing is in common, a person decides\n"),
        (OnNoBase::Supersede, None) => {
            text.push_str("  where nothing is in common, the old copy is set aside\n");
        }
        (OnNoBase::Supersede, Some(limit)) => {
            let limit = signed_text(limit);
            let _ = writeln!(
                text,
                "  where nothing is in common, the old copy is set aside; what is set aside stays for {limit}"
            );
        }
    }
    text
}

fn archive_text(rules: &ArchiveRules) -> String {
    let when = if rules.catch_up { "or at the first run after it" } else { "and only then" };
    let divergence = match rules.on_divergence {
        ArchiveDivergence::Keep => {
            "where it has diverged from the source, what is newer is set aside and kept, and the copy continues"
        }
        ArchiveDivergence::Stop => "where it has diverged from the source, a person decides",
    };
    format!(
        "  gets one snapshot a month, on the 1st, {when}\n  nothing on it is ever destroyed\n  {divergence}\n"
    )
}

fn keep_text(rules: &KeepRules) -> String {
    if rules.is_empty() {
        return "every snapshot stays".to_owned();
    }
    let rule = |(name, number): (&str, Option<u32>)| number.map(|number| format!("keep-{name}={number}"));
    let all = [
        ("last", rules.last),
        ("hourly", rules.hourly),
        ("daily", rules.daily),
        ("weekly", rules.weekly),
        ("monthly", rules.monthly),
        ("yearly", rules.yearly),
    ];
    let set: Vec<_> = all.into_iter().filter_map(rule).collect();
    format!("own snapshots stay by {}", set.join(", "))
}

fn signed_text(duration: jiff::SignedDuration) -> String {
    duration_text(std::time::Duration::try_from(duration).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::host::SourceHost;
    use crate::host::fake::{FakeHost, SharedState};
    use crate::model::{Answer, DatasetKind, DatasetName, Proxmox};
    use crate::policy::{Flags, Pattern};

    #[test]
    fn the_check_shows_what_is_selected_and_which_pattern_matches_nothing() {
        let host = FakeHost::new("pve0", &SharedState::new());
        for name in ["tank", "tank/vm"] {
            host.create(name, DatasetKind::Filesystem).unwrap();
        }
        for name in ["tank/vm/vm-100-disk-0", "tank/vm/scratch"] {
            host.create(name, DatasetKind::Volume).unwrap();
        }
        let root = DatasetName::new("tank/vm").unwrap();
        let flags = Flags { dataset: vec![root.clone()], hostname: "pve0".to_owned(), ..Flags::default() };
        let mut policy = Policy::from_flags(&flags).unwrap();
        policy.exclude =
            vec![Pattern::new("tank/vm/scratch").unwrap(), Pattern::new("tank/vm/nothing-*").unwrap()];
        let listing = SourceHost::list(&host, &[root]).unwrap();
        let inventory = Inventory {
            source: Answer::Listed(listing.clone()),
            targets: BTreeMap::new(),
            proxmox: Proxmox::default(),
            host: String::new(),
            append_only: std::collections::BTreeSet::new(),
        };
        assert_eq!(
            selection_text(&policy, &inventory, &listing, Timestamp::UNIX_EPOCH),
            "Selected\n  1 dataset below tank/vm\n    tank/vm/vm-100-disk-0\nLeft out\n  \
             tank/vm/scratch  the policy excludes \"tank/vm/scratch\"\n  the exclude pattern tank/vm/nothing-* matches nothing\n"
        );
        let mut listing = listing;
        listing.mark_unlisted("tank/vm/vm-101-disk-0", crate::model::Unlisted::Changing);
        let text = selection_text(&policy, &inventory, &listing, Timestamp::UNIX_EPOCH);
        let expected =
            "  not listed: tank/vm/vm-101-disk-0 was created, destroyed or renamed each time it was listed\n";
        assert!(text.contains(expected), "{text}");
    }
}
