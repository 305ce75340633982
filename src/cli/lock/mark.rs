//! The mark of a run on its targets: which machine, which lock, which run.

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use ring::digest::{Context, SHA256};

use crate::channel::random_bytes;
use crate::model::RunMark;

/// Files that distinguish machines made from one image. Some of them are missing or unreadable on some machines.
const IDENTITIES: [&str; 2] = ["/etc/machine-id", "/sys/class/dmi/id/product_uuid"];

/// The mark of a run that holds the lock at `path`. Every run that could end another one by it must have that lock first, so
/// it is the lock that counts, not the name of the policy.
pub(super) fn of(path: &Path) -> io::Result<RunMark> {
    let path = fs::canonicalize(path)?;
    let host = rustix::system::uname();
    let mut identity = Context::new(&SHA256);
    let user = rustix::process::geteuid().as_raw().to_le_bytes();
    let mut add = |part: &[u8]| {
        identity.update(&part.len().to_le_bytes());
        identity.update(part);
    };
    add(host.nodename().to_bytes());
    add(&user);
    add(path.as_os_str().as_bytes());
    for file in IDENTITIES {
        add(&fs::read(file).unwrap_or_default());
    }
    let policy = identity.finish();
    let policy = policy.as_ref().iter().take(8).fold(0, |sum, byte| sum << 8 | u64::from(*byte));
    Ok(RunMark::new(policy, u64::from_le_bytes(random_bytes()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_has_one_policy_number_under_all_its_names_and_each_run_its_own() {
        let directory = tempfile::tempdir().unwrap();
        let (one, other) = (directory.path().join("one"), directory.path().join("other"));
        fs::write(&one, "").unwrap();
        fs::write(&other, "").unwrap();
        let link = directory.path().join("link");
        std::os::unix::fs::symlink(directory.path(), &link).unwrap();
        let (first, second) = (of(&one).unwrap(), of(&link.join("one")).unwrap());
        assert_eq!(first.policy_prefix(), second.policy_prefix());
        assert_ne!(first, second);
        assert_ne!(first.policy_prefix(), of(&other).unwrap().policy_prefix());
    }
}
