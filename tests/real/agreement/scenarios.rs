//! Scenarios by hand: points, datasets, and plans that are out of date.

use super::agree;
use super::deed::Act::{
    Bookmark as Mark, Clone, Create, CreateVolume, Destroy, DestroyDeferred, DestroyPoint, Hold, Release,
    Rename, Rollback as RollBack, RollbackPastNewer, Snapshot as Take, Write,
};
use super::deed::Deed::{
    AbortReceive, Bookmark, CreateContainer, CreateElsewhere, DestroyBookmarks, DestroyDataset,
    DestroySnapshots, Estimate, List, ListElsewhere, Plan, RenameDataset, RenameSnapshot, Rollback, Send,
    Snapshot,
};
use super::deed::Side::{Source, Target};
use super::deed::{begun, from, full, here, there};

#[test]
fn containers_are_read_only_and_so_is_what_is_made_below() {
    agree(
        "containers",
        &[
            CreateContainer("c/d"),
            CreateContainer("c/d"),
            there(Create("c/d/person")),
            there(Take("c/d/person@x")),
            there(Clone("c/d/person@x", "clone")),
            there(Rename("clone", "c/clone")),
            List(Target, "c"),
            there(CreateVolume("v")),
            CreateContainer("v/below"),
            CreateContainer("v"),
        ],
    );
}

#[test]
fn what_does_not_exist() {
    agree(
        "nothing",
        &[
            List(Source, "gone"),
            List(Target, "gone"),
            ListElsewhere,
            CreateElsewhere,
            Snapshot(&["gone@1"]),
            Bookmark("gone@1", "gone#1"),
            Send(full("gone@1", "gone@1")),
            Estimate(full("gone@1", "gone@1")),
            DestroySnapshots(Source, "gone", &["1"]),
            DestroyBookmarks("gone", &["1"]),
            DestroySnapshots(Target, "gone", &["1"]),
            RenameDataset("gone", "new"),
            RenameSnapshot("gone@1", "2"),
            Rollback("gone@1"),
            AbortReceive("gone"),
            DestroyDataset("gone"),
        ],
    );
}

#[test]
fn snapshots_that_exist_and_several_at_once() {
    agree(
        "snapshots",
        &begun(&[
            here(Create("b")),
            Snapshot(&["a@2"]),
            Snapshot(&["a@3", "b@3"]),
            Snapshot(&["a@4", "b@3"]),
            Snapshot(&["a@4", "gone@4"]),
            Bookmark("a@1", "a#1"),
            Bookmark("a@2", "a#1"),
            Bookmark("a@9", "a#9"),
            here(Mark("a@2", "a#1")),
            here(Mark("a@1", "a#1")),
            here(DestroyPoint("a@1")),
            Bookmark("a@2", "a#2"),
            DestroyBookmarks("a", &["1", "9"]),
        ]),
    );
}

#[test]
fn rollbacks() {
    agree(
        "rollback",
        &begun(&[
            Send(from("@1", "a@2", "a@2")),
            there(Write("a")),
            Rollback("a@2"),
            Rollback("a@1"),
            there(RollBack("a@1")),
            there(Hold("a@2")),
            there(RollbackPastNewer("a@1")),
            there(Release("a@2")),
            there(Mark("a@2", "a#2")),
            there(DestroyPoint("a@2")),
            Rollback("a@1"),
            there(RollbackPastNewer("a@1")),
            Rollback("a@1"),
            here(RollBack("a@1")),
            here(Hold("a@2")),
            here(RollbackPastNewer("a@1")),
            here(Release("a@2")),
            here(RollbackPastNewer("a@1")),
        ]),
    );
}

#[test]
fn holds_clones_and_deferred_destruction() {
    agree(
        "held",
        &begun(&[
            here(Hold("a@1")),
            here(Hold("a@1")),
            here(Clone("a@2", "b")),
            here(DestroyPoint("a@1")),
            here(DestroyPoint("a@2")),
            DestroySnapshots(Source, "a", &["1", "2", "9"]),
            here(DestroyDeferred("a@1")),
            here(DestroyDeferred("a@2")),
            Bookmark("a@2", "a#2"),
            here(Release("a@1")),
            here(Release("a@1")),
            here(Take("b@1")),
            here(Write("b")),
            here(Destroy("b")),
            there(Hold("a@1")),
            there(DestroyDeferred("a@1")),
            DestroySnapshots(Target, "a", &["1"]),
            DestroyDataset("a"),
            there(Destroy("a")),
            there(Release("a@1")),
        ]),
    );
}

#[test]
fn a_plan_that_is_out_of_date() {
    agree(
        "stale",
        &begun(&[
            Send(from("@1", "a@2", "a@2")),
            Plan,
            there(DestroyPoint("a@2")),
            there(Take("a@2")),
            DestroySnapshots(Target, "a", &["2"]),
            RenameSnapshot("a@2", "two"),
            Rollback("a@2"),
            DestroyDataset("a"),
            there(DestroyPoint("a@2")),
            RenameSnapshot("a@2", "two"),
            Rollback("a@2"),
            DestroySnapshots(Target, "a", &["2"]),
            here(DestroyPoint("a@2")),
            here(Take("a@2")),
            DestroySnapshots(Source, "a", &["1", "2"]),
            here(DestroyPoint("a#1")),
            DestroyBookmarks("a", &["1"]),
            here(Mark("a@2", "a#1")),
            DestroyBookmarks("a", &["1"]),
            there(Rename("a", "b")),
            there(Create("a")),
            RenameDataset("a", "c"),
            DestroyDataset("a"),
        ]),
    );
}

#[test]
fn destroying_a_dataset() {
    agree(
        "destroy",
        &begun(&[
            Send(from("@1", "a@2", "a@2")),
            Plan,
            there(DestroyPoint("a@1")),
            DestroyDataset("a"),
            DestroyDataset("a"),
            Plan,
            CreateContainer("c"),
            CreateContainer("c/child"),
            Plan,
            DestroyDataset("c"),
            there(Take("c/child@1")),
            DestroyDataset("c/child"),
            Plan,
            there(Mark("c/child@1", "c/child#1")),
            DestroyDataset("c/child"),
            there(DestroyPoint("c/child#1")),
            there(Hold("c/child@1")),
            DestroyDataset("c/child"),
            there(Release("c/child@1")),
            DestroyDataset("c/child"),
            DestroyDataset("c"),
        ]),
    );
}

#[test]
fn renames() {
    agree(
        "rename",
        &begun(&[
            Send(from("@1", "a@2", "a@2")),
            RenameSnapshot("a@1", "2"),
            RenameSnapshot("a@1", "one"),
            RenameSnapshot("a@one", "one"),
            CreateContainer("b"),
            RenameDataset("a", "b"),
            RenameDataset("a", "a/below"),
            RenameDataset("a", "no/parent"),
            RenameDataset("a", "a"),
            RenameDataset("a", "b/a"),
            RenameDataset("b", "c"),
            Send(full("a@1", "a@1")),
            there(Rename("a@1", "a@x")),
            there(Rename("a", "c/a")),
            Send(from("@1", "a@2", "a@2")),
        ]),
    );
}
