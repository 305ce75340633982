//! Random histories of months: guests write, people meddle, machines vanish, and the program dies anywhere. Whatever
//! happened, every promise holds after every run, and one plain run puts everything right.

use jiff::SignedDuration;
use proptest::prelude::*;
use zhaul::host::fake::Moment;
use zhaul::model::DatasetKind;
use zhaul::plan::Severity;
use zhaul::policy::ArchiveDivergence;

use crate::acts::{self, Op, VOLUMES, meddle, ops};
use crate::promises::{
    Before, check_always, check_caught_up, check_good_run, check_nothing_left, has_resumed,
};
use crate::world::{ROOT, World, is_good, policy, removes_at_once};

/// How many snapshots either side keeps.
const KEEP: u32 = 3;

/// One run, with what must hold after it; then the faults that were made for it are over.
fn run(world: &mut World) {
    world.remember();
    let plan = world_plan(world);
    let Some(plan) = plan else {
        return world.shared_state.restart();
    };
    let before = Before::of(world);
    let report = world.execute(plan);
    check_always(world, &before, &report);
    world.shared_state.restart();
    for host in [&world.backup, &world.archive] {
        host.cut_streams_after(None);
    }
    if is_good(&report) && report.worst_finding() < Some(Severity::Blocked) {
        check_good_run(world, &before, &report);
    }
    world.advance(SignedDuration::from_secs(1));
}

/// The plan; `None` where the program had died before it could make one.
fn world_plan(world: &World) -> Option<zhaul::plan::Plan> {
    if world.shared_state.has_crashed() { None } else { Some(world.plan(true)) }
}

/// Lives through `ops`, and heals.
pub(crate) fn live(ops: &[Op], intermediates: bool) {
    for removes in [false, true] {
        live_with(ops, intermediates, removes);
    }
}

fn live_with(ops: &[Op], intermediates: bool, removes: bool) {
    let mut world = World::new(policy(KEEP, intermediates, ArchiveDivergence::Keep));
    removes_at_once(&mut world.policy, removes);
    for (volume, kind) in VOLUMES.iter().zip([DatasetKind::Volume, DatasetKind::Filesystem]) {
        world.source.create(&format!("{ROOT}/{volume}"), kind).unwrap();
    }
    for (number, op) in ops.iter().enumerate() {
        meddle(&mut world, op, number);
        if matches!(op, Op::Run | Op::Crash { .. } | Op::Cut { .. }) {
            run(&mut world);
        }
    }
    heal(&mut world);
}

/// Everything answers again: one plain run puts all right, and then there is nothing left to do.
fn heal(world: &mut World) {
    acts::settle(world);
    for host in [&world.backup, &world.archive] {
        host.set_unreachable(false);
        host.cut_streams_after(None);
    }
    world.shared_state.restart();
    world.advance(SignedDuration::from_hours(24 * 40));
    world.remember();
    let before = Before::of(world);
    let report = world.run();
    check_always(world, &before, &report);
    assert!(is_good(&report), "a step failed: {:#?}", report.failures().collect::<Vec<_>>());
    for volume in VOLUMES {
        check_caught_up(world, volume, &report.plan);
    }
    let is_done = !has_resumed(&report.plan) && !check_nothing_left(world, &report.plan);
    if !is_done {
        world.advance(SignedDuration::from_hours(1));
        let report = world.run();
        assert!(!check_nothing_left(world, &report.plan), "a second run was not enough");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, max_shrink_iters: 4000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happened_one_run_puts_all_right(ops in prop::collection::vec(ops(), 1..60), intermediates in any::<bool>()) {
        live(&ops, intermediates);
    }
}

/// Every step of two runs, the first full and the second incremental, dies in every way there is.
#[test]
fn a_crash_at_any_step_is_healed_by_the_next_run() {
    for intermediates in [false, true] {
        for changes in 0..16 {
            for moment in [Moment::Before, Moment::After, Moment::AfterBlocks(0), Moment::AfterBlocks(2)] {
                let busy = |hours| {
                    [
                        Op::Write { volume: 0, blocks: 3 },
                        Op::Write { volume: 1, blocks: 3 },
                        Op::Wait { hours },
                    ]
                };
                let crash = Op::Crash { changes, moment };
                let mut ops = busy(1).to_vec();
                ops.push(crash.clone());
                ops.extend(busy(24));
                ops.push(Op::Run);
                for _ in 0..4 {
                    ops.extend(busy(24 * 10));
                    ops.push(crash.clone());
                }
                live(&ops, intermediates);
            }
        }
    }
}

/// A run that dies between the destruction of a diverged copy's snapshots and the rollback of its head.
#[test]
fn a_crash_before_a_rollback_is_healed_by_the_next_run() {
    for changes in 0..12 {
        let mut ops = vec![Op::Run, Op::Run, Op::Run, Op::Run, Op::Write { volume: 0, blocks: 2 }, Op::Run];
        ops.extend([Op::UserSnapshot { volume: 0 }, Op::Run, Op::Rollback { volume: 0, back: 3 }]);
        ops.push(Op::Crash { changes, moment: Moment::After });
        live(&ops, false);
    }
}

/// Held snapshots let a source have more than its backup keeps: all are sent, and the next run prunes them there.
#[test]
fn more_intermediates_than_a_backup_keeps_are_pruned_by_the_next_run() {
    let hold = |back| Op::Hold { volume: 0, back };
    let mut ops = vec![Op::Unreachable { is_backup: true, is_off: true }, Op::Run, Op::Run, Op::Run];
    ops.extend([hold(0), hold(1), hold(2), Op::Run, Op::Run]);
    live(&ops, true);
}

/// A clock set back by more than names follow: a backup that was down is sent a snapshot whose name is older than all that
/// it keeps, and the next run prunes it there.
#[test]
fn a_snapshot_of_a_clock_set_back_is_pruned_by_the_run_after_its_arrival() {
    let is_off = |is_off| Op::Unreachable { is_backup: true, is_off };
    let mut ops = vec![Op::Run, Op::Run, Op::ClockStep { hours: -8 }, is_off(true)];
    ops.extend([Op::Run, Op::Run, Op::Run, Op::ClockStep { hours: -29 }, Op::Run]);
    live(&ops, true);
}

/// The hidden clone of a receive that broke off pins the backup's newest snapshot only until the run that drops it.
#[test]
fn a_receive_that_is_dropped_keeps_nothing_from_being_pruned() {
    let mut ops = vec![Op::Run, Op::Write { volume: 0, blocks: 1 }, Op::Cut { is_backup: true, blocks: 1 }];
    ops.push(Op::Unreachable { is_backup: true, is_off: true });
    ops.extend([Op::Run, Op::Run, Op::Run]);
    ops.extend([0, 1].map(|_| Op::Crash { changes: 1, moment: Moment::Before }));
    live(&ops, true);
}

/// A superseded line whose time is up on the day its successor at last arrives goes with the run after that.
#[test]
fn an_expired_line_goes_once_its_successor_is_seen() {
    let recreate = || Op::Recreate { volume: 0 };
    let cut = |is_backup| Op::Cut { is_backup, blocks: 0 };
    let ops = [Op::Run, recreate(), cut(false), Op::Wait { hours: 816 }, recreate(), cut(true)];
    live(&[ops.as_slice(), &[Op::Wait { hours: 384 }]].concat(), false);
}

/// A run that dies between any two steps of setting aside.
#[test]
fn a_crash_while_a_lineage_is_set_aside_is_healed_by_the_next_run() {
    for changes in 0..16 {
        for moment in [Moment::Before, Moment::After] {
            let mut ops = vec![Op::Run, Op::Write { volume: 0, blocks: 1 }, Op::Run, Op::Run];
            ops.extend([Op::Rollback { volume: 0, back: 2 }, Op::Crash { changes, moment }]);
            live(&ops, false);
        }
    }
}

/// The base of a lineage that was set aside is a clone's origin until the lineage expires; the next run prunes it.
#[test]
fn the_base_of_a_lineage_that_expires_is_pruned_by_the_next_run() {
    let mut ops = vec![Op::Run, Op::Write { volume: 0, blocks: 1 }, Op::Run, Op::Run];
    ops.extend([Op::Rollback { volume: 0, back: 2 }, Op::Run, Op::Run, Op::Run, Op::Run]);
    ops.extend([Op::Wait { hours: 126 }, Op::Run, Op::Wait { hours: 1074 }]);
    live(&ops, false);
}
