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
    let mut needed: BTreeMap<DatasetName, u64> = BTreeMap::new();
    for (at, volume) in plan.volumes.iter().enumerate() {
        let received = sizes.get(&at).map_or(0, |size| size.0);
        // A thick storage reserves the whole size beside what its snapshot holds.
        let is_to_be_reserved = volume.is_thick && matches!(volume.stage, Stage::Receive | Stage::Rename);
        let reserved = if is_to_be_reserved { volume.volume_bytes } else { 0 };
        if let Some(parent) = volume.to.parent() {
            *needed.entry(parent).or_default() += received + reserved;
        }
    }
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
        let bytes = below.iter().map(|(_, bytes)| **bytes).sum();
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
    fn what_is_reserved_for_one_of_them_counts_for_it() {
        let needed = [("p/vm", 60), ("p/vm2", 50)];
        assert!(too_small(&needed, &[("p", 50), ("p/vm", 110), ("p/vm2", 50)]).is_empty());
    }
}
