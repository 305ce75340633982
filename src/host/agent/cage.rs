//! The restrictions of an agent: the one place that decides what an agent may do, whatever the caller asks for.
//!
//! An administrator writes it into `authorized_keys`: `command="zhaul agent --root tank/backup/pve0 --append-only",restrict`.
//! Whoever has that key can then add to the datasets below the root, and do nothing else.

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use super::wire::{Receive, Request};
use crate::host::{Problem, TargetHost};
use crate::model::{
    Change, Dataset, DatasetName, Guid, Month, NameFormat, PointName, SET_ASIDE_PAUSE, SetAside, Unlisted,
    Writer, is_format_character,
};

/// No place is further from UTC.
const ZONE_HOURS_MAX: i64 = 14;

/// The limits of an agent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Restrictions {
    /// Nothing outside of these is listed or touched; empty: no limit.
    pub roots: Vec<DatasetName>,
    /// Nothing is destroyed or rolled back, and renamed only the snapshot of a month, once; lineages may be set aside.
    pub append_only: bool,
    /// How zhaul's own snapshots are called; `None`: as by default. Append-only, only these get the name of a month.
    pub name_format: Option<NameFormat>,
}

impl Restrictions {
    /// Whether it limits anything.
    pub(super) fn is_confined(&self) -> bool {
        !self.roots.is_empty() || self.append_only
    }

    /// Refuses what is outside the limits.
    pub(super) fn check(&self, request: &Request) -> Result<(), Problem> {
        match request {
            // None touches a dataset.
            Request::Hello { .. }
            | Request::EndOrphans { .. }
            | Request::OpenConnections { .. }
            | Request::Sink(_) => Ok(()),
            Request::Details { snapshots } => {
                snapshots.iter().try_for_each(|(snapshot, _)| self.inside(snapshot.dataset()))
            }
            Request::Content(spec) => self.inside(spec.snapshot.dataset()),
            // The pool's name and health disclose nothing about the datasets below a root.
            Request::List { root } | Request::State { root } => self.inside(root),
            Request::Receive(receive) => {
                self.inside(receive.spec.snapshot.dataset())?;
                // Where it may heal, the host sees from the scratch snapshot itself.
                Self::check_label(receive.spec.writer.as_ref())?;
                // What a clone has from its origin is read through it.
                let origin = receive.spec.origin.as_ref();
                origin.map_or(Ok(()), |origin| self.inside(origin.dataset()))
            }
            Request::Change(change) => self.check_change(change),
        }
    }

    /// The one place that decides which changes an agent makes.
    fn check_change(&self, change: &Change) -> Result<(), Problem> {
        self.inside(change.dataset())?;
        match change {
            Change::DestroySnapshots { .. } | Change::DestroyDataset { .. } => {
                self.not_append_only("destroys nothing")
            }
            // A root has no place inside of itself to be renamed to.
            Change::SetAside(_) if self.roots.contains(change.dataset()) => {
                Err(Problem::Denied("the agent there does not rename its root (--root)".to_owned()))
            }
            Change::SetAside(SetAside { writer, .. }) | Change::Claim { writer, .. } => {
                Self::check_label(Some(writer))
            }
            // What is received into the scratch snapshot has to have the checksums of the blocks that are there, and only it goes.
            Change::BeginHealing { .. }
            | Change::EndHealing { .. }
            | Change::StoreConfig { .. }
            | Change::CreateContainer { .. }
            | Change::AbortReceive { .. }
            | Change::MarkVerified { .. } => Ok(()),
            Change::Rollback { .. } => self.not_append_only("rolls nothing back"),
            Change::RenameDataset { to, .. } => {
                self.inside(to)?;
                self.not_append_only("renames no dataset")
            }
            Change::RenameSnapshot { from, to, .. } => {
                if self.own_time(from).is_some_and(|time| is_name_for(to, time)) {
                    Ok(())
                } else {
                    self.not_append_only("renames a snapshot only from its date to the month of that date")
                }
            }
        }
    }

    /// Refuses what the present state of the target speaks against.
    pub(super) fn check_state(&self, request: &Request, host: &dyn TargetHost) -> Result<(), Problem> {
        match request {
            Request::Change(Change::SetAside(wish)) if self.append_only => self.check_pause(wish, host),
            Request::Change(Change::RenameSnapshot { dataset, from, guid, to }) if self.append_only => {
                check_month(dataset, Some((from, *guid)), to, host)
            }
            Request::Receive(receive) if self.append_only => {
                let snapshot = &receive.spec.snapshot;
                check_month(snapshot.dataset(), None, snapshot.name(), host)
            }
            Request::Hello { .. }
            | Request::List { .. }
            | Request::State { .. }
            | Request::Details { .. }
            | Request::Content(_)
            | Request::EndOrphans { .. }
            | Request::OpenConnections { .. }
            | Request::Receive(_)
            | Request::Sink(_)
            | Request::Change(_) => Ok(()),
        }
    }

    /// The time in a name that is an own snapshot's.
    fn own_time(&self, name: &PointName) -> Option<Timestamp> {
        match &self.name_format {
            Some(format) => format.time(name),
            None => NameFormat::new(NameFormat::DEFAULT).ok()?.time(name),
        }
    }

    fn inside(&self, dataset: &DatasetName) -> Result<(), Problem> {
        if self.roots.is_empty() || self.roots.iter().any(|root| dataset.is_within(root)) {
            return Ok(());
        }
        let roots: Vec<_> = self.roots.iter().map(DatasetName::as_str).collect();
        Err(Problem::Denied(format!("the agent there serves only {} (--root)", roots.join(", "))))
    }

    /// A dataset as the caller may see it: an origin outside of the roots has no name, and no encryption root beside them.
    pub(super) fn shown(&self, dataset: &Dataset) -> Dataset {
        let mut shown = dataset.clone();
        shown.origin.take_if(|origin| self.inside(origin.dataset()).is_err());
        // The names of the datasets above a root are in its own.
        let is_known =
            |of: &DatasetName| self.inside(of).is_ok() || self.roots.iter().any(|root| root.is_within(of));
        shown.settings.encryption_root.take_if(|of| !is_known(of));
        shown
    }

    /// Removes the names of damaged data outside of the roots.
    pub(super) fn retain_inside(&self, damaged: &mut Vec<String>) {
        let is_inside = |name: &str, root: &DatasetName| {
            // `R:x` may be a dataset beside `R`: names of ZFS may have a colon.
            let rest = name.strip_prefix(root.as_str());
            rest.is_some_and(|rest| ["/", "@", ":/", ":<"].iter().any(|begin| rest.starts_with(begin)))
        };
        if !self.roots.is_empty() {
            damaged.retain(|name| self.roots.iter().any(|root| is_inside(name, root)));
        }
    }

    /// Whether this request is allowed or not by what the target has at present.
    pub(super) fn depends_on_state(&self, request: &Request) -> bool {
        let is_change =
            matches!(request, Request::Change(Change::SetAside(_) | Change::RenameSnapshot { .. }));
        let is_month = |receive: &Receive| Month::in_name(receive.spec.snapshot.name().as_str()).is_some();
        self.append_only && (is_change || matches!(request, Request::Receive(receive) if is_month(receive)))
    }

    /// A second lineage of one copy is not set aside soon after the first. An interrupted set-aside is finished.
    fn check_pause(&self, wish: &SetAside, host: &dyn TargetHost) -> Result<(), Problem> {
        let now = Timestamp::now();
        for root in self.everything(&wish.dataset)? {
            let listing = host.list(&root).map_err(|error| error.problem)?;
            if let Some(dataset) = listing.get(&wish.dataset).filter(|there| there.guid == wish.guid) {
                check_copy(dataset)?;
            }
            let is_in_doubt = |why: &Unlisted| matches!(why, Unlisted::Changing | Unlisted::Failed(_));
            if let Some((name, _)) = listing.unlisted().find(|(_, why)| is_in_doubt(why)) {
                return Err(Problem::Busy(format!("{name:?} could not be listed")));
            }
            // It may be anywhere: with the dataset above it, it goes where that is set aside.
            let others = listing.datasets().filter(|dataset| dataset.guid != wish.guid);
            let mut marks = others.filter_map(|other| Some((other, other.set_aside_of(&wish.dataset)?)));
            if let Some((recent, mark)) = marks.find(|(_, mark)| mark.is_recent(now)) {
                return Err(Problem::Denied(format!(
                    "the agent there sets a copy aside once in {} hours, and {} is of {:.0} (--append-only)",
                    SET_ASIDE_PAUSE.as_hours(),
                    recent.name,
                    mark.at
                )));
            }
        }
        Ok(())
    }

    /// The datasets below which this agent changes anything, on the pool of `of`: no rename leaves it.
    fn everything(&self, of: &DatasetName) -> Result<Vec<DatasetName>, Problem> {
        if !self.roots.is_empty() {
            return Ok(self.roots.iter().filter(|root| root.pool() == of.pool()).cloned().collect());
        }
        DatasetName::new(of.pool()).map(|pool| vec![pool]).map_err(|error| Problem::Other(error.to_string()))
    }

    /// A caller's words that become a property are fit for a terminal.
    fn check_label(writer: Option<&Writer>) -> Result<(), Problem> {
        let is_odd = |c: char| c.is_control() || is_format_character(c);
        if writer.is_some_and(|writer| writer.label.contains(is_odd)) {
            return Err(Problem::Denied(
                "the agent there takes no writer's name with control characters".to_owned(),
            ));
        }
        Ok(())
    }

    fn not_append_only(&self, what: &str) -> Result<(), Problem> {
        if self.append_only {
            return Err(Problem::Denied(format!("the agent there {what} (--append-only)")));
        }
        Ok(())
    }
}

/// The month of `time` wherever its source may be.
fn months_of(time: Timestamp) -> [Month; 3] {
    [-ZONE_HOURS_MAX, 0, ZONE_HOURS_MAX].map(|hours| {
        Month::of(time.saturating_add(SignedDuration::from_hours(hours)).unwrap_or(time), &TimeZone::UTC)
    })
}

/// Whether an archive's snapshot of this time may have such a name.
fn is_name_for(name: &PointName, time: Timestamp) -> bool {
    let Some(month) = Month::in_name(name.as_str()) else { return false };
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()) && text.len() <= 3;
    let whole = month.to_string();
    let rest = name.as_str().strip_prefix(whole.as_str()).unwrap_or_default();
    let is_counted = rest.is_empty()
        || rest.strip_prefix('.').is_some_and(is_number)
        || rest.strip_prefix('-').is_some_and(|day| day.split('-').all(is_number));
    is_counted && months_of(time).contains(&month)
}

/// What an append-only agent sets aside is a copy: not what was set aside itself, or it would no longer say of which copy it
/// is, and the pause of that copy would be over; and not what only holds copies, which would all go with it.
fn check_copy(dataset: &Dataset) -> Result<(), Problem> {
    let denied = |why: &str| Err(Problem::Denied(format!("{} {why} (--append-only)", dataset.name)));
    if dataset.set_aside_mark().is_some_and(|mark| mark.of != dataset.name) {
        return denied("was set aside, and the agent there leaves it where it is");
    }
    if dataset.history.newest_snapshot().is_none() {
        return denied("has no snapshot, and the agent there sets only copies aside");
    }
    Ok(())
}

/// A month is archived once the months before it are, and not before it has begun by this machine's own clock: as a snapshot
/// that is received on top of all, or as the new name of the one called `from`.
fn check_month(
    dataset: &DatasetName,
    from: Option<(&PointName, Guid)>,
    name: &PointName,
    host: &dyn TargetHost,
) -> Result<(), Problem> {
    let Some(month) = Month::in_name(name.as_str()) else { return Ok(()) };
    // A month that has not begun was made by hand: no key that is append-only brings one.
    let is_to_come = |month: Month| months_of(Timestamp::now()).iter().all(|now| month > *now);
    if is_to_come(month) {
        return Err(Problem::Denied(format!(
            "the agent there archives no month before it has begun by its own clock, and {month} has not (--append-only)"
        )));
    }
    if from.is_some() && host.is_receiving(dataset) {
        return Err(Problem::Busy(format!("a zfs receive into {dataset} is under way")));
    }
    let listing = host.list(dataset).map_err(|error| error.problem)?;
    let there = listing.get(dataset).into_iter().flat_map(|there| there.history.snapshots());
    match month.out_of_order(there, |point| Some((&point.name, point.guid)) == from, is_to_come) {
        Some(other) => Err(Problem::Denied(format!(
            "the agent there archives months in their order, and has {other} already (--append-only)"
        ))),
        None => Ok(()),
    }
}
