//! How `zfs` carries out each change to a target: names and GUIDs are checked again just before it acts.

use std::collections::BTreeSet;
use std::fmt::Display;

use super::zfs_program::{NAMES_MAX, ZfsProgram, other_guid};
use super::{Changed, Problem, Refusal};
use crate::model::{
    Change, DatasetName, Details, Guid, Hang, HangingPool, Point, PointKind, PointName, Unlisted,
};

impl ZfsProgram {
    /// Carries out one change.
    pub(super) fn change(&self, change: &Change) -> Result<Changed, Problem> {
        match change {
            Change::CreateContainer { dataset, is_plain } => self.create_container(dataset, *is_plain)?,
            Change::AbortReceive { dataset, token } => self.abort_receive(dataset, token)?,
            Change::DestroySnapshots { dataset, snapshots } => {
                let refusals = self.destroy_snapshots(dataset, snapshots)?;
                return Ok(Changed { refusals, ..Changed::default() });
            }
            Change::Rollback { dataset, to, guid } => {
                self.check_point(dataset, to, *guid)?;
                self.run(&["rollback", &format!("{dataset}@{to}")])?;
            }
            Change::RenameDataset { from, guid, to } => {
                self.check_dataset(from, *guid)?;
                self.run(&["rename", from.as_str(), to.as_str()])?;
            }
            Change::RenameSnapshot { dataset, from, guid, to } => {
                self.check_point(dataset, from, *guid)?;
                self.run(&["rename", &format!("{dataset}@{from}"), &format!("{dataset}@{to}")])?;
            }
            Change::DestroyDataset { dataset, guid, snapshots } => {
                self.destroy_dataset(dataset, *guid, snapshots)?;
            }
            Change::SetAside(wish) => {
                return Ok(Changed { set_aside: Some(self.set_aside(wish)?), ..Changed::default() });
            }
            Change::Claim { dataset, guid, writer } => self.claim(dataset, *guid, writer)?,
            Change::StoreConfig { dataset, snapshot, guid, properties } => {
                self.store_config(dataset, snapshot, *guid, properties)?;
            }
            Change::MarkVerified { dataset, snapshot, guid, verification } => {
                self.mark_verified(dataset, snapshot, *guid, *verification)?;
            }
            Change::BeginHealing { dataset, newest } => {
                let healing = self.begin_healing(dataset, *newest)?;
                return Ok(Changed { healing: Some(healing), ..Changed::default() });
            }
            Change::EndHealing { dataset } => self.end_healing(dataset)?,
        }
        Ok(Changed::default())
    }

    fn create_container(&self, dataset: &DatasetName, is_plain: bool) -> Result<(), Problem> {
        let mut levels = vec![dataset.clone()];
        while let Some(parent) = levels.last().and_then(DatasetName::parent) {
            levels.push(parent);
        }
        levels.reverse();
        let mut arguments = vec!["-t", "filesystem,volume", "-o", "name"];
        arguments.extend(levels.iter().map(DatasetName::as_str));
        let rows = self.rows(&arguments)?;
        let exists = |level: &DatasetName| rows.iter().flatten().any(|name| name == level.as_str());
        for (depth, level) in levels.iter().enumerate() {
            if exists(level) {
                continue;
            }
            if depth == 0 {
                return Err(no_pool(level));
            }
            let options = ["create", "-o", "canmount=noauto", "-o", "readonly=on"];
            let plain: &[&str] = if is_plain { &["-o", "encryption=off"] } else { &[] };
            match self.run(&[&options[..], plain, &[level.as_str()]].concat()) {
                // Another transfer of this run may have needed the same parent.
                Ok(()) | Err(Problem::Exists) => {}
                Err(problem) => return Err(problem),
            }
        }
        Ok(())
    }

    fn abort_receive(&self, dataset: &DatasetName, token: &str) -> Result<(), Problem> {
        match self.resume_token(dataset)? {
            Some(found) if found == token => self.run(&["receive", "-A", dataset.as_str()]),
            Some(_) => Err(Problem::Changed("another receive was broken off there".to_owned())),
            // Gone already, with the dataset if it held nothing else.
            None => Ok(()),
        }
    }

    fn destroy_snapshots(
        &self,
        dataset: &DatasetName,
        snapshots: &[(PointName, Guid)],
    ) -> Result<Vec<Refusal>, Problem> {
        let mut refusals = Vec::new();
        for some in snapshots.chunks(NAMES_MAX) {
            self.destroy_some(dataset, some, &mut refusals)?;
        }
        Ok(refusals)
    }

    fn destroy_some(
        &self,
        dataset: &DatasetName,
        snapshots: &[(PointName, Guid)],
        refusals: &mut Vec<Refusal>,
    ) -> Result<(), Problem> {
        let (to_destroy, refused) = self.confirm(dataset, PointKind::Snapshot, snapshots)?;
        refusals.extend(refused);
        if to_destroy.is_empty() {
            return Ok(());
        }
        // All or nothing: one that got a hold just now keeps the others, which then are tried one by one.
        let together: Vec<_> = to_destroy.iter().map(PointName::as_str).collect();
        let together = format!("{dataset}@{}", together.join(","));
        match self.run(&["destroy", &together]) {
            Ok(()) | Err(Problem::NotFound) => return Ok(()),
            Err(problem @ (Problem::Unreachable(_) | Problem::Cancelled | Problem::Stalled(_))) => {
                return Err(problem);
            }
            Err(_) => {}
        }
        for name in to_destroy {
            match self.run(&["destroy", &format!("{dataset}@{name}")]) {
                Ok(()) | Err(Problem::NotFound) => {}
                Err(problem) => refusals.push(Refusal { name, problem }),
            }
        }
        Ok(())
    }

    fn destroy_dataset(
        &self,
        dataset: &DatasetName,
        guid: Guid,
        snapshots: &[(PointName, Guid)],
    ) -> Result<(), Problem> {
        let types = "filesystem,volume,snapshot,bookmark";
        let listing = self.list(std::slice::from_ref(dataset), types)?;
        if let Some(why) = listing.why_unlisted(dataset) {
            return Err(unlisted(dataset, why));
        }
        let found = listing.get(dataset).ok_or(Problem::NotFound)?;
        if found.guid != guid {
            return Err(other_guid(guid, found.guid));
        }
        // Snapshots that an earlier, interrupted attempt has destroyed may be missing; nothing may be new.
        let known: BTreeSet<_> = snapshots.iter().map(|(name, guid)| (*guid, name)).collect();
        let is_known = |point: &Point| known.contains(&(point.guid, &point.name));
        let new = found.history.points().find(|point| point.kind == PointKind::Bookmark || !is_known(point));
        if let Some(new) = new {
            let text = format!("it has {}{}, which the plan does not know", new.kind.separator(), new.name);
            return Err(Problem::Changed(text));
        }
        if listing.has_children(dataset) {
            return Err(Problem::Changed("it has children".to_owned()));
        }
        if found.history.points().any(|point| point.clones > 0) {
            return Err(Problem::Cloned);
        }
        let full = found.history.points().map(|point| Ok((dataset.snapshot(&point.name)?, point.guid)));
        let full: Result<Vec<_>, crate::model::NameError> = full.collect();
        let full = full.map_err(|error| Problem::Other(error.to_string()))?;
        let is_held = |details: Option<Details>| details.is_some_and(|details| details.holds > 0);
        if self.details(&full)?.into_iter().any(is_held) {
            return Err(Problem::Held);
        }
        if let Some(refusal) = self.destroy_snapshots(dataset, snapshots)?.pop() {
            return Err(refusal.problem);
        }
        self.run(&["destroy", dataset.as_str()])
    }
}

/// Why nothing can be done with a dataset of which nothing is known.
pub(super) fn unlisted(dataset: &DatasetName, why: &Unlisted) -> Problem {
    match why {
        Unlisted::Missing => Problem::NotFound,
        Unlisted::NoPool => no_pool(dataset.pool()),
        Unlisted::Suspended => Problem::PoolHangs(HangingPool::of(dataset.pool(), Hang::Suspended)),
        Unlisted::Changing => {
            Problem::Changed("it was created, destroyed or renamed each time it was listed".to_owned())
        }
        Unlisted::BadName(name) => Problem::Other(format!("{name:?} is not a name that zhaul takes")),
        Unlisted::Failed(why) => Problem::Other(why.clone()),
    }
}

/// The error for a pool that is not imported.
fn no_pool(pool: impl Display) -> Problem {
    Problem::Other(format!("no pool {pool} is imported there; zpool import {pool} brings it back"))
}
