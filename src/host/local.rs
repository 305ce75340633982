//! The source: this machine, through `libzfs_core` in call processes.
//!
//! Only listing and the look at GUIDs before something is destroyed go through the `zfs` program, whose output is the
//! stable interface (`libzfs_core` has none for it); one worker shell serves all of them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use super::calls::Calls;
use super::helper::THIS_PROGRAM;
use super::kernel_errors::{HOST, of_cause, of_zfs};
use super::leaving_out::leaving_out;
use super::listing::is_of_machine;
use super::local_send::{LocalOutgoing, read_request, request};
use super::session::Limits;
use super::sessions::{Machine, Sessions};
use super::zfs_program::{NAMES_MAX, ZfsProgram};
use super::{
    Bookmarked, ContentSpec, Freeze, Held, HostError, NotMade, Outgoing, Problem, Refusal, SendSpec,
    SnapshotGroup, Snapshots, SourceHost, TakeSpans, content, freezing,
};
use crate::model::{
    BookmarkName, ByteCount, CONSISTENCY_PROPERTY, DatasetName, Details, FILE_SYSTEM_CONSISTENT, Guid,
    LINEAGE_PROPERTY, LineHistory, Listing, PointKind, PointName, RunMark, SnapshotName, Unlisted,
    UserProperty,
};
use crate::stream::Cancel;
use crate::stream::threads::{Begun, beside_or_here};
use crate::zfs::{Cause, Library, LoadError};

/// The types of datasets and points that are listed.
const TYPES: &str = "filesystem,volume,snapshot,bookmark";

/// This machine as the source.
#[derive(Debug)]
pub struct Local {
    calls: Calls,
    program: ZfsProgram,
    limit: Duration,
    /// The path of a zhaul.
    zhaul: PathBuf,
}

impl Local {
    /// Loads the ZFS libraries; says what is missing where that fails. A call that has not returned after `limit` (30 s at
    /// least) is given up; `cancel` ends every wait.
    pub fn new(limit: Duration, cancel: &Cancel) -> Result<Self, LoadError> {
        Self::through(PathBuf::from(THIS_PROGRAM), limit, cancel)
    }

    /// The same with `zhaul`, the path of one, in call processes.
    pub fn through(zhaul: PathBuf, limit: Duration, cancel: &Cancel) -> Result<Self, LoadError> {
        Library::load()?;
        let limits = Limits::within(limit);
        let sessions = Sessions::new(Machine::Local, limits, cancel);
        let program = ZfsProgram::new(HOST.to_owned(), Arc::new(sessions));
        let calls = Calls::new(zhaul.clone(), limits.answer, cancel);
        Ok(Self { calls, program, limit: limits.answer, zhaul })
    }

    /// Lists the roots of each pool at once, so that none waits for another. An error is one of all of them.
    fn list_pools(&self, pools: &[Vec<DatasetName>]) -> Result<Listing, Problem> {
        let died = || Problem::Other("the thread that listed it died; this is a bug".to_owned());
        let answers = at_once("list", pools, |roots| self.program.list_each(roots, TYPES));
        let answers = answers.into_iter().map(|answer| answer.unwrap_or_else(|| Err(died())));
        let mut all = Listing::default();
        let mut failed = Vec::new();
        for (roots, answer) in pools.iter().zip(answers) {
            match answer {
                Ok(listing) => all.absorb(listing),
                Err(problem) if is_of_machine(&problem) => return Err(problem),
                Err(problem) => {
                    for root in roots {
                        all.mark_unlisted(root.as_str(), Unlisted::Failed(problem.to_string()));
                    }
                    failed.push(problem);
                }
            }
        }
        match failed.pop() {
            Some(problem) if failed.len() + 1 == pools.len() => Err(problem),
            _ => Ok(all),
        }
    }

    /// Takes the snapshots of a group; without their properties where these may not be set.
    fn take(&self, group: &SnapshotGroup) -> Result<Vec<NotMade>, HostError> {
        let lineage = group.lineage.iter().map(|value| (LINEAGE_PROPERTY.to_owned(), value.clone()));
        let properties: BTreeMap<String, String> = lineage.chain(group.config.clone()).collect();
        let take = |snapshots: &[SnapshotName]| match self.calls.snapshot(snapshots, &properties) {
            Err(error) if *error.cause() == Cause::PermissionDenied => {
                tracing::warn!("user properties may not be set (zfs allow userprop): {error}");
                self.calls.snapshot(snapshots, &BTreeMap::new())
            }
            result => result,
        };
        if !group.is_one_moment {
            let not_made = leaving_out(group.snapshots.clone(), &ToString::to_string, &take);
            let not_made = not_made.map_err(|error| of_zfs("snapshot", &error))?;
            let not_taken = |(snapshot, problem): (SnapshotName, _)| self.not_taken(&snapshot, problem);
            return Ok(not_made.into_iter().map(not_taken).collect());
        }
        let Err(error) = take(&group.snapshots) else { return Ok(Vec::new()) };
        let cause = of_cause(error.cause());
        let not_taken = group.snapshots.iter().map(|snapshot| {
            let entry = error.entries().iter().find(|entry| entry.name == snapshot.to_string());
            let problem = match entry {
                Some(entry) => of_cause(&entry.cause),
                None if error.entries().is_empty() => cause.clone(),
                None => Problem::Other(format!("it is taken with {} or not at all: {cause}", error.object())),
            };
            self.not_taken(snapshot, problem)
        });
        Ok(not_taken.collect())
    }

    /// Takes the snapshots of all pools at once: a guest may be frozen, and one of its pools may hang.
    fn take_in_each_pool(&self, group: &SnapshotGroup) -> Result<Vec<NotMade>, HostError> {
        let groups = group.by_pool();
        let died = || Problem::Other("the thread that took it died; this is a bug".to_owned());
        let error = || HostError::new(HOST, "snapshot", "a pool", died());
        let answers = at_once("snapshot", &groups, |of_pool| self.take(of_pool));
        let answers: Result<Vec<_>, _> =
            answers.into_iter().map(|answer| answer.unwrap_or_else(|| Err(error()))).collect();
        Ok(answers?.into_iter().flatten().collect())
    }

    /// Sets a user property on datasets or snapshots that exist; they are complete without it.
    fn mark(&self, property: &str, value: &str, names: &[String]) {
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        for some in names.chunks(NAMES_MAX) {
            let set = format!("{property}={value}");
            if let Err(problem) = self.program.run(&[&["set", set.as_str()], some].concat()) {
                tracing::warn!("cannot set {property} on {}: {problem}", some.join(", "));
            }
        }
    }

    fn not_taken(&self, snapshot: &SnapshotName, problem: Problem) -> NotMade {
        let problem = self.program.with_room(problem, snapshot.dataset());
        let problem = self.program.with_reservation(problem, snapshot.dataset());
        NotMade { dataset: snapshot.dataset().clone(), name: snapshot.name().clone(), problem }
    }

    /// Whether a bookmark that exists is of this snapshot.
    fn is_bookmark_of(&self, bookmark: &BookmarkName, of: &SnapshotName) -> bool {
        let found = self.program.identities(of.dataset(), PointKind::Snapshot, &[of.name()]);
        let snapshot = found.ok().and_then(|found| found.get(of.name()).map(|found| found.guid));
        snapshot.is_some() && self.calls.bookmark_guid(bookmark).ok() == snapshot
    }
}

/// Does the work of each at once, the first on this thread, so that none waits for another; `None` where a thread died.
fn at_once<T: Sync, R: Send>(
    name: &'static str,
    each: &[T],
    work: impl Fn(&T) -> R + Sync,
) -> Vec<Option<R>> {
    thread::scope(|scope| {
        let others: Vec<_> =
            each.iter().skip(1).map(|one| beside_or_here(scope, name, || work(one))).collect();
        let first = each.first().map(&work);
        first.map(Some).into_iter().chain(others.into_iter().map(Begun::join)).collect()
    })
}

impl SourceHost for Local {
    fn begin_run(&self, run: RunMark) {
        self.calls.begin_run(run);
    }

    fn list(&self, roots: &[DatasetName]) -> Result<Listing, HostError> {
        if roots.is_empty() {
            return Ok(Listing::default());
        }
        let mut pools: BTreeMap<&str, Vec<DatasetName>> = BTreeMap::new();
        for root in roots {
            pools.entry(root.pool()).or_default().push(root.clone());
        }
        let names: Vec<_> = roots.iter().map(DatasetName::as_str).collect();
        let pools: Vec<_> = pools.into_values().collect();
        self.list_pools(&pools).map_err(|problem| self.program.error("list", names.join(", "), problem))
    }

    fn details(&self, snapshots: &[(SnapshotName, Guid)]) -> Result<Vec<Option<Details>>, HostError> {
        let object = snapshots.first().map(|(name, _)| name.to_string()).unwrap_or_default();
        self.program.details(snapshots).map_err(|problem| self.program.error("look at", object, problem))
    }

    fn lineage(&self, snapshots: &[(SnapshotName, Guid)]) -> Result<Vec<Option<UserProperty>>, HostError> {
        let object = snapshots.first().map(|(name, _)| name.to_string()).unwrap_or_default();
        let read = self.program.user_property(LINEAGE_PROPERTY, snapshots);
        read.map_err(|problem| self.program.error("read the properties of", object, problem))
    }

    fn line_histories(&self, datasets: &[DatasetName]) -> Result<Vec<LineHistory>, HostError> {
        let mut by_pool: BTreeMap<&str, Vec<&DatasetName>> = BTreeMap::new();
        for dataset in datasets {
            by_pool.entry(dataset.pool()).or_default().push(dataset);
        }
        let mut found = BTreeMap::new();
        for (pool, of_pool) in by_pool {
            // A history that cannot be read proves nothing; the run still continues.
            match self.program.line_histories(pool, &of_pool) {
                Ok(histories) => found.extend(of_pool.into_iter().zip(histories)),
                Err(problem @ Problem::Cancelled) => {
                    return Err(self.program.error("read the history of", pool, problem));
                }
                Err(problem) => tracing::warn!("cannot read the history of pool {pool}: {problem}"),
            }
        }
        Ok(datasets.iter().map(|dataset| found.remove(dataset).unwrap_or_default()).collect())
    }

    fn hold(&self, snapshots: &[(SnapshotName, Guid)]) -> Held {
        let mut by_pool: BTreeMap<&str, Vec<SnapshotName>> = BTreeMap::new();
        for (snapshot, _) in snapshots {
            by_pool.entry(snapshot.dataset().pool()).or_default().push(snapshot.clone());
        }
        let mut held = Held::default();
        let mut names = BTreeSet::new();
        for (pool, mut of_pool) in by_pool {
            // The kernel takes those holds that it can, but not always the others' word.
            while !of_pool.is_empty() {
                match self.calls.hold(&of_pool) {
                    Ok(holds) => {
                        held.guard.extend(holds);
                        names.extend(of_pool);
                        break;
                    }
                    Err(error) if error.entries().is_empty() => {
                        tracing::warn!("{pool}: {error}: {}", error.cause());
                        break;
                    }
                    Err(error) => {
                        let is_named = |name: &SnapshotName| {
                            error.entries().iter().any(|entry| entry.name == name.to_string())
                        };
                        let before = of_pool.len();
                        of_pool.retain(|name| !is_named(name));
                        if of_pool.len() == before {
                            break;
                        }
                    }
                }
            }
        }
        // A name may have become another snapshot's before it was held; now it cannot any more.
        let names: Vec<SnapshotName> = names.into_iter().collect();
        let found = self.program.guids(&names).unwrap_or_else(|problem| {
            tracing::warn!("cannot read the GUIDs of the newest snapshots: {problem}");
            HashMap::new()
        });
        let is_it = |(name, guid): &&(SnapshotName, Guid)| found.get(&name.to_string()) == Some(guid);
        held.snapshots = snapshots.iter().filter(is_it).cloned().collect();
        held
    }

    fn config(&self, snapshot: &SnapshotName) -> Result<BTreeMap<String, String>, HostError> {
        let read = self.program.config(snapshot.dataset(), snapshot.name());
        read.map_err(|problem| self.program.error("read the properties of", snapshot, problem))
    }

    fn snapshot(&self, group: &SnapshotGroup) -> Result<Snapshots, HostError> {
        let frozen = group.freeze.as_ref().map(|wanted| freezing::freeze(&self.zhaul, wanted));
        let not_made = self.take_in_each_pool(group);
        let freeze = match frozen {
            None => Freeze::Unwanted,
            Some(Err(not_frozen)) => not_frozen,
            Some(Ok(frozen)) => frozen.thaw(),
        };
        let not_made = not_made?;
        let is_taken = |dataset: &DatasetName| not_made.iter().all(|not| not.dataset != *dataset);
        let to_mark: Vec<String> =
            group.to_mark.iter().filter(|one| is_taken(one)).map(ToString::to_string).collect();
        self.mark(LINEAGE_PROPERTY, "1", &to_mark);
        if freeze == Freeze::Held && not_made.is_empty() {
            let taken = group.snapshots.iter().filter(|one| is_taken(one.dataset()));
            let taken: Vec<String> = taken.map(ToString::to_string).collect();
            self.mark(CONSISTENCY_PROPERTY, FILE_SYSTEM_CONSISTENT, &taken);
        }
        Ok(Snapshots { not_made, freeze })
    }

    fn bookmark(&self, bookmarks: &[(SnapshotName, BookmarkName)]) -> Result<Bookmarked, HostError> {
        let pairs: Vec<_> = bookmarks.iter().map(|(of, name)| (name.clone(), of.clone())).collect();
        let call = |pairs: &[(BookmarkName, SnapshotName)]| self.calls.bookmark(pairs);
        let not_made = leaving_out(pairs, &|(bookmark, _)| bookmark.to_string(), &call);
        let not_made = not_made.map_err(|error| of_zfs("bookmark", &error))?;
        let mut made = Bookmarked::default();
        for ((bookmark, of), problem) in not_made {
            if !matches!(problem, Problem::Exists) || !self.is_bookmark_of(&bookmark, &of) {
                let (dataset, name) = (bookmark.dataset().clone(), bookmark.name().clone());
                made.not_made.push(NotMade { dataset, name, problem });
            }
        }
        let is_left_out = |bookmark: &BookmarkName| {
            let mut all = made.not_made.iter();
            all.any(|one| one.dataset == *bookmark.dataset() && one.name == *bookmark.name())
        };
        let guid = |bookmark: &BookmarkName| self.calls.bookmark_guid(bookmark).ok();
        made.guids =
            bookmarks.iter().map(|(_, name)| if is_left_out(name) { None } else { guid(name) }).collect();
        Ok(made)
    }

    fn destroy_snapshots(
        &self,
        dataset: &DatasetName,
        snapshots: &[(PointName, Guid)],
    ) -> Result<Vec<Refusal>, HostError> {
        let failed = |problem| self.program.error("destroy snapshots of", dataset, problem);
        let (names, mut refusals) =
            self.program.confirm(dataset, PointKind::Snapshot, snapshots).map_err(failed)?;
        let full: Result<Vec<_>, _> = names.into_iter().map(|name| dataset.snapshot(&name)).collect();
        let full = full.map_err(|error| failed(Problem::Other(error.to_string())))?;
        let destroy = |snapshots: &[SnapshotName]| self.calls.destroy_snapshots(snapshots);
        let left = leaving_out(full, &ToString::to_string, &destroy);
        let left = left.map_err(|error| of_zfs("destroy", &error))?;
        refusals
            .extend(left.into_iter().map(|(full, problem)| Refusal { name: full.name().clone(), problem }));
        Ok(refusals)
    }

    fn destroy_bookmarks(
        &self,
        dataset: &DatasetName,
        bookmarks: &[(PointName, Guid)],
    ) -> Result<Vec<Refusal>, HostError> {
        let failed = |problem| self.program.error("destroy bookmarks of", dataset, problem);
        let (names, refusals) =
            self.program.confirm(dataset, PointKind::Bookmark, bookmarks).map_err(failed)?;
        let full: Result<Vec<_>, _> =
            names.into_iter().map(|name| BookmarkName::new(dataset.clone(), name)).collect();
        let full = full.map_err(|e| failed(Problem::Other(e.to_string())))?;
        self.calls.destroy_bookmarks(&full).map_err(|error| of_zfs("destroy", &error))?;
        Ok(refusals)
    }

    fn estimate(&self, spec: &SendSpec, cancel: &Cancel) -> Result<ByteCount, HostError> {
        let bytes = request(spec).and_then(|request| {
            self.calls.estimate_send(&request, cancel).map_err(|error| of_zfs("estimate the size of", &error))
        })?;
        Ok(ByteCount(bytes))
    }

    fn send(&self, spec: &SendSpec) -> Result<Box<dyn Outgoing + '_>, HostError> {
        // No holds: the kernel itself keeps the snapshot and a base snapshot while it sends.
        let (reader, task) = self.calls.send(&request(spec)?).map_err(|error| of_zfs("send", &error))?;
        Ok(Box::new(LocalOutgoing { reader, task, spec: spec.clone(), limit: self.limit }))
    }

    fn content(&self, spec: &ContentSpec, cancel: &Cancel, take: TakeSpans<'_>) -> Result<(), HostError> {
        let request = read_request(spec);
        let (reader, task) = self.calls.send(&request).map_err(|error| of_zfs("read", &error))?;
        let outgoing = LocalOutgoing { reader, task, spec: spec.send(), limit: self.limit };
        let failed = |problem| HostError::new(HOST, "read", &spec.snapshot, problem);
        content::read(Box::new(outgoing), spec, cancel, &failed, take)
    }
}
