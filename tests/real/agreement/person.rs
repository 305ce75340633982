//! The same deeds of a person on both kinds of machine: `zfs` at a prompt on real pools, `fake/person.rs` on the fake.

use std::process::Command;

use zhaul::host::fake::FakeHost;
use zhaul::model::DatasetKind;

use super::deed::{Act, Side};
use crate::look;
use crate::pool::property;

/// Resolves a relative name.
pub(crate) type Resolve<'a> = &'a dyn Fn(&str) -> String;

/// Someone with a prompt on both machines. Whether it was done counts, not how a refusal is worded.
pub(crate) trait Person {
    fn act(&self, side: Side, act: Act, name: Resolve<'_>) -> Result<(), String>;
}

/// Both real pools are imported on this machine.
#[derive(Debug)]
pub(crate) struct AtPrompt;

impl Person for AtPrompt {
    fn act(&self, _side: Side, act: Act, name: Resolve<'_>) -> Result<(), String> {
        match act {
            Act::Create(dataset) => zfs(&["create", &name(dataset)]),
            Act::CreateVolume(dataset) => zfs(&["create", "-s", "-V", "8m", &name(dataset)]),
            Act::Write(dataset) => write(&name(dataset)),
            Act::Snapshot(snapshot) => zfs(&["snapshot", &name(snapshot)]),
            Act::Bookmark(snapshot, bookmark) => zfs(&["bookmark", &name(snapshot), &name(bookmark)]),
            Act::Hold(snapshot) => zfs(&["hold", "keep", &name(snapshot)]),
            Act::Release(snapshot) => zfs(&["release", "keep", &name(snapshot)]),
            Act::Clone(snapshot, dataset) => zfs(&["clone", &name(snapshot), &name(dataset)]),
            Act::Rollback(snapshot) => zfs(&["rollback", &name(snapshot)]),
            Act::RollbackPastNewer(snapshot) => zfs(&["rollback", "-r", &name(snapshot)]),
            Act::DestroyPoint(point) => zfs(&["destroy", &name(point)]),
            Act::DestroyDeferred(snapshot) => zfs(&["destroy", "-d", &name(snapshot)]),
            Act::Destroy(dataset) => zfs(&["destroy", "-r", &name(dataset)]),
            Act::Rename(from, to) => zfs(&["rename", &name(from), &name(to)]),
        }
    }
}

fn zfs(args: &[&str]) -> Result<(), String> {
    let output = Command::new("zfs").args(args).output().expect("zfs can be run");
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
}

/// Writes into a file system, read-only ones included: mounted with an option of that one mount, so that no property
/// changes.
fn write(dataset: &str) -> Result<(), String> {
    zfs(&["list", dataset])?;
    let was_mounted = property("mounted", dataset) == "yes";
    if was_mounted {
        zfs(&["unmount", dataset])?;
    }
    zfs(&["mount", "-o", "rw", dataset])?;
    look::write_file(dataset, "file", 1);
    zfs(&["unmount", dataset])?;
    if was_mounted {
        zfs(&["mount", dataset])?;
    }
    look::sync(dataset);
    Ok(())
}

/// The fakes.
#[derive(Debug)]
pub(crate) struct AtFakes {
    pub(crate) source: FakeHost,
    pub(crate) target: FakeHost,
}

impl Person for AtFakes {
    fn act(&self, side: Side, act: Act, name: Resolve<'_>) -> Result<(), String> {
        let host = match side {
            Side::Source => &self.source,
            Side::Target => &self.target,
        };
        let done = match act {
            Act::Create(dataset) => host.create(&name(dataset), DatasetKind::Filesystem),
            Act::CreateVolume(dataset) => host.create(&name(dataset), DatasetKind::Volume),
            Act::Write(dataset) => host.write(&name(dataset), 8),
            Act::Snapshot(snapshot) => host.take(&[&name(snapshot)]),
            Act::Bookmark(snapshot, bookmark) => host.bookmark_as(&name(snapshot), &name(bookmark)),
            Act::Hold(snapshot) => host.hold("keep", &name(snapshot)),
            Act::Release(snapshot) => host.release("keep", &name(snapshot)),
            Act::Clone(snapshot, dataset) => host.clone_as(&name(snapshot), &name(dataset)),
            Act::Rollback(snapshot) => host.roll_back_to(&name(snapshot)),
            Act::RollbackPastNewer(snapshot) => host.roll_back_past_newer(&name(snapshot)),
            Act::DestroyPoint(point) => host.destroy_point(&name(point)),
            Act::DestroyDeferred(snapshot) => host.destroy_deferred(&name(snapshot)),
            Act::Destroy(dataset) => host.destroy(&name(dataset)),
            Act::Rename(from, to) => host.rename(&name(from), &name(to)),
        };
        done.map_err(|problem| problem.to_string())
    }
}
