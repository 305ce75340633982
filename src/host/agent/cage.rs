//! What an agent may do: the one place that decides it, whatever the other end asks for.
//!
//! An administrator writes it into `authorized_keys`: `command="zhaul agent --root tank/backup/pve0 --append-only",restrict`.
//! Whoever has that key can then add to what lies below the root, and nothing else.

use jiff::Timestamp;

use super::wire::Request;
use crate::host::{Problem, TargetHost};
use crate::model::{Change, Dataset, DatasetName, Month, PointName, SET_ASIDE_PAUSE, SetAside};

/// The limits of an agent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cage {
    /// Nothing outside of these is listed or touched; empty: no limit.
    pub roots: Vec<DatasetName>,
    /// Nothing is destroyed or rolled back, and renamed only the snapshot of a month; lineages may be set aside.
    pub append_only: bool,
}

impl Cage {
    /// Refuses what is outside the limits.
    pub(super) fn check(&self, request: &Request) -> Result<(), Problem> {
        match request {
            // Neither touches anything.
            Request::Hello { .. } | Request::OpenLanes { .. } | Request::Sink(_) => Ok(()),
            Request::Details { snapshots } => {
                snapshots.iter().try_for_each(|(snapshot, _)| self.inside(snapshot.dataset()))
            }
            Request::List { root } => self.inside(root),
            Request::Receive(receive) => {
                self.inside(receive.spec.snapshot.dataset())?;
                receive.spec.origin.as_ref().map_or(Ok(()), |origin| self.inside(origin.dataset()))
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
            Change::SetAside(_)
            | Change::Claim { .. }
            | Change::StoreConfig { .. }
            | Change::CreateContainer { .. }
            | Change::AbortReceive { .. } => Ok(()),
            Change::Rollback { .. } => self.not_append_only("rolls nothing back"),
            Change::RenameDataset { to, .. } => {
                self.inside(to)?;
                self.not_append_only("renames no dataset")
            }
            Change::RenameSnapshot { to, .. } => {
                if is_month(to) {
                    Ok(())
                } else {
                    self.not_append_only("renames no snapshot but to a month")
                }
            }
        }
    }

    /// Refuses what the present state of the target speaks against.
    pub(super) fn check_state(&self, request: &Request, host: &dyn TargetHost) -> Result<(), Problem> {
        match request {
            Request::Change(Change::SetAside(wish)) if self.append_only => check_pause(wish, host),
            _ => Ok(()),
        }
    }

    fn inside(&self, dataset: &DatasetName) -> Result<(), Problem> {
        if self.roots.is_empty() || self.roots.iter().any(|root| dataset.is_within(root)) {
            return Ok(());
        }
        let roots: Vec<_> = self.roots.iter().map(DatasetName::as_str).collect();
        Err(Problem::Denied(format!("the agent there serves only {} (--root)", roots.join(", "))))
    }

    fn not_append_only(&self, what: &str) -> Result<(), Problem> {
        if self.append_only {
            return Err(Problem::Denied(format!("the agent there {what} (--append-only)")));
        }
        Ok(())
    }
}

/// A second lineage of one copy is not set aside soon after the first. What was interrupted is finished.
fn check_pause(wish: &SetAside, host: &dyn TargetHost) -> Result<(), Problem> {
    let Some(parent) = wish.dataset.parent() else { return Ok(()) };
    let listing = host.list(&parent).map_err(|error| error.problem)?;
    let now = Timestamp::now();
    let marks = listing.datasets().filter_map(Dataset::set_aside).filter(|mark| mark.of == wish.dataset);
    let mut others = marks.filter(|mark| mark.guid != wish.guid);
    let Some(recent) = others.find(|mark| mark.is_recent(now)) else { return Ok(()) };
    Err(Problem::Denied(format!(
        "the agent there sets a copy aside once in {} hours, and {} is of {:.0} (--append-only)",
        SET_ASIDE_PAUSE.as_hours(),
        recent.name,
        recent.at
    )))
}

/// Whether an archive gives its snapshots such names: `2026-Jan`, `2026-Jan-15`, perhaps with something to tell two apart.
fn is_month(name: &PointName) -> bool {
    name.as_str().get(..8).is_some_and(|start| Month::parse(start).is_some())
}
