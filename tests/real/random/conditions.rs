//! The conditions of a host between two runs, as a table. Each reports what it did, or `None` where it was not possible.

use std::io::{self, ErrorKind};
use std::process::{Command, Stdio};

use rustix::io::Errno;

use super::{Stage, at_source, at_target, guest_files, meddling, on_host, tools};
use crate::look;
use crate::pool::{property, zfs};

/// One kind of thing that happens.
#[derive(Debug)]
pub(super) struct Condition {
    /// For people, and to count it.
    pub(super) name: &'static str,
    /// Does it.
    pub(super) happen: fn(&mut Stage) -> Option<String>,
    /// Ends it before the run after the next, if it lasts.
    pub(super) undo: Option<fn(&mut Stage)>,
}

const fn once(name: &'static str, happen: fn(&mut Stage) -> Option<String>) -> Condition {
    Condition { name, happen, undo: None }
}

const fn lasting(
    name: &'static str,
    happen: fn(&mut Stage) -> Option<String>,
    undo: fn(&mut Stage),
) -> Condition {
    Condition { name, happen, undo: Some(undo) }
}

/// All of them.
pub(super) static ALL: [Condition; 50] = [
    once("write", at_source::write),
    once("roll back", at_source::roll_back),
    once("replica back (recv -F)", tools::replica_back),
    once("promote", at_source::promote),
    once("rename", at_source::rename),
    once("names swapped", at_source::swap),
    once("recreate", at_source::recreate),
    once("snapshot taken again under its name", at_source::take_again),
    once("foreign snapshot", at_source::foreign_snapshot),
    once("foreign bookmark", at_source::foreign_bookmark),
    once("only bookmarks left", at_source::only_bookmarks_left),
    once("newest snapshot destroyed", at_source::newest_destroyed),
    once("bookmarks destroyed", at_source::bookmarks_destroyed),
    once("guest destroyed", at_source::guest_destroyed),
    once("new guest", at_source::new_guest),
    once("dataset below a guest", at_source::child),
    once("named like a set-aside lineage", at_source::name_like_set_aside),
    once("foreign snapshot on a copy", at_target::foreign_snapshot),
    once("write to a copy", at_target::write),
    once("copy with a dataset below it written to", at_target::write_parent),
    once("write to a volume's copy", at_target::write_volume),
    once("newest snapshot of a copy destroyed", at_target::newest_destroyed),
    once("copy renamed", at_target::rename),
    once("clone of a copy promoted", at_target::promote),
    once("month made by hand", at_target::month_by_hand),
    once("month made by hand on a dataset beside", at_target::month_beside),
    once("copy of another node", tools::copy_of_another_node),
    once("another tool sends", tools::another_tool_sends),
    once("restored in place", tools::restored),
    once("odd property", on_host::odd_property),
    once("forged writer", tools::forged_writer),
    once("forged set-aside mark", tools::forged_set_aside),
    once("forged lineage", tools::forged_lineage),
    once("hold", on_host::hold),
    once("clock back", on_host::clock_back),
    once("clock ahead", on_host::clock_ahead),
    once("guest file", guest_files::of_a_guest),
    once("line of another storage", guest_files::of_another_storage),
    once("guest of another node", guest_files::of_another_node),
    once("left out by its line", guest_files::left_out),
    once("killed", on_host::killed),
    once("killed in a slow stream", on_host::killed_in_stream),
    once("names taken again in a run", meddling::taken_again),
    once("destroyed in a run", meddling::destroyed),
    lasting("opted out", on_host::opted_out, on_host::opted_in),
    lasting("unsafe copy", at_target::make_unsafe, at_target::make_safe),
    lasting("fewer are kept", on_host::keep_fewer, Stage::keep_as_usual),
    lasting("volume without room for a snapshot", on_host::reserved, on_host::freed),
    lasting("unreachable", on_host::unreachable, on_host::reachable),
    lasting("full", on_host::full, on_host::roomy),
];

/// Runs `zfs` for somebody who does not mind if it fails.
pub(super) fn attempt(args: &[&str]) -> bool {
    Command::new("zfs").args(args).stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap().success()
}

/// Writes something new into a file system or volume, wherever it is mounted.
pub(super) fn write(stage: &mut Stage, dataset: &str) {
    if property("type", dataset) == "volume" {
        let at = u64::try_from(stage.random.below(8)).unwrap();
        write_volume(dataset, at, &format!("{}", stage.random.any()));
    } else {
        write_file(dataset, &format!("file-{}", stage.random.below(4)));
    }
}

/// Writes into a volume, unless another condition has left it no room.
pub(super) fn write_volume(dataset: &str, at_mib: u64, text: &str) {
    let written = look::try_write_device(dataset, at_mib, 1, text);
    let has_no_room = |error: &io::Error| error.raw_os_error() == Some(Errno::IO.raw_os_error());
    assert!(written.as_ref().err().is_none_or(has_no_room), "{dataset}: {written:?}");
}

/// Writes a file, unless another condition has left it no room.
pub(super) fn write_file(dataset: &str, file: &str) {
    let written = look::try_write_file(dataset, file, 1);
    let has_no_room =
        |error: &io::Error| matches!(error.kind(), ErrorKind::QuotaExceeded | ErrorKind::StorageFull);
    assert!(written.as_ref().err().is_none_or(has_no_room), "{dataset}: {written:?}");
}

/// A new file system at the source, with some data if another condition has left room for it.
pub(super) fn new_guest(stage: &Stage, name: &str) -> String {
    let guest = stage.world.guest(name);
    zfs(&["create", &guest]);
    write_file(&guest, "first");
    guest
}

impl Stage {
    pub(super) fn pick(&mut self, of: Vec<String>) -> Option<String> {
        let at = self.random.below(of.len());
        of.into_iter().nth(at)
    }

    /// The datasets of the source.
    pub(super) fn guests(&self) -> Vec<String> {
        let root = self.world.source();
        look::datasets(&root).into_iter().filter(|name| *name != root).collect()
    }

    /// One of them.
    pub(super) fn a_guest(&mut self) -> Option<String> {
        self.pick(self.guests())
    }

    /// One of them that is a volume.
    pub(super) fn a_volume(&mut self) -> Option<String> {
        let is_volume = |name: &String| property("type", name) == "volume";
        self.pick(self.guests().into_iter().filter(is_volume).collect())
    }

    /// A dataset below the root of the backup or the archive.
    pub(super) fn a_copy(&mut self) -> Option<String> {
        let roots = [self.world.backup_root(), self.world.archive_root()];
        let datasets = roots.iter().filter(|root| look::exists(root)).flat_map(|root| look::datasets(root));
        self.pick(datasets.filter(|name| !roots.contains(name)).collect())
    }

    /// A snapshot of this dataset, in full.
    pub(super) fn a_snapshot(&mut self, of: &str) -> Option<String> {
        let points = look::snapshots(of);
        self.pick(points).map(|point| format!("{of}@{point}"))
    }

    /// Lets this number of hours pass, or takes them back.
    pub(super) fn pass(&mut self, hours: i64) {
        self.now = self.now.saturating_add(jiff::SignedDuration::from_hours(hours)).unwrap();
    }
}
