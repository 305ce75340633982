//! `replication.cfg` and `ha/resources.cfg`: which guests have a replication job, and which the HA manager starts.
//!
//! Read as `PVE/SectionConfig.pm` writes them: a header `TYPE: ID`, then indented `key value` lines. An unknown line
//! names no guest.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::GuestId;

/// The guests of `local: 100-0` and its like.
pub(super) fn replicated(text: &str) -> BTreeSet<GuestId> {
    let headers = text.lines().filter_map(header).filter(|(kind, _)| *kind == "local");
    headers.filter_map(|(_, id)| GuestId::parse(id.rsplit_once('-')?.0)).collect()
}

/// The guests of `vm: 100` and `ct: 101`, with the state that is asked for; without one it is `started`.
pub(super) fn managed(text: &str) -> BTreeMap<GuestId, String> {
    let mut found = BTreeMap::new();
    let mut current = None;
    for line in text.lines() {
        if let Some((kind, id)) = header(line) {
            current = GuestId::parse(id).filter(|_| kind == "vm" || kind == "ct");
            if let Some(id) = current {
                found.insert(id, "started".to_owned());
            }
        } else if let Some(("state", value)) = line.trim().split_once(char::is_whitespace)
            && let Some(id) = current
        {
            found.insert(id, value.trim().to_owned());
        }
    }
    found
}

fn header(line: &str) -> Option<(&str, &str)> {
    if line.starts_with(|c: char| c.is_whitespace() || c == '#') {
        return None;
    }
    let (kind, id) = line.split_once(':')?;
    Some((kind.trim(), id.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guests_of_jobs_and_of_the_ha_manager_are_found_and_nothing_else() {
        let text = "local: 100-0\n\ttarget pve1\n\tschedule */5\n\nlocal: 101-12\n\tdisable\n\nother: 102-0\nlocal: x-0\nlocal: 103\n";
        let found: Vec<u32> = replicated(text).into_iter().map(|id| id.0).collect();
        assert_eq!(found, [100, 101]);
        let text = "vm: 100\n\tgroup g\n\tstate stopped\n\nct: 101\n\tmax_restart 2\n\nservice: 102\n\tstate started\n";
        let found: Vec<_> = managed(text).into_iter().map(|(id, state)| format!("{id} {state}")).collect();
        assert_eq!(found, ["100 stopped", "101 started"]);
    }
}
