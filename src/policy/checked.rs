//! The policy of one host as checked, and its defaults.

use std::path::PathBuf;

use jiff::SignedDuration;
use jiff::tz::TimeZone;

use super::{KeepRules, Pattern, Target};
use crate::model::{ByteCount, DatasetName, Link, NameFormat, RateSchedule};

/// The whole policy of one host.
#[derive(Debug, Clone)]
pub struct Policy {
    /// Where the guests' volumes are on this host.
    pub roots: Vec<SourceRoot>,
    /// Where not empty, this run serves only these datasets and those below them; each is within a root, and the
    /// names on the targets still follow from the root.
    pub selected: Vec<DatasetName>,
    /// Patterns (`*` within a component, `**` across) of datasets to leave out.
    pub exclude: Vec<Pattern>,
    /// How our snapshots are named, and so which are ours.
    pub name_format: NameFormat,
    /// Decides where a day, week, month or year begins; names are UTC whatever it says.
    pub time_zone: TimeZone,
    /// Which of our snapshots stay at the source.
    pub keep_at_source: KeepRules,
    /// How many of our bookmarks without a snapshot stay, newest first; `None` keeps every one.
    pub keep_bookmarks: Option<usize>,
    /// Where copies go: backups first, then archives.
    pub targets: Vec<Target>,
    /// Proxmox VE's configuration directory, usually `/etc/pve`; `None` if guests are not to be looked up.
    pub guest_config: Option<PathBuf>,
    /// How long a guest whose agent is on may stand still for its snapshots; `None` freezes none.
    pub freeze: Option<SignedDuration>,
    /// How the data moves.
    pub transfer: TransferSettings,
    /// The file whose lock says that a run is active; `None` for one of the policy's own in the runtime directory.
    pub lock: Option<PathBuf>,
}

/// One source root: the datasets below it are selected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceRoot {
    /// The root.
    pub dataset: DatasetName,
    /// Whether a root that has children is itself sent.
    pub include_root: bool,
}

/// How the data moves.
#[derive(Debug, Clone)]
pub struct TransferSettings {
    /// How many streams run at once.
    pub jobs: usize,
    /// Memory for the ring buffer of one stream.
    pub buffer: ByteCount,
    /// The limit in bytes a second over all streams together, by time of day.
    pub rate: RateSchedule,
    /// A stream in which no byte moves for this time has stalled.
    pub stall_limit: SignedDuration,
    /// How targets on other machines are talked to, unless they say otherwise.
    pub link: Link,
}

impl Default for TransferSettings {
    fn default() -> Self {
        Self {
            jobs: 2,
            buffer: ByteCount(256 << 20),
            rate: RateSchedule::default(),
            stall_limit: SignedDuration::from_mins(10),
            link: Link::default(),
        }
    }
}

impl Policy {
    /// How many own snapshots stay at the source unless the policy says otherwise, as `vm-backup.sh` had it.
    pub(super) const KEEP_LAST: u32 = 15;

    /// The defaults, which hold where neither file nor flags say anything.
    pub(super) fn with_defaults(roots: Vec<SourceRoot>, name_format: NameFormat) -> Self {
        Self {
            roots,
            selected: Vec::new(),
            exclude: Vec::new(),
            name_format,
            time_zone: TimeZone::system(),
            keep_at_source: KeepRules::last(Self::KEEP_LAST),
            keep_bookmarks: None,
            targets: Vec::new(),
            guest_config: Some(PathBuf::from("/etc/pve")),
            freeze: Some(SignedDuration::from_secs(5)),
            transfer: TransferSettings::default(),
            lock: None,
        }
    }

    /// Whether this run serves `dataset`, as far as the command line limits it; roots and excludes come on top.
    pub fn is_selected(&self, dataset: &DatasetName) -> bool {
        self.selected.is_empty() || self.selected.iter().any(|chosen| dataset.is_within(chosen))
    }

    /// Whether a pattern leaves `dataset` out.
    pub fn is_excluded(&self, dataset: &DatasetName) -> bool {
        self.exclude.iter().any(|pattern| pattern.matches(dataset))
    }
}
