//! The archive: one snapshot of each month, kept for ever. No step of this file destroys anything.
//!
//! Month M's snapshot is the oldest own snapshot of M, so on the 1st it is the one just taken, and a run that was late or
//! broke off comes to the same one. It is received under its final name, so nothing can be lost between a receive and a
//! rename; snapshots that arrived under their source's name (`vm-backup.sh` renames after receiving) are renamed.
//! A month counts as missed only if the policy was alive before its 1st.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::backup::{refuse, refuse_unknown_data};
use super::builder::Builder;
use super::containers::Containers;
use super::divergence::{self, Misfit};
use super::outbound::{How, Outbound};
use super::replication::Replication;
use super::{AsideFinding, FindingKind, Obstacle, Reason, Request, Severity, months, writer};
use crate::model::{
    ByteCount, Change, Dataset, Month, NameError, NameFormat, Point, PointName, SetAsideCause,
};
use crate::policy::{ArchiveDivergence, ArchiveRules, Policy};

/// ZFS was released in this year: no name can be older.
const FIRST_YEAR: i16 = 2005;

/// A snapshot's name on the archive.
enum Wanted<'a> {
    /// The month.
    Month(Month),
    /// The day, of a forced archive.
    Day(Timestamp),
    /// Its own, or the day where that is an own snapshot's.
    OfOrigin(&'a Point),
}

/// A snapshot that the archive is to get.
struct Due<'a> {
    what: Outbound<'a>,
    name: Wanted<'a>,
    reason: Reason,
}

/// Plans what one dataset's archive needs.
pub(super) fn plan(
    builder: &mut Builder,
    policy: &Policy,
    rules: &ArchiveRules,
    request: &Request,
    replication: &mut Replication<'_>,
    containers: &mut Containers<'_>,
) {
    writer::resolve(builder, policy, replication);
    if replication.is_blocked {
        return;
    }
    let current = Month::of(request.now, &policy.time_zone);
    let mut archived = renames(builder, policy, replication, current);
    let set_aside = months::set_aside(replication);
    report_set_aside(builder, replication, &archived, &set_aside);
    archived.extend(set_aside.into_iter().filter(|month| months::is_over(replication, *month, current)));
    let misfit = divergence::judge(builder, policy, replication);
    if replication.is_blocked {
        return;
    }
    if let Some((to, resume)) = replication.resolve_partial(builder, misfit.is_some()) {
        let reason = Reason::Resumes { received_bytes: ByteCount(resume.received_bytes) };
        let month = policy.name_format.time(&to.name).map(|time| Month::of(time, &policy.time_zone));
        match name_for(replication, policy, to, month.filter(|month| !archived.contains(month))) {
            Ok(name) => {
                archived.extend(month);
                let how = How { resume: Some(resume), ..How::new(reason) };
                replication.send(builder, containers, Outbound::Taken(to), &name, how);
            }
            Err(error) => replication.block(builder, FindingKind::ArchiveName { error }),
        }
    }
    if replication.is_blocked {
        return;
    }
    let due = due(builder, policy, rules, request, replication, &archived, misfit.is_some());
    if due.is_empty() {
        return;
    }
    let due = with_origins(replication, due);
    match (replication.there, misfit) {
        (Some(there), Some(misfit)) => resolve_misfit(builder, rules, replication, there, misfit),
        (Some(there), None) if replication.comparison.is_none() && there.resume_token.is_none() => {
            refuse_unknown_data(builder, replication);
        }
        _ => {}
    }
    divergence::report_known(builder, replication);
    replication.check_encryption(builder);
    for Due { what, name, reason } in due {
        if replication.is_blocked {
            return;
        }
        let name = match name {
            Wanted::Month(month) => months::free_month_name(replication, month),
            Wanted::Day(time) => day_name(replication, time, &policy.time_zone),
            Wanted::OfOrigin(point) => name_for(replication, policy, point, None),
        };
        match name {
            Ok(name) => {
                replication.send(builder, containers, what, &name, How::new(reason));
            }
            Err(error) => replication.block(builder, FindingKind::ArchiveName { error }),
        }
    }
}

/// Reports the months that only set-aside lineages have: they are kept there, not lost.
fn report_set_aside(
    builder: &mut Builder,
    replication: &Replication<'_>,
    archived: &BTreeSet<Month>,
    set_aside: &BTreeSet<Month>,
) {
    let months: Vec<Month> = set_aside.difference(archived).copied().collect();
    if months.is_empty() {
        return;
    }
    let lineages = months::set_asides(replication).map(|aside| aside.name.clone()).collect();
    let kind = AsideFinding::MonthsSetAside { months, lineages };
    builder.find(Severity::Note, Some(&replication.dataset().name), replication.place.clone(), kind);
}

/// The months that the copy has; adds a rename for each snapshot that arrived but still has its source's name.
fn renames(
    builder: &mut Builder,
    policy: &Policy,
    replication: &mut Replication<'_>,
    current: Month,
) -> BTreeSet<Month> {
    let mut archived = months::on_copy(replication, policy, current);
    let Some(there) = replication.there else { return archived };
    let arrived: Vec<(&Point, Timestamp)> = there
        .history
        .snapshots()
        .filter(|point| replication.knows(point.guid))
        .filter_map(|point| Some((point, policy.name_format.time(&point.name)?)))
        .collect();
    builder.knows(&replication.place, &replication.name, arrived.iter().map(|(point, _)| *point));
    for (point, time) in arrived {
        let month = Month::of(time, &policy.time_zone);
        let to = if archived.insert(month) {
            months::free_month_name(replication, month)
        } else {
            day_name(replication, time, &policy.time_zone)
        };
        let other = replication.ground.is_append_only.then(|| {
            month.out_of_order(there.history.snapshots(), |one| one == point, |other| other > current)
        });
        match to {
            Ok(_) if let Some(other) = other.flatten() => {
                let kind = FindingKind::MonthOutOfOrder { snapshot: point.name.clone(), month, other };
                let dataset = replication.dataset().name.clone();
                builder.find(Severity::Warning, Some(&dataset), replication.place.clone(), kind);
            }
            Ok(to) => {
                let (dataset, from, guid) = (replication.name.clone(), point.name.clone(), point.guid);
                replication.renamed.insert(to.clone());
                replication.renamed_to.insert(guid, to.clone());
                replication.step(
                    builder,
                    Change::RenameSnapshot { dataset, from, guid, to },
                    Reason::NotRenamed,
                );
            }
            Err(error) => replication.block(builder, FindingKind::ArchiveName { error }),
        }
    }
    archived
}

/// The name of a forced archive, `YYYY-Mon-DD`, with a number where the day has one already.
fn day_name(replication: &Replication<'_>, time: Timestamp, zone: &TimeZone) -> Result<PointName, NameError> {
    let day = format!("{}-{:02}", Month::of(time, zone), zone.to_datetime(time).day());
    let mut name = PointName::new(&day)?;
    let mut number = 2_u32;
    while replication.is_taken(&name) {
        name = PointName::new(&format!("{day}-{number}"))?;
        number += 1;
    }
    Ok(name)
}

fn name_for(
    replication: &Replication<'_>,
    policy: &Policy,
    point: &Point,
    month: Option<Month>,
) -> Result<PointName, NameError> {
    match (month, policy.name_format.time(&point.name)) {
        (Some(month), _) => months::free_month_name(replication, month),
        (None, Some(time)) => day_name(replication, time, &policy.time_zone),
        // A name like a month's would be taken for that month.
        (None, None)
            if replication.is_taken(&point.name) || Month::in_name(point.name.as_str()).is_some() =>
        {
            NameFormat::name_with_guid(&point.name, point.guid)
        }
        (None, None) => Ok(point.name.clone()),
    }
}

/// The snapshots that the archive is to get now, oldest first; reports which months are lost.
fn due<'a>(
    builder: &mut Builder,
    policy: &Policy,
    rules: &ArchiveRules,
    request: &Request,
    replication: &Replication<'a>,
    archived: &BTreeSet<Month>,
    is_to_be_set_aside: bool,
) -> Vec<Due<'a>> {
    let zone = &policy.time_zone;
    let mut due: Vec<Due<'a>> = Vec::new();
    let mut lost = Vec::new();
    let mut newest: Option<&Point> = None;
    let current = Month::of(request.now, zone);
    let is_kept = |month| months::is_kept(replication, month, is_to_be_set_aside);
    let mut months = months_due(policy, rules, request.now, replication, archived);
    if replication.ground.is_append_only
        && let Some(newest) = months::newest_name(replication, current, is_to_be_set_aside)
    {
        // Such a target archives months in their order.
        lost.extend(months.iter().copied().filter(|month| *month < newest && !is_kept(*month)));
        months.retain(|month| *month >= newest);
    }
    let of_months = if months.is_empty() { BTreeMap::new() } else { by_month(policy, replication) };
    for month in months {
        let is_after = |point: &&Point| newest.is_none_or(|newest| point.createtxg > newest.createtxg);
        let candidate = of_months.get(&month).into_iter().flatten().copied().find(is_after);
        newest = candidate.or(newest);
        let pending =
            replication.source.pending.as_ref().filter(|_| month.contains(replication.source.time, zone));
        let what = candidate.map(Outbound::Taken).or(pending.map(Outbound::Pending));
        match what {
            Some(what) => {
                due.push(Due { what, name: Wanted::Month(month), reason: Reason::MonthDue { month } });
            }
            // The present month can still get its snapshot.
            None if month >= current => {}
            // It has arrived once.
            None if is_kept(month) => {}
            None => lost.push(month),
        }
    }
    report_lost(builder, replication, &lost, current);
    let has_pending = due.last().is_some_and(|due| matches!(due.what, Outbound::Pending(_)));
    if request.force_archive && !has_pending {
        due.extend(forced(policy, replication, newest));
    }
    due
}

/// Adds what clones begin at, each in its place: what is newer than the last one that is due waits for the next.
fn with_origins<'a>(replication: &Replication<'a>, due: Vec<Due<'a>>) -> Vec<Due<'a>> {
    let mut origins = replication.origins_to_send().into_iter().peekable();
    let mut all = Vec::with_capacity(due.len());
    for one in due {
        let is_before = |origin: &&Point| match one.what {
            Outbound::Taken(point) => origin.createtxg < point.createtxg,
            Outbound::Pending(_) => true,
        };
        while let Some(point) = origins.next_if(is_before) {
            let (what, name) = (Outbound::Taken(point), Wanted::OfOrigin(point));
            all.push(Due { what, name, reason: Reason::OriginOfClones });
        }
        // It may be one itself.
        origins.next_if(|origin| one.what.guid() == Some(origin.guid));
        all.push(one);
    }
    all
}

/// The own snapshots that could be sent, by the month in which they were taken, each month's oldest first.
fn by_month<'a>(policy: &Policy, replication: &Replication<'a>) -> BTreeMap<Month, Vec<&'a Point>> {
    let mut of_months: BTreeMap<Month, Vec<&'a Point>> = BTreeMap::new();
    for point in
        replication.dataset().history.snapshots().filter(|point| replication.is_newer_than_head(point))
    {
        if let Some(time) = policy.name_format.time(&point.name) {
            of_months.entry(Month::of(time, &policy.time_zone)).or_default().push(point);
        }
    }
    of_months
}

/// The newest snapshot, as `YYYY-Mon-DD`, whether anything is due or not.
fn forced<'a>(policy: &Policy, replication: &Replication<'a>, newest_due: Option<&Point>) -> Option<Due<'a>> {
    let own = replication.dataset().history.snapshots().rev();
    let taken = own.filter(|point| {
        replication.is_newer_than_head(point) && Some(point.guid) != newest_due.map(|p| p.guid)
    });
    let mut taken =
        taken.filter_map(|point| Some((Outbound::Taken(point), policy.name_format.time(&point.name)?)));
    let pending =
        replication.source.pending.as_ref().map(|name| (Outbound::Pending(name), replication.source.time));
    let (what, time) = pending.or_else(|| taken.next())?;
    Some(Due { what, name: Wanted::Day(time), reason: Reason::ArchiveForced })
}

/// The months that the archive should have and has not, oldest first.
fn months_due(
    policy: &Policy,
    rules: &ArchiveRules,
    now: Timestamp,
    replication: &Replication<'_>,
    archived: &BTreeSet<Month>,
) -> Vec<Month> {
    let zone = &policy.time_zone;
    let current = Month::of(now, zone);
    if zone.to_datetime(now).day() == 1 && !rules.catch_up {
        return if archived.contains(&current) { Vec::new() } else { vec![current] };
    }
    if !rules.catch_up {
        return Vec::new();
    }
    // The policy was alive at its oldest own point, and at the oldest month that it archived. A point that a wrong
    // clock has dated, before ZFS existed or later than now, proves no time.
    let is_possible = |time: &Timestamp| *time <= now && zone.to_datetime(*time).year() >= FIRST_YEAR;
    let past = |point: &Point| policy.name_format.time(&point.name).filter(is_possible);
    let own = replication.dataset().history.points().find_map(past);
    let alive = own.map(|time| Month::of(time, zone)).into_iter().chain(archived.first().copied()).min();
    let first = match alive {
        Some(month) if own.is_some_and(|time| time <= month.start(zone)) => month,
        Some(month) => month.next(),
        None => current.next(),
    };
    let mut months = Vec::new();
    let mut month = first;
    while month <= current {
        if !archived.contains(&month) {
            months.push(month);
        }
        month = month.next();
    }
    if zone.to_datetime(now).day() == 1 && !archived.contains(&current) && !months.contains(&current) {
        months.push(current);
    }
    months
}

fn report_lost(builder: &mut Builder, replication: &Replication<'_>, months: &[Month], current: Month) {
    if months.is_empty() {
        return;
    }
    // An old gap will never close: it is reported, but not every night by mail.
    let severity =
        if months.iter().any(|month| month.next() >= current) { Severity::Warning } else { Severity::Note };
    let kind = FindingKind::MonthsLost { months: months.to_vec() };
    builder.find(severity, Some(&replication.dataset().name), replication.place.clone(), kind);
}

/// Makes sure that an increment, or a full stream, will follow the archive's line.
fn resolve_misfit(
    builder: &mut Builder,
    rules: &ArchiveRules,
    replication: &mut Replication<'_>,
    there: &Dataset,
    misfit: Misfit,
) {
    match (rules.on_divergence, misfit) {
        (ArchiveDivergence::Keep, _) => divergence::set_aside(builder, replication, there, misfit, None),
        (ArchiveDivergence::Stop, Misfit::AfterBase(cause @ SetAsideCause::Written)) => {
            refuse(builder, replication, there, cause, Obstacle::Policy);
        }
        (ArchiveDivergence::Stop, _) => {
            let because = divergence::reason(replication, misfit);
            replication
                .block(builder, FindingKind::ArchiveDiverged { copy: replication.name.clone(), because });
        }
    }
}
