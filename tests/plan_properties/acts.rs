//! The events of a random history of months: of guests, snapshots, machines and clocks.

use jiff::SignedDuration;
use proptest::prelude::*;
use zhaul::host::fake::Moment;
use zhaul::model::{DatasetKind, Unlisted};

use crate::world::{BACKUP_ROOT, ROOT, World, dataset};

/// The volumes of a history.
pub(crate) const VOLUMES: [&str; 2] = ["vm-100-disk-0", "subvol-101-disk-0"];

/// The calls that may fail.
const VERBS: [&str; 6] = ["snapshot", "bookmark", "destroy_snapshots", "send", "receive", "change"];

/// An event.
#[derive(Debug, Clone)]
pub(crate) enum Op {
    Write {
        volume: usize,
        blocks: usize,
    },
    UserSnapshot {
        volume: usize,
    },
    /// Rolls back, past whatever is newer.
    Rollback {
        volume: usize,
        back: usize,
    },
    RenameSnapshot {
        volume: usize,
        back: usize,
    },
    DestroySnapshot {
        volume: usize,
        back: usize,
    },
    Hold {
        volume: usize,
        back: usize,
    },
    Recreate {
        volume: usize,
    },
    Migrate {
        volume: usize,
    },
    Unreachable {
        is_backup: bool,
        is_off: bool,
    },
    CloneOnBackup {
        volume: usize,
    },
    HoldOnBackup {
        volume: usize,
    },
    RenameOnBackup {
        volume: usize,
    },
    /// No snapshot can be taken of it, or again.
    Full {
        volume: usize,
        is_full: bool,
    },
    /// `zhaul:backup=off`, or `on`.
    OptOut {
        volume: usize,
        is_out: bool,
    },
    /// A listing leaves it out, or has it again.
    Unlisted {
        volume: usize,
        is_copy: bool,
        is_unlisted: bool,
    },
    /// One call of this kind fails.
    Fails {
        host: usize,
        verb: &'static str,
        nth: u64,
    },
    Wait {
        hours: i64,
    },
    ClockStep {
        hours: i64,
    },
    Run,
    Crash {
        changes: u64,
        moment: Moment,
    },
    Cut {
        is_backup: bool,
        blocks: u64,
    },
}

pub(crate) fn ops() -> impl Strategy<Value = Op> {
    let volume = || 0..VOLUMES.len();
    let moment =
        prop_oneof![Just(Moment::Before), Just(Moment::After), (0..4_u64).prop_map(Moment::AfterBlocks)];
    prop_oneof![
        8 => (volume(), 1..5_usize).prop_map(|(volume, blocks)| Op::Write { volume, blocks }),
        2 => volume().prop_map(|volume| Op::UserSnapshot { volume }),
        2 => (volume(), 0..4_usize).prop_map(|(volume, back)| Op::Rollback { volume, back }),
        1 => (volume(), 0..4_usize).prop_map(|(volume, back)| Op::RenameSnapshot { volume, back }),
        1 => (volume(), 0..4_usize).prop_map(|(volume, back)| Op::DestroySnapshot { volume, back }),
        1 => (volume(), 0..4_usize).prop_map(|(volume, back)| Op::Hold { volume, back }),
        1 => volume().prop_map(|volume| Op::Recreate { volume }),
        1 => volume().prop_map(|volume| Op::Migrate { volume }),
        2 => (any::<bool>(), any::<bool>()).prop_map(|(is_backup, is_off)| Op::Unreachable { is_backup, is_off }),
        1 => volume().prop_map(|volume| Op::CloneOnBackup { volume }),
        1 => volume().prop_map(|volume| Op::HoldOnBackup { volume }),
        1 => volume().prop_map(|volume| Op::RenameOnBackup { volume }),
        1 => (volume(), any::<bool>()).prop_map(|(volume, is_full)| Op::Full { volume, is_full }),
        1 => (volume(), any::<bool>()).prop_map(|(volume, is_out)| Op::OptOut { volume, is_out }),
        1 => (volume(), any::<bool>(), any::<bool>())
            .prop_map(|(volume, is_copy, is_unlisted)| Op::Unlisted { volume, is_copy, is_unlisted }),
        2 => (0..3_usize, prop::sample::select(VERBS.to_vec()), 0..4_u64)
            .prop_map(|(host, verb, nth)| Op::Fails { host, verb, nth }),
        8 => (1..24 * 20_i64).prop_map(|hours| Op::Wait { hours }),
        1 => (-30..30_i64).prop_map(|hours| Op::ClockStep { hours }),
        10 => Just(Op::Run),
        6 => (0..14_u64, moment).prop_map(|(changes, moment)| Op::Crash { changes, moment }),
        3 => (any::<bool>(), 0..4_u64).prop_map(|(is_backup, blocks)| Op::Cut { is_backup, blocks }),
    ]
}

/// The name of a source volume's snapshot, counted back from the newest.
fn snapshot_back(world: &World, volume: usize, back: usize) -> Option<String> {
    let name = format!("{ROOT}/{}", VOLUMES[volume]);
    let all = world.source.datasets(&name);
    let point = all.first()?.history.snapshots().rev().nth(back)?;
    Some(format!("{name}@{}", point.name))
}

/// Changes by people, guests and machines. Most of them may be refused; then nothing happened.
pub(crate) fn meddle(world: &mut World, op: &Op, number: usize) {
    let here = |volume: usize| format!("{ROOT}/{}", VOLUMES[volume]);
    let newest_there = |world: &World, volume: usize| {
        let name = format!("{BACKUP_ROOT}/{}", VOLUMES[volume]);
        let all = world.backup.datasets(&name);
        all.first().and_then(|there| Some(format!("{name}@{}", there.history.newest_snapshot()?.name)))
    };
    let host = |world: &World, is_backup: bool| {
        if is_backup { world.backup.clone() } else { world.archive.clone() }
    };
    match op {
        Op::Write { volume, blocks } => drop(world.source.write(&here(*volume), *blocks)),
        Op::UserSnapshot { volume } => {
            drop(world.source.take(&[&format!("{}@manual-{number}", here(*volume))]));
        }
        Op::Rollback { volume, back } => {
            if let Some(name) = snapshot_back(world, *volume, *back) {
                world.source.roll_back_past_newer(&name).ok();
            }
        }
        Op::RenameSnapshot { volume, back } => {
            if let Some(name) = snapshot_back(world, *volume, *back) {
                world.source.rename(&name, &format!("{}@kept-{number}", here(*volume))).ok();
            }
        }
        Op::DestroySnapshot { volume, back } => {
            if let Some(name) = snapshot_back(world, *volume, *back) {
                world.source.destroy_point(&name).ok();
            }
        }
        Op::Hold { volume, back } => {
            if let Some(name) = snapshot_back(world, *volume, *back) {
                world.source.hold("person", &name).ok();
            }
        }
        Op::Recreate { volume } => {
            if world.source.destroy(&here(*volume)).is_ok() {
                world.source.create(&here(*volume), DatasetKind::Volume).unwrap();
            }
        }
        Op::Migrate { volume } => world.source.migrate(&here(*volume)).unwrap(),
        Op::Unreachable { is_backup, is_off } => host(world, *is_backup).set_unreachable(*is_off),
        Op::CloneOnBackup { volume } => {
            if let Some(name) = newest_there(world, *volume) {
                world.backup.clone_as(&name, &format!("tank/clone-{number}")).ok();
            }
        }
        Op::HoldOnBackup { volume } => {
            if let Some(name) = newest_there(world, *volume) {
                world.backup.hold("person", &name).ok();
            }
        }
        Op::RenameOnBackup { volume } => {
            if let Some(name) = newest_there(world, *volume) {
                let copy = format!("{BACKUP_ROOT}/{}@kept-{number}", VOLUMES[*volume]);
                world.backup.rename(&name, &copy).ok();
            }
        }
        Op::Full { .. } | Op::OptOut { .. } | Op::Unlisted { .. } | Op::Fails { .. } => disturb(world, op),
        Op::Wait { hours } | Op::ClockStep { hours } => world.advance(SignedDuration::from_hours(*hours)),
        Op::Run => {}
        Op::Crash { changes, moment } => world.shared_state.crash_at(*changes, *moment),
        Op::Cut { is_backup, blocks } => host(world, *is_backup).cut_streams_after(Some(*blocks)),
    }
}

/// Failures that keep a run from one thing.
fn disturb(world: &World, op: &Op) {
    let here = |volume: usize| format!("{ROOT}/{}", VOLUMES[volume]);
    match op {
        Op::Full { volume, is_full } => world.source.set_full(&here(*volume), *is_full).unwrap(),
        Op::OptOut { volume, is_out } => world.source.opt_out(&here(*volume), *is_out).unwrap(),
        Op::Unlisted { volume, is_copy, is_unlisted } => {
            let why = is_unlisted.then(|| Unlisted::Failed("the fake was set to fail".to_owned()));
            let copy = format!("{BACKUP_ROOT}/{}", VOLUMES[*volume]);
            let (host, name) = if *is_copy { (&world.backup, copy) } else { (&world.source, here(*volume)) };
            host.set_unlisted(&dataset(&name), why);
        }
        Op::Fails { host, verb, nth } => {
            let hosts = [&world.source, &world.backup, &world.archive];
            hosts[*host].fail_call(verb, *nth);
        }
        _ => {}
    }
}

/// Ends every disturbance.
pub(crate) fn settle(world: &World) {
    for volume in 0..VOLUMES.len() {
        for is_copy in [false, true] {
            disturb(world, &Op::Unlisted { volume, is_copy, is_unlisted: false });
        }
        disturb(world, &Op::Full { volume, is_full: false });
        disturb(world, &Op::OptOut { volume, is_out: false });
    }
    for host in 0..3 {
        disturb(world, &Op::Fails { host, verb: "nothing", nth: 0 });
    }
}
