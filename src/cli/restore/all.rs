//! `zhaul restore --all`: after the loss of a host, everything that its last runs backed up and that is not here.
//!
//! A target may have copies of guests that were destroyed on purpose long ago, an archive has them for ever: what has no point
//! of the last days is named, and not restored.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anyhow::{Context, anyhow};
use jiff::{SignedDuration, Timestamp};

use super::super::args::{AtArg, RestoreArgs};
use super::super::context::CommandContext;
use super::super::exit_code::{Code, Failure, OrExit};
use super::super::output;
use super::super::render::{count, duration_text};
use super::{Wanted, guest, place, restore_one};
use crate::model::GuestId;
use crate::plan::Place;
use crate::plan::restore::{Volume, What, everything, points, volumes};

/// What has no point of this number of days before the newest point of all was given up before the host was lost.
const DAYS: i64 = 7;
/// The same where only archives have points, one a month.
const DAYS_OF_ARCHIVES: i64 = 40;

/// A guest, or a dataset of none, that can be restored.
#[derive(Debug)]
struct Item {
    what: What,
    /// All of it is here.
    is_here: bool,
    /// When its newest point was taken that may be restored.
    newest: Option<Timestamp>,
    /// Whether any point that may be restored is not on an archive.
    has_backup: bool,
}

pub(super) fn restore_all(options: &RestoreArgs, context: &CommandContext) -> Result<Code, Failure> {
    let until = until(options, context)?;
    let inventory = context.inventory()?;
    let known = volumes(&context.policy, &inventory, &everything(context.now));
    for (target, why) in &known.unlisted {
        tracing::warn!("{target} could not be listed, so what only it has is not restored: {why}");
    }
    let from = options.from.as_deref().map(|from| place(&context.policy, from)).transpose()?;
    let items = items(options, context, &known.volumes, until, from.as_ref());
    let newest = items.iter().filter_map(|item| item.newest).max();
    let days = if items.iter().any(|item| item.has_backup) { DAYS } else { DAYS_OF_ARCHIVES };
    let since = newest.and_then(|newest| newest.checked_sub(SignedDuration::from_hours(24 * days)).ok());
    let mut report = Report { days, ..Report::default() };
    for item in &items {
        if item.is_here {
            report.here.push(name(&item.what));
        } else if item.newest < since {
            report.old.push((item.what.clone(), item.newest));
        } else {
            report.restore(item, options, context)?;
        }
    }
    let text = report.text(options, context.now);
    if options.json {
        output::complain(&text);
    } else {
        output::print(&text).context("cannot print the report").or_exit(Code::Failed)?;
    }
    let worst = if known.unlisted.is_empty() { Code::Done } else { Code::Failed };
    Ok(report.failed.iter().map(|(_, code)| *code).next().unwrap_or(worst))
}

/// Only points up to this moment are restored.
fn until(options: &RestoreArgs, context: &CommandContext) -> Result<Timestamp, Failure> {
    match &options.at {
        None => Ok(Timestamp::MAX),
        Some(AtArg::Time(when)) => when.in_zone(&context.policy.time_zone).or_exit(Code::Usage),
        Some(AtArg::Point(point)) => {
            let error = anyhow!(
                "--all needs a time, since datasets may have other points than @{point}: nothing was done\n  \
                 next: --at with the time in its name, for example --at 2026-02-01T03:00"
            );
            Err(error).or_exit(Code::Usage)
        }
    }
}

/// Guests by their numbers, then the other datasets by name: parents before what is below them.
fn items(
    options: &RestoreArgs,
    context: &CommandContext,
    known: &[Volume<'_>],
    until: Timestamp,
    from: Option<&Place>,
) -> Vec<Item> {
    let policy = &context.policy;
    let mut guests: BTreeMap<u32, Vec<&Volume<'_>>> = BTreeMap::new();
    let mut others = Vec::new();
    for volume in known {
        match volume.guest() {
            Some(id) => guests.entry(id.0).or_default().push(volume),
            None => others.push((What::Dataset(volume.name.clone()), vec![volume])),
        }
    }
    let guests = guests.into_iter().map(|(id, disks)| (What::Guest(GuestId(id)), disks));
    let item = |(what, disks): (What, Vec<&Volume<'_>>)| {
        let (mut newest, mut has_backup) = (None, false);
        for point in disks.iter().flat_map(|disk| points(disk, &policy.name_format, &policy.time_zone)) {
            let is_wanted = |place: &Place| from.is_none_or(|from| from == place);
            let found =
                point.found.iter().filter(|one| one.point.is_snapshot() && is_wanted(&one.copy.place));
            let mut found = found.peekable();
            if found.peek().is_some() && point.time.is_some_and(|time| time <= until) {
                newest = newest.max(point.time);
                has_backup |= found.any(|one| !one.copy.is_archive);
            }
        }
        let has_own = |volume: &&Volume<'_>| volume.copies.iter().any(|copy| copy.place == Place::Source);
        let is_begun = guest::is_begun(Wanted { what: &what, options }, context);
        Item { is_here: disks.iter().all(has_own) && !is_begun, newest, has_backup, what }
    };
    guests.chain(others).map(item).collect()
}

fn name(what: &What) -> String {
    match what {
        What::Guest(id) => format!("guest {id}"),
        What::Dataset(dataset) => dataset.to_string(),
    }
}

/// The argument that restores it alone.
fn word(what: &What) -> String {
    match what {
        What::Guest(id) => id.to_string(),
        What::Dataset(dataset) => dataset.to_string(),
    }
}

#[derive(Debug, Default)]
struct Report {
    days: i64,
    restored: Vec<String>,
    here: Vec<String>,
    old: Vec<(What, Option<Timestamp>)>,
    failed: Vec<(What, Code)>,
}

impl Report {
    /// A failure of one stops no other; an interrupt stops all.
    fn restore(
        &mut self,
        item: &Item,
        options: &RestoreArgs,
        context: &CommandContext,
    ) -> Result<(), Failure> {
        if context.cancel.is_requested() {
            let error = anyhow!("interrupted\n  next: the same command again, which continues");
            return Err(error).or_exit(Code::Interrupted);
        }
        if !options.json {
            output::print(&format!("{}\n", output::stdout_style().bold(&name(&item.what))))
                .context("cannot print the report")
                .or_exit(Code::Failed)?;
        }
        match restore_one(Wanted { what: &item.what, options }, context) {
            Ok(Code::Done) => self.restored.push(name(&item.what)),
            Ok(code) => self.failed.push((item.what.clone(), code)),
            Err(failure) => {
                output::complain(&output::error_text(&failure.error, output::stderr_style()));
                self.failed.push((item.what.clone(), failure.code));
            }
        }
        Ok(())
    }

    fn text(&self, options: &RestoreArgs, now: Timestamp) -> String {
        let verb = if options.dry_run { "to be restored" } else { "restored" };
        let mut text = format!(
            "\n{} {verb}, {} here already, {} failed\n",
            self.restored.len(),
            self.here.len(),
            self.failed.len()
        );
        for (what, _) in &self.failed {
            let _ = writeln!(
                text,
                "failed: {}; next: `zhaul restore {}` when its cause is mended",
                name(what),
                word(what)
            );
        }
        for (what, newest) in &self.old {
            let age =
                newest.and_then(|newest| std::time::Duration::try_from(now.duration_since(newest)).ok());
            let age = age.map_or_else(String::new, |age| format!(", {} old", duration_text(age)));
            let _ = writeln!(
                text,
                "not restored: {}, whose newest point{age} is from before the last {}; `zhaul restore {}` restores it",
                name(what),
                count(usize::try_from(self.days).unwrap_or_default(), "day"),
                word(what)
            );
        }
        text
    }
}
