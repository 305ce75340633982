//! A source, a backup and an archive, the policy between them, and a clock.

use std::collections::BTreeMap;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use zhaul::discover::{self, Targets};
use zhaul::execute::{self, Hosts, Outcome, Report, Settings, Silent};
use zhaul::host::fake::{Block, FakeHost, SharedState};
use zhaul::host::{SourceHost, TargetHost};
use zhaul::model::{
    Answer, ByteCount, Dataset, DatasetKind, DatasetName, Guid, Inventory, LineageMark, Link, NameFormat,
    PointKind, Proxmox, TargetName,
};
use zhaul::plan::{self, Plan, Request};
use zhaul::policy::{
    Address, ArchiveDivergence, ArchiveRules, BackupDivergence, BackupRules, KeepRules, OnNoBase, Policy,
    SourceRoot, Target, TargetKind, TransferSettings,
};
use zhaul::stream::Cancel;
use zhaul::stream::pump::PumpSettings;

/// Where the guests' volumes are.
pub(crate) const ROOT: &str = "rpool/data";
/// Where the backup keeps its copies.
pub(crate) const BACKUP_ROOT: &str = "tank/backup/pve0";
/// Where the archive keeps its own.
pub(crate) const ARCHIVE_ROOT: &str = "tank/archive/pve0";

pub(crate) struct World {
    pub(crate) shared_state: SharedState,
    pub(crate) source: FakeHost,
    pub(crate) backup: FakeHost,
    pub(crate) archive: FakeHost,
    pub(crate) policy: Policy,
    pub(crate) now: Timestamp,
    /// The content of every snapshot that was ever seen at the source.
    pub(crate) truth: BTreeMap<Guid, Vec<Block>>,
}

/// Whether every step was done.
pub(crate) fn is_good(report: &Report) -> bool {
    report.failures().next().is_none()
        && report.steps().all(|(_, outcome)| matches!(outcome, Outcome::Done { .. }))
}

pub(crate) fn dataset(text: &str) -> DatasetName {
    DatasetName::new(text).unwrap()
}

fn target(name: &str, root: &str, intermediates: bool, kind: TargetKind) -> Target {
    Target {
        name: TargetName(name.to_owned()),
        address: Address::Local,
        link: Link::default(),
        root: dataset(root),
        intermediates,
        kind,
    }
}

/// The policy of these tests: `keep` snapshots stay at the source, twice as many at the backup.
pub(crate) fn policy(keep: u32, intermediates: bool, on_divergence: ArchiveDivergence) -> Policy {
    let last = |count| KeepRules { last: Some(count), ..KeepRules::default() };
    let backup = BackupRules {
        keep: last(2 * keep),
        on_divergence: BackupDivergence::Keep,
        on_no_base: OnNoBase::Supersede,
        keep_superseded: Some(SignedDuration::from_hours(24 * 90)),
    };
    let archive = ArchiveRules { catch_up: true, on_divergence };
    Policy {
        roots: vec![SourceRoot { dataset: dataset(ROOT), include_root: false }],
        exclude: Vec::new(),
        selected: Vec::new(),
        name_format: NameFormat::new(NameFormat::DEFAULT).unwrap(),
        time_zone: TimeZone::UTC,
        keep_at_source: last(keep),
        keep_bookmarks: None,
        targets: vec![
            target("nfs8", BACKUP_ROOT, intermediates, TargetKind::Backup(backup)),
            target("nfs9", ARCHIVE_ROOT, false, TargetKind::Archive(archive)),
        ],
        guest_config: None,
        freeze: None,
        transfer: TransferSettings {
            jobs: 1,
            buffer: ByteCount(1 << 20),
            rate: zhaul::model::RateSchedule::default(),
            stall_limit: SignedDuration::from_secs(60),
            link: Link::default(),
        },
        lock: None,
    }
}

/// Whether the backup of `policy` destroys what diverged at once, or sets it aside.
pub(crate) fn removes_at_once(policy: &mut Policy, removes: bool) {
    for target in &mut policy.targets {
        if let TargetKind::Backup(rules) = &mut target.kind {
            rules.on_divergence = if removes { BackupDivergence::Remove } else { BackupDivergence::Keep };
        }
    }
}

impl World {
    /// Empty pools on three machines, in the middle of January.
    pub(crate) fn new(policy: Policy) -> Self {
        let shared_state = SharedState::new();
        let host = |name| FakeHost::new(name, &shared_state);
        let (source, backup, archive) = (host("pve0"), host("nfs8"), host("nfs9"));
        for container in ["rpool", ROOT] {
            source.create(container, DatasetKind::Filesystem).unwrap();
        }
        backup.create("tank", DatasetKind::Filesystem).unwrap();
        archive.create("tank", DatasetKind::Filesystem).unwrap();
        let now = "2026-01-15T01:00:00Z".parse().unwrap();
        Self { shared_state, source, backup, archive, policy, now, truth: BTreeMap::new() }
    }

    pub(crate) fn targets(&self) -> [(&'static str, &'static str, &FakeHost); 2] {
        [("nfs8", BACKUP_ROOT, &self.backup), ("nfs9", ARCHIVE_ROOT, &self.archive)]
    }

    pub(crate) fn host(&self, name: &str) -> &FakeHost {
        match name {
            "nfs8" => &self.backup,
            "nfs9" => &self.archive,
            _ => &self.source,
        }
    }

    /// The present state, as a run would find it.
    pub(crate) fn inventory(&self) -> Inventory {
        let answer = |listed: Result<_, zhaul::host::HostError>| match listed {
            Ok(listing) => Answer::Listed(listing),
            Err(error) => Answer::CouldNotAsk(error.to_string()),
        };
        let roots: Vec<DatasetName> = self.policy.roots.iter().map(|root| root.dataset.clone()).collect();
        let source = answer(SourceHost::list(&self.source, &roots));
        let each = self.policy.targets.iter().map(|target| {
            (target.name.clone(), answer(TargetHost::list(self.host(&target.name.0), &target.root)))
        });
        Inventory {
            source,
            targets: each.collect(),
            proxmox: Proxmox::default(),
            host: "pve0".to_owned(),
            append_only: std::collections::BTreeSet::new(),
        }
    }

    pub(crate) fn plan(&self, take_snapshot: bool) -> Plan {
        self.plan_with(&Request { now: self.now, take_snapshot, force_archive: false, guests: Vec::new() })
    }

    pub(crate) fn plan_with(&self, request: &Request) -> Plan {
        let mut inventory = self.inventory();
        let everything = self.with_details(inventory.clone());
        let plan = |known: &Inventory| plan::plan(&self.policy, known, request);
        let planned = discover::complete(&mut inventory, &self.source, &self.boxed_targets(), plan).unwrap();
        // Asking only where it matters must come to the same as having asked for everything.
        let at_once = plan(&everything).unwrap();
        assert!(at_once.wants.is_empty(), "{:?}", at_once.wants);
        assert_eq!(planned, at_once.plan);
        let breaches = plan::check::check(&self.policy, &inventory, &planned);
        assert!(breaches.is_empty(), "{breaches:?} {planned:?}");
        planned
    }

    /// `inventory` with all that is known of each snapshot.
    fn with_details(&self, mut inventory: Inventory) -> Inventory {
        let fill = |answer: &mut Answer, host: &FakeHost, root: &str| {
            let Answer::Listed(listing) = answer else { return };
            for dataset in host.datasets(root) {
                // A dataset that a listing leaves out is not known.
                let Some(known) = listing.get_mut(&dataset.name) else { continue };
                let snapshots = || dataset.history.points().filter(|point| point.kind == PointKind::Snapshot);
                for point in snapshots() {
                    let mark = host.lineage_of(&dataset.name.snapshot(&point.name).unwrap(), point.guid);
                    known.lineage.insert(point.guid, LineageMark::read(mark.as_ref(), dataset.guid));
                }
                known.history.add_details(snapshots().map(|point| (point.guid, point.details)));
                known.line_history = Some(host.line_history_of(&dataset.name));
            }
        };
        fill(&mut inventory.source, &self.source, ROOT);
        for (name, root, host) in self.targets() {
            if let Some(answer) = inventory.targets.get_mut(&TargetName(name.to_owned())) {
                fill(answer, host, root);
            }
        }
        inventory
    }

    /// The datasets of a host with what their snapshots say of their lineage.
    pub(crate) fn with_lineage(&self, host: &str, root: &str) -> Vec<Dataset> {
        let host = self.host(host);
        let mut datasets = host.datasets(root);
        for dataset in &mut datasets {
            for point in dataset.history.points().filter(|point| point.kind == PointKind::Snapshot) {
                let name = dataset.name.snapshot(&point.name).unwrap();
                // Looking must not count as a call of the program, whose machine may have crashed.
                let mark = host.lineage_of(&name, point.guid);
                dataset.lineage.insert(point.guid, LineageMark::read(mark.as_ref(), dataset.guid));
            }
            dataset.line_history = Some(host.line_history_of(&dataset.name));
        }
        datasets
    }

    pub(crate) fn boxed_targets(&self) -> Targets {
        let boxed = |host: &FakeHost| -> Box<dyn TargetHost> { Box::new(host.clone()) };
        let targets = self.policy.targets.iter();
        targets.map(|target| (target.name.clone(), boxed(self.host(&target.name.0)))).collect()
    }

    /// One run of the program; the fake may crash in it.
    pub(crate) fn run(&mut self) -> Report {
        let plan = self.plan(true);
        self.execute(plan)
    }

    pub(crate) fn execute(&mut self, plan: Plan) -> Report {
        let report = self.carry_out(plan);
        self.remember();
        report
    }

    pub(crate) fn carry_out(&self, plan: Plan) -> Report {
        self.shared_state.set_now(self.now);
        let targets = self.boxed_targets();
        let hosts = Hosts { source: &self.source, targets: &targets };
        let pump = PumpSettings { buffer_bytes: 1 << 20, rate: None, stall_limit: None };
        let settings =
            Settings { jobs: 1, pump, expects_sizes: false, configs: BTreeMap::new(), freezing: None };
        execute::run(plan, hosts, &settings, &Silent, &Cancel::new().unwrap())
    }

    pub(crate) fn advance(&mut self, by: SignedDuration) {
        self.now = self.now.checked_add(by).unwrap();
    }

    /// Notes what the source's snapshots hold.
    pub(crate) fn remember(&mut self) {
        for (_, _, guid, content) in self.source.contents(ROOT) {
            self.truth.insert(guid, content);
        }
    }

    /// The datasets that the policy selects, by their last components.
    pub(crate) fn sources(&self) -> Vec<String> {
        let root = dataset(ROOT);
        let all = self.source.datasets(ROOT);
        all.iter().filter_map(|one| one.name.below(&root)).map(str::to_owned).collect()
    }

    pub(crate) fn is_own(&self, name: &zhaul::model::PointName) -> bool {
        self.policy.name_format.is_own(name)
    }
}
