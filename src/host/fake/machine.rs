//! The content of a machine: datasets, their snapshots and bookmarks, and receives that broke off; and their listing.

use std::collections::{BTreeMap, BTreeSet};

use super::faults::SharedState;
use super::token::{TokenFields, write_token};
use super::wire::{BLOCK_BYTES, Block, Header};
use crate::host::Problem;
use crate::model::{
    Dataset, DatasetKind, DatasetName, Details, Encryption, Guid, History, LineHistory, Point, PointKind,
    PointName, SendFlags, Settings, SnapshotName, Txg, UserProperties, UserProperty,
};

/// Distinguishes one snapshot from all others, also from those with its GUID in other datasets of the pool
/// (`ds_object`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ObjectId(pub(super) u64);

#[derive(Debug, Clone)]
pub(super) struct Snapshot {
    pub(super) object: ObjectId,
    pub(super) name: PointName,
    pub(super) guid: Guid,
    pub(super) createtxg: Txg,
    pub(super) content: Vec<Block>,
    pub(super) holds: BTreeSet<String>,
    pub(super) is_destroy_deferred: bool,
    /// The user property that says what its lineage is.
    pub(super) lineage: Option<UserProperty>,
}

#[derive(Debug, Clone)]
pub(super) struct Bookmark {
    pub(super) name: PointName,
    pub(super) guid: Guid,
    pub(super) createtxg: Txg,
    pub(super) content: Vec<Block>,
}

/// A receive that broke off: the hidden clone `%recv` of an existing dataset, or a new dataset that is not whole yet.
#[derive(Debug, Clone)]
pub(super) struct Partial {
    pub(super) header: Header,
    pub(super) blocks: Vec<Block>,
    /// The snapshot that `%recv` is a clone of; `None` for a new dataset.
    pub(super) pins: Option<ObjectId>,
}

#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) guid: Guid,
    pub(super) createtxg: Txg,
    /// The ranges that the dataset left when it was rolled back, or received into with `-F`.
    pub(super) left: Vec<(Txg, Txg)>,
    pub(super) kind: DatasetKind,
    pub(super) encryption: Encryption,
    pub(super) head: Vec<Block>,
    pub(super) snapshots: Vec<Snapshot>,
    pub(super) bookmarks: Vec<Bookmark>,
    pub(super) partial: Option<Partial>,
    pub(super) origin: Option<ObjectId>,
    /// The user properties that are set here.
    pub(super) user: BTreeMap<String, String>,
    /// Got the properties of a safe copy when it was received.
    pub(super) is_safe_copy: bool,
    /// The property `readonly` as it is set here; `None` where it is inherited.
    pub(super) readonly: Option<bool>,
    /// Has no room for a snapshot, as a volume with a reservation in a full pool.
    pub(super) is_full: bool,
}

impl Node {
    pub(super) fn snapshot(&self, name: &PointName) -> Option<&Snapshot> {
        self.snapshots.iter().find(|snapshot| snapshot.name == *name)
    }

    pub(super) fn snapshot_mut(&mut self, name: &PointName) -> Option<&mut Snapshot> {
        self.snapshots.iter_mut().find(|snapshot| snapshot.name == *name)
    }

    pub(super) fn bookmark(&self, name: &PointName) -> Option<&Bookmark> {
        self.bookmarks.iter().find(|bookmark| bookmark.name == *name)
    }

    pub(super) fn newest(&self) -> Option<&Snapshot> {
        self.snapshots.last()
    }
}

/// The flags that every stream of ours has; raw where encrypted.
pub(super) fn send_flags(is_raw: bool) -> SendFlags {
    SendFlags { large_block: true, embed: true, compress: true, raw: is_raw }
}

pub(super) fn bytes_of(blocks: usize) -> u64 {
    u64::try_from(blocks).unwrap_or(u64::MAX).saturating_mul(BLOCK_BYTES)
}

/// Which blocks `after` has and `before` has not. A head only grows, and shrinks only back to a snapshot, so the blocks
/// before are always the beginning of the blocks after.
pub(super) fn added<'a>(before: &[Block], after: &'a [Block]) -> &'a [Block] {
    after.strip_prefix(before).unwrap_or(after)
}

#[derive(Debug)]
pub(super) struct Machine {
    pub(super) shared_state: SharedState,
    pub(super) datasets: BTreeMap<DatasetName, Node>,
    txgs: BTreeMap<String, u64>,
    last_object: u64,
    /// From when on the pools' histories are kept.
    pub(super) history_from: Txg,
}

impl Machine {
    pub(super) fn new(shared_state: SharedState) -> Self {
        Self {
            shared_state,
            datasets: BTreeMap::new(),
            txgs: BTreeMap::new(),
            last_object: 0,
            history_from: Txg(0),
        }
    }

    pub(super) fn node(&self, dataset: &DatasetName) -> Result<&Node, Problem> {
        self.datasets.get(dataset).ok_or(Problem::NotFound)
    }

    pub(super) fn node_mut(&mut self, dataset: &DatasetName) -> Result<&mut Node, Problem> {
        self.datasets.get_mut(dataset).ok_or(Problem::NotFound)
    }

    pub(super) fn snapshot(&self, name: &SnapshotName) -> Result<&Snapshot, Problem> {
        self.node(name.dataset())?.snapshot(name.name()).ok_or(Problem::NotFound)
    }

    /// Commits a transaction group of `pool` and returns its number.
    pub(super) fn next_txg(&mut self, pool: &str) -> Txg {
        let txg = self.txgs.entry(pool.to_owned()).or_insert(1);
        *txg += 5; // other work of the pool takes transaction groups in between
        Txg(*txg)
    }

    /// The number of the newest transaction group of all pools.
    pub(super) fn newest_txg(&self) -> Txg {
        Txg(self.txgs.values().copied().max().unwrap_or_default())
    }

    pub(super) fn next_object(&mut self) -> ObjectId {
        self.last_object += 1;
        ObjectId(self.last_object)
    }

    pub(super) fn new_node(&self, kind: DatasetKind, encryption: Encryption) -> Node {
        Node {
            guid: self.shared_state.next_guid(),
            createtxg: Txg(0),
            left: Vec::new(),
            kind,
            encryption,
            head: Vec::new(),
            snapshots: Vec::new(),
            bookmarks: Vec::new(),
            partial: None,
            origin: None,
            user: BTreeMap::new(),
            is_safe_copy: false,
            readonly: None,
            is_full: false,
        }
    }

    /// The clones of a snapshot, the hidden ones of unfinished receives included.
    pub(super) fn clones_of(&self, object: ObjectId) -> u32 {
        let depends = |node: &&Node| {
            node.origin == Some(object)
                || node.partial.as_ref().is_some_and(|partial| partial.pins == Some(object))
        };
        u32::try_from(self.datasets.values().filter(depends).count()).unwrap_or(u32::MAX)
    }

    pub(super) fn has_children(&self, dataset: &DatasetName) -> bool {
        self.datasets.keys().any(|name| name.below(dataset).is_some())
    }

    pub(super) fn name_of(&self, object: ObjectId) -> Option<SnapshotName> {
        self.datasets.iter().find_map(|(dataset, node)| {
            let snapshot = node.snapshots.iter().find(|snapshot| snapshot.object == object)?;
            dataset.snapshot(&snapshot.name).ok()
        })
    }

    /// A property as set on `dataset` or the nearest one above it; off where no dataset has it set.
    fn inherited(&self, dataset: &DatasetName, property: impl Fn(&Node) -> Option<bool>) -> bool {
        let mut at = Some(dataset.clone());
        while let Some(name) = at {
            if let Some(value) = self.datasets.get(&name).and_then(&property) {
                return value;
            }
            at = name.parent();
        }
        false
    }

    /// The user properties as set on `dataset` or the nearest one above it.
    fn user(&self, dataset: &DatasetName) -> UserProperties {
        let mut user = UserProperties::default();
        let mut at = Some(dataset.clone());
        while let Some(name) = at {
            for (property, value) in self.datasets.get(&name).into_iter().flat_map(|node| &node.user) {
                if user.get(property).is_none() {
                    let is_local = name == *dataset;
                    user.insert(property, UserProperty { value: value.clone(), is_local });
                }
            }
            at = name.parent();
        }
        user
    }

    /// The property `written`: an empty head holds at least what makes it a dataset; a clone begins as its origin.
    fn written(&self, node: &Node) -> u64 {
        let origin = node.origin.and_then(|object| self.object(object));
        let is_new_to_be = node.partial.as_ref().is_some_and(|partial| partial.pins.is_none());
        match node.newest().or(origin) {
            Some(before) if !is_new_to_be => bytes_of(added(&before.content, &node.head).len()),
            Some(_) | None => bytes_of(node.head.len() + 1),
        }
    }

    fn object(&self, object: ObjectId) -> Option<&Snapshot> {
        self.datasets.values().flat_map(|node| &node.snapshots).find(|snapshot| snapshot.object == object)
    }

    /// Every dataset within `root` with all that is known of it, with bookmarks where they are asked for.
    pub(super) fn list(&self, root: &DatasetName, with_bookmarks: bool) -> Vec<Dataset> {
        let within = self.datasets.iter().filter(|(name, _)| name.is_within(root));
        within.map(|(name, node)| self.show(name, node, with_bookmarks)).collect()
    }

    /// The same as the hosts list it: without the details of snapshots.
    pub(super) fn list_fast(&self, root: &DatasetName, with_bookmarks: bool) -> Vec<Dataset> {
        let mut datasets = self.list(root, with_bookmarks);
        for dataset in &mut datasets {
            let bare = |point: &Point| Point {
                details: point.details.filter(|_| point.kind == PointKind::Bookmark),
                ..point.clone()
            };
            dataset.history = History::new(dataset.history.points().map(bare).collect());
        }
        datasets
    }

    /// The details of one snapshot that a listing leaves out; `None` if it is gone, or its name now another's.
    pub(super) fn details(&self, name: &SnapshotName, guid: Guid) -> Option<Details> {
        let dataset = self.show(name.dataset(), self.datasets.get(name.dataset())?, false);
        let mut points = dataset.history.points();
        points.find(|point| point.name == *name.name() && point.guid == guid)?.details
    }

    fn show(&self, name: &DatasetName, node: &Node, with_bookmarks: bool) -> Dataset {
        let mut points = Vec::new();
        let mut before: &[Block] = &[];
        for snapshot in &node.snapshots {
            points.push(Point {
                kind: PointKind::Snapshot,
                name: snapshot.name.clone(),
                guid: snapshot.guid,
                createtxg: snapshot.createtxg,
                clones: self.clones_of(snapshot.object),
                details: Some(Details {
                    used_bytes: BLOCK_BYTES,
                    written_bytes: bytes_of(added(before, &snapshot.content).len()),
                    holds: u32::try_from(snapshot.holds.len()).unwrap_or(u32::MAX),
                    is_destroy_deferred: snapshot.is_destroy_deferred,
                }),
            });
            before = &snapshot.content;
        }
        if with_bookmarks {
            points.extend(node.bookmarks.iter().map(|bookmark| Point {
                kind: PointKind::Bookmark,
                name: bookmark.name.clone(),
                guid: bookmark.guid,
                createtxg: bookmark.createtxg,
                clones: 0,
                details: Some(Details::BOOKMARK),
            }));
        }
        Dataset {
            name: name.clone(),
            guid: node.guid,
            createtxg: node.createtxg,
            kind: node.kind,
            encryption: node.encryption,
            referenced_bytes: bytes_of(node.head.len()),
            written_bytes: self.written(node),
            resume_token: node.partial.as_ref().map(token_of),
            origin: node.origin.and_then(|object| self.name_of(object)),
            is_readonly: self.inherited(name, |node| node.readonly),
            settings: settings(node),
            user: self.user(name),
            history: History::new(points),
            lineage: BTreeMap::new(),
            line_history: None,
        }
    }

    /// `zpool history -i`, as far as it is kept.
    pub(super) fn line_history(&self, name: &DatasetName) -> LineHistory {
        let left = self.datasets.get(name).map(|node| node.left.clone()).unwrap_or_default();
        LineHistory { known_from: Some(self.history_from), left }
    }

    /// The lineage property of a snapshot; for a snapshot that is gone, one that does not count.
    pub(super) fn lineage(&self, name: &SnapshotName, guid: Guid) -> Option<UserProperty> {
        match self.snapshot(name) {
            Ok(snapshot) if snapshot.guid == guid => snapshot.lineage.clone(),
            Ok(_) | Err(_) => Some(UserProperty { value: String::new(), is_local: false }),
        }
    }
}

/// The settings that make a copy safe, and nothing else of them.
fn settings(node: &Node) -> Settings {
    let (canmount, volmode) = match node.kind {
        DatasetKind::Filesystem => (if node.is_safe_copy { "noauto" } else { "on" }, "-"),
        DatasetKind::Volume => ("-", if node.is_safe_copy { "none" } else { "default" }),
    };
    Settings { canmount: canmount.to_owned(), volmode: volmode.to_owned(), ..Settings::default() }
}

/// The token of a receive that broke off. The object number is made up; the offset counts the blocks that have arrived.
pub(super) fn token_of(partial: &Partial) -> String {
    let bytes = bytes_of(partial.blocks.len());
    write_token(&TokenFields {
        toname: partial.header.name.clone(),
        toguid: partial.header.to.0,
        fromguid: partial.header.from.map(|guid| guid.0),
        object: 1,
        offset: bytes,
        bytes,
        flags: send_flags(partial.header.is_raw),
    })
}
