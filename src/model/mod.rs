//! The words of the domain, as types: names, points, histories, inventories, sizes, times.
//!
//! Nothing here does I/O, reads a clock or logs; everything above may use it, it uses nothing above.
//! One word has one meaning throughout zhaul:
//!
//! * **point**: a snapshot or a bookmark; identified by its [`Guid`], never by its name;
//! * **history**: the points of one dataset in the order of `createtxg`;
//! * **base**: the common point that an incremental stream starts from;
//! * **own** snapshot: one whose name parses under the policy's [`NameFormat`];
//! * **guest**: one virtual machine or container, that is all its volumes;
//! * **inventory**: what exists on all hosts at one moment.

mod aside;
mod change;
mod compression;
mod content;
mod guest;
mod guest_config;
mod hang;
mod healing;
mod history;
mod host_state;
mod inventory;
mod kept;
mod line_history;
mod lineage;
mod link;
mod listing;
mod month;
mod name;
mod name_format;
mod point;
mod ports;
mod properties;
mod proxmox;
mod rate;
mod resume;
mod run_mark;
mod safe_copy;
mod send;
mod set_aside;
mod size;
mod text;
mod verification;
mod volume;

pub use aside::{ARCHIVE_ASIDE, BACKUP_ASIDE};
pub use change::Change;
pub use compression::{Compression, CompressionError};
pub use content::{ContentSalt, Span};
pub use guest::{DiskLine, Guest, GuestId};
pub use guest_config::{
    CONSISTENCY_PROPERTY, FILE_SYSTEM_CONSISTENT, GUEST_PROPERTY, GuestConfig, GuestKind, Unusable,
};
pub(crate) use hang::pool_of;
pub use hang::{Hang, HangingPool, Liveness};
pub use healing::{HEALING_PROPERTY, HEALING_SNAPSHOT};
pub use history::History;
pub use host_state::{DAMAGED_MAX, HostState, PoolState, Scrub};
pub use inventory::{Answer, CopyEncryption, Dataset, DatasetKind, Encryption, Inventory, TargetName};
pub use kept::{KeptMark, aside_from, aside_of, opposite};
pub use line_history::LineHistory;
pub use lineage::{Claim, LINEAGE_PROPERTY, LineageMark};
pub use link::{AgentUse, Channel, Link};
pub use listing::{Listing, Unlisted};
pub use month::Month;
pub use name::{BookmarkName, DatasetName, NAME_BYTES_MAX, NameError, PointName, SnapshotName};
pub use name_format::{FormatError, NameFormat};
pub use point::{Details, Guid, Point, PointKind, Txg};
pub use ports::{PortRange, PortRangeError};
pub use properties::{
    ASIDE_MARK, ASIDE_NAME, BACKUP_PROPERTY, INCOMING_MARK, INCOMING_NAME, PUT_BACK_MARK, RESTORE_PROPERTY,
    SET_ASIDE_PROPERTY, Settings, USER_PROPERTIES, UserProperties, UserProperty, WRITER_PROPERTY,
};
pub use proxmox::{Proxmox, ProxmoxState, Storage};
pub use rate::{RateSchedule, RateWindow, RateWindowError};
pub use resume::{ResumeToken, ResumeTokenError};
pub use run_mark::{CALLS_PROCESS, CALLS_VARIABLE, Orphan, RUN_VARIABLE, RunMark};
pub use safe_copy::{SafeProperty, safe_properties};
pub use send::{ResumePoint, SendFlags};
pub use set_aside::{SET_ASIDE_PAUSE, SetAside, SetAsideCause, SetAsideMark, SnapshotId, Writer};
pub use size::{ByteCount, SizeError};
pub use text::{is_format_character, printable};
pub use verification::{
    LAST_DRILL_PROPERTY, LAST_VERIFIED_PROPERTY, LastVerified, VERIFIED_PROPERTY, Verification, VerifiedBy,
};
pub use volume::{TEMPLATE_SNAPSHOT, VolumeName, VolumeRole, is_of_template, is_template_snapshot};
