//! The guests and storages in Proxmox VE's configuration, as one node sees it.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{DatasetName, Guest, GuestId};

/// Guests, storages and nodes, and how far all of that can be relied upon.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proxmox {
    /// Whether there is a Proxmox VE, and whether its answers are whole.
    pub state: ProxmoxState,
    /// The nodes of the cluster, where they agree on all of it: the cluster has quorum. Empty also where there is no cluster.
    pub nodes: BTreeSet<String>,
    /// The storages whose volumes are datasets here; `None` where there is no `storage.cfg`.
    pub storages: Option<Vec<Storage>>,
    /// The guests of this node, by number.
    pub guests: Vec<Guest>,
    /// The guests of other nodes, with the node.
    pub elsewhere: BTreeMap<GuestId, String>,
    /// Guests of this node that other files say are on another node, too.
    pub disputed: BTreeSet<GuestId>,
    /// Guests of this node whose file cannot be read, with the reason.
    pub unreadable: BTreeMap<GuestId, String>,
    /// Guests that have a replication job (`replication.cfg`).
    pub replicated: BTreeSet<GuestId>,
    /// Guests that the HA manager starts and stops (`ha/resources.cfg`), with the state that is asked for.
    pub managed: BTreeMap<GuestId, String>,
}

/// Whether Proxmox VE's configuration can be relied upon.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProxmoxState {
    /// No Proxmox VE, or guests are not to be looked up: datasets are datasets.
    #[default]
    Absent,
    /// Everything was read.
    Whole,
    /// It is there, but not whole: whose a volume is, and whether it is to be backed up, is not certain. The text says why.
    InDoubt(String),
}

/// A storage of type `zfspool` that this node uses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Storage {
    /// Its id, as in `local-zfs:vm-100-disk-0`.
    pub id: String,
    /// The dataset directly below which its volumes are.
    pub dataset: DatasetName,
    /// Whether its volumes are thin (`sparse 1`): else the whole size of each is reserved.
    pub is_sparse: bool,
}

impl Proxmox {
    /// The guest of this number, if it is this node's and its file could be read.
    pub fn guest(&self, id: GuestId) -> Option<&Guest> {
        self.guests.iter().find(|guest| guest.id == id)
    }

    /// The dataset that `volume` on `storage` is, if that storage's volumes are datasets here.
    pub fn dataset_of(&self, storage: &str, volume: &str) -> Option<DatasetName> {
        let storage = self.storages.iter().flatten().find(|known| known.id == storage)?;
        storage.dataset.child(volume).ok()
    }

    /// The storage directly below whose dataset `dataset` is; of several the first by id.
    pub fn storage_of(&self, dataset: &DatasetName) -> Option<&Storage> {
        let parent = dataset.parent()?;
        let within = self.storages.iter().flatten().filter(|storage| storage.dataset == parent);
        within.min_by(|a, b| a.id.cmp(&b.id))
    }
}
