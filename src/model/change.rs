//! A change to a target, as data: the same value in the plan, on the wire and at the host.
//!
//! What a new kind of change needs is said at the head of `lib.rs`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{DatasetName, Guid, PointName, SetAside, Verification, Writer};

/// One change to a target. Every name is final; whatever is destroyed or renamed is given with its GUID, which the host
/// checks again just before it acts. `P` is a point to destroy: its name and GUID, and in a plan also the reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "action", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Change<P = (PointName, Guid)> {
    /// Creates a dataset and its missing parents as empty unmounted containers; no error where they exist.
    CreateContainer {
        /// The dataset.
        dataset: DatasetName,
        /// Without encryption, though the dataset above is encrypted: it is a raw copy, whose key is not there.
        #[serde(default)]
        is_plain: bool,
    },
    /// `zfs receive -A`: aborts a partial receive that cannot be resumed; complete snapshots stay.
    AbortReceive {
        /// The dataset that holds it.
        dataset: DatasetName,
        /// The token, to check that it is still the same.
        token: String,
    },
    /// Destroys snapshots of one dataset; what is held, cloned or changed stays and is reported.
    DestroySnapshots {
        /// The dataset.
        dataset: DatasetName,
        /// Which.
        snapshots: Vec<P>,
    },
    /// `zfs rollback` without `-r`: puts the head back onto the newest snapshot.
    Rollback {
        /// The dataset.
        dataset: DatasetName,
        /// Its newest snapshot by then.
        to: PointName,
        /// The snapshot's GUID.
        guid: Guid,
    },
    /// Renames a dataset; the new name must not exist.
    RenameDataset {
        /// The dataset.
        from: DatasetName,
        /// The dataset's GUID.
        guid: Guid,
        /// Its new name.
        to: DatasetName,
    },
    /// Renames a snapshot; the new name must not exist.
    RenameSnapshot {
        /// The dataset.
        dataset: DatasetName,
        /// The name now.
        from: PointName,
        /// The snapshot's GUID.
        guid: Guid,
        /// Its new name.
        to: PointName,
    },
    /// Destroys a dataset that has no other points than these, and no children, holds or clones.
    DestroyDataset {
        /// The dataset.
        dataset: DatasetName,
        /// The dataset's GUID.
        guid: Guid,
        /// Every snapshot it had when it was listed.
        snapshots: Vec<P>,
    },
    /// Sets the lineage of a copy aside, whole: it is renamed, and the copy continues from the base, or its name is
    /// free. Destroys nothing. Interrupted at any point, the same change finishes it; the host chooses the new name,
    /// and marks the lineage with its own clock.
    SetAside(SetAside),
    /// Marks a copy with who writes it, and gives it the properties of a safe copy.
    Claim {
        /// The copy.
        dataset: DatasetName,
        /// The dataset's GUID.
        guid: Guid,
        /// Who writes it from now on.
        writer: Writer,
    },
    /// Gives a snapshot the configuration that its guest had then, as user properties; those that it has already stay.
    StoreConfig {
        /// The copy.
        dataset: DatasetName,
        /// The snapshot there.
        snapshot: PointName,
        /// The snapshot's GUID.
        guid: Guid,
        /// The properties of a [`GuestConfig`](super::GuestConfig).
        properties: BTreeMap<String, String>,
    },
    /// Marks a copy and one of its snapshots: its content is what the source has. Without `verification` it takes these marks off:
    /// it is not.
    MarkVerified {
        /// The copy.
        dataset: DatasetName,
        /// The snapshot there.
        snapshot: PointName,
        /// The snapshot's GUID.
        guid: Guid,
        /// When and how it was compared, and was the same.
        verification: Option<Verification>,
    },
    /// Takes the scratch snapshot of a copy that has lost data; the host gives its GUID. One that an interrupted healing has left
    /// is destroyed first.
    BeginHealing {
        /// The copy.
        dataset: DatasetName,
        /// The GUID of its newest snapshot.
        newest: Guid,
    },
    /// Destroys the scratch snapshot of a copy; no error where there is none.
    EndHealing {
        /// The copy.
        dataset: DatasetName,
    },
}

impl<P> Change<P> {
    /// Its verb and its object, as in an error: `cannot` *rename* *tank/a to tank/b*.
    pub fn words(&self) -> (&'static str, String) {
        match self {
            Self::CreateContainer { dataset, .. } => ("create", dataset.to_string()),
            Self::AbortReceive { dataset, .. } => ("abort the partial receive of", dataset.to_string()),
            Self::DestroySnapshots { dataset, .. } => ("destroy snapshots of", dataset.to_string()),
            Self::Rollback { dataset, to, .. } => ("roll back to", format!("{dataset}@{to}")),
            Self::RenameDataset { from, to, .. } => ("rename", format!("{from} to {to}")),
            Self::RenameSnapshot { dataset, from, to, .. } => {
                ("rename", format!("{dataset}@{from} to {dataset}@{to}"))
            }
            Self::DestroyDataset { dataset, .. } => ("destroy", dataset.to_string()),
            Self::SetAside(wish) => ("set aside the lineage of", wish.dataset.to_string()),
            Self::Claim { dataset, .. } => ("claim", dataset.to_string()),
            Self::StoreConfig { dataset, snapshot, .. } => {
                ("store the guest's configuration on", format!("{dataset}@{snapshot}"))
            }
            Self::MarkVerified { dataset, snapshot, .. } => {
                ("mark as verified", format!("{dataset}@{snapshot}"))
            }
            Self::BeginHealing { dataset, .. } => ("begin to heal", dataset.to_string()),
            Self::EndHealing { dataset } => ("end the healing of", dataset.to_string()),
        }
    }

    /// The snapshots that it destroys.
    pub fn destroyed(&self) -> &[P] {
        match self {
            Self::DestroySnapshots { snapshots, .. } | Self::DestroyDataset { snapshots, .. } => snapshots,
            Self::CreateContainer { .. }
            | Self::AbortReceive { .. }
            | Self::Rollback { .. }
            | Self::RenameDataset { .. }
            | Self::RenameSnapshot { .. }
            | Self::SetAside(_)
            | Self::Claim { .. }
            | Self::StoreConfig { .. }
            | Self::MarkVerified { .. }
            | Self::BeginHealing { .. }
            | Self::EndHealing { .. } => &[],
        }
    }

    /// Whether data may be gone for ever afterwards: nothing of this kind is done to an archive, or to what is append-only.
    pub fn takes_away(&self) -> bool {
        match self {
            Self::DestroySnapshots { .. } | Self::DestroyDataset { .. } | Self::Rollback { .. } => true,
            // What broke off can be sent again.
            Self::CreateContainer { .. }
            | Self::AbortReceive { .. }
            | Self::RenameDataset { .. }
            | Self::RenameSnapshot { .. }
            | Self::SetAside(_)
            | Self::Claim { .. }
            | Self::StoreConfig { .. }
            | Self::MarkVerified { .. }
            | Self::BeginHealing { .. }
            // Only what was made for it.
            | Self::EndHealing { .. } => false,
        }
    }

    /// The same change with other points: a host needs less of them than a plan shows.
    pub fn map<Q>(self, point: impl Fn(P) -> Q) -> Change<Q> {
        match self {
            Self::CreateContainer { dataset, is_plain } => Change::CreateContainer { dataset, is_plain },
            Self::AbortReceive { dataset, token } => Change::AbortReceive { dataset, token },
            Self::DestroySnapshots { dataset, snapshots } => {
                Change::DestroySnapshots { dataset, snapshots: snapshots.into_iter().map(point).collect() }
            }
            Self::Rollback { dataset, to, guid } => Change::Rollback { dataset, to, guid },
            Self::RenameDataset { from, guid, to } => Change::RenameDataset { from, guid, to },
            Self::RenameSnapshot { dataset, from, guid, to } => {
                Change::RenameSnapshot { dataset, from, guid, to }
            }
            Self::DestroyDataset { dataset, guid, snapshots } => {
                let snapshots = snapshots.into_iter().map(point).collect();
                Change::DestroyDataset { dataset, guid, snapshots }
            }
            Self::SetAside(wish) => Change::SetAside(wish),
            Self::Claim { dataset, guid, writer } => Change::Claim { dataset, guid, writer },
            Self::StoreConfig { dataset, snapshot, guid, properties } => {
                Change::StoreConfig { dataset, snapshot, guid, properties }
            }
            Self::MarkVerified { dataset, snapshot, guid, verification } => {
                Change::MarkVerified { dataset, snapshot, guid, verification }
            }
            Self::BeginHealing { dataset, newest } => Change::BeginHealing { dataset, newest },
            Self::EndHealing { dataset } => Change::EndHealing { dataset },
        }
    }
}

impl<P: Clone> Change<P> {
    /// The same in pieces that name at most `points_max` points each, in their order: a message has a limit. Only the last
    /// piece of a [`Change::DestroyDataset`] destroys the dataset.
    pub fn pieces(&self, points_max: usize) -> Vec<Self> {
        let points = self.destroyed();
        if points.len() <= points_max {
            return vec![self.clone()];
        }
        let mut parts: Vec<&[P]> = points.chunks(points_max.max(1)).collect();
        let dataset = self.dataset();
        let mut last = None;
        if let Self::DestroyDataset { guid, .. } = self {
            let destroy = |part: &[P]| Self::DestroyDataset {
                dataset: dataset.clone(),
                guid: *guid,
                snapshots: part.to_vec(),
            };
            last = parts.pop().map(destroy);
        }
        let first = parts
            .into_iter()
            .map(|part| Self::DestroySnapshots { dataset: dataset.clone(), snapshots: part.to_vec() });
        first.chain(last).collect()
    }

    /// The dataset that it changes, by its name before the change.
    pub fn dataset(&self) -> &DatasetName {
        match self {
            Self::CreateContainer { dataset, .. }
            | Self::AbortReceive { dataset, .. }
            | Self::DestroySnapshots { dataset, .. }
            | Self::Rollback { dataset, .. }
            | Self::RenameDataset { from: dataset, .. }
            | Self::RenameSnapshot { dataset, .. }
            | Self::DestroyDataset { dataset, .. }
            | Self::SetAside(SetAside { dataset, .. })
            | Self::Claim { dataset, .. }
            | Self::StoreConfig { dataset, .. }
            | Self::MarkVerified { dataset, .. }
            | Self::BeginHealing { dataset, .. }
            | Self::EndHealing { dataset } => dataset,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points(count: u64) -> Vec<(PointName, Guid)> {
        (0..count).map(|n| (PointName::new(&format!("s{n}")).unwrap(), Guid(n))).collect()
    }

    #[test]
    fn a_change_that_names_many_points_is_cut_into_pieces() {
        let dataset = DatasetName::new("tank/a").unwrap();
        let all = points(7);
        let destroy = Change::DestroySnapshots { dataset: dataset.clone(), snapshots: all.clone() };
        let pieces = destroy.pieces(3);
        assert_eq!(pieces.iter().map(|piece| piece.destroyed().len()).collect::<Vec<_>>(), [3, 3, 1]);
        assert_eq!(pieces.iter().flat_map(|piece| piece.destroyed().to_vec()).collect::<Vec<_>>(), all);
        assert_eq!(destroy.pieces(7), vec![destroy]);

        let whole =
            Change::DestroyDataset { dataset: dataset.clone(), guid: Guid(1), snapshots: all.clone() };
        let pieces = whole.pieces(3);
        assert!(pieces[..2].iter().all(|piece| matches!(piece, Change::DestroySnapshots { .. })));
        assert!(matches!(&pieces[2], Change::DestroyDataset { snapshots, .. } if snapshots.len() == 1));
        let empty = Change::<(PointName, Guid)>::CreateContainer { dataset, is_plain: false };
        assert_eq!(empty.pieces(0), vec![empty]);
    }

    #[test]
    fn a_change_reads_as_one_object_with_its_action() {
        let dataset = DatasetName::new("tank/a").unwrap();
        let change = Change::DestroySnapshots { dataset, snapshots: points(1) };
        let text = serde_json::to_string(&change).unwrap();
        let expected = r#"{"action":"destroy-snapshots","dataset":"tank/a","snapshots":[["s0","0"]]}"#;
        assert_eq!(text, expected);
        assert_eq!(serde_json::from_str::<Change>(&text).unwrap(), change);
        let odd = text.replace("dataset", "datasets");
        assert!(serde_json::from_str::<Change>(&odd).is_err());
    }
}
