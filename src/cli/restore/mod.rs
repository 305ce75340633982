//! `zhaul restore`: finds the point, shows or carries out the plan, and says what is ready for use.

mod abandon;
mod all;
mod disks;
mod guest;
mod guest_file;
mod kept;
mod lacking;
mod progress;
mod put_back;
mod replace;
mod space;
mod storages;
mod stored;
mod text;
mod typed;
mod unended;
mod words;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use serde_json::json;

use super::args::{AtArg, RestoreArgs};
use super::context::CommandContext;
use super::exit_code::{Code, Failure, OrExit};
use super::lock::{self, Restored};
use super::output;
use crate::discover;
use crate::execute::Settings;
use crate::execute::restore::{RestoreHosts, VolumeOutcome, place as place_received, receive};
use crate::host::{Restoring, Sending};
use crate::model::{ByteCount, DatasetName, Listing, PointName, Proxmox, RateSchedule, TargetName};
use crate::plan::Place;
use crate::plan::restore::{
    At, RestoreError, RestoreNote, RestorePlan, RestoreRequest, What, everything, plan_restore, volumes,
    wanted_here,
};
use crate::policy::{Address, Policy};
use crate::stream::pump::PumpSettings;
use crate::stream::rate::{RateLimit, SystemClock};

pub(super) use guest::random;
pub(super) use kept::{kept_text, stamp};
pub(super) use progress::Progress;
pub(super) use space::check_space;
pub(super) use unended::{Unended, of_dataset as unended, of_guest as unended_of_guest};

/// What one restore restores, and how.
#[derive(Debug, Clone, Copy)]
struct Wanted<'a> {
    what: &'a What,
    /// The point that was chosen for it; else the options say which.
    point: Option<&'a PointName>,
    /// Volumes of the guest that are not restored.
    without: &'a [DatasetName],
    /// What the same call restores, or in a dry run would restore, before it.
    before: &'a [DatasetName],
    options: &'a RestoreArgs,
}

/// Carries out `zhaul restore`.
pub(super) fn restore(options: &RestoreArgs) -> Result<Code, Failure> {
    let context = CommandContext::open(&options.policy, options.log, options.lab_clock)?;
    match &options.what {
        Some(what) => {
            let wanted = Wanted { what, point: None, without: &[], before: &[], options };
            let ended = restore_one(wanted, &context)?;
            let Some(why) = ended.no_file else { return Ok(ended.code) };
            let error = guest::without_file(wanted, &why);
            output::complain(&output::error_text(&error, output::stderr_style()));
            Ok(if ended.code == Code::Done { Code::Failed } else { ended.code })
        }
        None => all::restore_all(options, &context),
    }
}

/// How one restore ended.
struct Ended {
    code: Code,
    /// The disks are there, and no configuration for the guest's file: why.
    no_file: Option<String>,
}

impl From<Code> for Ended {
    fn from(code: Code) -> Self {
        Self { code, no_file: None }
    }
}

fn restore_one(args: Wanted<'_>, context: &CommandContext) -> Result<Ended, Failure> {
    let here = Restoring::new(&context.cancel);
    if args.options.abandon {
        return abandon::abandon(args, context, &here).map(Ended::from);
    }
    if let Some(stamp) = &args.options.put_back {
        return put_back::put_back(args, context, &here, stamp).map(Ended::from);
    }
    let inventory = context.inventory()?;
    let known = volumes(&context.policy, &inventory, &everything(context.now));
    let left_out = disks::left_out(args, &known, &inventory.proxmox)?;
    let mut request = request(args, context, &inventory.proxmox)?;
    request.without.extend(left_out);
    let targets = discover::senders(&context.policy, &context.cancel);
    let point = storages::find_former(args, context, &known, (&mut request, &inventory.proxmox), &targets)?;
    let disks = storages::disks_of(&known, &point);
    let fail = |error: RestoreError| failure(&error, args);
    let wanted = wanted_here(&known, &request).map_err(fail)?;
    let plan_now = || -> Result<RestorePlan, Failure> {
        let there = list_here(&here, &wanted)?;
        let is_begun = guest_file::is_begun(args, context);
        let begun_with = guest_file::begun_with(args, context, &inventory.proxmox);
        let request = RestoreRequest { is_begun, begun_with, ..request.clone() };
        let mut plan = plan_restore(&context.policy, &inventory, &known, &there, &request).map_err(fail)?;
        plan.notes.iter_mut().for_each(|note| origin_first(note, args.before));
        Ok(plan)
    };
    let (plan, _alone) = plan_alone(args, context, plan_now)?;
    let sizes = sizes(&plan, context, &targets);
    let guest::FoundConfig { guest, unusable } =
        guest::Restoration::find(args, context, &inventory, (&known, &disks), &plan, &targets)?;
    if args.options.dry_run {
        replace::check(args, &inventory, &plan, guest.as_ref())?;
        return show_plan(args, &plan, &sizes, context, guest.as_ref()).map(Ended::from);
    }
    let option = if let What::Guest(_) = args.what { "--storage" } else { "--to" };
    check_space(&plan, &sizes, &here, &format!(", or restore to another pool with {option}"))?;
    replace::check(args, &inventory, &plan, guest.as_ref())?;
    if let Some(guest) = guest.as_ref().filter(|_| plan.stamp.is_none()) {
        guest.begin(None)?;
    }
    announce(&plan, &sizes, context);
    let started = Instant::now();
    let hosts = RestoreHosts { here: &here, source: &*context.source, targets: &targets };
    let progress = Progress::new(context.screen.clone(), sizes.values().copied());
    let settings = settings(args, &context.policy);
    let received = receive(&plan, hosts, &settings, &progress, &context.cancel);
    progress.finish();
    let _lock = if plan.stamp.is_some() && received.iter().all(|(_, result)| result.is_ok()) {
        Some(replace::begin(args, context, &plan, guest.as_ref())?)
    } else {
        None
    };
    let outcomes = place_received(&plan, hosts, &settings, &progress, &context.cancel, received);
    let is_done = outcomes.iter().all(|outcome| outcome.result.is_ok());
    let written = match guest.as_ref().filter(|_| is_done) {
        Some(guest) => Some(guest.finish(&plan, &here)?),
        None => None,
    };
    let code = show_outcome(args, context, &plan, &outcomes, started.elapsed())?;
    let mut after = written.unwrap_or_default();
    if is_done {
        after.push_str(&replace::text_after(args, context, &plan, &here)?);
    }
    if !args.options.json {
        output::print(&after).context("cannot print the report").or_exit(Code::Failed)?;
    }
    Ok(Ended { code, no_file: unusable.filter(|_| is_done) })
}

/// The plan for a person; what no one expects also for a log.
fn announce(plan: &RestorePlan, sizes: &Sizes, context: &CommandContext) {
    let style = output::stderr_style();
    output::complain(&if context.is_watched {
        text::plan_text(plan, sizes, context.now, style)
    } else {
        text::notes_text(plan.notes.iter().filter(|note| note.is_always_said()), style)
    });
}

/// The plan, and the locks under which it is carried out. Another command may have changed something until these were taken.
fn plan_alone(
    args: Wanted<'_>,
    context: &CommandContext,
    plan_now: impl Fn() -> Result<RestorePlan, Failure>,
) -> Result<(RestorePlan, Option<lock::Alone>), Failure> {
    let plan = plan_now()?;
    if args.options.dry_run {
        return Ok((plan, None));
    }
    let alone = lock::alone(&restored(args, context, &plan))?;
    Ok((plan_now()?, Some(alone)))
}

/// What no other command restores, or gives up, meanwhile. Single disks of a guest are restored beside others of it.
fn restored<'a>(args: Wanted<'_>, context: &'a CommandContext, plan: &RestorePlan) -> Vec<Restored<'a>> {
    let id = guest_file::number(args).filter(|_| args.options.disks.is_empty());
    let guest = id.zip(context.policy.guest_config.as_deref());
    let guest = guest.map(|(id, directory)| Restored::Guest(id, directory));
    let datasets = plan.volumes.iter().map(|volume| Restored::Dataset(volume.to.clone()));
    guest.into_iter().chain(datasets).collect()
}

/// In a dry run, what comes first is not here yet.
fn origin_first(note: &mut RestoreNote, before: &[DatasetName]) {
    if let RestoreNote::OriginMissing { volume, of, set_aside: None, .. } = note
        && before.contains(of)
    {
        *note = RestoreNote::OriginFirst { volume: volume.clone(), of: of.clone() };
    }
}

/// Lists `wanted` on this host; a dataset that does not exist is noted as such.
pub(super) fn list_here(here: &Restoring, wanted: &[DatasetName]) -> Result<Listing, Failure> {
    let mut wanted = wanted.to_vec();
    wanted.sort();
    wanted.dedup();
    // Listed with what is above it.
    let all = wanted.clone();
    wanted.retain(|name| !all.iter().any(|above| above != name && name.is_within(above)));
    let mut listing = Listing::default();
    for root in wanted {
        listing.absorb(here.list(std::slice::from_ref(&root)).or_exit(Code::Failed)?);
    }
    Ok(listing)
}

fn request(args: Wanted<'_>, context: &CommandContext, proxmox: &Proxmox) -> Result<RestoreRequest, Failure> {
    if args.options.to.is_some() && matches!(args.what, What::Guest(_)) {
        let error = anyhow!(
            "--to names one dataset, and a guest may have several: nothing was done\n  \
             next: name one, for example `zhaul restore rpool/data/vm-100-disk-0 --to rpool/data/vm-900-disk-0`"
        );
        return Err(error).or_exit(Code::Usage);
    }
    let at = match &args.options.at {
        _ if args.point.is_some() => args.point.map(|point| At::Point(point.clone())),
        None => None,
        Some(AtArg::Point(name)) => Some(At::Point(name.clone())),
        Some(AtArg::Time(when)) => {
            Some(At::Time(when.in_zone(&context.policy.time_zone).or_exit(Code::Usage)?))
        }
    };
    let from = args.options.from.as_deref().map(|from| place(&context.policy, from)).transpose()?;
    let is_guest = matches!(args.what, What::Guest(_));
    if !is_guest
        && !args.options.all
        && (args.options.new_id.is_some()
            || args.options.unique
            || args.options.link_down
            || !args.options.storage.is_empty())
    {
        let error = anyhow!(
            "--as, --storage, --unique and --link-down are for a guest: nothing was done\n  next: --to"
        );
        return Err(error).or_exit(Code::Usage);
    }
    let storages = storages::wanted(args, proxmox)?;
    let (what, to, new_id) = (args.what.clone(), args.options.to.clone(), args.options.new_id);
    let (is_begun, is_taken) = (guest_file::is_begun(args, context), guest_file::is_taken(args, context));
    let replace = if args.options.replace { Some(stamp(context.now)?) } else { None };
    let without = args.without.to_vec();
    let (is_drill, begun_with) = (false, Vec::new());
    Ok(RestoreRequest {
        what,
        without,
        at,
        from,
        to,
        is_begun,
        begun_with,
        is_taken,
        new_id,
        storages,
        replace,
        is_drill,
    })
}

/// The place that a person means: a target by its name, or by its host where only one is there.
fn place(policy: &Policy, text: &str) -> Result<Place, Failure> {
    if text == "here" {
        return Ok(Place::Source);
    }
    let by_name = policy.targets.iter().filter(|target| target.name.0 == text);
    let is_host = |address: &Address| match address {
        Address::Ssh { host, .. } => host == text,
        Address::Local => text == "local",
    };
    let by_host: Vec<_> = policy.targets.iter().filter(|target| is_host(&target.address)).collect();
    let found: Vec<_> = by_name.collect();
    match (found.as_slice(), by_host.as_slice()) {
        ([one, ..], _) | ([], [one]) => Ok(Place::Target(one.name.clone())),
        _ => {
            let names: Vec<&str> = policy.targets.iter().map(|target| target.name.0.as_str()).collect();
            let error = anyhow!(
                "there is no target {text}: nothing was done\n  next: --from here, or one of: {}",
                names.join(", ")
            );
            Err(error).or_exit(Code::Usage)
        }
    }
}

pub(super) use words::Asked;

/// A place as it is typed.
pub(super) fn place_word(place: &Place) -> String {
    words::place(place)
}

fn failure(error: &RestoreError, args: Wanted<'_>) -> Failure {
    point_failure(error, asked(args))
}

/// The request, for messages.
fn asked(args: Wanted<'_>) -> Asked<'_> {
    let options = args.options;
    Asked {
        what: args.what,
        at: options.at.as_ref(),
        from: options.from.as_deref(),
        new_id: options.new_id,
        storage: &options.storage,
        disks: &options.disks,
        to: options.to.as_ref(),
    }
}

/// The words and the exit code of what cannot be restored, or rolled back to.
pub(super) fn point_failure(error: &RestoreError, asked: Asked<'_>) -> Failure {
    let code = match error {
        // What was asked for may be right, and where it is cannot be seen.
        RestoreError::NothingFound { unlisted, .. } if !unlisted.is_empty() => Code::Failed,
        RestoreError::NothingFound { .. }
        | RestoreError::NotHere { .. }
        | RestoreError::NoSuchPoint { .. }
        | RestoreError::OnlySetAside { .. }
        | RestoreError::Name(_) => Code::Usage,
        RestoreError::NotListed { .. } => Code::Failed,
        RestoreError::Incomplete { .. }
        | RestoreError::Lost { .. }
        | RestoreError::Exists { .. }
        | RestoreError::HasChildren { .. }
        | RestoreError::OwnKey { .. }
        | RestoreError::OriginsKey { .. }
        | RestoreError::SameName { .. }
        | RestoreError::NoParent { .. }
        | RestoreError::PlaceTaken { .. }
        | RestoreError::OtherRestore { .. } => Code::Blocked,
    };
    Failure { code, error: anyhow!(words::error_text(error, asked)) }
}

/// How many bytes each volume will receive, by its place in the plan; without those of unknown size.
pub(super) type Sizes = BTreeMap<usize, ByteCount>;

pub(super) fn sizes(
    plan: &RestorePlan,
    context: &CommandContext,
    targets: &BTreeMap<TargetName, Sending>,
) -> Sizes {
    let hosts = (&*context.source, targets);
    let estimated = plan.volumes.iter().enumerate().filter_map(|(at, volume)| {
        let estimates = volume.streams.iter().map(|stream| {
            crate::execute::restore::estimate(plan, volume, stream, hosts, &context.cancel).ok()
        });
        Some((at, estimates.sum::<Option<ByteCount>>()?))
    });
    estimated.collect()
}

fn settings(args: Wanted<'_>, policy: &Policy) -> Settings {
    // The policy's limit is there for the nightly run; a person who restores waits.
    let rate = args.options.rate.map(|limit| {
        let clock = SystemClock::new(policy.time_zone.clone());
        Arc::new(RateLimit::new(RateSchedule::constant(limit), clock))
    });
    Settings {
        jobs: policy.transfer.jobs,
        pump: PumpSettings {
            buffer_bytes: policy.transfer.buffer.0,
            rate,
            stall_limit: Duration::try_from(policy.transfer.stall_limit).ok(),
        },
        expects_sizes: true,
        configs: BTreeMap::new(),
        freezing: None,
    }
}

fn show_plan(
    args: Wanted<'_>,
    plan: &RestorePlan,
    sizes: &Sizes,
    context: &CommandContext,
    guest: Option<&guest::Restoration>,
) -> Result<Code, Failure> {
    let text = if args.options.json {
        let mut value =
            serde_json::to_value(plan).context("cannot write the plan as JSON").or_exit(Code::Failed)?;
        add_sizes(&mut value, sizes);
        format!("{value}\n")
    } else {
        let guest = guest.map(|guest| guest.plan_text(plan.stamp.as_deref())).unwrap_or_default();
        format!("{}{guest}", text::plan_text(plan, sizes, context.now, output::stdout_style()))
    };
    output::print(&text).context("cannot print the plan").or_exit(Code::Failed)?;
    Ok(Code::Done)
}

fn add_sizes(plan: &mut serde_json::Value, sizes: &Sizes) {
    for (at, size) in sizes {
        let volume = plan.get_mut("volumes").and_then(|volumes| volumes.get_mut(at));
        if let Some(volume) = volume.and_then(serde_json::Value::as_object_mut) {
            volume.insert("estimated_bytes".to_owned(), json!(size.0));
        }
    }
}

fn show_outcome(
    args: Wanted<'_>,
    context: &CommandContext,
    plan: &RestorePlan,
    outcomes: &[VolumeOutcome],
    took: Duration,
) -> Result<Code, Failure> {
    output::complain(&text::failures_text(plan, outcomes, asked(args), output::stderr_style()));
    let text = if args.options.json {
        format!("{}\n", text::report_json(plan, outcomes, took))
    } else {
        text::report_text(plan, outcomes, took)
    };
    output::print(&text).context("cannot print the report").or_exit(Code::Failed)?;
    let is_done = outcomes.iter().all(|outcome| outcome.result.is_ok());
    let is_ready =
        outcomes.iter().all(|one| one.result.as_ref().is_ok_and(|placed| placed.not_mounted.is_none()));
    Ok(match (is_done, is_ready) {
        (true, true) => Code::Done,
        (true, false) => Code::Blocked,
        (false, _) if context.cancel.is_requested() => Code::Interrupted,
        (false, _) => Code::Failed,
    })
}
