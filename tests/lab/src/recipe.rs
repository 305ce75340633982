//! The inputs of the build: the pins, in the order they are tried, and the key that names the result. A change here, in
//! `kernel.config` or in [`RECIPE`] makes old caches old.

use crate::cache;

/// Raise when the build steps themselves change.
const RECIPE: &str = "1";

/// The kernel options that the lab needs beyond the default ones.
pub(crate) const KERNEL_CONFIG: &str = include_str!("../kernel.config");

/// A kernel source and an OpenZFS source known to work together.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pin {
    /// The suite both come from.
    pub(crate) suite: &'static str,
    /// The kernel series: package `linux-source-SERIES`.
    pub(crate) linux: &'static str,
    /// The OpenZFS release series, package `zfs-dkms`; a newer series of the suite is still taken, with a notice.
    pub(crate) openzfs: &'static str,
    /// CPUs that were seen to work.
    pub(crate) cpus: u32,
}

/// Best first.
pub(crate) const PINS: [Pin; 2] = [
    Pin { suite: "trixie-backports", linux: "7.2", openzfs: "2.4", cpus: 1 },
    Pin { suite: "bookworm-backports", linux: "6.12", openzfs: "2.3", cpus: 1 },
];

/// Debian releases that may be asked beyond the machine's own. Nothing of theirs is ever installed.
pub(crate) const EXTRA_SUITES: [&str; 2] = ["trixie-backports", "bookworm-backports"];

/// Needed on the machine itself to build kernel, modules and the project.
pub(crate) const BUILD_PACKAGES: [&str; 11] = [
    "bc",
    "bison",
    "cpio",
    "flex",
    "gcc",
    "kmod",
    "libc6-dev",
    "libelf-dev",
    "make",
    "pkg-config",
    "xz-utils",
];

/// Needed only inside the lab: unpacked into the cache and laid over the machine's root there, never installed.
pub(crate) const LAB_PACKAGES: [&str; 21] = [
    "e2fsprogs",
    "iproute2",
    "iptables",
    "iputils-ping",
    "kmod",
    "locales",
    "lz4",
    "mbuffer",
    "mount",
    "nftables",
    "openssh-client",
    "openssh-server",
    "perl",
    "procps",
    "pv",
    "sanoid",
    "socat",
    "udev",
    "util-linux",
    "xxd",
    "zstd",
];

/// The OpenZFS user land, by the same way; left out where the machine has its own OpenZFS.
pub(crate) const ZFS_PACKAGES: [&str; 1] = ["zfsutils-linux"];

/// The key of kernel and modules.
pub(crate) fn kernel_key() -> String {
    let mut parts = vec![RECIPE.to_owned(), KERNEL_CONFIG.to_owned()];
    for pin in PINS {
        parts.push(format!("{} {} {} {}", pin.suite, pin.linux, pin.openzfs, pin.cpus));
    }
    cache::key(parts.iter().map(String::as_str))
}

/// The key of the packages laid over the root: what is wanted, and what the machine has (`dpkg`'s status file).
pub(crate) fn packages_key(wanted: &[&str], dpkg_status: &str) -> String {
    cache::key([RECIPE].into_iter().chain(wanted.iter().copied()).chain([dpkg_status]))
}

/// The newest of the kernel series on offer that is not newer than `limit` (OpenZFS's `Linux-Maximum`).
pub(crate) fn newest_kernel(offered: &[String], limit: &str) -> Option<String> {
    let limit = version(limit)?;
    let mut fit: Vec<_> = offered.iter().filter_map(|name| Some((version(name)?, name))).collect();
    fit.retain(|(found, _)| *found <= limit);
    fit.sort();
    fit.pop().map(|(_, name)| name.clone())
}

fn version(text: &str) -> Option<(u32, u32)> {
    let (major, minor) = text.trim().split_once('.')?;
    Some((major.parse().ok()?, minor.split('.').next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_kernel_that_openzfs_allows() {
        let offered = ["6.12", "7.2", "7.10", "7.3", "rt"].map(str::to_owned);
        assert_eq!(newest_kernel(&offered, "7.2").as_deref(), Some("7.2"));
        assert_eq!(newest_kernel(&offered, "7.9").as_deref(), Some("7.3"));
        assert_eq!(newest_kernel(&offered, "7.11").as_deref(), Some("7.10"));
        assert_eq!(newest_kernel(&offered, "6.1"), None);
    }

    #[test]
    fn another_wish_or_another_machine_is_another_tree() {
        let one = packages_key(&["a", "b"], "status");
        assert_ne!(one, packages_key(&["a"], "status"));
        assert_ne!(one, packages_key(&["a", "b"], "other"));
        assert_eq!(kernel_key().len(), 16);
    }
}
