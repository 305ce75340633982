//! Points that are dated after this host's clock. New hardware may have a wrong clock: where it is behind, the newest points would be
//! left out as if they were of the future, and an older state restored.

use anyhow::anyhow;
use jiff::{RoundMode, SignedDuration, Timestamp, TimestampRound, Unit};

use super::super::super::args::{AtArg, RestoreArgs};
use super::super::super::context::CommandContext;
use super::super::super::exit_code::{Code, Failure, OrExit};
use super::super::super::render::duration_text;
use super::{Disk, Here, Item};
use crate::discover::pool_states;
use crate::model::PointName;
use crate::plan::Place;
use crate::policy::{Address, Policy};

/// By how much the clocks of machines may differ: a point that is dated that much ahead is not taken for one of the future.
const TOLERANCE: SignedDuration = SignedDuration::from_mins(5);

/// A point that is dated after this host's clock.
#[derive(Debug)]
pub(super) struct Later {
    pub(super) name: PointName,
    pub(super) time: Timestamp,
}

/// The latest date that a point may have that is restored without `--at`.
pub(super) fn until(now: Timestamp) -> Timestamp {
    now.saturating_add(TOLERANCE).unwrap_or(now)
}

/// The newest of what is to be restored of it that is dated after this host's clock.
pub(super) fn later<'a>(item: &'a Item<'_, '_>) -> Option<&'a Later> {
    let is_wanted = |disk: &&Disk<'_, '_>| item.is_begun || disk.here == Here::Missing;
    item.disks.iter().filter(is_wanted).filter_map(|disk| disk.later.as_ref()).max_by_key(|later| later.time)
}

/// Refuses where points are later than this host's clock, unless the clocks of other machines show that it is right. Gives the names of
/// these machines.
pub(super) fn check(
    items: &[Item<'_, '_>],
    options: &RestoreArgs,
    context: &CommandContext,
) -> Result<Vec<String>, Failure> {
    let found = items.iter().filter_map(|item| Some((item, later(item)?)));
    let Some((item, later)) = found.max_by_key(|(_, later)| later.time) else { return Ok(Vec::new()) };
    let clocks = clocks(options, context);
    let ahead = clocks.iter().filter(|(_, ahead)| *ahead > TOLERANCE).max_by_key(|(_, ahead)| *ahead);
    let (name, point) = (item.name(), &later.name);
    let why = match ahead {
        Some((target, by)) => format!(
            "this host's clock is {} behind that of {target}; by it, @{point} of {name} is of the future, and an older state would be \
             restored",
            span(*by)
        ),
        None if clocks.is_empty() => format!(
            "@{point} of {name} is dated {} after this host's clock, and no other machine says which of the two is wrong",
            span(later.time.duration_since(context.now))
        ),
        None => return Ok(clocks.into_iter().map(|(target, _)| target).collect()),
    };
    let round = TimestampRound::new().smallest(Unit::Second).mode(RoundMode::Ceil);
    let at = later.time.round(round).unwrap_or(later.time);
    let error = anyhow!(
        "{why}: nothing was done\n  next: set this host's clock (`timedatectl` shows it, `chronyc makestep` sets it by NTP), then the same \
         command again; or the same command with `--at {at}`, which restores the newest points whatever the clock says"
    );
    Err(error).or_exit(Code::Blocked)
}

/// How far the clocks of other machines are ahead of this one's, as far as they answer.
fn clocks(options: &RestoreArgs, context: &CommandContext) -> Vec<(String, SignedDuration)> {
    // What a test says of the clock, its targets do not know.
    let slow = match options.lab_clock {
        Some(_) => Timestamp::now().duration_since(context.now),
        None => SignedDuration::ZERO,
    };
    let states = pool_states(&context.policy, &context.targets, &context.cancel);
    let answers = states.into_iter().filter_map(|answer| match (&answer.place, &answer.state) {
        (Place::Target(name), Ok(_)) if is_other_machine(&context.policy, &answer.place) => {
            Some((name.0.clone(), answer.clock_ahead.saturating_add(slow)))
        }
        _ => None,
    });
    answers.collect()
}

fn is_other_machine(policy: &Policy, place: &Place) -> bool {
    let mut targets = policy.targets.iter();
    targets.any(|target| {
        Place::Target(target.name.clone()) == *place && matches!(target.address, Address::Ssh { .. })
    })
}

/// What is said of an item that is restored without its newest point, since that is of the future by all clocks.
pub(super) fn left_out(item: &Item<'_, '_>, agreeing: &[String], now: Timestamp) -> Option<String> {
    let later = later(item)?;
    let (name, point, dated) = (item.name(), &later.name, dated(later, agreeing, now));
    let command = command(item, later);
    Some(format!(
        "warning: {name} is restored without @{point}, {dated}; next: `{command} --replace` restores it"
    ))
}

/// Why an item is not restored of which, or of a disk of which, there are only old points and such of the future.
pub(super) fn why_not(
    item: &Item<'_, '_>,
    is_old: impl Fn(&&Disk<'_, '_>) -> bool,
    agreeing: &[String],
    now: Timestamp,
) -> Option<String> {
    let later = later(item).filter(|_| !item.is_begun)?;
    item.disks.iter().find(|disk| is_old(disk) && disk.later.is_some())?;
    let (name, point, dated) = (item.name(), &later.name, dated(later, agreeing, now));
    let command = command(item, later);
    Some(format!("{name}: its newest point is @{point}, {dated}; next: `{command}` restores it"))
}

fn dated(later: &Later, agreeing: &[String], now: Timestamp) -> String {
    format!(
        "which is dated {} ahead by the clocks of this host and of {}: the clock was wrong when it was taken",
        span(later.time.duration_since(now)),
        agreeing.join(", ")
    )
}

fn command(item: &Item<'_, '_>, later: &Later) -> String {
    format!("zhaul restore {} --at {}", item.word(), AtArg::Point(later.name.clone()))
}

fn span(by: SignedDuration) -> String {
    duration_text(by.unsigned_abs())
}
