//! Every stream completes over a link that passes a few blocks per run, whatever happens between two tries: small keep
//! rules, a target that is down for longer than they keep, guests that go on writing, and a program that is killed.

use jiff::SignedDuration;
use proptest::prelude::*;
use zhaul::host::fake::Moment;
use zhaul::model::DatasetKind;
use zhaul::policy::{ArchiveDivergence, KeepRules};

use crate::world::{ARCHIVE_ROOT, BACKUP_ROOT, ROOT, World, policy};

#[derive(Debug, Clone)]
struct Link {
    /// The number of blocks that the guest holds at first.
    blocks: usize,
    /// How many blocks pass in one run.
    passes: u64,
    /// How many snapshots the source keeps.
    keep: u32,
    /// How many runs find the target down between two that reach it.
    down: u32,
    /// How many blocks the guest writes each day.
    writes: usize,
    is_archive: bool,
    intermediates: bool,
    /// The program is killed where otherwise the link breaks.
    is_killed: bool,
}

fn links() -> impl Strategy<Value = Link> {
    let shape = (1..8_usize, 1..4_u64, 1..4_u32, 0..4_u32, 0..2_usize);
    (shape, any::<(bool, bool, bool)>()).prop_map(|(shape, (is_archive, intermediates, is_killed))| {
        let (blocks, passes, keep, down, writes) = shape;
        Link { blocks, passes, keep, down, writes, is_archive, intermediates, is_killed }
    })
}

/// Runs once a day until the copy is complete or `tries` runs have reached the target. Gives how many did.
fn tries_until(world: &mut World, link: &Link, tries: u32, is_there: impl Fn(&World) -> bool) -> u32 {
    let volume = format!("{ROOT}/v");
    for tried in 0..tries {
        if is_there(world) {
            return tried;
        }
        for day in 0..=link.down {
            world.source.write(&volume, link.writes).unwrap();
            let is_up = day == link.down;
            let target = if link.is_archive { &world.archive } else { &world.backup };
            target.set_unreachable(!is_up);
            target.pass_blocks(Some(link.passes));
            if link.is_killed && is_up {
                let plan = world.plan(true);
                // The transfer is the first change after the snapshot, its bookmark and what was pruned before them.
                let sends = |step: &zhaul::plan::Step| matches!(step.action, zhaul::plan::Action::Send(_));
                let first = plan.steps.iter().position(sends).unwrap_or_default();
                world.shared_state.crash_at(u64::try_from(first).unwrap(), Moment::After);
                world.execute(plan);
                world.shared_state.restart();
            } else {
                world.run();
            }
            world.advance(SignedDuration::from_hours(24));
        }
    }
    tries
}

fn world_of(link: &Link) -> World {
    let mut policy = policy(link.keep, link.intermediates, ArchiveDivergence::Stop);
    policy.targets.retain(|target| (target.name.0 == "nfs9") == link.is_archive);
    policy.keep_at_source = KeepRules::last(link.keep);
    let mut world = World::new(policy);
    let volume = format!("{ROOT}/v");
    world.source.create(&volume, DatasetKind::Volume).unwrap();
    world.source.write(&volume, link.blocks).unwrap();
    if link.is_archive {
        // The policy was alive before the 1st, so an archive is due from then on.
        world.run();
        world.now = "2026-02-01T01:00:00Z".parse().unwrap();
    }
    world
}

fn copied(world: &World, link: &Link) -> Vec<zhaul::model::Guid> {
    let (host, root) =
        if link.is_archive { (&world.archive, ARCHIVE_ROOT) } else { (&world.backup, BACKUP_ROOT) };
    let copies = host.datasets(&format!("{root}/v"));
    copies.iter().flat_map(|copy| copy.history.snapshots().map(|point| point.guid)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]
    #[test]
    fn a_stream_over_a_link_that_breaks_in_each_run_completes(link in links()) {
        let mut world = world_of(&link);
        // The first try may be lost, if the source keeps less than the target is down for.
        let until_second = 2 * link.writes * usize::try_from(link.down + 1).unwrap();
        let all = u32::try_from(link.blocks + until_second).unwrap();
        let enough = 1 + all.div_ceil(u32::try_from(link.passes).unwrap()) + 2;
        let tries = tries_until(&mut world, &link, enough, |world| !copied(world, &link).is_empty());
        prop_assert!(tries < enough, "{tries} tries were not enough");
        if !link.is_archive {
            // Once nothing more is written, an increment completes, too.
            let quiet = Link { writes: 0, ..link.clone() };
            let points = |world: &World| {
                let source = world.source.datasets(&format!("{ROOT}/v"));
                let points = source[0].history.points();
                points.map(|point| (point.createtxg, point.guid)).collect::<Vec<_>>()
            };
            let newest = points(&world).last().copied().unwrap().0;
            let is_there = |world: &World| {
                let copied = copied(world, &quiet);
                points(world).iter().any(|(txg, guid)| *txg > newest && copied.contains(guid))
            };
            let written = link.blocks + link.writes * usize::try_from((tries + 2) * (link.down + 1)).unwrap();
            let enough = u32::try_from(written).unwrap() + 8;
            prop_assert!(tries_until(&mut world, &quiet, enough, is_there) < enough, "it never catches up");
        }
    }
}
