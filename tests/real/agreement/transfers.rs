//! Scenarios by hand: streams that come through whole.

use super::agree;
use super::deed::Act::{CreateVolume, DestroyPoint, Rename, Snapshot as Take, Write};
use super::deed::Deed::{
    Bookmark, DestroyDataset, DestroySnapshots, Estimate, RenameDataset, Rollback, Send, Snapshot,
};
use super::deed::Side::Target;
use super::deed::{Transfer, begun, from, full, here, there};

#[test]
fn streams_in_full_from_snapshots_and_from_bookmarks() {
    agree(
        "streams",
        &begun(&[
            Estimate(from("@1", "a@2", "a@2")),
            Send(from("#1", "a@2", "a@renamed")),
            Send(from("@1", "a@2", "a@renamed")),
            Send(from("@1", "a@2", "a@other")),
            Send(full("a@1", "a@1")),
            Send(full("a@2", "a@3")),
            Send(from("@2", "a@1", "a@3")),
            Send(from("@9", "a@2", "a@3")),
            Send(from("#9", "a@2", "a@3")),
            Send(full("a@9", "a@3")),
            Send(from("@1", "a@2", "new@2")),
            Send(full("a@2", "no/parent@2")),
            Snapshot(&["a@3"]),
            Send(from("@1", "a@3", "a@3")),
            Send(from("@2", "a@3", "a@3")),
        ]),
    );
}

#[test]
fn a_stream_into_what_has_changed() {
    agree(
        "changed",
        &begun(&[
            there(Write("a")),
            Send(from("@1", "a@2", "a@2")),
            Rollback("a@1"),
            there(Take("a@x")),
            Send(from("@1", "a@2", "a@2")),
            Snapshot(&["a@3"]),
            Send(from("@2", "a@3", "a@3")),
            there(Write("a")),
            there(Take("a@y")),
            Send(from("@2", "a@3", "a@3")),
        ]),
    );
}

#[test]
fn a_base_that_is_not_the_newest() {
    agree(
        "base",
        &begun(&[
            Snapshot(&["a@3"]),
            there(Take("a@x")),
            Send(from("@1", "a@2", "a@2")),
            there(DestroyPoint("a@x")),
            Send(from("@1", "a@2", "a@2")),
            there(Write("a")),
            there(Take("a@y")),
            Send(from("@2", "a@3", "a@3")),
            there(Rename("a", "b")),
            Send(full("a@2", "a@2")),
            Send(from("@2", "a@3", "a@3")),
        ]),
    );
}

#[test]
fn a_clone_as_an_own_line() {
    const BRANCH: Transfer = Transfer { of: "a@2", base: Some("@1"), into: "b@2", origin: Some("a@1") };
    agree(
        "branch",
        &begun(&[
            Send(Transfer { origin: Some("a@9"), ..BRANCH }),
            Send(BRANCH),
            Send(BRANCH),
            Send(Transfer { of: "a@2", base: Some("#1"), into: "c@2", origin: Some("b@2") }),
            DestroySnapshots(Target, "a", &["1"]),
            DestroyDataset("a"),
            RenameDataset("a", "old"),
            DestroyDataset("b"),
            DestroyDataset("old"),
        ]),
    );
}

#[test]
fn volumes() {
    agree(
        "volume",
        &[
            here(CreateVolume("v")),
            Snapshot(&["v@1"]),
            Bookmark("v@1", "v#1"),
            Send(full("v@1", "v@1")),
            Snapshot(&["v@2"]),
            Send(from("#1", "v@2", "v@2")),
            Send(full("v@1", "v/below@1")),
            RenameDataset("v", "w"),
            DestroyDataset("w"),
        ],
    );
}
