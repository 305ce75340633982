//! `zhaul verify --drill`: restores a guest or dataset from a target beside its place, compares everything, opens its file
//! systems, and destroys it again.

use std::fmt::Write as _;
use std::time::Instant;

use anyhow::{Context, anyhow};
use jiff::Timestamp;
use serde_json::json;

use super::super::args::VerifyArgs;
use super::super::carrying_out::{Configs, settings};
use super::super::context::CommandContext;
use super::super::exit_code::{Code, Failure, OrExit};
use super::super::lock::{self, Alone, Restored};
use super::super::render::{duration_text, escape, shell_word};
use super::super::restore::{Asked, Progress, check_space, list_here, point_failure, sizes};
use super::super::trouble::Trouble;
use super::super::{output, trouble};
use super::known_target;
use crate::discover;
use crate::execute::comparing::{Compared, HowToCompare, Reader, Side, compare};
use crate::execute::restore::{RestoreHosts, give_up, receive};
use crate::host::{FileSystem, FileSystemState, HostError, Problem, Restoring};
use crate::model::{
    ByteCount, Change, DatasetName, Encryption, PointName, TargetName, Verification, VerifiedBy,
};
use crate::plan::restore::{
    At, RestoreError, RestorePlan, RestoreRequest, Storages, VolumeRestore, Volumes, What, everything,
    future_names, plan_restore, volumes, wanted_here,
};
use crate::plan::{Place, Severity};

/// The result for one disk.
struct Drilled<'a> {
    volume: &'a VolumeRestore,
    /// How much was received now.
    received: ByteCount,
    /// What was compared, and the file systems in it.
    result: Result<(Compared, Vec<FileSystem>), HostError>,
    /// Whether what was received is gone again.
    given_up: Result<(), HostError>,
}

/// Restores, compares, opens and destroys.
pub(super) fn drill(args: &VerifyArgs, context: &CommandContext) -> Result<Code, Failure> {
    let what = args.what.as_ref().context("a drill needs a guest or dataset").or_exit(Code::Usage)?;
    let named = known_target(args, context)?;
    let first = || context.policy.targets.first().map(|target| target.name.clone());
    let target = named.or_else(first).context("the policy has no target").or_exit(Code::Usage)?;
    let here = Restoring::new(&context.cancel);
    let senders = discover::senders(&context.policy, &context.cancel);
    let Planned { plan, newer, alone: _alone } = plan(what, &target, context, &here)?;
    let sizes = sizes(&plan, context, &senders);
    check_space(&plan, &sizes, &here, "")?;
    let hosts = RestoreHosts { here: &here, source: &*context.source, targets: &senders };
    let settings = settings(&context.policy, context.is_watched, Configs::default(), None);
    let progress = Progress::new(context.screen.clone(), sizes.values().copied());
    let started = Instant::now();
    let received = receive(&plan, hosts, &settings, &progress, &context.cancel);
    progress.finish();
    let took = started.elapsed();
    let results: Vec<Drilled<'_>> = plan
        .volumes
        .iter()
        .zip(received)
        .map(|(volume, (bytes, result))| {
            let result = result.and_then(|()| examine(context, &here, &target, volume));
            // An interrupted drill continues with what has arrived.
            let stays = context.cancel.is_requested();
            let given_up = if stays { Ok(()) } else { give_up(&here, volume, &context.cancel) };
            Drilled { volume, received: ByteCount(bytes), result, given_up }
        })
        .collect();
    if context.cancel.is_requested() {
        let error =
            anyhow!("interrupted; the same command continues with what has arrived (below zhaul-incoming)");
        return Err(error).or_exit(Code::Interrupted);
    }
    let is_gone = |one: &Drilled<'_>| one.given_up.is_ok();
    let is_proven = results.iter().all(|one| is_good(one) && is_gone(one));
    let marked = if is_proven { mark(context, &target, &plan) } else { Ok(()) };
    let newer = newer.map(|newer| newer_trouble(&newer, &target, &plan));
    report((args, context.now), (&plan, &target), (&results, marked, newer), took)
}

/// What a drill does.
struct Planned {
    plan: RestorePlan,
    /// A newer point that the target has in part.
    newer: Option<Newer>,
    /// No other drill of the same meanwhile.
    alone: Alone,
}

/// A newer point than the one that is drilled.
struct Newer {
    point: PointName,
    /// The disks that it lacks on the target.
    missing: Vec<DatasetName>,
    /// Whether all of these are on this host, so that a run sends them.
    is_sent: bool,
}

fn plan(
    what: &What,
    target: &TargetName,
    context: &CommandContext,
    here: &Restoring,
) -> Result<Planned, Failure> {
    let inventory = context.inventory()?;
    let known = volumes(&context.policy, &inventory, &everything(context.now));
    if let Some((_, why)) = known.unlisted.iter().find(|(name, _)| name == target) {
        return Err(anyhow!("{target} could not be listed: {why}")).or_exit(Code::Failed);
    }
    let mut request = RestoreRequest {
        what: what.clone(),
        without: Vec::new(),
        at: None,
        from: Some(Place::Target(target.clone())),
        to: None,
        is_begun: false,
        begun_with: Vec::new(),
        is_taken: false,
        new_id: None,
        storages: Storages::new(&inventory.proxmox),
        replace: None,
        is_drill: true,
    };
    let fail =
        |error: RestoreError| point_failure(&error, Asked { from: Some(&target.0), ..Asked::new(what) });
    let wanted = wanted_here(&known, &request).map_err(fail)?;
    let names = future_names(&known, &request).map_err(fail)?;
    // Before anything is looked at: what another drill is receiving is not what an interrupted one has left.
    let alone = lock::alone(&names.into_iter().map(Restored::Drill).collect::<Vec<_>>())?;
    let mut newer = None;
    loop {
        let there = list_here(here, &wanted)?;
        match plan_restore(&context.policy, &inventory, &known, &there, &request) {
            // Of an interrupted drill, from before there was a newer point.
            Err(RestoreError::OtherRestore { incoming, .. }) if there.get(&incoming).is_some() => {
                let Some(guid) = there.get(&incoming).map(|left| left.guid) else { continue };
                tracing::info!("destroying {incoming}, which an interrupted drill has left");
                here.unmount_snapshots(&incoming);
                here.abandon(&incoming, guid).or_exit(Code::Failed)?;
            }
            // A run may be sending its newest point.
            Err(RestoreError::Incomplete { point, missing, complete: Some(complete), .. }) => {
                let is_here = |name: &DatasetName| {
                    let volume = known.volumes.iter().find(|volume| volume.name == *name);
                    volume.is_some_and(|one| one.copies.iter().any(|copy| copy.place == Place::Source))
                };
                let is_sent = missing.iter().all(is_here);
                newer = Some(Newer { point, missing, is_sent });
                request.at = Some(At::Point(complete));
            }
            Err(RestoreError::Incomplete { point, missing, .. }) => {
                return Err(never_complete(what, target, &known, (&point, &missing)));
            }
            planned => return Ok(Planned { plan: planned.map_err(fail)?, newer, alone }),
        }
    }
}

fn names_text(names: &[DatasetName]) -> String {
    names.iter().map(|name| escape(name.as_str())).collect::<Vec<_>>().join(", ")
}

/// No point on the target has every disk.
fn never_complete(
    what: &What,
    target: &TargetName,
    known: &Volumes<'_>,
    (point, missing): (&PointName, &[DatasetName]),
) -> Failure {
    let typed = match what {
        What::Guest(id) => format!("guest {id}"),
        What::Dataset(name) => name.to_string(),
    };
    let is_whole = |name: &&DatasetName| !missing.contains(name);
    let disks =
        known.volumes.iter().filter(|volume| matches!(what, What::Guest(id) if volume.is_disk_of(*id)));
    let disks = disks.map(|volume| &volume.name).filter(is_whole);
    let commands: Vec<String> = disks
        .map(|disk| format!("`zhaul verify --drill {} --target {target}`", shell_word(disk.as_str())))
        .collect();
    let alone =
        if commands.is_empty() { String::new() } else { format!("{} for one disk; ", commands.join(" or ")) };
    let error = anyhow!(
        "no point on {target} has every disk of {}: the newest, @{}, lacks {}; nothing was done\n  \
         next: {alone}for all, the same command once a run has sent them (`zhaul status` says when each was sent last)",
        escape(&typed),
        escape(point.as_str()),
        names_text(missing)
    );
    Failure { code: Code::Blocked, error }
}

/// A newer point was left out.
fn newer_trouble(newer: &Newer, target: &TargetName, plan: &RestorePlan) -> Trouble {
    let Newer { point, missing, is_sent } = newer;
    let next = if *is_sent {
        "nothing while a run is sending it; else `zhaul status` says why it is late"
    } else {
        "no run sends what is not on this host: drill the disks of the newest point one by one, by their names"
    };
    Trouble {
        severity: if *is_sent { Severity::Note } else { Severity::Warning },
        kind: "newer-point",
        about: target.0.clone(),
        what: format!(
            "its newest point @{point} lacks {}, so @{} was taken, the newest that has every disk",
            names_text(missing),
            plan.point
        ),
        next: next.to_owned(),
    }
}

fn examine(
    context: &CommandContext,
    here: &Restoring,
    target: &TargetName,
    volume: &VolumeRestore,
) -> Result<(Compared, Vec<FileSystem>), HostError> {
    let failed = |why: String| HostError::new("here", "compare", &volume.incoming, Problem::Other(why));
    let host = context
        .targets
        .get(target)
        .ok_or_else(|| failed("no such host is set up; this is a bug".to_owned()))?;
    let point = volume.incoming.snapshot(&volume.point).map_err(|error| failed(error.to_string()))?;
    let is_raw = volume.encryption == Encryption::On;
    let how = HowToCompare { guid: volume.guid, is_raw, bytes_per_second: None };
    let first = Side { reader: Reader::Source(&*context.source), snapshot: &point };
    let second = Side { reader: Reader::Target(&**host), snapshot: &volume.copy };
    let compared = compare((first, second), how, &context.cancel, &|_| {})?;
    // Only what is the same shows anything of the copy.
    if !matches!(compared, Compared::Same { .. }) {
        return Ok((compared, Vec::new()));
    }
    if is_raw {
        let why = "it is encrypted, and its key is not loaded".to_owned();
        let state = FileSystemState::NotChecked { why };
        return Ok((compared, vec![FileSystem { what: "file system".to_owned(), state }]));
    }
    let guid = here.guid_of(&volume.incoming)?;
    let found = here.file_systems(&volume.incoming, guid, (volume.kind, &point))?;
    Ok((compared, found))
}

fn is_good(drilled: &Drilled<'_>) -> bool {
    let is_bad = |found: &FileSystem| matches!(found.state, FileSystemState::Bad { .. });
    match &drilled.result {
        Ok((Compared::Same { .. }, found)) => !found.iter().any(is_bad),
        Ok((Compared::Differs { .. }, _)) | Err(_) => false,
    }
}

/// Marks all disks of the point: a guest is restored whole or not.
fn mark(context: &CommandContext, target: &TargetName, plan: &RestorePlan) -> Result<(), HostError> {
    let Some(host) = context.targets.get(target) else { return Ok(()) };
    let verification = Some(Verification { at: context.now, by: VerifiedBy::Drill });
    plan.volumes.iter().try_for_each(|volume| {
        let (dataset, snapshot) = (volume.copy.dataset().clone(), volume.copy.name().clone());
        host.change(&Change::MarkVerified { dataset, snapshot, guid: volume.guid, verification }).map(drop)
    })
}

fn report(
    (args, now): (&VerifyArgs, Timestamp),
    (plan, target): (&RestorePlan, &TargetName),
    (results, marked, newer): (&[Drilled<'_>], Result<(), HostError>, Option<Trouble>),
    took: std::time::Duration,
) -> Result<Code, Failure> {
    let mut troubles: Vec<Trouble> = results.iter().flat_map(|one| troubles(one, target)).collect();
    troubles.extend(newer);
    if let Err(error) = &marked {
        troubles.push(Trouble {
            severity: Severity::Warning,
            kind: "not-marked",
            about: target.0.clone(),
            what: format!("the copies could not be marked: {}", error.chain()),
            next: format!("on {target}, `zfs allow` userprop for the user that zhaul logs in as"),
        });
    }
    for note in &plan.notes {
        if let crate::plan::restore::RestoreNote::VolumeMissing { volume } = note {
            troubles.push(Trouble {
                severity: Severity::Failed,
                kind: "disk-missing",
                about: volume.to_string(),
                what: format!("@{} on {target} has no such disk", plan.point),
                next: format!("`zhaul list {volume}` shows where it is"),
            });
        }
    }
    trouble::sort(&mut troubles);
    let bytes = results.iter().fold(0_u64, |sum, one| sum.saturating_add(one.received.0));
    let text = if args.json {
        let all: Vec<_> = results.iter().map(json_of).collect();
        let value = json!({
            "at": now, "point": plan.point, "from": target, "seconds": took.as_secs_f64(),
            "received_bytes": bytes, "disks": all, "troubles": troubles,
        });
        format!("{value}\n")
    } else {
        let mut text = format!(
            "@{} from {}: {} received in {}\n",
            escape(plan.point.as_str()),
            escape(&target.0),
            ByteCount(bytes),
            duration_text(took)
        );
        text.extend(results.iter().map(lines));
        let nothing = "everything was restored, compared and destroyed again";
        text.push_str(&trouble::text(&troubles, nothing, output::stdout_style()));
        text
    };
    output::print(&text).context("cannot print what was found").or_exit(Code::Failed)?;
    Ok(trouble::code(&troubles))
}

fn lines(drilled: &Drilled<'_>) -> String {
    let mut text = String::new();
    let what = match &drilled.result {
        Ok((Compared::Same { read }, _)) => format!("the same as the copy, {read} compared"),
        Ok((Compared::Differs { .. }, _)) => "not the same as the copy".to_owned(),
        Err(_) => "could not be restored and compared".to_owned(),
    };
    let _ = writeln!(text, "  {}: {what}", escape(drilled.volume.volume.as_str()));
    for found in drilled.result.iter().flat_map(|(_, found)| found) {
        let state = match &found.state {
            FileSystemState::Fine => "opened, and consistent".to_owned(),
            FileSystemState::NotChecked { why } => format!("not opened: {why}"),
            FileSystemState::Bad { .. } => "damaged".to_owned(),
        };
        let _ = writeln!(text, "    {}: {}", escape(&found.what), escape(&state));
    }
    text
}

fn troubles(drilled: &Drilled<'_>, target: &TargetName) -> Vec<Trouble> {
    let mut troubles = Vec::new();
    let (volume, copy) = (&drilled.volume.volume, &drilled.volume.copy);
    let mut add = |kind, what: String, next: String| {
        troubles.push(Trouble {
            severity: Severity::Failed,
            kind,
            about: format!("{volume} ({target})"),
            what,
            next,
        });
    };
    let deep = format!("`zhaul verify --deep {volume}` compares the copy with this host");
    match &drilled.result {
        Ok((Compared::Same { .. }, found)) => {
            for found in found {
                if let FileSystemState::Bad { why } = &found.state {
                    let what = format!("{copy}: {}: damaged: {why}", found.what);
                    add(
                        "file-system-damaged",
                        what,
                        format!("check it in the guest; if it is sound there, {deep}"),
                    );
                }
            }
        }
        Ok((Compared::Differs { .. }, _)) => {
            add(
                "content-differs",
                format!("what was restored is not the same as {copy}"),
                format!("`zpool status -v` here and on {target}"),
            );
        }
        Err(error) => add("not-restored", error.chain(), format!("`zpool status -v` on {target}; {deep}")),
    }
    if let Err(error) = &drilled.given_up {
        let incoming = &drilled.volume.incoming;
        let what = format!("what was restored is still there: {}", error.chain());
        add("not-destroyed", what, format!("`zfs destroy -r {incoming}`"));
    }
    troubles
}

fn json_of(drilled: &Drilled<'_>) -> serde_json::Value {
    let (is_same, found, why) = match &drilled.result {
        Ok((compared, found)) => (Some(matches!(compared, Compared::Same { .. })), found.as_slice(), None),
        Err(error) => (None, &[][..], Some(error.chain())),
    };
    let state = |found: &FileSystem| {
        let (word, why) = match &found.state {
            FileSystemState::Fine => ("fine", None),
            FileSystemState::NotChecked { why } => ("not-checked", Some(why)),
            FileSystemState::Bad { why } => ("damaged", Some(why)),
        };
        json!({ "what": found.what, "state": word, "why": why })
    };
    json!({
        "dataset": drilled.volume.volume, "copy": drilled.volume.copy, "same": is_same, "why": why,
        "file_systems": found.iter().map(state).collect::<Vec<_>>(),
    })
}
