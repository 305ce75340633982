//! Whether a restore fits, before its first byte.

use std::collections::BTreeMap;

use anyhow::anyhow;

use super::super::exit_code::{Code, Failure, OrExit};
use super::Sizes;
use crate::host::Restoring;
use crate::model::{ByteCount, DatasetName};
use crate::plan::restore::{RestorePlan, Stage};

/// Refuses what cannot fit, before the first byte; `elsewhere` is what can be done instead of making room.
pub(in crate::cli) fn check_space(
    plan: &RestorePlan,
    sizes: &Sizes,
    here: &Restoring,
    elsewhere: &str,
) -> Result<(), Failure> {
    let mut parts: Vec<(DatasetName, ByteCount)> = Vec::new();
    for (at, volume) in plan.volumes.iter().enumerate() {
        let Some(parent) = volume.to.parent() else { continue };
        parts.push((parent.clone(), sizes.get(&at).copied().unwrap_or_default()));
        // A thick storage reserves the whole size beside what its snapshot holds.
        if volume.is_thick && matches!(volume.stage, Stage::Receive | Stage::Rename) {
            parts.push((parent, ByteCount(volume.volume_bytes)));
        }
    }
    let needed = totals(parts);
    let mut available = BTreeMap::new();
    for name in needed.keys().flat_map(above) {
        if !available.contains_key(&name)
            && let Ok(bytes) = here.available(&name)
        {
            available.insert(name, bytes);
        }
    }
    for (place, bytes, room) in rooms(&needed, &available) {
        if bytes > room {
            let error = anyhow!(
                "there is not enough space below {place}: about {} are needed, {} are available; nothing was done\n  \
                 next: make room there{elsewhere}",
                ByteCount(bytes),
                ByteCount(room)
            );
            return Err(error).or_exit(Code::Blocked);
        }
    }
    Ok(())
}

/// What is needed below each dataset.
fn totals(parts: Vec<(DatasetName, ByteCount)>) -> BTreeMap<DatasetName, u64> {
    let mut totals: BTreeMap<DatasetName, u64> = BTreeMap::new();
    for (parent, bytes) in parts {
        let total = totals.entry(parent).or_default();
        // The other machine says how large they are: a sum that began again at zero would seem to fit.
        *total = total.saturating_add(bytes.0);
    }
    totals
}

/// The dataset, and what is above it up to the pool.
fn above(dataset: &DatasetName) -> impl Iterator<Item = DatasetName> + use<> {
    std::iter::successors(Some(dataset.clone()), DatasetName::parent)
}

/// Each place, with what is needed below it and the room that there is: those that are restored to, and those that several of these
/// have in common, whose pool or quota they share.
fn rooms(
    needed: &BTreeMap<DatasetName, u64>,
    available: &BTreeMap<DatasetName, u64>,
) -> Vec<(DatasetName, u64, u64)> {
    let room_of = |place: &DatasetName, room: u64| {
        let below: Vec<_> = needed.iter().filter(|(parent, _)| parent.is_within(place)).collect();
        let bytes = below.iter().map(|(_, bytes)| ByteCount(**bytes)).sum::<ByteCount>().0;
        if needed.contains_key(place) && below.len() == 1 {
            return Some((place.clone(), bytes, room));
        }
        // What is reserved for one of them is not available to what is above it.
        let reserved = below.iter().filter_map(|(parent, _)| available.get(*parent)?.checked_sub(room));
        let room = room.saturating_add(reserved.fold(0, u64::saturating_add));
        (below.len() > 1).then(|| (place.clone(), bytes, room))
    };
    available.iter().filter_map(|(place, room)| room_of(place, *room)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn amounts(of: &[(&str, u64)]) -> BTreeMap<DatasetName, u64> {
        of.iter().map(|(name, bytes)| (DatasetName::new(name).unwrap(), *bytes)).collect()
    }

    fn too_small(needed: &[(&str, u64)], available: &[(&str, u64)]) -> Vec<String> {
        let rooms = rooms(&amounts(needed), &amounts(available));
        rooms
            .into_iter()
            .filter(|(_, bytes, room)| bytes > room)
            .map(|(place, ..)| place.to_string())
            .collect()
    }

    #[test]
    fn places_share_the_room_of_their_pool_and_of_a_quota_above_them() {
        let needed = [("p/vm", 60), ("p/vm2", 50)];
        assert_eq!(too_small(&needed, &[("p", 100), ("p/vm", 100), ("p/vm2", 100)]), ["p"]);
        assert!(too_small(&needed, &[("p", 110), ("p/vm", 110), ("p/vm2", 110)]).is_empty());
        assert_eq!(too_small(&needed, &[("p", 200), ("p/vm", 200), ("p/vm2", 40)]), ["p/vm2"]);
        let deep = [("p/q/a", 60), ("p/q/b", 50)];
        assert_eq!(too_small(&deep, &[("p", 500), ("p/q", 100), ("p/q/a", 100), ("p/q/b", 100)]), ["p/q"]);
    }

    #[test]
    fn sizes_that_no_disk_has_do_not_fit() {
        let part = |parent: &str, bytes| (DatasetName::new(parent).unwrap(), ByteCount(bytes));
        for bytes in [1 << 63, u64::MAX] {
            let parts = vec![part("p/vm", bytes), part("p/vm", bytes), part("p/vm2", bytes)];
            let needed = totals(parts);
            assert_eq!(needed, amounts(&[("p/vm", u64::MAX), ("p/vm2", bytes)]));
            let available = amounts(&[("p", 100), ("p/vm", 100), ("p/vm2", 100)]);
            let rooms = rooms(&needed, &available);
            assert_eq!(rooms.iter().filter(|(_, bytes, room)| bytes > room).count(), 3, "{rooms:?}");
        }
    }

    #[test]
    fn what_is_reserved_for_one_of_them_counts_for_it() {
        let needed = [("p/vm", 60), ("p/vm2", 50)];
        assert!(too_small(&needed, &[("p", 50), ("p/vm", 110), ("p/vm2", 50)]).is_empty());
    }
}
