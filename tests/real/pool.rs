//! A dataset of a test's own on the lab's source pool, and the few `zfs` commands that tests need beside the binding.

use std::env;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use zhaul::model::{BookmarkName, DatasetName, PointName, SnapshotName};

/// A dataset that is made empty for one test and destroyed after it.
#[derive(Debug)]
pub(crate) struct Scratch(DatasetName);

impl Scratch {
    /// `POOL/NAME`, destroyed and created. NAME is the test's alone: tests run in parallel.
    pub(crate) fn new(name: &str) -> Self {
        let pool = env::var_os("ZHAUL_LAB_POOL_PVE0")
            .expect("ZHAUL_LAB_POOL_PVE0 names the lab's source pool; run this with `cargo lab test`");
        let dataset = DatasetName::new(pool.to_str().unwrap()).unwrap().child(name).unwrap();
        let scratch = Self(dataset);
        scratch.destroy();
        zfs(&["create", scratch.0.as_str()]);
        scratch
    }

    /// The dataset itself.
    pub(crate) fn dataset(&self) -> &DatasetName {
        &self.0
    }

    /// A file system below it.
    pub(crate) fn create(&self, name: &str) -> DatasetName {
        let dataset = self.0.child(name).unwrap();
        zfs(&["create", dataset.as_str()]);
        dataset
    }

    /// A name below it that does not exist yet.
    pub(crate) fn child(&self, name: &str) -> DatasetName {
        self.0.child(name).unwrap()
    }

    fn destroy(&self) {
        // Fails where it does not exist, which is what is wanted.
        let quiet =
            Command::new("zfs").args(["destroy", "-r", self.0.as_str()]).stderr(Stdio::null()).status();
        quiet.expect("zfs can be run");
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        self.destroy();
    }
}

/// Runs `zfs`, which must succeed, and returns what it printed, trimmed.
///
/// A dataset to destroy may be busy for a moment: a snapshot longer than the killed process that sent it, a volume while
/// udev reads its new device.
pub(crate) fn zfs(args: &[&str]) -> String {
    let run = || Command::new("zfs").args(args).output().expect("zfs can be run");
    let mut output = run();
    let deadline = Instant::now() + Duration::from_secs(20);
    while args.first() == Some(&"destroy")
        && String::from_utf8_lossy(&output.stderr).contains("dataset is busy")
        && Instant::now() < deadline
    {
        thread::sleep(Duration::from_millis(50));
        output = run();
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "zfs {args:?}: {stderr}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// One property of a dataset, snapshot or bookmark.
pub(crate) fn property(name: &str, object: &str) -> String {
    zfs(&["get", "-Hp", "-o", "value", name, object])
}

/// The name of a snapshot.
pub(crate) fn snapshot(dataset: &DatasetName, name: &str) -> SnapshotName {
    dataset.snapshot(&PointName::new(name).unwrap()).unwrap()
}

/// The name of a bookmark.
pub(crate) fn bookmark(dataset: &DatasetName, name: &str) -> BookmarkName {
    dataset.bookmark(&PointName::new(name).unwrap()).unwrap()
}
