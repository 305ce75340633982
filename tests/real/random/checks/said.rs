//! The report of a run fits its work.

use super::{Night, names, text};

pub(super) fn check(night: &Night<'_>) {
    let has = |severity: &str| night.array("findings").iter().any(|finding| finding["severity"] == severity);
    let is_failed = has("failed")
        || night.failed().any(|step| {
            matches!(text(&step["result"], "outcome"), "failed" | "partly")
                && step["result"]["needs_person"] != true
        });
    let expected = if is_failed {
        1
    } else if has("blocked") || night.failed().any(|step| step["result"]["needs_person"] == true) {
        3
    } else {
        0
    };
    assert_eq!(night.code, Some(expected), "the exit code");
    // One dataset never keeps the others from their snapshot.
    for step in night.steps("snapshot") {
        assert_ne!(text(&step["result"], "outcome"), "failed", "no dataset got a snapshot: {step}");
    }
    // A plan rests on state that it has read: where no other program worked meanwhile, no step finds that state changed.
    if night.known.planned_with.is_none() {
        for step in night.failed() {
            let error = text(&step["result"], "error");
            assert!(!error.contains("it has changed since the plan was made"), "the plan was wrong: {step}");
        }
    }
    // A copy is called set aside only by a mark of its own.
    let by_mark =
        night.array("findings").iter().filter(|finding| text(finding, "kind") == "name-is-set-aside");
    for finding in by_mark {
        let copy = night.before.get(text(finding, "copy"));
        assert!(copy.is_some_and(|copy| copy.set_aside.is_some()), "{finding}");
    }
    // A set-aside lineage is reported, with the copy's name.
    for step in night.done("set-aside") {
        let copy = text(&step["action"], "dataset");
        let finishes = text(&step["reason"], "kind").starts_with("finishes")
            || text(&step["reason"], "kind").starts_with("children");
        let is_reported = night.array("findings").iter().any(|finding| names(finding, copy));
        assert!(is_reported || finishes, "the lineage of {copy} was set aside, and no finding says so");
    }
}
