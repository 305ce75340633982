//! `zhaul bench`: what is to be measured is found here; `crate::bench` measures it.

mod screen;
mod table;

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use jiff::Timestamp;

use super::args::BenchArgs;
use super::context::source_inventory;
use super::exit_code::{Code, Failure, OrExit};
use super::{logging, output, policy_source, progress, signals};
use crate::bench::{self, BenchError, Destination, End, Limits, Material, Report, Setup, Snapshot};
use crate::discover;
use crate::host::{Local, SourceHost};
use crate::model::{Dataset, Link, Point, SnapshotName};
use crate::plan::{Request, select};
use crate::policy::{Policy, Target};
use crate::stream::Cancel;

use screen::Screen;

/// After how long a call into ZFS is given up.
const CALL_LIMIT: Duration = Duration::from_secs(10 * 60);

/// Carries out `zhaul bench`.
pub(super) fn bench(args: &BenchArgs) -> Result<Code, Failure> {
    let is_watched = output::stderr_is_terminal() && !args.log.quiet;
    let lines = progress::screen(is_watched);
    logging::start(args.log.level(), args.log.quiet, lines.clone());
    let has_policy = args.target.is_some() || args.receive || policy_source::exists(&args.policy);
    let policy = has_policy.then(|| policy_source::load(&args.policy)).transpose()?;
    let target = match (&args.target, &policy) {
        (Some(name), Some(policy)) => Some(find_target(policy, name)?),
        _ => None,
    };
    let cancel = Arc::new(Cancel::new().or_exit(Code::Failed)?);
    let asked = Arc::clone(&cancel);
    signals::watch("stopping; there will be no figures", move || asked.request()).or_exit(Code::Failed)?;
    let (local, why_made) = source(args, policy.as_ref(), &cancel)?;
    let material = match &local {
        Some((local, snapshot)) => Material::Snapshot(local, snapshot.clone()),
        None => Material::Made,
    };
    let open = |cancel: &Cancel, channel, connections| match (&policy, target) {
        (Some(policy), Some(target)) => {
            end(policy, target, &Link { channel, connections, ..target.link.clone() }, cancel)
        }
        // Never asked for without a target.
        _ => End::Local(crate::host::Shell::new("loopback", crate::host::Machine::Local, cancel)),
    };
    let destination =
        target.map(|target| Destination { name: &target.name.0, root: &target.root, open: &open });
    let limits =
        Limits { time: Duration::from_secs(args.seconds), bytes: args.size.map_or(u64::MAX, |size| size.0) };
    let screen = Screen::new(&lines);
    let setup =
        Setup { material, destination, limits, receives: args.receive, cancel: &cancel, watcher: &screen };
    let report = bench::run(&setup);
    screen.finish();
    let mut report = report.map_err(failure)?;
    report.remarks.extend(why_made);
    show(args, &report)
}

fn find_target<'a>(policy: &'a Policy, name: &str) -> Result<&'a Target, Failure> {
    let found = policy.targets.iter().find(|target| target.name.0 == name);
    let names = || policy.targets.iter().map(|target| target.name.0.as_str()).collect::<Vec<_>>().join(", ");
    found
        .ok_or_else(|| anyhow!("the policy has no target {name:?}\n  next: name one of its own: {}", names()))
        .or_exit(Code::Usage)
}

fn end(policy: &Policy, target: &Target, link: &Link, cancel: &Cancel) -> End {
    match discover::agent(policy, target, link, cancel) {
        Some(agent) => End::Remote(Box::new(agent)),
        None => End::Local(discover::local(target, cancel)),
    }
}

/// The snapshot to send and its host, or why a synthetic stream is sent.
type Found = (Option<(Local, Snapshot)>, Option<String>);

fn source(args: &BenchArgs, policy: Option<&Policy>, cancel: &Cancel) -> Result<Found, Failure> {
    if args.synthetic {
        return Ok((None, None));
    }
    // A stream that was asked for by name has no substitute.
    let must_be_real = args.snapshot.is_some() || args.receive;
    let made = |why: String| {
        if must_be_real {
            return Err(anyhow!("there is no stream to measure with: {why}")).or_exit(Code::Failed);
        }
        Ok((None, Some(format!("a synthetic stream was sent: {why}"))))
    };
    let local = match Local::new(CALL_LIMIT, cancel) {
        Ok(local) => local,
        Err(error) => return made(crate::stream::chain(&error)),
    };
    let found = match (&args.snapshot, policy) {
        (Some(name), _) => named(&local, name)?,
        (None, Some(policy)) => largest(policy, &local)?,
        (None, None) => return made("there is no policy that selects a dataset".to_owned()),
    };
    match found {
        Some(snapshot) => Ok((Some((local, snapshot)), None)),
        None if args.snapshot.is_some() => made("there is no such snapshot".to_owned()),
        None => made("no dataset that the policy selects has a snapshot of zhaul's".to_owned()),
    }
}

fn named(source: &dyn SourceHost, name: &SnapshotName) -> Result<Option<Snapshot>, Failure> {
    let listing = source.list(std::slice::from_ref(name.dataset())).or_exit(Code::Failed)?;
    let found = listing.get(name.dataset()).and_then(|dataset| {
        let point = dataset.history.snapshots().find(|point| point.name == *name.name())?;
        snapshot(dataset, point)
    });
    Ok(found)
}

/// The newest own snapshot of the largest dataset that has one.
fn largest(policy: &Policy, source: &dyn SourceHost) -> Result<Option<Snapshot>, Failure> {
    let (inventory, listing) = source_inventory(policy, source)?;
    let request = Request {
        now: Timestamp::UNIX_EPOCH,
        take_snapshot: false,
        force_archive: false,
        guests: Vec::new(),
    };
    let selected = select(policy, &inventory, &listing, &request).selected;
    let candidates = selected.iter().filter_map(|one| {
        let mut own = one.dataset.history.snapshots().filter(|point| policy.name_format.is_own(&point.name));
        Some((one.dataset, own.next_back()?))
    });
    let largest = candidates.max_by_key(|(dataset, _)| dataset.referenced_bytes);
    Ok(largest.and_then(|(dataset, point)| snapshot(dataset, point)))
}

fn snapshot(dataset: &Dataset, point: &Point) -> Option<Snapshot> {
    Some(Snapshot {
        name: dataset.name.snapshot(&point.name).ok()?,
        guid: point.guid,
        kind: dataset.kind,
        encryption: dataset.encryption,
    })
}

/// Which code an error leads to.
fn failure(error: BenchError) -> Failure {
    let code = match &error {
        BenchError::Interrupted => Code::Interrupted,
        BenchError::Refused(_) => Code::Usage,
        BenchError::Host { .. }
        | BenchError::Stream { .. }
        | BenchError::Connections { .. }
        | BenchError::LeftBehind { .. }
        | BenchError::Setup(_) => Code::Failed,
    };
    Failure { code, error: error.into() }
}

fn show(args: &BenchArgs, report: &Report) -> Result<Code, Failure> {
    let text = if args.json {
        let json = serde_json::to_string(report).context("cannot write the measurements as JSON");
        format!("{}\n", json.or_exit(Code::Failed)?)
    } else {
        table::text(report, output::stdout_style())
    };
    output::print(&text).context("cannot print the measurements").or_exit(Code::Failed)?;
    Ok(if report.left_behind.is_empty() { Code::Done } else { Code::Failed })
}
