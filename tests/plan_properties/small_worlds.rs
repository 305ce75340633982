//! Every small world: each of three points in time is, at the source, nothing, a snapshot, a bookmark or both, and at each
//! target nothing or a snapshot; with names that are own or foreign, holds, unknown snapshots and broken-off receives.

use jiff::SignedDuration;
use zhaul::model::{Change, DatasetKind};
use zhaul::policy::ArchiveDivergence;

use crate::promises::{
    Before, check_always, check_caught_up, check_good_run, check_nothing_left, has_resumed,
};
use crate::world::{BACKUP_ROOT, ROOT, World, dataset, is_good, policy};

/// The remains of one point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::struct_field_names, reason = "each says where")]
struct Left {
    at_source: AtSource,
    at_backup: bool,
    at_archive: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum AtSource {
    Nothing,
    Snapshot,
    Bookmark,
    Both,
    Held,
}

const AT_SOURCE: [AtSource; 5] =
    [AtSource::Nothing, AtSource::Snapshot, AtSource::Bookmark, AtSource::Both, AtSource::Held];

/// One more property of a world.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Twist {
    None,
    /// The second point has a foreign name at the source.
    ForeignName,
    /// The second point has the first one's name on the backup.
    RenamedThere,
    /// The backup has a snapshot of its own making after all others, with an own name.
    UnknownOwn,
    /// The same, foreign.
    UnknownForeign,
    /// The newest send to the backup broke off.
    Token,
    /// The backup was written to.
    Written,
}

const POINTS: [&str; 3] = ["2026-01-10-010000", "2026-01-11-010000", "2026-01-12-010000"];

/// Everything that can be left of a point; of the first one with a hold too, but the same at both targets.
fn all_left(is_first: bool) -> Vec<Left> {
    let places = [(false, false), (true, true), (true, false), (false, true)];
    let (at_source, places) =
        if is_first { (&AT_SOURCE[..], &places[..2]) } else { (&AT_SOURCE[..4], &places[..]) };
    let each = |at_source: &AtSource| {
        let at_source = *at_source;
        places.iter().map(move |(at_backup, at_archive)| Left {
            at_source,
            at_backup: *at_backup,
            at_archive: *at_archive,
        })
    };
    at_source.iter().flat_map(each).collect()
}

/// Builds the world by sending everything everywhere, and then taking away what is not to be left.
fn build(points: [Left; 3], twist: Twist) -> Option<World> {
    let mut world = World::new(policy(2, true, ArchiveDivergence::Keep));
    let (here, backup) = (format!("{ROOT}/v"), format!("{BACKUP_ROOT}/v"));
    world.source.create(&here, DatasetKind::Volume).unwrap();
    world.now = "2026-01-10T01:00:00Z".parse().unwrap();
    let last = points.len() - 1;
    for (index, name) in POINTS.iter().enumerate() {
        world.source.write(&here, 2).unwrap();
        world.source.take(&[&format!("{here}@{name}")]).unwrap();
        world.source.bookmark_as(&format!("{here}@{name}"), &format!("{here}#{name}")).unwrap();
        world.remember();
        for (host, is_wanted) in [("nfs8", points[index].at_backup), ("nfs9", points[index].at_archive)] {
            let cut = twist == Twist::Token && index == last && host == "nfs8";
            world.host(host).cut_streams_after(cut.then_some(1));
            if is_wanted {
                send_by_hand(&world, host, name);
            }
            world.host(host).cut_streams_after(None);
        }
    }
    for (name, left) in POINTS.iter().zip(points) {
        let point = |kind: char| format!("{here}{kind}{name}");
        match left.at_source {
            AtSource::Both => {}
            AtSource::Held => world.source.hold("keep", &point('@')).unwrap(),
            AtSource::Snapshot => world.source.destroy_point(&point('#')).unwrap(),
            AtSource::Bookmark => world.source.destroy_point(&point('@')).unwrap(),
            AtSource::Nothing => {
                world.source.destroy_point(&point('@')).unwrap();
                world.source.destroy_point(&point('#')).unwrap();
            }
        }
    }
    match twist {
        Twist::None => {}
        Twist::ForeignName => {
            world.source.rename(&format!("{here}@{}", POINTS[1]), &format!("{here}@manual")).ok()?;
        }
        Twist::RenamedThere => {
            world
                .backup
                .rename(&format!("{backup}@{}", POINTS[1]), &format!("{backup}@2026-01-10-010001"))
                .ok()?;
        }
        Twist::UnknownOwn => world.backup.take(&[&format!("{backup}@2026-01-12-020000")]).ok()?,
        Twist::UnknownForeign => world.backup.take(&[&format!("{backup}@manual")]).ok()?,
        Twist::Token => {
            let begun = world.backup.datasets(&backup);
            begun.first().filter(|there| there.resume_token.is_some())?;
        }
        Twist::Written => world.backup.write(&backup, 1).ok()?,
    }
    world.now = "2026-01-14T01:00:00Z".parse().unwrap();
    world.shared_state.take_calls();
    Some(world)
}

/// `zfs send | zfs receive` of one snapshot, from whatever is common.
fn send_by_hand(world: &World, host: &str, name: &str) {
    let mut alone = world.policy.clone();
    alone.targets.retain(|target| target.name.0 == host);
    let root = alone.targets[0].root.child("v").unwrap();
    let here = dataset(&format!("{ROOT}/v"));
    let listed = world.source.datasets(here.as_str());
    let there = world.host(host).datasets(root.as_str());
    let base = there.first().and_then(|there| crate::promises::common(&listed[0].history, &there.history));
    let base = base.and_then(|guid| listed[0].history.find(guid)).map(|point| zhaul::plan::Base {
        kind: point.kind,
        name: point.name.clone(),
        origin: None,
        guid: point.guid,
        createtxg: point.createtxg,
    });
    let point = zhaul::model::PointName::new(name).unwrap();
    let parent = root.parent().unwrap();
    let create = Change::CreateContainer { dataset: parent, is_plain: false };
    zhaul::host::TargetHost::change(world.host(host), &create).unwrap();
    let transfer = zhaul::plan::Transfer {
        copy_encryption: zhaul::model::CopyEncryption::AsSent,
        writer: None,
        snapshot: here.snapshot(&point).unwrap(),
        guid: world.source.guid(&format!("{here}@{point}")),
        creates_dataset: base.is_none(),
        base,
        fallback: None,
        resume: None,
        target: root.snapshot(&point).unwrap(),
        origin: None,
        kind: DatasetKind::Volume,
        encryption: zhaul::model::Encryption::Off,
    };
    let step = zhaul::plan::Step {
        id: zhaul::plan::StepId(0),
        dataset: None,
        place: zhaul::plan::Place::Target(alone.targets[0].name.clone()),
        action: zhaul::plan::Action::Send(Box::new(transfer)),
        reason: zhaul::plan::Reason::OntoBase,
        needs: Vec::new(),
        after: Vec::new(),
    };
    let plan = zhaul::plan::Plan {
        at: world.now,
        steps: vec![step],
        findings: Vec::new(),
        left_out: Vec::new(),
        orphans: Vec::new(),
    };
    world.carry_out(plan);
}

fn check(points: [Left; 3], twist: Twist) -> bool {
    let Some(mut world) = build(points, twist) else {
        return false;
    };
    let before = Before::of(&world);
    let report = world.run();
    check_always(&world, &before, &report);
    let is_touched = matches!(twist, Twist::UnknownForeign | Twist::Written);
    assert!(is_touched || is_good(&report), "a step failed: {:#?}", report.failures().collect::<Vec<_>>());
    if is_good(&report) && report.worst_finding() < Some(zhaul::plan::Severity::Blocked) {
        check_good_run(&world, &before, &report);
    } else if is_good(&report) {
        if !has_resumed(&report.plan) {
            assert!(!check_nothing_left(&world, &report.plan), "what arrived is not wanted");
        }
        check_caught_up(&world, "v", &report.plan);
    }
    world.advance(SignedDuration::from_hours(24));
    let before = Before::of(&world);
    let again = world.run();
    check_always(&world, &before, &again);
    true
}

fn check_all(twist: Twist) {
    let (first, later) = (all_left(true), all_left(false));
    let mut worlds = 0;
    for a in &first {
        for b in &later {
            for c in &later {
                let points = [*a, *b, *c];
                match std::panic::catch_unwind(|| check(points, twist)) {
                    Ok(is_world) => worlds += u32::from(is_world),
                    Err(cause) => panic!("{cause:?} in the world {points:#?} with {twist:?}"),
                }
            }
        }
    }
    assert!(worlds > 500, "only {worlds} worlds can be built");
}

#[test]
fn a_plain_world_is_brought_up_to_date() {
    check_all(Twist::None);
}

#[test]
fn a_world_with_a_foreign_name_is_brought_up_to_date() {
    check_all(Twist::ForeignName);
}

#[test]
fn a_world_with_a_renamed_copy_is_brought_up_to_date() {
    check_all(Twist::RenamedThere);
}

#[test]
fn a_world_whose_backup_has_an_own_snapshot_too_many_is_brought_up_to_date() {
    check_all(Twist::UnknownOwn);
}

#[test]
fn a_world_whose_backup_has_a_foreign_snapshot_keeps_it() {
    check_all(Twist::UnknownForeign);
}

#[test]
fn a_world_with_a_receive_that_broke_off_is_brought_up_to_date() {
    check_all(Twist::Token);
}

#[test]
fn a_world_whose_backup_was_written_to_loses_nothing() {
    check_all(Twist::Written);
}
