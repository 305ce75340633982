//! Details that a listing leaves out are loaded where a decision depends on them, and nowhere else; a snapshot without
//! them is not destroyed. That loading step by step gives the same plan as knowing everything is checked for every world
//! ([`World::plan_with`]).

use std::cell::Cell;

use jiff::SignedDuration;
use zhaul::discover;
use zhaul::model::{Answer, DatasetKind, Inventory, TargetName};
use zhaul::plan::{self, Action, FindingKind, Plan, Request, Severity, ToDestroy};
use zhaul::policy::ArchiveDivergence;

use crate::world::{BACKUP_ROOT, ROOT, World, is_good, policy};

/// A world in which `days` runs have gone well; two snapshots stay at the source, four at the backup.
fn world(days: i64) -> World {
    let mut world = World::new(policy(2, false, ArchiveDivergence::Stop));
    world.source.create(&format!("{ROOT}/v"), DatasetKind::Volume).unwrap();
    for _ in 0..days {
        world.source.write(&format!("{ROOT}/v"), 1).unwrap();
        assert!(is_good(&world.run()));
        world.advance(SignedDuration::from_hours(24));
    }
    world.shared_state.take_calls();
    world
}

fn request(world: &World, take_snapshot: bool) -> Request {
    Request { now: world.now, take_snapshot, force_archive: false, guests: Vec::new() }
}

/// The points of the only dataset below `root`, oldest first.
fn snapshots(world: &World, host: &str, root: &str) -> Vec<String> {
    let listed = world.host(host).datasets(&format!("{root}/v"));
    listed[0].history.snapshots().map(|point| format!("{root}/v@{}", point.name)).collect()
}

fn destroyed(plan: &Plan) -> Vec<String> {
    let points = plan.steps.iter().flat_map(|step| match &step.action {
        Action::Change(change) => {
            let name = |to_destroy: &ToDestroy| format!("{}@{}", change.dataset(), to_destroy.name);
            change.destroyed().iter().map(name).collect()
        }
        _ => Vec::new(),
    });
    points.collect()
}

fn details_asked(world: &World) -> usize {
    world.shared_state.take_calls().iter().filter(|call| call.verb == "details").count()
}

#[test]
fn a_run_with_nothing_to_do_asks_for_no_details() {
    let world = world(6);
    let plan = world.plan(false);
    assert!(plan.steps.is_empty(), "{:?}", plan.steps);
    assert_eq!(details_asked(&world), 0);
    assert!(!destroyed(&world.plan(true)).is_empty(), "the next snapshot pushes out old ones");
    assert_eq!(details_asked(&world), 2, "the source and the backup, once each");
}

#[test]
fn what_is_not_known_is_not_destroyed() {
    let world = world(6);
    let planned = plan::plan(&world.policy, &world.inventory(), &request(&world, true)).unwrap();
    assert!(!planned.wants.is_empty());
    assert_eq!(destroyed(&planned.plan), [""; 0]);
    let findings =
        planned.plan.findings.iter().filter(|finding| matches!(finding.kind, FindingKind::NotPruned { .. }));
    assert_eq!(findings.count(), 2, "{:?}", planned.plan.findings);
}

#[test]
fn a_snapshot_that_will_vanish_pushes_no_other_one_out() {
    let world = world(6);
    let there = snapshots(&world, "nfs8", BACKUP_ROOT);
    assert_eq!(there.len(), 4);
    assert!(destroyed(&world.plan(true)).contains(&there[0]));
    world.backup.hold("keep", &there[2]).unwrap();
    world.backup.destroy_deferred(&there[2]).unwrap();
    assert!(!destroyed(&world.plan(true)).contains(&there[0]), "only three would be left, and then two");
}

#[test]
fn no_increment_begins_at_a_snapshot_that_will_vanish() {
    let world = world(3);
    let newest = snapshots(&world, "pve0", ROOT).pop().unwrap();
    world.source.hold("keep", &newest).unwrap();
    world.source.destroy_deferred(&newest).unwrap();
    let plan = world.plan(true);
    let bases: Vec<_> = plan
        .steps
        .iter()
        .filter_map(|step| match &step.action {
            Action::Send(transfer) => transfer.base.as_ref(),
            _ => None,
        })
        .map(|base| base.kind.separator())
        .collect();
    assert_eq!(bases, ['#'], "its bookmark stays");
}

#[test]
fn a_bookmark_is_not_given_up_for_a_base_that_will_vanish() {
    let mut world = world(6);
    world.policy.keep_bookmarks = Some(0);
    let (here, there) = (snapshots(&world, "pve0", ROOT), snapshots(&world, "nfs8", BACKUP_ROOT));
    let before = &here[here.len() - 2];
    world.source.destroy_point(before).unwrap();
    world.backup.hold("keep", &there[3]).unwrap();
    world.backup.destroy_deferred(&there[3]).unwrap();
    let kept = before.rsplit_once('@').unwrap().1;
    let plan = world.plan(false);
    let gone: Vec<_> = plan
        .steps
        .iter()
        .filter_map(|step| match &step.action {
            Action::DestroyBookmarks { bookmarks, .. } => Some(bookmarks),
            _ => None,
        })
        .flatten()
        .map(|to_destroy| to_destroy.name.as_str())
        .collect();
    assert_eq!(gone.len(), 4, "{gone:?}");
    assert!(!gone.contains(&kept), "{gone:?}");
}

/// Plans after the listing, while `meanwhile` happens between the listing and the closer look.
fn plan_while(world: &World, meanwhile: impl Fn(usize)) -> (Plan, Inventory) {
    let (mut inventory, rounds) = (world.inventory(), Cell::new(0));
    let request = request(world, true);
    let plan = discover::complete(&mut inventory, &world.source, &world.boxed_targets(), |known| {
        let planned = plan::plan(&world.policy, known, &request);
        meanwhile(rounds.replace(rounds.get() + 1));
        planned
    });
    (plan.unwrap(), inventory)
}

#[test]
fn a_snapshot_that_is_gone_by_then_is_planned_for_no_more() {
    let world = world(6);
    let oldest = snapshots(&world, "nfs8", BACKUP_ROOT)[0].clone();
    let (plan, _) = plan_while(&world, |round| {
        if round == 0 {
            world.backup.destroy_point(&oldest).unwrap();
        }
    });
    assert!(destroyed(&plan).iter().all(|name| !name.starts_with(BACKUP_ROOT)), "{:?}", destroyed(&plan));
}

#[test]
fn a_host_that_answers_no_more_is_one_that_could_not_be_asked() {
    let world = world(6);
    let (plan, inventory) = plan_while(&world, |_| world.backup.set_unreachable(true));
    assert!(matches!(inventory.targets[&TargetName("nfs8".to_owned())], Answer::CouldNotAsk(_)));
    assert!(plan.findings.iter().any(|finding| finding.severity == Severity::Failed));
    assert!(plan.steps.iter().all(|step| step.place.to_string() != "nfs8"));
}

#[test]
fn planning_ends_even_if_something_is_always_lacking() {
    let world = world(6);
    let (mut inventory, rounds) = (world.inventory(), Cell::new(0));
    let first = world.inventory();
    let request = request(&world, true);
    let plan = discover::complete(&mut inventory, &world.source, &world.boxed_targets(), |_| {
        rounds.set(rounds.get() + 1);
        plan::plan(&world.policy, &first, &request)
    });
    assert!((2..20).contains(&rounds.get()), "{}", rounds.get());
    assert_eq!(destroyed(&plan.unwrap()), [""; 0]);
}
