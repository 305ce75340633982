//! One dataset of which no snapshot can be taken.

use jiff::SignedDuration;
use zhaul::execute::Outcome;
use zhaul::model::DatasetKind;
use zhaul::policy::ArchiveDivergence;

use crate::world::{BACKUP_ROOT, ROOT, World, policy};

fn names(world: &World, host: &str, dataset: &str) -> Vec<String> {
    let datasets = world.host(host).datasets(dataset);
    let history = datasets.first().map(|one| one.history.clone()).unwrap_or_default();
    history.snapshots().map(|point| point.name.to_string()).collect()
}

#[test]
fn it_costs_the_others_nothing_and_its_own_older_ones_are_sent() {
    let mut world = World::new(policy(3, false, ArchiveDivergence::Stop));
    for name in ["bad", "good"] {
        world.source.create(&format!("{ROOT}/{name}"), DatasetKind::Volume).unwrap();
    }
    let day = SignedDuration::from_hours(24);
    assert!(crate::world::is_good(&world.run()));
    for _ in 0..2 {
        world.advance(day);
        for name in ["bad", "good"] {
            world.source.write(&format!("{ROOT}/{name}"), 1).unwrap();
        }
        world.backup.set_unreachable(true);
        world.run();
    }
    world.backup.set_unreachable(false);
    world.advance(day);
    world.source.set_full(&format!("{ROOT}/bad"), true).unwrap();
    let report = world.run();
    let partly = report.outcomes.iter().find_map(|outcome| match outcome {
        Outcome::Partly { failures, .. } => Some(failures.clone()),
        _ => None,
    });
    let failed: Vec<String> = partly.unwrap().iter().map(|failure| failure.dataset.to_string()).collect();
    assert_eq!(failed, [format!("{ROOT}/bad")]);
    let newest = |host, dataset: String| names(&world, host, &dataset).pop().unwrap();
    assert_eq!(newest("pve0", format!("{ROOT}/good")), "2026-01-18-010000");
    assert_eq!(newest("nfs8", format!("{BACKUP_ROOT}/good")), "2026-01-18-010000");
    assert_eq!(newest("pve0", format!("{ROOT}/bad")), "2026-01-17-010000");
    assert_eq!(newest("nfs8", format!("{BACKUP_ROOT}/bad")), "2026-01-17-010000");
    world.source.set_full(&format!("{ROOT}/bad"), false).unwrap();
    world.advance(day);
    assert!(crate::world::is_good(&world.run()));
}
