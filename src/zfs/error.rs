//! Errors of calls to ZFS: the operation, the object, and the cause in an administrator's words.

use std::fmt;
use std::io;

use serde::{Deserialize, Serialize};

use crate::model::HangingPool;

/// The attempted operation. Prints as a verb that fits after "cannot".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Operation {
    /// `lzc_snapshot`
    Snapshot,
    /// `lzc_bookmark`
    Bookmark,
    /// `lzc_destroy_snaps`
    DestroySnapshots,
    /// `lzc_destroy_bookmarks`
    DestroyBookmarks,
    /// `lzc_get_bookmarks`
    ListBookmarks,
    /// `lzc_send_resume`
    Send,
    /// `lzc_send_space`
    EstimateSend,
    /// `lzc_hold`
    Hold,
    /// `lzc_get_holds`
    ListHolds,
    /// `lzc_rollback_to`
    RollBack,
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Snapshot => "take snapshot",
            Self::Bookmark => "make bookmark",
            Self::DestroySnapshots => "destroy snapshot",
            Self::DestroyBookmarks => "destroy bookmark",
            Self::ListBookmarks => "list the bookmarks of",
            Self::Send => "send",
            Self::EstimateSend => "estimate the size of sending",
            Self::Hold => "hold",
            Self::ListHolds => "list the holds of",
            Self::RollBack => "roll back to",
        })
    }
}

/// A call that failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[error("cannot {operation} {object}")]
pub struct Error {
    operation: Operation,
    object: String,
    #[source]
    cause: Cause,
    entries: Vec<Entry>,
    unlisted_count: u32,
}

/// One object of a call on many, and what the kernel said of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The object's full name.
    pub name: String,
    /// Why the call failed for it.
    pub cause: Cause,
}

impl Error {
    /// A call on one object, or one that failed as a whole.
    pub(crate) fn new(operation: Operation, object: impl fmt::Display, cause: Cause) -> Self {
        Self { operation, object: object.to_string(), cause, entries: Vec::new(), unlisted_count: 0 }
    }

    /// A call on many objects, with the kernel's list of what failed; `None` if that list is empty.
    pub(super) fn of_entries(
        operation: Operation,
        mut entries: Vec<Entry>,
        unlisted_count: u32,
    ) -> Option<Self> {
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        let first = entries.first()?;
        let cause = first.cause.clone();
        let object = match entries.len() - 1 {
            0 => first.name.clone(),
            others => format!("{} and {others} more", first.name),
        };
        Some(Self { operation, object, cause, entries, unlisted_count })
    }

    /// The attempted operation.
    pub fn operation(&self) -> Operation {
        self.operation
    }

    /// The object of the operation; of several, the first and how many more.
    pub fn object(&self) -> &str {
        &self.object
    }

    /// Why it failed; with several entries, the first one's cause.
    pub fn cause(&self) -> &Cause {
        &self.cause
    }

    /// The objects that the kernel named, sorted; empty where the call failed as a whole.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// How many more objects failed than the kernel had room to name.
    pub fn unlisted_count(&self) -> u32 {
        self.unlisted_count
    }

    /// Whether the same call may well work in a moment.
    pub fn is_transient(&self) -> bool {
        if self.entries.is_empty() {
            self.cause.is_transient()
        } else {
            self.entries.iter().all(|entry| entry.cause.is_transient())
        }
    }
}

/// Why a call failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum Cause {
    /// EBUSY
    #[error("a user hold (zfs holds), a send, a receive or a rollback has it")]
    Busy,
    /// Not of the kernel: `receiving` has seen it.
    #[error("a zfs receive into it is under way")]
    BeingReceived,
    /// EEXIST, except for a destroy
    #[error("the name is already taken")]
    Exists,
    /// EEXIST from a destroy
    #[error("a clone depends on it")]
    Cloned,
    /// EXDEV and EEXIST from a rollback
    #[error("a snapshot or bookmark is newer")]
    NotNewest,
    /// ENOENT
    #[error("it, or its base, does not exist")]
    NotFound,
    /// EXDEV from a send, `ZFS_ERR_BOOKMARK_SOURCE_NOT_ANCESTOR`
    #[error("the base is not an earlier point of the same dataset")]
    NotAncestor,
    /// EXDEV from a call on many objects
    #[error("the objects of one call are in different pools, or two are of the same dataset")]
    DifferentPools,
    /// ENOSPC
    #[error("the pool is full")]
    NoSpace,
    /// EDQUOT
    #[error("a quota or snapshot_limit is reached")]
    Quota,
    /// EPERM, EACCES
    #[error("permission denied; run as root, or delegate it (zfs allow)")]
    PermissionDenied,
    /// EACCES from a send
    #[error("its encryption key is not loaded; load it (zfs load-key) or send raw")]
    KeyNotLoaded,
    /// EPIPE: the reading end of the stream was closed (`send` distinguishes the kernel's EINTR)
    #[error("the stream was cut off by its reader")]
    Cancelled,
    /// EINTR
    #[error("a signal interrupted the call")]
    Interrupted,
    /// EAGAIN
    #[error("the pool is suspended after I/O errors (zpool status, zpool clear)")]
    PoolSuspended,
    /// ENOTSUP
    #[error("the pool lacks a feature that this needs (zpool upgrade), or the kernel module is too old")]
    FeatureUnsupported,
    /// EIO, and EBADE for a checksum
    #[error("data could not be read: I/O or checksum error (zpool status -v)")]
    Unreadable,
    /// ENAMETOOLONG
    #[error("the name is longer than 255 bytes")]
    NameTooLong,
    /// EROFS
    #[error("the pool is imported read-only")]
    ReadOnly,
    /// An error of ZFS's own, 1024 and above.
    #[error("{}", zfs_error_words(*.0))]
    Zfs(i32),
    /// Any other errno.
    #[error("{}", io::Error::from_raw_os_error(*.0))]
    Other(i32),
    /// The call does not return, or the pool refuses it, and so will every other.
    #[error("{0}")]
    PoolHangs(Box<HangingPool>),
    /// The thread inside the kernel did not return within the time given; it is left behind.
    #[error("the kernel did not return within {seconds} s; the pool may be suspended (zpool status)")]
    Stuck {
        /// How long was waited.
        seconds: u64,
    },
    /// The call was not made, or its answer not understood.
    #[error("{0}")]
    Unexpected(String),
}

impl Cause {
    /// Reads an errno in the light of what was tried: the kernel reuses numbers.
    pub(super) fn from_errno(operation: Operation, errno: i32) -> Self {
        let is_destroy = matches!(operation, Operation::DestroySnapshots | Operation::DestroyBookmarks);
        let is_send = matches!(operation, Operation::Send | Operation::EstimateSend);
        match errno {
            libc::EBUSY => Self::Busy,
            libc::EEXIST if is_destroy => Self::Cloned,
            libc::EEXIST | libc::EXDEV if operation == Operation::RollBack => Self::NotNewest,
            libc::EEXIST => Self::Exists,
            libc::ENOENT | libc::ESRCH => Self::NotFound,
            libc::EXDEV if is_send => Self::NotAncestor,
            libc::EXDEV => Self::DifferentPools,
            libc::ENOSPC => Self::NoSpace,
            libc::EDQUOT => Self::Quota,
            libc::EACCES if is_send => Self::KeyNotLoaded,
            libc::EPERM | libc::EACCES => Self::PermissionDenied,
            libc::EPIPE => Self::Cancelled,
            libc::EINTR => Self::Interrupted,
            libc::EAGAIN => Self::PoolSuspended,
            libc::ENOTSUP => Self::FeatureUnsupported,
            libc::EIO | libc::EBADE => Self::Unreadable,
            libc::ENAMETOOLONG => Self::NameTooLong,
            libc::EROFS => Self::ReadOnly,
            ZFS_ERR_BOOKMARK_SOURCE_NOT_ANCESTOR => Self::NotAncestor,
            ZFS_ERR_FIRST.. => Self::Zfs(errno),
            _ => Self::Other(errno),
        }
    }

    /// From a failure outside the kernel, for example no memory for an nvlist.
    pub(super) fn from_io(operation: Operation, error: &io::Error) -> Self {
        match error.raw_os_error() {
            Some(errno) => Self::from_errno(operation, errno),
            None => Self::Unexpected(error.to_string()),
        }
    }

    /// Whether the same call may well work in a moment.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Busy | Self::Interrupted | Self::PoolSuspended | Self::NoSpace)
    }
}

/// Where ZFS's own errors begin (`zfs_errno_t` in `sys/fs/zfs.h`).
const ZFS_ERR_FIRST: i32 = 1024;
const ZFS_ERR_BOOKMARK_SOURCE_NOT_ANCESTOR: i32 = 1039;

/// `zfs_errno_t` in order of its numbers, which only ever grow at the end.
const ZFS_ERRORS: [(&str, &str); 29] = [
    ("ZFS_ERR_CHECKPOINT_EXISTS", "the pool has a checkpoint"),
    ("ZFS_ERR_DISCARDING_CHECKPOINT", "a checkpoint is being discarded"),
    ("ZFS_ERR_NO_CHECKPOINT", "the pool has no checkpoint"),
    ("ZFS_ERR_DEVRM_IN_PROGRESS", "a device is being removed"),
    ("ZFS_ERR_VDEV_TOO_BIG", "a device is too big"),
    ("ZFS_ERR_IOC_CMD_UNAVAIL", "the kernel module is too old for this call"),
    ("ZFS_ERR_IOC_ARG_UNAVAIL", "the kernel module is too old for an argument of this call"),
    ("ZFS_ERR_IOC_ARG_REQUIRED", "the kernel module wants an argument that this call lacks"),
    ("ZFS_ERR_IOC_ARG_BADTYPE", "the kernel module wants another type of argument"),
    ("ZFS_ERR_WRONG_PARENT", "a volume cannot be a parent"),
    (
        "ZFS_ERR_FROM_IVSET_GUID_MISSING",
        "the base has no IV set: it was made before OpenZFS 2.1.5, or received without raw",
    ),
    (
        "ZFS_ERR_FROM_IVSET_GUID_MISMATCH",
        "the base's IV set differs: one side's point was once sent without raw",
    ),
    ("ZFS_ERR_SPILL_BLOCK_FLAG_MISSING", "the stream lacks the spill block flag"),
    ("ZFS_ERR_UNKNOWN_SEND_STREAM_FEATURE", "the stream has a feature that this OpenZFS does not know"),
    ("ZFS_ERR_EXPORT_IN_PROGRESS", "the pool is being exported"),
    ("ZFS_ERR_BOOKMARK_SOURCE_NOT_ANCESTOR", "the base is not an ancestor"),
    ("ZFS_ERR_STREAM_TRUNCATED", "the stream ended early"),
    ("ZFS_ERR_STREAM_LARGE_BLOCK_MISMATCH", "large blocks were on before and are off now, or the reverse"),
    ("ZFS_ERR_RESILVER_IN_PROGRESS", "the pool is resilvering"),
    ("ZFS_ERR_REBUILD_IN_PROGRESS", "the pool is rebuilding"),
    ("ZFS_ERR_BADPROP", "a property has a wrong value"),
    ("ZFS_ERR_VDEV_NOTSUP", "the kind of device does not support this"),
    ("ZFS_ERR_NOT_USER_NAMESPACE", "not a user namespace"),
    ("ZFS_ERR_RESUME_EXISTS", "the target holds a receive that was interrupted; resume or abort it"),
    ("ZFS_ERR_CRYPTO_NOTSUP", "the target's encryption does not support this"),
    ("ZFS_ERR_RAIDZ_EXPAND_IN_PROGRESS", "a raidz is being expanded"),
    ("ZFS_ERR_ASHIFT_MISMATCH", "a device has another ashift"),
    ("ZFS_ERR_STREAM_LARGE_MICROZAP", "the stream has large microzaps and the pool lacks the feature"),
    ("ZFS_ERR_TOO_MANY_SITOUTS", "too many devices sit out"),
];

fn zfs_error_words(errno: i32) -> String {
    let known = usize::try_from(errno - ZFS_ERR_FIRST).ok().and_then(|i| ZFS_ERRORS.get(i));
    match known {
        Some((name, words)) => format!("{words} ({name})"),
        None => format!("ZFS error {errno}, unknown to this version of zhaul"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_number_means_different_things() {
        let cause = Cause::from_errno;
        assert_eq!(cause(Operation::DestroySnapshots, libc::EEXIST), Cause::Cloned);
        assert_eq!(cause(Operation::Snapshot, libc::EEXIST), Cause::Exists);
        assert_eq!(cause(Operation::Send, libc::EXDEV), Cause::NotAncestor);
        assert_eq!(cause(Operation::Snapshot, libc::EXDEV), Cause::DifferentPools);
        assert_eq!(cause(Operation::Send, libc::EACCES), Cause::KeyNotLoaded);
        assert_eq!(cause(Operation::Hold, libc::EACCES), Cause::PermissionDenied);
        assert_eq!(cause(Operation::RollBack, libc::EXDEV), Cause::NotNewest);
        assert_eq!(cause(Operation::RollBack, libc::EEXIST), Cause::NotNewest);
    }

    #[test]
    fn zfs_errors_have_their_names() {
        let text = |errno| Cause::from_errno(Operation::Send, errno).to_string();
        assert!(text(1024).contains("ZFS_ERR_CHECKPOINT_EXISTS"), "{}", text(1024));
        assert!(text(1034).contains("ZFS_ERR_FROM_IVSET_GUID_MISSING"), "{}", text(1034));
        assert!(text(1047).contains("ZFS_ERR_RESUME_EXISTS"), "{}", text(1047));
        assert!(text(1052).contains("ZFS_ERR_TOO_MANY_SITOUTS"), "{}", text(1052));
        assert!(text(1053).contains("1053"), "{}", text(1053));
        assert_eq!(Cause::from_errno(Operation::Send, 1039), Cause::NotAncestor);
        assert!(text(libc::ENODEV).contains("No such device"), "{}", text(libc::ENODEV));
    }

    #[test]
    fn many_entries_name_the_first_and_count_the_rest() {
        let entry = |name: &str, cause| Entry { name: name.to_owned(), cause };
        let entries = vec![entry("p/b@1", Cause::Cloned), entry("p/a@1", Cause::Busy)];
        let error = Error::of_entries(Operation::DestroySnapshots, entries, 0).unwrap();
        assert_eq!(error.to_string(), "cannot destroy snapshot p/a@1 and 1 more");
        assert_eq!(*error.cause(), Cause::Busy);
        assert!(!error.is_transient(), "the clone stays");
        assert_eq!(Error::of_entries(Operation::Hold, Vec::new(), 0), None);
    }
}
