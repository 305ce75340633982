//! Scenarios by chance: short sequences from fixed seeds, so that what fails once fails again.

use super::deed::{Act, Cut, Deed, Side, Transfer, begun};
use super::disagreement;
use crate::generator::Random;

/// How many deeds follow the beginning.
const DEEDS: usize = 16;

/// How many sequences there are: the seeds are the numbers from 1 on.
const SEEDS: u64 = 12;

const SOURCE_SNAPSHOTS: [&str; 3] = ["a@1", "a@2", "a@3"];
const BASES: [&str; 6] = ["@1", "@2", "@3", "#1", "#2", "#3"];
const BOOKMARKS: [&str; 3] = ["a#1", "a#2", "a#3"];
/// Of the target; `a` is made by the program, `b` too, or by a person who clones.
const DATASETS: [&str; 2] = ["a", "b"];
const SNAPSHOTS: [&str; 6] = ["a@1", "a@2", "a@3", "a@x", "b@1", "b@2"];
const NAMES: [&str; 4] = ["1", "2", "3", "x"];

fn one<T: Copy>(random: &mut Random, of: &[T]) -> T {
    of[random.below(of.len())]
}

fn transfer(random: &mut Random) -> Transfer {
    let at = random.below(SOURCE_SNAPSHOTS.len());
    let into = if random.below(4) == 0 { one(random, &SNAPSHOTS) } else { SOURCE_SNAPSHOTS[at] };
    let base = match random.below(4) {
        0 => None,
        // The point before, which is what makes sense most often.
        1 | 2 if at > 0 => Some(BASES[at - 1 + 3 * random.below(2)]),
        _ => Some(one(random, &BASES)),
    };
    Transfer { of: SOURCE_SNAPSHOTS[at], base, into, origin: None }
}

fn by_the_program(random: &mut Random) -> Deed {
    let side = one(random, &[Side::Source, Side::Target]);
    match random.below(17) {
        0 => Deed::Plan,
        1 => Deed::Snapshot(one(random, &[&["a@1"], &["a@2"], &["a@3"]])),
        2 => {
            let at = random.below(3);
            Deed::Bookmark(SOURCE_SNAPSHOTS[at], BOOKMARKS[at])
        }
        3..=6 => Deed::Send(transfer(random)),
        7 | 8 => Deed::Cut(transfer(random), one(random, &[Cut::Begin, Cut::Half, Cut::End])),
        9 => Deed::Resume(transfer(random)),
        10 => Deed::DestroySnapshots(side, "a", one(random, &[&["1"], &["2"], &["3"]])),
        11 => Deed::DestroyBookmarks("a", one(random, &[&["1"], &["2"], &["3"]])),
        12 => Deed::RenameDataset(one(random, &DATASETS), one(random, &DATASETS)),
        13 => Deed::RenameSnapshot(one(random, &SNAPSHOTS), one(random, &NAMES)),
        14 => Deed::Rollback(one(random, &SNAPSHOTS)),
        15 => Deed::AbortReceive(one(random, &DATASETS)),
        _ => Deed::DestroyDataset(one(random, &DATASETS)),
    }
}

fn by_a_person(random: &mut Random) -> Deed {
    let side = one(random, &[Side::Source, Side::Target]);
    let snapshot = one(random, if side == Side::Source { &SOURCE_SNAPSHOTS } else { &SNAPSHOTS });
    let dataset = if side == Side::Source { "a" } else { one(random, &DATASETS) };
    let act = match random.below(10) {
        0 | 1 => Act::Write(dataset),
        2 => Act::Snapshot(snapshot),
        3 => Act::Hold(snapshot),
        4 => Act::Release(snapshot),
        5 => Act::Clone(snapshot, "b"),
        6 => Act::Rollback(snapshot),
        7 => Act::RollbackPastNewer(snapshot),
        8 => Act::DestroyPoint(snapshot),
        _ => Act::DestroyDeferred(snapshot),
    };
    Deed::Person(side, act)
}

/// Two snapshots at the source and one at the target, then anything.
fn deeds(seed: u64) -> Vec<Deed> {
    let mut deeds = begun(&[]);
    let mut random = Random::new(seed);
    for _ in 0..DEEDS {
        let is_person = random.below(3) == 0;
        let deed = if is_person { by_a_person(&mut random) } else { by_the_program(&mut random) };
        if matches!(deed, Deed::Snapshot(_) | Deed::Person(Side::Source, Act::Snapshot(_))) {
            // A mounted file system changes a little by itself: no increment may be empty by chance.
            deeds.push(Deed::Person(Side::Source, Act::Write("a")));
        }
        deeds.push(deed);
    }
    deeds
}

#[test]
fn sequences_by_chance_agree() {
    let stories: Vec<_> =
        (1..=SEEDS).filter_map(|seed| disagreement(&format!("seed-{seed}"), &deeds(seed))).collect();
    assert!(stories.is_empty(), "the fake is not like real pools\n{}", stories.join("\n"));
}
