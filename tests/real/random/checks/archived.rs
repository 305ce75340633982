//! The archive has its months, each with a snapshot of that month.

use std::collections::BTreeSet;

use super::{Night, array, text};

pub(super) fn check(night: &Night<'_>) {
    let archive = night.world.archive_root();
    let month = night.known.now.strftime("%Y-%m-").to_string();
    for point in night.after.snapshots_below(&archive) {
        let Some(name) = night.known.ledger.own_name(&point.guid) else { continue };
        let time = jiff::civil::Date::strptime("%Y-%m-%d", &name[..10]).unwrap();
        let expected = time.strftime("%Y-%b").to_string();
        assert!(
            point.name.starts_with(&expected),
            "{}@{} is @{name} of the source",
            point.dataset,
            point.name
        );
    }
    for finding in night.array("findings").iter().filter(|finding| finding["kind"] == "months-set-aside") {
        for lineage in array(finding, "lineages").iter().filter_map(serde_json::Value::as_str) {
            let is_marked = night.before.get(lineage).is_some_and(|dataset| dataset.set_aside.is_some());
            assert!(is_marked, "{lineage} has no mark, and counts as set aside");
        }
    }
    for guest in night.after.below(&night.world.source()) {
        // Its name at the source when it was first seen: a bookmark may have any name.
        let is_early =
            |guid: &str| night.known.ledger.own_name(guid).is_some_and(|name| name < month.as_str());
        let was_alive = night.before.points_of(&guest.name).any(|point| is_early(&point.guid));
        let is_reported =
            night.findings(&guest.name).any(|finding| text(finding, "kind").starts_with("months"));
        if !was_alive || is_reported || night.is_named(&guest.name) {
            continue;
        }
        // By its writer: two datasets that have changed their names keep the copies of a month that is already there.
        let mut lineages: BTreeSet<&str> = night
            .after
            .below(&archive)
            .filter(|copy| copy.writer.as_ref().is_some_and(|(guid, _)| *guid == guest.guid))
            .map(|copy| copy.name.as_str())
            .collect();
        assert!(!lineages.is_empty(), "{} has no archive, and is not named", guest.name);
        let older: Vec<&str> = night
            .after
            .below(&archive)
            .filter(|old| old.set_aside.as_ref().is_some_and(|mark| lineages.contains(text(mark, "of"))))
            .map(|old| old.name.as_str())
            .collect();
        lineages.extend(older);
        let is_of_month =
            |guid: &str| night.known.ledger.own_name(guid).is_some_and(|name| name.starts_with(&month));
        let has = night
            .after
            .snapshots_below(&archive)
            .any(|point| lineages.contains(point.dataset.as_str()) && is_of_month(&point.guid));
        assert!(has, "{} has no snapshot of {month} in the archive, and is not named", guest.name);
    }
}
