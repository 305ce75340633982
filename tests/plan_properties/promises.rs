//! The promises, as checks on the world before and after a run.

use std::collections::{BTreeMap, BTreeSet};

use zhaul::execute::Report;
use zhaul::host::fake::Block;
use zhaul::model::{Change, Dataset, DatasetName, Guid, History, LineageMark, Point, PointKind};
use zhaul::plan::{Action, Place, Plan, Severity, Transfer};

use crate::world::{ROOT, World, dataset};

/// The state at one moment.
pub(crate) struct Before {
    hosts: BTreeMap<&'static str, Vec<Dataset>>,
    archived: BTreeMap<Guid, Vec<Block>>,
}

const HOSTS: [(&str, &str); 3] = [("pve0", "rpool"), ("nfs8", "tank"), ("nfs9", "tank")];

impl Before {
    pub(crate) fn of(world: &World) -> Self {
        let hosts = HOSTS.map(|(host, pool)| (host, world.with_lineage(host, pool)));
        let archived =
            world.archive.contents("tank").into_iter().map(|(_, _, guid, content)| (guid, content));
        Self { hosts: hosts.into_iter().collect(), archived: archived.collect() }
    }
}

/// Every promise that holds after any run, good or bad, crashed or not.
pub(crate) fn check_always(world: &World, before: &Before, run: &Report) {
    check_plan(world, before, &run.plan);
    check_destroyed(world, before);
    check_archive(world, before);
    check_contents(world);
    check_bases(world, before);
}

/// No step destroys anything on the archive; every increment starts at the newest common point.
fn check_plan(world: &World, before: &Before, plan: &Plan) {
    for step in &plan.steps {
        let on_archive = matches!(&step.place, Place::Target(name) if name.0 == "nfs9");
        let destroys = match &step.action {
            Action::DestroyBookmarks { .. } => true,
            Action::Change(change) => change.takes_away(),
            Action::Snapshot { .. } | Action::Bookmark { .. } | Action::Send(_) => false,
        };
        assert!(!(on_archive && destroys), "it destroys on the archive: {step:?}");
    }
    for (step, transfer) in first_sends(plan) {
        let Place::Target(target) = &step.place else { panic!("a transfer to {:?}", step.place) };
        check_first_send(world, before, &target.0, transfer);
    }
}

/// The first transfer of each replication.
fn first_sends(plan: &Plan) -> Vec<(&zhaul::plan::Step, &Transfer)> {
    let mut seen = BTreeSet::new();
    transfers(plan)
        .filter(|(step, transfer)| seen.insert((step.place.clone(), transfer.target.dataset().clone())))
        .collect()
}

fn transfers(plan: &Plan) -> impl Iterator<Item = (&zhaul::plan::Step, &Transfer)> {
    plan.steps.iter().filter_map(|step| match &step.action {
        Action::Send(transfer) => Some((step, transfer.as_ref())),
        _ => None,
    })
}

fn check_first_send(world: &World, before: &Before, target: &str, transfer: &Transfer) {
    let source = find(&before.hosts["pve0"], transfer.snapshot.dataset()).unwrap();
    if let Some(base) = &transfer.base {
        let known = source.history.named(base.kind, &base.name);
        assert_eq!(
            known.map(|point| point.guid),
            Some(base.guid),
            "the base is not what it was: {transfer:?}"
        );
    }
    // Where setting aside was interrupted, the copy's snapshots are still in the lineage.
    let name = transfer.target.dataset();
    let is_unfinished = |one: &&Dataset| one.set_aside().is_some_and(|mark| !mark.done && mark.of == *name);
    let unfinished = before.hosts[target].iter().find(is_unfinished);
    let there =
        find(&before.hosts[target], name).filter(|there| unfinished.is_none() || !there.history.is_empty());
    let there = there.or(unfinished);
    let common = there.and_then(|there| common(&source.history, &there.history));
    if transfer.resume.is_some() {
        return;
    }
    let is_aside = transfer.creates_dataset && there.is_some();
    match (common, &transfer.base) {
        (Some(common), Some(base)) => {
            let newest = there.and_then(|there| certain(world, source, &there.history));
            assert_eq!(newest, Some(base.guid), "not the newest common point, of {common}: {transfer:?}");
        }
        (None, None) => {}
        (Some(_), None) => {
            let least = there.and_then(|there| certain(world, source, &there.history));
            assert!(is_aside || least.is_none(), "everything is sent again: {transfer:?}");
        }
        (None, Some(_)) => panic!("the base is not on {target}: {transfer:?}"),
    }
    assert!(world.shared_state.has_crashed() || transfer.base.is_some() || transfer.creates_dataset);
}

fn find<'a>(datasets: &'a [Dataset], name: &DatasetName) -> Option<&'a Dataset> {
    datasets.iter().find(|dataset| dataset.name == *name)
}

/// The newest target snapshot that the source knows.
pub(crate) fn common(source: &History, target: &History) -> Option<Guid> {
    let known = |guid: Guid| source.points().any(|point| point.guid == guid && !point.is_destroy_deferred());
    target.snapshots().rev().map(|point| point.guid).find(|guid| known(*guid))
}

/// The newest target snapshot that is certain to be a base: the source has it as a snapshot; or as a bookmark that one of its
/// snapshots proves; or, before any was marked, as one after which the next snapshot is an own one that was taken there; or one
/// that the pool's history proves.
fn certain(world: &World, source: &Dataset, target: &History) -> Option<Guid> {
    let history = &source.history;
    let snapshots = || history.points().filter(|point| point.kind == PointKind::Snapshot);
    let is_proven = |bookmark: &Point| {
        snapshots().any(|point| match source.lineage.get(&point.guid) {
            Some(LineageMark::Proof(proof)) => proof.covers(source.createtxg, point, bookmark),
            _ => false,
        })
    };
    let is_unmarked = !source.has_lineage()
        && snapshots().all(|point| source.lineage.get(&point.guid) == Some(&LineageMark::Absent));
    let is_next_own = |bookmark: &Point| {
        let next = snapshots().find(|point| point.createtxg > bookmark.createtxg);
        let is_bookmarked = |next: &Point| history.bookmarks().any(|other| other.guid == next.guid);
        next.is_some_and(|next| world.is_own(&next.name) && is_bookmarked(next))
    };
    let is_certain = |point: &Point| {
        let history = source.line_history.as_ref();
        point.kind == PointKind::Snapshot
            || is_proven(point)
            || (is_unmarked && is_next_own(point))
            || history.is_some_and(|history| history.proves(source.createtxg, point))
    };
    let mut all = target.snapshots().rev().map(|point| point.guid);
    all.find(|guid| {
        history.find(*guid).is_some_and(|point| !point.is_destroy_deferred() && is_certain(point))
    })
}

/// Only own snapshots go, and never a held or cloned one; datasets go only where they were superseded.
fn check_destroyed(world: &World, before: &Before) {
    for (host, pool) in HOSTS {
        let after = world.host(host).datasets(pool);
        for was in &before.hosts[host] {
            let Some(is) = after.iter().find(|is| is.guid == was.guid) else {
                let was_superseded = host == "nfs8" && was.set_aside().is_some_and(|mark| mark.done);
                let was_begun = host != "pve0" && was.history.is_empty() && was.resume_token.is_some();
                // Its clones may go before it; each of them is looked at by itself.
                let is_gone = |one: &&Dataset| !after.iter().any(|is| is.guid == one.guid);
                let gone: Vec<_> =
                    before.hosts[host].iter().filter(is_gone).filter_map(|one| one.origin.as_ref()).collect();
                let is_free = |point: &Point| {
                    let clones = gone
                        .iter()
                        .filter(|origin| *origin.dataset() == was.name && *origin.name() == point.name);
                    !point.is_held_or_cloned_but_for(u32::try_from(clones.count()).unwrap())
                };
                let may_go = (was_superseded || was_begun)
                    && was.history.points().all(|point| world.is_own(&point.name) && is_free(point));
                assert!(may_go, "{host}: {} is gone", was.name);
                continue;
            };
            for point in was.history.points().filter(|point| point.kind == PointKind::Snapshot) {
                // `zfs promote` moves snapshots between a copy and what was set aside of it.
                let mut now = after.iter().flat_map(|is| is.history.points());
                let stays = now.any(|other| other.guid == point.guid && other.kind == point.kind);
                let may_go = host != "nfs9" && world.is_own(&point.name) && !is_held(point, was);
                assert!(stays || may_go, "{host}: {}@{} is gone", was.name, point.name);
            }
            for point in was.history.bookmarks() {
                let stays = is.history.bookmarks().any(|other| other.guid == point.guid);
                assert!(stays, "{host}: {}#{} is gone", was.name, point.name);
            }
        }
    }
}

/// Whether it could not be destroyed; the hidden clone of an aborted receive does not count.
fn is_held(point: &Point, dataset: &Dataset) -> bool {
    let hidden = u32::from(dataset.resume_token.is_some());
    point.details.is_none_or(|details| details.holds > 0) || point.clones > hidden
}

/// Every snapshot that was complete on the archive is still there, with the same content.
fn check_archive(world: &World, before: &Before) {
    let mut now: BTreeMap<Guid, Vec<Vec<Block>>> = BTreeMap::new();
    for (_, _, guid, content) in world.archive.contents("tank") {
        now.entry(guid).or_default().push(content);
    }
    for (guid, content) in &before.archived {
        assert!(now.get(guid).is_some_and(|all| all.contains(content)), "the archive has lost GUID {guid}");
    }
}

/// A target's snapshot holds what the source's snapshot of that GUID held.
fn check_contents(world: &World) {
    for (target, _, host) in world.targets() {
        for (dataset, name, guid, content) in host.contents("tank") {
            if let Some(truth) = world.truth.get(&guid) {
                assert_eq!(truth, &content, "{target}: {dataset}@{name} is not what was sent");
            }
        }
    }
}

/// Where there was a common point there still is one, and it is no older.
fn check_bases(world: &World, before: &Before) {
    for was in &before.hosts["pve0"] {
        let Some(relative) = was.name.below(&dataset(ROOT)) else {
            continue;
        };
        let now = world.source.datasets(was.name.as_str());
        let Some(is) = find(&now, &was.name).filter(|is| is.guid == was.guid) else {
            continue;
        };
        for (target, root, host) in world.targets() {
            let name = dataset(root).child(relative).unwrap();
            let there_was =
                find(&before.hosts[target], &name).map(|there| there.history.clone()).unwrap_or_default();
            let Some(base) = certain(world, was, &there_was) else {
                continue;
            };
            let listed = host.datasets("tank");
            let line = listed.iter().filter(|there| there.name.as_str().starts_with(name.as_str()));
            let newest = line
                .filter_map(|there| common(&is.history, &there.history))
                .filter_map(|guid| Some(is.history.find(guid)?.createtxg));
            let old = was.history.find(base).unwrap().createtxg;
            let newest = newest.max();
            assert!(
                newest.is_some_and(|new| new >= old),
                "{target}: {name} has lost its base (was {old:?}, is {newest:?})"
            );
        }
    }
}

/// Checks after a run in which every step was done.
pub(crate) fn check_good_run(world: &World, before: &Before, run: &Report) {
    check_always(world, before, run);
    // Snapshots that a broken-off receive needs are not pruned in the run that resumes it, lest the resuming breaks off too.
    if !has_resumed(&run.plan) {
        check_nothing_left(world, &run.plan);
        check_kept(world, before, &run.plan);
    }
    for relative in world.sources() {
        check_caught_up(world, &relative, &run.plan);
    }
    for (target, _, host) in world.targets() {
        for one in host.datasets("tank").iter().filter(|one| one.history.newest_snapshot().is_some()) {
            let is_received = one.history.snapshots().any(|point| world.truth.contains_key(&point.guid));
            assert!(
                !is_received || host.is_safe_copy(one.name.as_str()),
                "{target}: {} is not a safe copy",
                one.name
            );
        }
    }
}

/// Whether the plan resumes a receive that broke off.
pub(crate) fn has_resumed(plan: &Plan) -> bool {
    transfers(plan).any(|(_, transfer)| transfer.resume.is_some())
}

/// Right after a good run there is nothing to do, except for what the run itself has made possible: a backup may have been
/// sent intermediates that its own rules do not keep, and a line renamed aside may only now have a successor. Nothing that
/// is new goes in the run that brings it: the next one prunes it, and also the base that a lineage was a clone of which
/// expired in this run. Gives whether there was any such thing.
pub(crate) fn check_nothing_left(world: &World, done: &Plan) -> bool {
    let plan = world.plan(false);
    let sent: Vec<&Transfer> = transfers(done).map(|(_, transfer)| transfer).collect();
    let has_expired = |copy: &DatasetName| {
        done.steps.iter().any(|step| match &step.action {
            Action::Change(Change::DestroyDataset { dataset, .. }) => {
                dataset.as_str().starts_with(&format!("{copy}."))
            }
            _ => false,
        })
    };
    let is_next = |action: &Action| match action {
        Action::Change(Change::DestroySnapshots { dataset, snapshots }) => {
            has_expired(dataset)
                || snapshots.iter().all(|to_destroy| {
                    sent.iter().any(|sent| {
                        sent.target.dataset() == dataset && *sent.target.name() == to_destroy.name
                    })
                })
        }
        Action::Change(Change::DestroyDataset { dataset, .. }) => {
            sent.iter().any(|sent| dataset.as_str().starts_with(&format!("{}.", sent.target.dataset())))
        }
        _ => false,
    };
    let rest: Vec<_> = plan.steps.iter().filter(|step| !is_next(&step.action)).collect();
    assert!(rest.is_empty(), "something is left to do: {rest:#?}");
    !plan.steps.is_empty()
}

/// The source has exactly the own snapshots that its rule keeps, and those that could not be destroyed.
fn check_kept(world: &World, before: &Before, plan: &Plan) {
    let Some(keep) = world.policy.keep_at_source.last.and_then(|last| usize::try_from(last).ok()) else {
        return;
    };
    let is_left_out = |name: &DatasetName| plan.left_out.iter().any(|out| out.dataset == *name);
    for is in world.source.datasets(ROOT).into_iter().filter(|is| !is_left_out(&is.name)) {
        let was = find(&before.hosts["pve0"], &is.name);
        let earlier = was.into_iter().flat_map(|was| was.history.points());
        let all = earlier.chain(is.history.points()).filter(|point| point.kind == PointKind::Snapshot);
        let mut own: Vec<&Point> = all.filter(|point| world.is_own(&point.name)).collect();
        own.sort_by_key(|point| (world.policy.name_format.time(&point.name), point.createtxg));
        own.dedup_by_key(|point| point.guid);
        let newest = own.iter().max_by_key(|point| point.createtxg);
        let last = newest.map(|point| point.createtxg);
        // A snapshot that a fast clock dated in the future stays, and takes no place from real ones. The run's own
        // snapshot may be dated a little ahead, so that names go up.
        let named = newest.and_then(|point| world.policy.name_format.time(&point.name));
        let is_future =
            |point: &Point| world.policy.name_format.time(&point.name) > named.max(Some(world.now));
        let future = own.iter().filter(|point| is_future(point)).count();
        let kept = own.iter().rev().enumerate().filter(|(rank, point)| {
            *rank < keep + future || point.is_held_or_cloned() || Some(point.createtxg) == last
        });
        let expected: BTreeSet<Guid> = kept.map(|(_, point)| point.guid).collect();
        let present = is
            .history
            .points()
            .filter(|point| point.kind == PointKind::Snapshot && world.is_own(&point.name));
        let present: BTreeSet<Guid> = present.map(|point| point.guid).collect();
        assert_eq!(present, expected, "{} does not keep the newest {keep}", is.name);
    }
}

/// The backup has the newest own snapshot of the source, unless the plan says why not.
pub(crate) fn check_caught_up(world: &World, relative: &str, plan: &Plan) {
    let name = dataset(ROOT).child(relative).unwrap();
    let is_excused = plan.findings.iter().any(|finding| {
        finding.severity >= Severity::Blocked
            && matches!(&finding.place, Place::Target(target) if target.0 == "nfs8")
            && finding.dataset.as_ref().is_none_or(|dataset| *dataset == name)
    });
    let is_excused = is_excused || plan.left_out.iter().any(|out| out.dataset == name);
    let source = world.source.datasets(name.as_str());
    let own = |point: &&Point| world.is_own(&point.name);
    let Some(newest) = find(&source, &name).and_then(|one| one.history.snapshots().rev().find(own).cloned())
    else {
        return;
    };
    let copy = dataset(crate::world::BACKUP_ROOT).child(relative).unwrap();
    let there = world.backup.datasets(copy.as_str());
    let arrived = find(&there, &copy).is_some_and(|there| there.history.find_snapshot(newest.guid).is_some());
    assert!(arrived || is_excused, "{copy} has not got @{}: {:#?}", newest.name, plan.findings);
}
