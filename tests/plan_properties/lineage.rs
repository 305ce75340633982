//! Random histories of a dataset that leaves its line: `zfs receive -F`, rollbacks, promoted clones, snapshots destroyed by hand.
//! After every run a copy holds what the source held under the same GUID.

use std::collections::BTreeMap;

use jiff::SignedDuration;
use zhaul::discover;
use zhaul::host::fake::FakeHost;
use zhaul::model::{
    Answer, Claim, DatasetKind, Guid, Inventory, LineageMark, Point, PointKind, PointName, Txg,
};
use zhaul::plan::{self, Action, FindingKind, Plan, Reason, Request};
use zhaul::policy::ArchiveDivergence;

use crate::world::{ROOT, World, dataset, policy};

const DATASET: &str = "rpool/data/v";
/// The same guest on another node, as storage replication keeps it.
const REPLICA: &str = "rpool/replica";

/// A generator (splitmix64).
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        usize::try_from((bits ^ (bits >> 31)) >> 1).unwrap().checked_rem(end).unwrap_or(0)
    }
}

/// Counts acts and runs together.
pub(crate) const STEPS: &str = "steps";

/// How often each thing happened.
pub(crate) type Counts = BTreeMap<&'static str, usize>;

struct Story {
    world: World,
    node: FakeHost,
    random: Random,
    counts: Counts,
    /// Takes every bookmark for certain, as if nothing had to be proven.
    is_credulous: bool,
    /// The number of runs of a zhaul that does not mark its snapshots yet.
    unmarked_runs: usize,
    serial: usize,
}

impl Story {
    fn new(seed: u64, is_credulous: bool) -> Self {
        let mut random = Random(seed);
        let divergence = [ArchiveDivergence::Stop, ArchiveDivergence::Keep][random.below(2)];
        let keep = u32::try_from(1 + random.below(3)).unwrap();
        let mut world = World::new(policy(keep, random.below(3) == 0, divergence));
        if random.below(3) == 0 {
            world.policy.keep_bookmarks = Some(random.below(4));
        }
        world.source.create(DATASET, DatasetKind::Volume).unwrap();
        let node = FakeHost::new("pve1", &world.shared_state);
        node.create("rpool", DatasetKind::Filesystem).unwrap();
        Self { world, node, random, counts: Counts::new(), is_credulous, unmarked_runs: 0, serial: 0 }
    }

    fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }

    fn snapshots(host: &FakeHost, dataset: &str) -> Vec<Point> {
        let listed = host.datasets(dataset);
        listed.first().map(|one| one.history.snapshots().cloned().collect()).unwrap_or_default()
    }

    fn any(&mut self, points: &[Point]) -> Option<String> {
        let at = self.random.below(points.len());
        points.get(at).map(|point| point.name.to_string())
    }

    fn name(&mut self, kind: &str) -> String {
        self.serial += 1;
        format!("{kind}-{}", self.serial)
    }

    /// An own snapshot or one of another program, taken by hand or by zhaul on the other node.
    fn take(&mut self, on: &FakeHost, dataset: &str) {
        let name = if self.random.below(2) == 0 {
            self.name("foreign")
        } else {
            self.world.advance(SignedDuration::from_secs(61));
            self.world.policy.name_format.name(self.world.now).unwrap().to_string()
        };
        // One of that name may be there.
        on.take(&[&format!("{dataset}@{name}")]).ok();
    }

    /// Storage replication on its way there, and after a failover on its way back.
    fn replicate(&mut self, is_back: bool) {
        let (source, node) = (self.world.source.clone(), self.node.clone());
        let (from, of, to, into) =
            if is_back { (&node, REPLICA, &source, DATASET) } else { (&source, DATASET, &node, REPLICA) };
        if is_back {
            node.write(REPLICA, 1 + self.random.below(2)).ok();
            for _ in 0..self.random.below(3) {
                self.take(from, of);
                node.write(REPLICA, 1).ok();
            }
        }
        let snapshot = format!("{of}@{}", self.name("replicate"));
        if from.take(&[&snapshot]).is_err() {
            return;
        }
        if to.datasets(into).is_empty() {
            to.receive_full(into, from, &snapshot).unwrap();
        } else if to.force_receive(into, from, &snapshot, self.random.below(2) == 0).is_ok() {
            self.count(if is_back { "received with -F" } else { "replicated" });
        }
    }

    /// A restore from the backup, over what is there.
    fn restore(&mut self) {
        let copy = "tank/backup/pve0/v";
        let points = Self::snapshots(&self.world.backup, copy);
        let Some(name) = self.any(&points) else { return };
        let backup = self.world.backup.clone();
        if self.world.source.force_receive(DATASET, &backup, &format!("{copy}@{name}"), false).is_ok() {
            self.count("restored");
        }
    }

    fn roll_back(&mut self) {
        let points = Self::snapshots(&self.world.source, DATASET);
        let Some(name) = self.any(&points) else { return };
        if self.world.source.roll_back_past_newer(&format!("{DATASET}@{name}")).is_ok() {
            self.count("rolled back");
        }
    }

    /// A clone takes the place of the dataset.
    fn swap(&mut self) {
        let points = Self::snapshots(&self.world.source, DATASET);
        let (Some(name), other, old) = (self.any(&points), self.name("rpool/clone"), self.name("rpool/old"))
        else {
            return;
        };
        let source = self.world.source.clone();
        if source.clone_as(&format!("{DATASET}@{name}"), &other).is_err() {
            return;
        }
        source.write(&other, 1).unwrap();
        if self.random.below(2) == 0 {
            source.promote(&other).unwrap();
            self.count("promoted");
        }
        source.rename(DATASET, &old).unwrap();
        source.rename(&other, DATASET).unwrap();
        self.count("swapped");
        if self.random.below(3) == 0 && source.promote(&old).is_ok() {
            self.count("promoted the old one again");
        }
    }

    fn destroy(&mut self) {
        let points = Self::snapshots(&self.world.source, DATASET);
        let newest = points.last().map(|point| point.name.to_string());
        let name = if self.random.below(2) == 0 { newest } else { self.any(&points) };
        if let Some(name) = name
            && self.world.source.destroy_point(&format!("{DATASET}@{name}")).is_ok()
        {
            self.count("destroyed by hand");
        }
    }

    /// A bookmark of another program.
    fn bookmark(&mut self) {
        let points = Self::snapshots(&self.world.source, DATASET);
        let (Some(name), mark) = (self.any(&points), self.name("cursor")) else { return };
        self.world.source.bookmark_as(&format!("{DATASET}@{name}"), &format!("{DATASET}#{mark}")).unwrap();
        self.count("bookmarked by another program");
    }

    fn act(&mut self) {
        if self.random.below(3) > 0 {
            self.world.source.write(DATASET, 1 + self.random.below(3)).unwrap();
        }
        match self.random.below(18) {
            0..=2 => {}
            3 | 4 => self.replicate(false),
            5 | 6 => self.replicate(true),
            7 | 14 | 15 => self.restore(),
            8 => self.roll_back(),
            9 => self.swap(),
            10 | 11 => self.destroy(),
            12 => self.bookmark(),
            13 => {
                let source = self.world.source.clone();
                self.take(&source, DATASET);
            }
            16 if self.unmarked_runs == 0 && self.random.below(2) == 0 => {
                self.world.source.forget_history();
                self.count("the pools' histories were overwritten");
            }
            16 => self.world.backup.set_unreachable(self.random.below(3) > 0),
            _ => self.world.archive.set_unreachable(self.random.below(3) > 0),
        }
        self.world.remember();
    }

    fn run(&mut self) {
        let hours = 1 + self.random.below(500);
        self.world.advance(SignedDuration::from_hours(i64::try_from(hours).unwrap()));
        let cut = (self.random.below(6) == 0).then_some(1);
        self.world.backup.cut_streams_after(cut);
        let plan = if self.is_credulous { self.credulous_plan() } else { self.world.plan(true) };
        self.note(&plan);
        let before = self.bookmarks();
        self.world.execute(plan);
        self.world.backup.cut_streams_after(None);
        if self.unmarked_runs > 0 {
            self.unmarked_runs -= 1;
            self.world.source.forget_lineage();
        }
        if !self.is_credulous {
            self.check_removed(&before);
        }
    }

    /// The plan that would be made if every snapshot proved everything.
    fn credulous_plan(&self) -> Plan {
        let mut inventory = self.world.inventory();
        let proof = Claim { since: Txg(0), except: Vec::new() };
        if let Answer::Listed(listing) = &mut inventory.source {
            let names: Vec<_> = listing.datasets().map(|one| one.name.clone()).collect();
            for name in names {
                let one = listing.get_mut(&name).unwrap();
                one.createtxg = Txg(0);
                let guids: Vec<_> = one.history.points().map(|point| point.guid).collect();
                one.lineage.extend(guids.into_iter().map(|guid| (guid, LineageMark::Proof(proof.clone()))));
            }
        }
        let request =
            Request { now: self.world.now, take_snapshot: true, force_archive: false, guests: Vec::new() };
        let plan = |known: &Inventory| plan::plan(&self.world.policy, known, &request);
        discover::complete(&mut inventory, &self.world.source, &self.world.boxed_targets(), plan).unwrap()
    }

    fn note(&mut self, plan: &Plan) {
        for finding in &plan.findings {
            if matches!(finding.kind, FindingKind::DoubtfulBookmark { .. }) {
                self.count("a bookmark was not trusted");
            }
        }
        for step in &plan.steps {
            match &step.action {
                Action::Send(transfer)
                    if transfer.base.as_ref().is_some_and(|base| base.kind == PointKind::Bookmark) =>
                {
                    self.count("a bookmark was the base");
                }
                Action::DestroyBookmarks { .. } if step.reason == Reason::LineLeft => {
                    self.count("void bookmarks were removed");
                }
                _ => {}
            }
        }
    }

    fn bookmarks(&self) -> Vec<(String, Guid)> {
        let listed = self.world.source.datasets(DATASET);
        let all = listed.iter().flat_map(|one| one.history.bookmarks());
        all.map(|point| (point.name.to_string(), point.guid)).collect()
    }

    /// A bookmark that was removed as void was own, and its snapshot is gone. A mark of a stream goes with the stream.
    fn check_removed(&self, before: &[(String, Guid)]) {
        let (now, alive) = (self.bookmarks(), Self::snapshots(&self.world.source, DATASET));
        let is_mark = |name: &str| name.contains("-sending-");
        for (name, guid) in before.iter().filter(|known| !now.contains(known) && !is_mark(&known.0)) {
            let own = self.world.policy.name_format.is_own(&PointName::new(name).unwrap());
            assert!(own && alive.iter().all(|point| point.guid != *guid), "#{name} is gone");
        }
    }

    /// The first copy that is not what its GUID says.
    fn spoilt(&self) -> Option<String> {
        for (target, _, host) in self.world.targets() {
            for (dataset, name, guid, content) in host.contents("tank") {
                if self.world.truth.get(&guid).is_some_and(|truth| *truth != content) {
                    return Some(format!("{target}: {dataset}@{name} is not what its GUID says"));
                }
            }
        }
        None
    }
}

/// Plays one history; gives what was spoilt first.
pub(crate) fn play(seed: u64, is_credulous: bool) -> (Option<String>, Counts) {
    tell(Story::new(seed, is_credulous))
}

fn tell(mut story: Story) -> (Option<String>, Counts) {
    for _ in 0..14 {
        for _ in 0..story.random.below(5) {
            story.act();
            story.count(STEPS);
        }
        story.run();
        story.count(STEPS);
        if let Some(spoilt) = story.spoilt() {
            return (Some(spoilt), story.counts);
        }
    }
    (None, story.counts)
}

#[test]
fn a_copy_is_what_its_guid_says_however_the_source_leaves_its_line() {
    assert_eq!(dataset(ROOT).child("v").unwrap(), dataset(DATASET));
    let mut counts = Counts::new();
    // `ZHAUL_STORIES=FIRST..END` plays other seeds.
    let asked = std::env::var_os("ZHAUL_STORIES");
    let asked = asked.as_deref().and_then(|range| range.to_str()?.split_once(".."));
    let range = asked.map(|(first, end)| first.parse().unwrap()..end.parse().unwrap());
    for seed in range.unwrap_or(0..340) {
        let (spoilt, counted) = play(seed, false);
        assert_eq!(spoilt, None, "seed {seed}");
        for (what, count) in counted {
            *counts.entry(what).or_default() += count;
        }
    }
    for what in [
        "received with -F",
        "restored",
        "rolled back",
        "promoted",
        "promoted the old one again",
        "swapped",
        "destroyed by hand",
        "bookmarked by another program",
        "a bookmark was not trusted",
        "a bookmark was the base",
        "void bookmarks were removed",
    ] {
        assert!(counts.get(what).is_some_and(|count| *count >= 10), "{what}: {counts:?}");
    }
}

/// Bookmarks from before are accepted once, unless the history of the pool says that their line was left.
#[test]
fn a_copy_is_what_its_guid_says_where_snapshots_were_not_marked_at_first() {
    let mut as_base = 0;
    for seed in 0..150 {
        let (spoilt, counts) = tell(Story { unmarked_runs: 7, ..Story::new(seed, false) });
        assert_eq!(spoilt, None, "seed {seed}");
        as_base += counts.get("a bookmark was the base").copied().unwrap_or(0);
    }
    assert!(as_base >= 10, "{as_base}");
}

#[test]
fn without_proofs_copies_would_be_spoilt() {
    let spoilt = (0..100).filter(|seed| play(*seed, true).0.is_some()).count();
    assert!(spoilt >= 10, "{spoilt} of 100 histories");
}
