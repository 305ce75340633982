//! The scratch snapshot through which a damaged copy is healed.
//!
//! A corrective receive (`zfs receive -c`) rewrites the damaged blocks of a snapshot where they are. But it marks the snapshot as
//! inconsistent, and OpenZFS (2.2 to 2.4, `dmu_recv_begin_sync`) never takes that back: it could no longer be mounted. So a
//! snapshot is taken of what the copy has now, which is what its newest snapshot has: the same blocks, with a GUID of its own.
//! That one is received into, and destroyed afterwards. A clone cannot be healed: there OpenZFS 2.4.4 crashes the kernel
//! (`zfs_destroy_unmount_origin` looks at the snapshot before a snapshot).

/// On a copy that is being healed: the GUID of its newest snapshot. Counts only where it is local; only where it does, the
/// scratch snapshot is destroyed.
pub const HEALING_PROPERTY: &str = "zhaul:healing";
/// The name of the scratch snapshot.
pub const HEALING_SNAPSHOT: &str = "zhaul-healing";
