//! `zhaul restore --all`: after the loss of a host, everything that its last runs backed up and that is not here.
//!
//! A target may have copies of guests, and of their disks, that were destroyed on purpose long ago, an archive has them for ever:
//! what has no point of the last days is named, and not restored. Only what the targets have counts for that: what is here by now,
//! and runs since the loss, say nothing.

mod clock;

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anyhow::{Context, anyhow};
use jiff::{SignedDuration, Timestamp};

use super::super::args::{AtArg, RestoreArgs};
use super::super::context::CommandContext;
use super::super::exit_code::{Code, Failure, OrExit};
use super::super::output;
use super::super::render::count;
use super::{Wanted, guest_file, place, restore_one};
use crate::host::{GuestFile, GuestFiles};
use crate::model::{DatasetName, GuestId, Guid, PointName, RESTORE_PROPERTY};
use crate::plan::restore::{Volume, Volumes, What, everything, group_points, origin_volume, points, volumes};
use crate::plan::{Place, needed_first};

/// What has no point of this number of days before the newest point of all was given up before the host was lost.
const DAYS: i64 = 7;
/// The same where only archives have points, one a month.
const DAYS_OF_ARCHIVES: i64 = 40;

/// Which points are restored.
struct Choice {
    until: Timestamp,
    /// By this host's clock: no time was given.
    is_until_now: bool,
    from: Option<Place>,
}

/// A guest with its disks, or a dataset of no guest.
struct Item<'a, 'b> {
    what: What,
    disks: Vec<Disk<'a, 'b>>,
    /// A restore of it was begun.
    is_begun: bool,
}

struct Disk<'a, 'b> {
    volume: &'b Volume<'a>,
    /// What it is a linked clone of.
    origin: Option<DatasetName>,
    /// When its newest point on a target was taken that may be restored.
    newest: Option<Timestamp>,
    /// Whether a backup has such a point.
    has_backup: bool,
    here: Here,
    /// When what is here was created or received.
    created: Option<Timestamp>,
    /// The newest of these points that is from before that: of before the loss, if there was one.
    newest_before: Option<Timestamp>,
    /// Its newest point, where that is left out since it is dated after this host's clock.
    later: Option<clock::Later>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Here {
    Missing,
    /// With a point that a target has, too.
    Itself,
    /// Something else has its name.
    Another,
}

pub(super) fn restore_all(options: &RestoreArgs, context: &CommandContext) -> Result<Code, Failure> {
    let choice = choice(options, context)?;
    let inventory = context.inventory()?;
    let known = volumes(&context.policy, &inventory, &everything(context.now));
    for (target, why) in &known.unlisted {
        tracing::warn!("{target} could not be listed, so what only it has is not restored: {why}");
    }
    let items = items(options, context, &known, &choice);
    let agreeing = clock::check(&items, options, context)?;
    let has_backup = items.iter().flat_map(|item| &item.disks).any(|disk| disk.has_backup);
    let days = if has_backup { DAYS } else { DAYS_OF_ARCHIVES };
    let since =
        last_backup(&items).and_then(|last| last.checked_sub(SignedDuration::from_hours(24 * days)).ok());
    let mut report = Report { days, agreeing, ..Report::default() };
    for item in &items {
        report.add(item, since, &choice, options, context)?;
    }
    let text = report.text(options);
    if options.json {
        output::complain(&text);
    } else {
        output::print(&text).context("cannot print the report").or_exit(Code::Failed)?;
    }
    let is_whole = known.unlisted.is_empty() && report.without_file.is_empty();
    let worst = if is_whole { Code::Done } else { Code::Failed };
    Ok(report.failed.iter().map(|(_, code)| *code).next().unwrap_or(worst))
}

/// When the host was last backed up before it was lost. What is here by now says when that was only where it was there already when
/// the last of what is missing was backed up: else its newer points are from runs since the loss.
fn last_backup(items: &[Item<'_, '_>]) -> Option<Timestamp> {
    let disks = || items.iter().flat_map(|item| &item.disks);
    let missing = disks().filter(|disk| disk.here == Here::Missing).filter_map(|disk| disk.newest).max();
    let of_one = |disk: &Disk<'_, '_>| match disk.created {
        Some(created) if missing.is_some_and(|missing| created > missing) => disk.newest_before,
        _ => disk.newest,
    };
    disks().filter_map(of_one).max()
}

/// By the options; without a time no point of the future, which a clock that was wrong has named.
fn choice(options: &RestoreArgs, context: &CommandContext) -> Result<Choice, Failure> {
    let until = match &options.at {
        None => clock::until(context.now),
        Some(AtArg::Time(when)) => when.in_zone(&context.policy.time_zone).or_exit(Code::Usage)?,
        Some(AtArg::Point(point)) => {
            let error = anyhow!(
                "--all needs a time, since datasets may have other points than @{point}: nothing was done\n  \
                 next: --at with the time in its name, for example --at 2026-02-01T03:00"
            );
            return Err(error).or_exit(Code::Usage);
        }
    };
    let from = options.from.as_deref().map(|from| place(&context.policy, from)).transpose()?;
    Ok(Choice { until, is_until_now: options.at.is_none(), from })
}

/// Parents before what is below them, and templates before their clones, else guests last.
fn items<'a, 'b>(
    options: &RestoreArgs,
    context: &CommandContext,
    known: &'b Volumes<'a>,
    choice: &Choice,
) -> Vec<Item<'a, 'b>> {
    let mut guests: BTreeMap<GuestId, Vec<&'b Volume<'a>>> = BTreeMap::new();
    let mut all = Vec::new();
    for volume in &known.volumes {
        match volume.guest() {
            Some(id) => guests.entry(id).or_default().push(volume),
            None => all.push((What::Dataset(volume.name.clone()), vec![volume])),
        }
    }
    all.extend(guests.into_iter().map(|(id, disks)| (What::Guest(id), disks)));
    let item = |(what, disks): (What, Vec<&'b Volume<'a>>)| {
        let wanted = Wanted { what: &what, point: None, without: &[], before: &[], options };
        let is_begun = guest_file::is_begun(wanted, context);
        let disks = disks.into_iter().map(|volume| disk(volume, known, context, choice)).collect();
        Item { what, disks, is_begun }
    };
    let mut items: Vec<Item<'_, '_>> = all.into_iter().map(item).collect();
    let depth = |disk: &Disk<'_, '_>| disk.volume.name.as_str().matches('/').count();
    items.sort_by_cached_key(|item| item.disks.iter().map(depth).min());
    in_order(items)
}

/// What a dataset is below, or a clone of, comes before it.
fn in_order<'a, 'b>(items: Vec<Item<'a, 'b>>) -> Vec<Item<'a, 'b>> {
    let at_item = |(at, item): (usize, &Item<'a, 'b>)| {
        item.disks.iter().map(|disk| (&disk.volume.name, at)).collect::<Vec<_>>()
    };
    let places: BTreeMap<&DatasetName, usize> = items.iter().enumerate().flat_map(at_item).collect();
    let needed = |item: &Item<'a, 'b>| {
        let mut needed = Vec::new();
        for disk in &item.disks {
            let above = std::iter::successors(disk.volume.name.parent(), DatasetName::parent);
            needed.extend(above.filter_map(|above| places.get(&above).copied()));
            needed.extend(disk.origin.as_ref().and_then(|origin| places.get(origin).copied()));
        }
        needed
    };
    let order = needed_first(&items.iter().map(needed).collect::<Vec<_>>());
    let mut items: Vec<Option<Item<'a, 'b>>> = items.into_iter().map(Some).collect();
    order.into_iter().filter_map(|at| items.get_mut(at)?.take()).collect()
}

fn disk<'a, 'b>(
    volume: &'b Volume<'a>,
    known: &Volumes<'a>,
    context: &CommandContext,
    choice: &Choice,
) -> Disk<'a, 'b> {
    let policy = &context.policy;
    let own = volume.copies.iter().find(|copy| copy.place == Place::Source);
    let created = own.and_then(|own| i64::try_from(own.dataset.settings.created_seconds).ok());
    let created = created.and_then(|created| Timestamp::from_second(created).ok());
    let (mut newest, mut newest_before, mut has_backup, mut later) = (None, None, false, None);
    for point in points(volume, &policy.name_format, &policy.time_zone) {
        let is_wanted = |place: &Place| match &choice.from {
            Some(from) => from == place,
            None => *place != Place::Source,
        };
        let found = point.found.iter().filter(|one| one.point.is_snapshot() && is_wanted(&one.copy.place));
        let mut found = found.filter(|one| !one.copy.is_set_aside).peekable();
        let is_later = choice.is_until_now && point.time.is_some_and(|time| time > choice.until);
        if let (true, None, Some(time), Some(_)) = (is_later, &later, point.time, found.peek()) {
            later = Some(clock::Later { name: point.name.clone(), time });
        }
        if found.peek().is_some() && point.time.is_some_and(|time| time <= choice.until) {
            newest = newest.max(point.time);
            newest_before =
                newest_before.max(point.time.filter(|time| created.is_none_or(|made| *time < made)));
            has_backup |= found.any(|one| !one.copy.is_archive);
        }
    }
    let guids = |is_own: bool| {
        let copies = volume.copies.iter().filter(move |copy| (copy.place == Place::Source) == is_own);
        copies.flat_map(|copy| copy.dataset.history.snapshots().map(|point| point.guid))
    };
    let there: Vec<Guid> = guids(false).collect();
    let here = match own {
        None => Here::Missing,
        // In its place, and not complete.
        Some(own) if own.dataset.user.local(RESTORE_PROPERTY).is_some() => Here::Missing,
        Some(_) if there.is_empty() || guids(true).any(|guid| there.contains(&guid)) => Here::Itself,
        Some(_) => Here::Another,
    };
    let origin = origin_volume(volume, known).map(|origin| origin.name.clone());
    Disk { volume, origin, newest, has_backup, here, created, newest_before, later }
}

impl Item<'_, '_> {
    /// All disks that it had at its last backups are here.
    fn is_here(&self, since: Option<Timestamp>) -> bool {
        let is_lost =
            |disk: &Disk<'_, '_>| disk.here == Here::Missing && disk.newest.is_some() && disk.newest >= since;
        !self.is_begun
            && self.disks.iter().any(|disk| disk.here == Here::Itself)
            && !self.disks.iter().any(is_lost)
    }

    fn name(&self) -> String {
        match &self.what {
            What::Guest(id) => format!("guest {id}"),
            What::Dataset(dataset) => dataset.to_string(),
        }
    }

    /// The argument that restores it alone.
    fn word(&self) -> String {
        match &self.what {
            What::Guest(id) => id.to_string(),
            What::Dataset(dataset) => dataset.to_string(),
        }
    }

    /// The newest point that all of `disks` have in one place, and whether a newer one lacks some.
    fn complete_point(
        &self,
        without: &[DatasetName],
        choice: &Choice,
        context: &CommandContext,
    ) -> Option<(PointName, bool)> {
        let disks = self.disks.iter().map(|disk| disk.volume).filter(|one| !without.contains(&one.name));
        let disks: Vec<&Volume<'_>> = disks.collect();
        let groups = group_points(&disks, &context.policy.name_format, &context.policy.time_zone);
        let mut is_older = false;
        for group in groups.iter().filter(|group| group.time.is_some_and(|time| time <= choice.until)) {
            let places = group.places();
            let mut wanted =
                places.iter().filter(|place| choice.from.as_ref().is_none_or(|from| from == *place));
            if wanted.any(|place| group.is_complete_at(place)) {
                return Some((group.name.clone(), is_older));
            }
            is_older = true;
        }
        None
    }
}

#[derive(Debug, Default)]
struct Report {
    days: i64,
    /// The machines whose clocks are not ahead of this host's, where these were compared.
    agreeing: Vec<String>,
    restored: Vec<String>,
    here: Vec<String>,
    /// Lines on what was left out, or is not as one may expect.
    remarks: Vec<String>,
    /// Guests whose disks are here, and whose file is not.
    without_file: Vec<GuestId>,
    failed: Vec<(String, Code)>,
    /// The disks of what was restored, and of what failed.
    restored_disks: Vec<DatasetName>,
    failed_disks: Vec<DatasetName>,
}

impl Report {
    fn add(
        &mut self,
        item: &Item<'_, '_>,
        since: Option<Timestamp>,
        choice: &Choice,
        options: &RestoreArgs,
        context: &CommandContext,
    ) -> Result<(), Failure> {
        let (name, word) = (item.name(), item.word());
        if let Some(disk) = item.disks.iter().find(|disk| disk.here == Here::Another) {
            let place = &disk.volume.name;
            let why = format!(
                "{name}: something else is called {place}; next: `zfs rename` it, then the same command again"
            );
            self.fail(item, why, Code::Blocked);
            return Ok(());
        }
        if item.is_here(since) {
            self.here.push(name);
            self.check_file(item, options, context);
            return Ok(());
        }
        let is_old = |disk: &&Disk<'_, '_>| disk.newest.is_none() || disk.newest < since;
        let old: Vec<DatasetName> =
            item.disks.iter().filter(is_old).map(|disk| disk.volume.name.clone()).collect();
        if let Some(why) = clock::why_not(item, is_old, &self.agreeing, context.now) {
            self.fail(item, why, Code::Blocked);
            return Ok(());
        }
        if old.len() == item.disks.len() && !item.is_begun {
            let why = if item.disks.iter().all(|disk| disk.newest.is_none()) {
                "has no such point, or only one that was set aside".to_owned()
            } else {
                format!(
                    "has no point of the last {}",
                    count(usize::try_from(self.days).unwrap_or_default(), "day")
                )
            };
            self.remarks
                .push(format!("not restored: {name} {why}; `zhaul list {word}` shows what there is of it"));
            return Ok(());
        }
        let without = self.left_out(item, old);
        let restored = item.disks.iter().filter(|disk| !without.contains(&disk.volume.name));
        let restored: Vec<&Disk<'_, '_>> = restored.collect();
        let mut origins = restored.iter().filter_map(|disk| disk.origin.as_ref());
        if let Some(origin) = origins.find(|origin| self.failed_disks.contains(origin)) {
            let why = format!(
                "{name}: it is a linked clone of {origin}, which could not be restored; next: mend that, then the same command \
                 again, or `zhaul restore {word}`, which restores it in full"
            );
            self.fail(item, why, Code::Blocked);
            return Ok(());
        }
        let point = item.complete_point(&without, choice, context);
        if let Some((point, true)) = &point {
            self.remarks
                .push(format!("{name} is restored to @{point}: the newest point lacks some of its disks"));
        }
        self.remarks.extend(clock::left_out(item, &self.agreeing, context.now));
        let point = point.map(|(point, _)| point);
        let before = &self.restored_disks;
        let wanted = Wanted { what: &item.what, point: point.as_ref(), without: &without, before, options };
        let code = Self::restore(&name, wanted, context)?;
        if matches!(code, Code::Done) {
            self.restored.push(name);
            self.restored_disks.extend(restored.iter().map(|disk| disk.volume.name.clone()));
        } else {
            self.fail(item, name, code);
        }
        self.check_file(item, options, context);
        Ok(())
    }

    /// The disks of an item that are not restored: `old` ones, unless it has no others, and those that are here.
    fn left_out(&mut self, item: &Item<'_, '_>, old: Vec<DatasetName>) -> Vec<DatasetName> {
        let name = item.name();
        // A restore of old disks that was begun by name is ended.
        let mut without = if old.len() == item.disks.len() { Vec::new() } else { old };
        for disk in &without {
            self.remarks.push(format!("not restored: {disk}, which was no disk of {name} any more"));
        }
        for disk in item.disks.iter().filter(|disk| disk.here == Here::Itself && !item.is_begun) {
            let disk = &disk.volume.name;
            if !without.contains(disk) {
                self.remarks.push(format!("{name} still had {disk}, which was left as it is"));
                without.push(disk.clone());
            }
        }
        without
    }

    /// Notes that it was not restored, and why.
    fn fail(&mut self, item: &Item<'_, '_>, why: String, code: Code) {
        self.failed.push((why, code));
        self.failed_disks.extend(item.disks.iter().map(|disk| disk.volume.name.clone()));
    }

    /// A failure of one stops no other; an interrupt stops all.
    fn restore(name: &str, wanted: Wanted<'_>, context: &CommandContext) -> Result<Code, Failure> {
        if context.cancel.is_requested() {
            let error = anyhow!("interrupted\n  next: the same command again, which continues");
            return Err(error).or_exit(Code::Interrupted);
        }
        if !wanted.options.json {
            output::print(&format!("{}\n", output::stdout_style().bold(name)))
                .context("cannot print the report")
                .or_exit(Code::Failed)?;
        }
        Ok(match restore_one(wanted, context) {
            // A guest that got no file is named with those that have none.
            Ok(ended) => ended.code,
            Err(failure) => {
                output::complain(&output::error_text(&failure.error, output::stderr_style()));
                failure.code
            }
        })
    }

    /// A guest without its file cannot be started, wherever its disks are.
    fn check_file(&mut self, item: &Item<'_, '_>, options: &RestoreArgs, context: &CommandContext) {
        let (What::Guest(id), Some(directory)) = (&item.what, &context.policy.guest_config) else { return };
        let is_failed = self.failed.last().is_some_and(|(name, _)| *name == item.name());
        if directory.exists() && !options.dry_run && !is_failed {
            let file = GuestFiles::new(directory).find(*id);
            if !matches!(file, GuestFile::Taken(_)) {
                self.without_file.push(*id);
            }
        }
    }

    fn text(&self, options: &RestoreArgs) -> String {
        let verb = if options.dry_run { "to be restored" } else { "restored" };
        let mut text = format!(
            "\n{} {verb}, {} here already, {} failed\n",
            self.restored.len(),
            self.here.len(),
            self.failed.len()
        );
        if !self.here.is_empty() {
            let _ = writeln!(text, "here already: {}", self.here.join(", "));
        }
        for (name, _) in &self.failed {
            let _ = writeln!(text, "failed: {name}");
        }
        for id in &self.without_file {
            let _ = writeln!(
                text,
                "failed: guest {id} has its disks, but no file; next: write it from a point that has it: \
                 `zhaul help restore`, \"An archive of years ago, without zhaul\""
            );
        }
        for remark in &self.remarks {
            let _ = writeln!(text, "{remark}");
        }
        text
    }
}
