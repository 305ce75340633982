//! A target that needs nothing but `zfs` and sshd (or, on this machine, nothing but `zfs`).

use std::fmt::Display;
use std::sync::Arc;

use super::receive::ShellIncoming;
use super::session::Limits;
use super::sessions::{Machine, Sessions};
use super::zfs_program::{NAMES_MAX, ZfsProgram, other_guid};
use super::{HostError, Incoming, Problem, ReceiveSpec, Refusal, TargetHost};
use crate::model::{DatasetName, Details, Guid, Listing, PointKind, PointName, SnapshotName};
use crate::stream::Cancel;

/// A target behind a worker shell.
#[derive(Debug)]
pub struct Shell {
    program: ZfsProgram,
}

impl Shell {
    /// A target called `host` in errors. Nothing is connected before it is needed; `stop` ends every wait.
    pub fn new(host: impl Into<String>, machine: Machine, stop: &Cancel) -> Self {
        Self::with_limits(host.into(), machine, Limits::default(), stop)
    }

    pub(super) fn with_limits(host: String, machine: Machine, limits: Limits, stop: &Cancel) -> Self {
        Self::over(host, Arc::new(Sessions::new(machine, limits, stop)))
    }

    /// The same through sessions that an agent shares.
    pub(super) fn over(host: String, sessions: Arc<Sessions>) -> Self {
        Self { program: ZfsProgram::new(host, sessions) }
    }

    fn try_create(&self, dataset: &DatasetName) -> Result<(), Problem> {
        let mut levels = vec![dataset.clone()];
        while let Some(parent) = levels.last().and_then(DatasetName::parent) {
            levels.push(parent);
        }
        levels.reverse();
        let mut arguments = vec!["-t", "filesystem,volume", "-o", "name"];
        arguments.extend(levels.iter().map(DatasetName::as_str));
        let rows = self.program.rows(&arguments)?;
        let exists = |level: &DatasetName| rows.iter().flatten().any(|name| name == level.as_str());
        for (depth, level) in levels.iter().enumerate() {
            if exists(level) {
                continue;
            }
            if depth == 0 {
                return Err(no_pool(level));
            }
            let options = ["create", "-o", "canmount=noauto", "-o", "readonly=on"];
            match self.program.run(&[&options[..], &[level.as_str()]].concat()) {
                // Another transfer of this run may have needed the same parent.
                Ok(()) | Err(Problem::Exists) => {}
                Err(problem) => return Err(problem),
            }
        }
        Ok(())
    }

    fn try_abort_receive(&self, dataset: &DatasetName, token: &str) -> Result<(), Problem> {
        let rows = self.program.rows(&["-o", "receive_resume_token", dataset.as_str()])?;
        match rows.first().and_then(|row| row.first()) {
            Some(found) if found == token => self.program.run(&["receive", "-A", dataset.as_str()]),
            Some(found) if found != "-" => {
                Err(Problem::Changed("another receive was broken off there".to_owned()))
            }
            // Gone already, with the dataset if it held nothing else.
            Some(_) | None => Ok(()),
        }
    }

    fn try_destroy(
        &self,
        dataset: &DatasetName,
        snapshots: &[(PointName, Guid)],
        refusals: &mut Vec<Refusal>,
    ) -> Result<(), Problem> {
        let (doomed, refused) = self.program.confirm(dataset, PointKind::Snapshot, snapshots)?;
        refusals.extend(refused);
        if doomed.is_empty() {
            return Ok(());
        }
        // All or nothing: one that got a hold just now keeps the others, which then are tried one by one.
        let together: Vec<_> = doomed.iter().map(PointName::as_str).collect();
        let together = format!("{dataset}@{}", together.join(","));
        match self.program.run(&["destroy", &together]) {
            Ok(()) | Err(Problem::NotFound) => return Ok(()),
            Err(problem @ (Problem::Unreachable(_) | Problem::Cancelled | Problem::Stalled(_))) => {
                return Err(problem);
            }
            Err(_) => {}
        }
        for name in doomed {
            match self.program.run(&["destroy", &format!("{dataset}@{name}")]) {
                Ok(()) | Err(Problem::NotFound) => {}
                Err(problem) => refusals.push(Refusal { name, problem }),
            }
        }
        Ok(())
    }

    fn try_destroy_dataset(
        &self,
        dataset: &DatasetName,
        guid: Guid,
        snapshots: &[(PointName, Guid)],
    ) -> Result<(), Problem> {
        let types = "filesystem,volume,snapshot,bookmark";
        let listed =
            self.program.list(std::slice::from_ref(dataset), types).map_err(|failure| failure.problem)?;
        let found = listed.listing.get(dataset).ok_or(Problem::NotFound)?;
        if found.guid != guid {
            return Err(other_guid(guid, found.guid));
        }
        // Snapshots that an earlier, interrupted attempt has destroyed may be missing; nothing may be new.
        let is_known = |name: &PointName, guid: Guid| snapshots.iter().any(|(n, g)| n == name && *g == guid);
        let new = found
            .history
            .points()
            .find(|point| point.kind == PointKind::Bookmark || !is_known(&point.name, point.guid));
        if let Some(new) = new {
            let text = format!("it has {}{}, which the plan does not know", new.kind.separator(), new.name);
            return Err(Problem::Changed(text));
        }
        if listed.row_count != 1 + found.history.len() {
            return Err(Problem::Changed("it has children".to_owned()));
        }
        if found.history.points().any(|point| point.clones > 0) {
            return Err(Problem::Cloned);
        }
        let full = found.history.points().map(|point| Ok((dataset.snapshot(&point.name)?, point.guid)));
        let full: Result<Vec<_>, crate::model::NameError> = full.collect();
        let full = full.map_err(|error| Problem::Other(error.to_string()))?;
        let is_held = |details: Option<Details>| details.is_some_and(|details| details.holds > 0);
        if self.program.details(&full)?.into_iter().any(is_held) {
            return Err(Problem::Held);
        }
        let mut refusals = Vec::new();
        for some in snapshots.chunks(NAMES_MAX) {
            self.try_destroy(dataset, some, &mut refusals)?;
        }
        if let Some(refusal) = refusals.pop() {
            return Err(refusal.problem);
        }
        self.program.run(&["destroy", dataset.as_str()])
    }
}

impl TargetHost for Shell {
    fn list(&self, root: &DatasetName) -> Result<Listing, HostError> {
        let failure = match self.program.list(std::slice::from_ref(root), "filesystem,volume,snapshot") {
            Ok(listed) => return Ok(listed.listing),
            Err(failure) => failure,
        };
        let problem = if failure.missing.is_none() {
            failure.problem
        } else {
            match self.program.has_pool(root) {
                Ok(true) => return Ok(Listing::default()),
                Ok(false) => no_pool(root.pool()),
                Err(problem) => problem,
            }
        };
        Err(self.program.error("list", root, problem))
    }

    fn details(&self, snapshots: &[(SnapshotName, Guid)]) -> Result<Vec<Option<Details>>, HostError> {
        let object = snapshots.first().map(|(name, _)| name.to_string()).unwrap_or_default();
        self.program.details(snapshots).map_err(|problem| self.program.error("look at", object, problem))
    }

    fn create_container(&self, dataset: &DatasetName) -> Result<(), HostError> {
        self.try_create(dataset).map_err(|problem| self.program.error("create", dataset, problem))
    }

    fn abort_receive(&self, dataset: &DatasetName, token: &str) -> Result<(), HostError> {
        self.try_abort_receive(dataset, token)
            .map_err(|problem| self.program.error("drop the partial receive of", dataset, problem))
    }

    fn receive(&self, spec: &ReceiveSpec) -> Result<Box<dyn Incoming + '_>, HostError> {
        Ok(Box::new(ShellIncoming::start(&self.program, spec)?))
    }

    fn destroy_snapshots(
        &self,
        dataset: &DatasetName,
        snapshots: &[(PointName, Guid)],
    ) -> Result<Vec<Refusal>, HostError> {
        let mut refusals = Vec::new();
        for some in snapshots.chunks(NAMES_MAX) {
            self.try_destroy(dataset, some, &mut refusals)
                .map_err(|problem| self.program.error("destroy snapshots of", dataset, problem))?;
        }
        Ok(refusals)
    }

    fn rollback(&self, dataset: &DatasetName, to: &PointName, guid: Guid) -> Result<(), HostError> {
        let snapshot = format!("{dataset}@{to}");
        self.program
            .check_point(dataset, to, guid)
            .and_then(|()| self.program.run(&["rollback", &snapshot]))
            .map_err(|problem| self.program.error("roll back to", &snapshot, problem))
    }

    fn rename_dataset(&self, from: &DatasetName, guid: Guid, to: &DatasetName) -> Result<(), HostError> {
        self.program
            .check_dataset(from, guid)
            .and_then(|()| self.program.run(&["rename", from.as_str(), to.as_str()]))
            .map_err(|problem| self.program.error("rename", format!("{from} to {to}"), problem))
    }

    fn rename_snapshot(
        &self,
        dataset: &DatasetName,
        from: &PointName,
        guid: Guid,
        to: &PointName,
    ) -> Result<(), HostError> {
        let (old, new) = (format!("{dataset}@{from}"), format!("{dataset}@{to}"));
        self.program
            .check_point(dataset, from, guid)
            .and_then(|()| self.program.run(&["rename", &old, &new]))
            .map_err(|problem| self.program.error("rename", format!("{old} to {new}"), problem))
    }

    fn destroy_dataset(
        &self,
        dataset: &DatasetName,
        guid: Guid,
        snapshots: &[(PointName, Guid)],
    ) -> Result<(), HostError> {
        self.try_destroy_dataset(dataset, guid, snapshots)
            .map_err(|problem| self.program.error("destroy", dataset, problem))
    }
}

fn no_pool(pool: impl Display) -> Problem {
    Problem::Other(format!("no pool {pool} is imported there; zpool import {pool} brings it back"))
}
