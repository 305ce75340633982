//! The `zfs` program on one machine: the calls that both the source and the targets make through it.

use std::collections::{BTreeSet, HashMap};
use std::fmt::Display;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;

use super::details::{self, DetailsReader};
use super::pool_history::HistoryReader;
use super::session::{CompletedCommand, Session};
use super::sessions::{Sessions, doubt};
use super::zfs_errors;
use super::{HostError, Problem, Refusal};
use crate::model::{
    DatasetName, Details, Guid, HostState, LineHistory, Orphan, PointKind, PointName, PoolState, RunMark,
    SnapshotName, UserProperty,
};
use crate::stream::Cancel;
use crate::stream::probe::Probe;

/// How many names one `zfs` is given: their length stays far below what one argument may have (128 KiB).
pub(super) const NAMES_MAX: usize = 200;

/// The identity of a point, read just before the point is changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) guid: Guid,
    pub(super) holds: u64,
    pub(super) clones: u64,
}

impl Identity {
    /// Why it may not be destroyed as the point that the plan means.
    fn refusal(self, planned: Guid) -> Option<Problem> {
        if self.guid != planned {
            Some(other_guid(planned, self.guid))
        } else if self.holds > 0 {
            Some(Problem::Held)
        } else if self.clones > 0 {
            Some(Problem::Cloned)
        } else {
            None
        }
    }
}

/// `zfs` on one machine.
#[derive(Debug)]
pub(super) struct ZfsProgram {
    host: String,
    sessions: Arc<Sessions>,
    /// Whoever sends streams is not believed.
    is_guarded: bool,
    /// Pools that were waited for in vain.
    waited_for: Mutex<BTreeSet<String>>,
}

impl ZfsProgram {
    pub(super) fn new(host: String, sessions: Arc<Sessions>) -> Self {
        Self { host, sessions, is_guarded: false, waited_for: Mutex::default() }
    }

    /// Whether `pool` was waited for in vain.
    pub(super) fn has_waited_for(&self, pool: &str) -> bool {
        self.waited_for.lock().unwrap_or_else(PoisonError::into_inner).contains(pool)
    }

    /// Notes that `pool` was waited for in vain.
    pub(super) fn note_wait_for(&self, pool: &str) {
        self.waited_for.lock().unwrap_or_else(PoisonError::into_inner).insert(pool.to_owned());
    }

    /// Ends every wait.
    pub(super) fn cancel(&self) -> &Cancel {
        self.sessions.cancel()
    }

    /// Checks every stream, since its sender is not trusted.
    pub(super) fn guarded(self) -> Self {
        Self { is_guarded: true, ..self }
    }

    /// Whether whoever sends streams is not believed.
    pub(super) fn is_guarded(&self) -> bool {
        self.is_guarded
    }

    /// Whether there is such a file system or volume.
    pub(super) fn exists(&self, dataset: &DatasetName) -> Result<bool, Problem> {
        Ok(!self.rows(&["-t", "filesystem,volume", "-o", "name", dataset.as_str()])?.is_empty())
    }

    /// The token of a receive into the dataset that broke off.
    pub(super) fn resume_token(&self, dataset: &DatasetName) -> Result<Option<String>, Problem> {
        let rows = self.rows(&["-o", "receive_resume_token", dataset.as_str()])?;
        Ok(rows.into_iter().flatten().next().filter(|token| token != "-"))
    }

    /// Whether the machine is reached over a network.
    pub(super) fn is_remote(&self) -> bool {
        self.sessions.is_remote()
    }

    /// An error on this machine, with its first cause.
    pub(super) fn error(&self, operation: &'static str, object: impl Display, problem: Problem) -> HostError {
        let problem = self.first_cause(&object.to_string(), problem);
        HostError::new(&self.host, operation, object, problem)
    }

    /// Runs `zfs`, which has nothing to print.
    pub(super) fn run(&self, arguments: &[&str]) -> Result<(), Problem> {
        let answer = self.sessions.run(arguments, &mut |_| Ok(()))?;
        if answer.status == 0 { Ok(()) } else { Err(zfs_errors::problem(answer)) }
    }

    /// Runs `zfs`; what it prints, line by line.
    pub(super) fn lines(&self, arguments: &[&str]) -> Result<Vec<String>, Problem> {
        let mut lines = Vec::new();
        let answer = self.sessions.run(arguments, &mut |line| {
            lines.push(String::from_utf8_lossy(line).into_owned());
            Ok(())
        })?;
        if answer.status == 0 { Ok(lines) } else { Err(zfs_errors::problem(answer)) }
    }

    /// Begins `run` there; what was ended. On this machine nothing can be left: its processes end with their run.
    pub(super) fn begin_run(&self, run: RunMark) -> Result<Vec<Orphan>, Problem> {
        if !self.is_remote() {
            return Ok(Vec::new());
        }
        self.sessions.mark(run);
        self.sessions.end_orphans()
    }

    /// The process there that receives into `dataset`, if one is seen to.
    pub(super) fn receiver(&self, dataset: &DatasetName) -> Option<Orphan> {
        let is_into = |process: &Orphan| {
            process.command.ends_with(&format!(" {dataset}"))
                || process.command.contains(&format!(" {dataset}@"))
        };
        self.sessions.receivers().ok()?.into_iter().find(is_into)
    }

    /// The time there, to the second.
    pub(super) fn now(&self) -> Result<Timestamp, Problem> {
        let line = self.sessions.now()?;
        let seconds = line.parse().ok().and_then(|seconds| Timestamp::from_second(seconds).ok());
        seconds.ok_or_else(|| Problem::Protocol(format!("its date is {line:?}")))
    }

    /// The machine, and the pool of that name.
    pub(super) fn state(&self, pool: &str) -> Result<HostState, Problem> {
        let clock = self.now()?;
        let zfs_versions = self.lines(&["version"])?;
        let text = self.pool_status(&[pool])?;
        let mut state = PoolState::parse(&text)
            .ok_or_else(|| Problem::Protocol(format!("zpool status answered {text:?}")))?;
        if state.data_errors.is_some_and(|errors| errors > 0) {
            state.damaged = PoolState::parse_damaged(&self.pool_status(&["-v", pool])?);
        }
        Ok(HostState { clock, zfs_versions, pool: state })
    }

    fn pool_status(&self, arguments: &[&str]) -> Result<String, Problem> {
        let mut text = String::new();
        let answer = self.sessions.pool_status(arguments, &mut |line| {
            text.push_str(&String::from_utf8_lossy(line));
            text.push('\n');
            Ok(())
        })?;
        if answer.status == 0 { Ok(text) } else { Err(zfs_errors::problem(answer)) }
    }

    /// The state of a feature of a pool.
    pub(super) fn pool_feature(&self, feature: &str, pool: &str) -> Result<String, Problem> {
        self.sessions.pool_feature(feature, pool)
    }

    /// Runs `zfs list -Hp` for what may partly not exist; rows of columns.
    pub(super) fn rows(&self, arguments: &[&str]) -> Result<Vec<Vec<String>>, Problem> {
        let mut rows = Vec::new();
        let arguments = [&["list", "-Hp"], arguments].concat();
        let answer = self.sessions.run(&arguments, &mut |line| {
            rows.push(String::from_utf8_lossy(line).split('\t').map(str::to_owned).collect());
            Ok(())
        })?;
        if answer.status == 0 || !rows.is_empty() {
            return Ok(rows);
        }
        let problem = zfs_errors::problem(answer);
        if matches!(problem, Problem::NotFound) { Ok(rows) } else { Err(problem) }
    }

    /// Runs `zfs` and hands each line of what it prints to `take`.
    pub(super) fn read(
        &self,
        arguments: &[&str],
        take: &mut dyn FnMut(&[u8]) -> Result<(), Problem>,
    ) -> Result<CompletedCommand, Problem> {
        self.sessions.run(arguments, take)
    }

    /// The details of these snapshots that a listing leaves out, in their order; `None` for a snapshot that is gone or
    /// whose name is another's.
    pub(super) fn details(
        &self,
        snapshots: &[(SnapshotName, Guid)],
    ) -> Result<Vec<Option<Details>>, Problem> {
        let mut details = Vec::with_capacity(snapshots.len());
        for some in snapshots.chunks(NAMES_MAX) {
            let names: Vec<String> = some.iter().map(|(name, _)| name.to_string()).collect();
            let mut arguments = vec!["list", "-Hp", "-t", "snapshot", "-o", details::COLUMNS];
            arguments.extend(names.iter().map(String::as_str));
            let mut reader = DetailsReader::default();
            let answer = self.sessions.run(&arguments, &mut |line| reader.take(line))?;
            details.extend(reader.finish(some, &names, answer)?);
        }
        Ok(details)
    }

    /// One user property of these snapshots, in their order, where it is not inherited. For a snapshot that is gone, or
    /// whose name is another's, the property is not local. A value may hold anything, also lines that look like those
    /// of other snapshots: a property that is listed twice is not local.
    pub(super) fn user_property(
        &self,
        property: &str,
        snapshots: &[(SnapshotName, Guid)],
    ) -> Result<Vec<Option<UserProperty>>, Problem> {
        let mut user_properties = Vec::with_capacity(snapshots.len());
        for some in snapshots.chunks(NAMES_MAX) {
            let names: Vec<String> = some.iter().map(|(name, _)| name.to_string()).collect();
            let asked = format!("guid,{property}");
            let mut arguments = vec!["get", "-Hp", "-o", "name,property,value,source", &asked];
            arguments.extend(names.iter().map(String::as_str));
            let mut found: HashMap<(String, bool), Vec<(String, String)>> = HashMap::new();
            let answer = self.sessions.run(&arguments, &mut |line| {
                let line = String::from_utf8_lossy(line);
                if let [name, of, value, source] = line.split('\t').collect::<Vec<_>>().as_slice() {
                    let key = ((*name).to_owned(), *of == property);
                    found.entry(key).or_default().push(((*value).to_owned(), (*source).to_owned()));
                }
                Ok(())
            })?;
            if answer.status != 0 {
                let problem = zfs_errors::problem(answer);
                if !matches!(problem, Problem::NotFound) {
                    return Err(problem);
                }
            }
            for ((_, guid), name) in some.iter().zip(names) {
                let mut once = |is_property| match found.remove(&(name.clone(), is_property)).as_deref() {
                    Some([only]) => Some(only.clone()),
                    _ => None,
                };
                let is_it = once(false).is_some_and(|(found, _)| found == guid.to_string());
                user_properties.push(match once(true).filter(|_| is_it) {
                    // A property of the dataset says nothing of its snapshots.
                    Some((_, source)) if source == "-" || source.starts_with("inherited from ") => None,
                    Some((value, source)) => Some(UserProperty { value, is_local: source == "local" }),
                    None => Some(UserProperty { value: String::new(), is_local: false }),
                });
            }
        }
        Ok(user_properties)
    }

    /// When each of these datasets, all of one pool, left its line.
    pub(super) fn line_histories(
        &self,
        pool: &str,
        datasets: &[&DatasetName],
    ) -> Result<Vec<LineHistory>, Problem> {
        let mut reader = HistoryReader::default();
        let answer = self.sessions.pool_history(pool, &mut |line| {
            reader.take(line);
            Ok(())
        })?;
        if answer.status != 0 {
            return Err(zfs_errors::problem(answer));
        }
        Ok(datasets.iter().map(|dataset| reader.of(dataset)).collect())
    }

    /// The GUIDs of these datasets and snapshots by their full names; those that do not exist are left out.
    pub(super) fn guids(&self, names: &[impl Display]) -> Result<HashMap<String, Guid>, Problem> {
        let mut guids = HashMap::new();
        for some in names.chunks(NAMES_MAX) {
            let names: Vec<String> = some.iter().map(ToString::to_string).collect();
            let mut arguments = vec!["-t", "filesystem,volume,snapshot", "-o", "name,guid"];
            arguments.extend(names.iter().map(String::as_str));
            for row in self.rows(&arguments)? {
                let [name, guid] = row.as_slice() else {
                    return Err(Problem::Protocol(format!("zfs list answered {row:?}")));
                };
                guids.insert(name.clone(), Guid(number(guid)?));
            }
        }
        Ok(guids)
    }

    /// Whether the pool of `dataset` is there.
    pub(super) fn has_pool(&self, dataset: &DatasetName) -> Result<bool, Problem> {
        Ok(!self.rows(&["-o", "name", dataset.pool()])?.is_empty())
    }

    /// The GUID of a file system or volume.
    pub(super) fn dataset_guid(&self, dataset: &DatasetName) -> Result<Guid, Problem> {
        let rows = self.rows(&["-t", "filesystem,volume", "-o", "name,guid", dataset.as_str()])?;
        let row = rows.first().ok_or(Problem::NotFound)?;
        match row.as_slice() {
            [name, guid] if name == dataset.as_str() => Ok(Guid(number(guid)?)),
            _ => Err(Problem::Protocol(format!("zfs list answered {row:?}"))),
        }
    }

    /// The identities of these points of `dataset`, at most [`NAMES_MAX`]; points that do not exist are left out.
    pub(super) fn identities(
        &self,
        dataset: &DatasetName,
        kind: PointKind,
        names: &[&PointName],
    ) -> Result<HashMap<PointName, Identity>, Problem> {
        let full: Vec<String> =
            names.iter().map(|name| format!("{dataset}{}{name}", kind.separator())).collect();
        let mut arguments = vec!["-t", "snapshot,bookmark", "-o", "name,guid,userrefs,numclones"];
        arguments.extend(full.iter().map(String::as_str));
        let mut identities = HashMap::new();
        for row in self.rows(&arguments)? {
            let [name, guid, holds, clones] = row.as_slice() else {
                return Err(Problem::Protocol(format!("zfs list answered {row:?}")));
            };
            let asked = names.iter().zip(&full).find(|(_, full)| *full == name);
            if let Some((point, _)) = asked {
                let identity = Identity {
                    guid: Guid(number(guid)?),
                    holds: number_or_none(holds)?,
                    clones: number_or_none(clones)?,
                };
                identities.insert((*point).clone(), identity);
            }
        }
        Ok(identities)
    }

    /// The points of `dataset` that are what the plan says and that nothing pins, and the refusals for the others. One that
    /// is gone is in neither.
    pub(super) fn confirm(
        &self,
        dataset: &DatasetName,
        kind: PointKind,
        points: &[(PointName, Guid)],
    ) -> Result<(Vec<PointName>, Vec<Refusal>), Problem> {
        let (mut confirmed, mut refusals) = (Vec::new(), Vec::new());
        for some in points.chunks(NAMES_MAX) {
            let names: Vec<_> = some.iter().map(|(name, _)| name).collect();
            let found = self.identities(dataset, kind, &names)?;
            for (name, guid) in some {
                match found.get(name).map(|found| found.refusal(*guid)) {
                    None => {}
                    Some(None) => confirmed.push(name.clone()),
                    Some(Some(problem)) => refusals.push(Refusal { name: name.clone(), problem }),
                }
            }
        }
        Ok((confirmed, refusals))
    }

    /// Refuses unless the point of this name has this GUID.
    pub(super) fn check_point(
        &self,
        dataset: &DatasetName,
        name: &PointName,
        guid: Guid,
    ) -> Result<(), Problem> {
        let found = self.identities(dataset, PointKind::Snapshot, &[name])?;
        let found = found.get(name).ok_or(Problem::NotFound)?;
        if found.guid == guid { Ok(()) } else { Err(other_guid(guid, found.guid)) }
    }

    /// Refuses unless the dataset of this name has this GUID.
    pub(super) fn check_dataset(&self, dataset: &DatasetName, guid: Guid) -> Result<(), Problem> {
        let found = self.dataset_guid(dataset)?;
        if found == guid { Ok(()) } else { Err(other_guid(guid, found)) }
    }

    /// Fails where a receive that ended well has not made the snapshot that was sent: what is pruned next rests on it.
    pub(super) fn check_arrived(&self, snapshot: &SnapshotName, sent: Guid) -> Result<(), Problem> {
        let guids = self.guids(std::slice::from_ref(snapshot))?;
        let found = match guids.get(&snapshot.to_string()) {
            Some(found) if *found == sent => return Ok(()),
            Some(found) => format!("the snapshot there has the guid {found} instead of {sent}"),
            None => "the snapshot is not there".to_owned(),
        };
        Err(Problem::Protocol(format!("zfs receive ended without an error, but {found}")))
    }

    /// How a pool of this machine is looked at.
    pub(super) fn probe(&self, pool: &str) -> Probe {
        let (sessions, asked) = (Arc::clone(&self.sessions), pool.to_owned());
        Probe::new(pool, move || sessions.liveness(&asked))
    }

    /// Why an answer that has to do with `pool` will not come.
    pub(super) fn doubt(&self, pool: &str) -> impl FnMut(Duration) -> Option<Problem> {
        doubt(Arc::clone(&self.sessions), BTreeSet::from([pool.to_owned()]))
    }

    /// A session for a receive.
    pub(super) fn take_session(&self) -> Result<Session, Problem> {
        self.sessions.take()
    }

    /// The session is as good as new.
    pub(super) fn give_back(&self, session: Session) {
        self.sessions.give_back(session);
    }
}

pub(super) fn other_guid(planned: Guid, found: Guid) -> Problem {
    Problem::Changed(format!("its guid was {planned} and is now {found}"))
}

pub(super) fn number(text: &str) -> Result<u64, Problem> {
    text.parse().map_err(|_| Problem::Protocol(format!("{text:?} is not a number")))
}

pub(super) fn number_or_none(text: &str) -> Result<u64, Problem> {
    if text == "-" { Ok(0) } else { number(text) }
}
