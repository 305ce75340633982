//! What a person wants: the policy as checked, with types that cannot be wrong.
//!
//! The file as written (`file`) and the flags become a [`Policy`] once, at start; nothing later checks again.

mod keep;
mod period;

use jiff::SignedDuration;
use jiff::tz::TimeZone;

use crate::model::{ByteCount, DatasetName, NameFormat, TargetName};

pub use keep::{Keep, KeepRules};

/// The whole policy of one host.
#[derive(Debug, Clone)]
pub struct Policy {
    /// Where the guests' volumes lie on this host.
    pub roots: Vec<SourceRoot>,
    /// Patterns (`*` within a component, `**` across) of datasets to leave out.
    pub exclude: Vec<Pattern>,
    /// How our snapshots are named, and so which are ours.
    pub name_format: NameFormat,
    /// Decides where a day, week, month or year begins; names are UTC whatever it says.
    pub time_zone: TimeZone,
    /// Which of our snapshots stay at the source.
    pub keep_local: KeepRules,
    /// How many of our bookmarks without a snapshot stay, newest first; `None` keeps every one.
    pub keep_bookmarks: Option<usize>,
    /// Where copies go: backups first, then archives.
    pub targets: Vec<Target>,
    /// Proxmox VE's configuration directory, usually `/etc/pve`; `None` if guests are not to be looked up.
    pub guest_config: Option<std::path::PathBuf>,
    /// How the data moves.
    pub transfer: TransferSettings,
    /// The file whose lock says that a run is active.
    pub lock: std::path::PathBuf,
}

/// One source root: the datasets below it are selected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceRoot {
    /// The root.
    pub dataset: DatasetName,
    /// Whether a root that has children is itself sent.
    pub include_root: bool,
}

/// A pattern for dataset names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern(String);

/// A place where copies go.
#[derive(Debug, Clone)]
pub struct Target {
    /// What it is called in plans, logs and status.
    pub name: TargetName,
    /// How to reach it.
    pub address: Address,
    /// The dataset below which the copies lie.
    pub root: DatasetName,
    /// Send every own snapshot between base and newest, not only the newest.
    pub intermediates: bool,
    /// Backup or archive, with the rules of each.
    pub kind: TargetKind,
}

/// How a target is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// This machine.
    Local,
    /// Another machine, through the user's ssh.
    Ssh {
        /// Host name or alias, checked: no leading `-`, no shell or option characters.
        host: String,
        /// Login name, if not ssh's default.
        user: Option<String>,
        /// Port, if not ssh's default.
        port: Option<u16>,
        /// A file for `ssh -F`, if not the user's.
        config: Option<std::path::PathBuf>,
    },
}

/// What a target is for.
#[derive(Debug, Clone)]
pub enum TargetKind {
    /// Nearline: rotates.
    Backup(BackupRules),
    /// Offsite: keeps for ever; no run destroys anything on it.
    Archive(ArchiveRules),
}

/// The rules of a backup.
#[derive(Debug, Clone)]
pub struct BackupRules {
    /// Which of our snapshots stay there. No rules: all of them.
    pub keep: KeepRules,
    /// What to do where the backup has snapshots newer than the base.
    pub on_divergence: BackupDivergence,
    /// What to do where the backup has snapshots, but none in common with the source.
    pub on_no_base: OnNoBase,
    /// How long a superseded line stays; `None` keeps it for ever.
    pub keep_superseded: Option<SignedDuration>,
}

/// What a backup does about snapshots that the source does not know and that are newer than the base.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BackupDivergence {
    /// Destroy exactly those of them that are ours; foreign ones stop it.
    Remove,
    /// Send nothing; a person decides.
    Stop,
}

/// What a backup does where nothing is in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnNoBase {
    /// Rename the old line aside and start a new one under the name.
    Supersede,
    /// Send nothing; a person decides.
    Stop,
}

/// The rules of an archive.
#[derive(Debug, Clone)]
pub struct ArchiveRules {
    /// Archive at the first run after a missed 1st; false is strictly on the 1st.
    pub catch_up: bool,
    /// What to do where the archive has snapshots that the source does not know, or none in common.
    pub on_divergence: ArchiveDivergence,
}

/// What an archive does where its line and the source's have parted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ArchiveDivergence {
    /// Rename the old line aside; continue as a clone of the common base, or as a new full line.
    Branch,
    /// Send nothing; a person decides.
    Stop,
}

/// How the data moves.
#[derive(Debug, Clone)]
pub struct TransferSettings {
    /// How many streams run at once.
    pub jobs: usize,
    /// Memory for the ring buffer of one stream.
    pub buffer: ByteCount,
    /// At most so many bytes a second over all streams together.
    pub rate: Option<ByteCount>,
    /// A stream in which no byte moves for so long has stalled.
    pub stall_limit: SignedDuration,
}

impl Pattern {
    /// temporary
    pub fn matches(&self, _name: &DatasetName) -> bool {
        false
    }
}
