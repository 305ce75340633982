//! Scenarios by hand: streams that break off.

use super::agree;
use super::deed::Act::{Clone, DestroyPoint, Snapshot as Take, Write};
use super::deed::Deed::{
    AbortReceive, Cut, DestroyDataset, DestroySnapshots, Plan, RenameDataset, RenameSnapshot, Resume,
    Rollback, Send, Snapshot,
};
use super::deed::Side::Target;
use super::deed::{Cut as At, Transfer, begun, from, full, here, there};

#[test]
fn a_full_stream_that_breaks_off() {
    agree(
        "cut-full",
        &begun(&[
            Cut(full("a@1", "b@1"), At::Half),
            Send(full("a@1", "b@1")),
            there(Take("b@x")),
            there(Clone("b@x", "c")),
            Resume(full("a@1", "b@1")),
            Resume(full("a@1", "b@1")),
            Cut(full("a@2", "c@2"), At::End),
            AbortReceive("c"),
            AbortReceive("c"),
            AbortReceive("b"),
            Cut(full("a@2", "c@2"), At::Half),
            DestroyDataset("c"),
        ]),
    );
}

#[test]
fn a_stream_that_breaks_off_at_its_beginning() {
    agree(
        "cut-begin",
        &begun(&[
            Cut(full("a@1", "b@1"), At::Begin),
            Resume(full("a@1", "b@1")),
            Cut(from("@1", "a@2", "a@2"), At::Begin),
            Cut(from("@1", "a@2", "a@2"), At::Begin),
            Resume(from("@1", "a@2", "a@2")),
            here(Write("a")),
            Snapshot(&["a@3"]),
            Cut(from("@2", "a@3", "a@3"), At::End),
            Resume(from("@2", "a@3", "a@3")),
        ]),
    );
}

#[test]
fn an_increment_that_breaks_off() {
    const STEP: Transfer = from("@1", "a@2", "a@2");
    agree(
        "cut-step",
        &begun(&[
            Cut(STEP, At::Half),
            Cut(STEP, At::Half),
            Send(STEP),
            DestroySnapshots(Target, "a", &["1"]),
            Rollback("a@1"),
            RenameSnapshot("a@1", "one"),
            RenameDataset("a", "b"),
            RenameDataset("b", "a"),
            Resume(from("#1", "a@2", "a@2")),
            here(Write("a")),
            Snapshot(&["a@3"]),
            Cut(from("@2", "a@3", "a@3"), At::Half),
            AbortReceive("a"),
            AbortReceive("a"),
            Cut(from("@2", "a@3", "a@3"), At::End),
            DestroyDataset("a"),
        ]),
    );
}

#[test]
fn a_clone_as_an_own_line_that_breaks_off() {
    const BRANCH: Transfer = Transfer { of: "a@2", base: Some("@1"), into: "b@2", origin: Some("a@1") };
    agree(
        "branch-cut",
        &begun(&[
            Cut(BRANCH, At::Half),
            DestroySnapshots(Target, "a", &["1"]),
            Resume(BRANCH),
            DestroyDataset("b"),
            Cut(BRANCH, At::Half),
            AbortReceive("b"),
            DestroySnapshots(Target, "a", &["1"]),
        ]),
    );
}

#[test]
fn an_interrupted_increment_keeps_its_base_and_no_other_snapshot() {
    agree(
        "cut-pins",
        &begun(&[
            there(Take("a@x")),
            Cut(from("@1", "a@2", "a@2"), At::Half),
            DestroySnapshots(Target, "a", &["1", "x"]),
            Resume(from("@1", "a@2", "a@2")),
            DestroySnapshots(Target, "a", &["1"]),
        ]),
    );
}

#[test]
fn an_interrupted_increment_and_a_person() {
    const STEP: Transfer = from("@1", "a@2", "a@2");
    agree(
        "cut-person",
        &begun(&[
            Cut(STEP, At::Half),
            there(Take("a@x")),
            there(DestroyPoint("a@1")),
            Resume(STEP),
            here(Write("a")),
            Snapshot(&["a@3"]),
            Cut(from("@2", "a@3", "a@3"), At::Half),
            there(Write("a")),
            Resume(from("@2", "a@3", "a@3")),
            Rollback("a@2"),
            Resume(from("@2", "a@3", "a@3")),
            Send(from("@2", "a@3", "a@3")),
        ]),
    );
}

#[test]
fn a_resumed_stream_of_another_snapshot() {
    agree(
        "resume-other",
        &begun(&[
            here(Write("a")),
            Snapshot(&["a@3"]),
            Cut(from("@1", "a@2", "a@2"), At::Half),
            Resume(from("@1", "a@3", "a@2")),
            Resume(from("@1", "a@2", "a@1")),
            Resume(from("@1", "a@2", "a@other")),
        ]),
    );
}

#[test]
fn an_aborted_receive_that_another_one_took_the_place_of() {
    agree(
        "abort-other",
        &begun(&[
            Cut(from("@1", "a@2", "a@2"), At::Half),
            Plan,
            AbortReceive("a"),
            here(Write("a")),
            Snapshot(&["a@3"]),
            Cut(from("@1", "a@3", "a@3"), At::Begin),
            AbortReceive("a"),
        ]),
    );
}
