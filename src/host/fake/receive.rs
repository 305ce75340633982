//! ZFS's rules for receiving, after `dmu_recv.c`: what is checked when a stream begins, what stays when it breaks off,
//! and what its end makes.

use std::collections::BTreeSet;

use super::machine::{Machine, Node, Partial, Snapshot, token_of};
use super::wire::{Arrived, Block, Header};
use crate::host::{Problem, ReceiveSpec};
use crate::model::{DatasetKind, DatasetName, Encryption, UserProperty, WRITER_PROPERTY};

impl Machine {
    /// `recv_begin_check_existing_impl`, and its relatives for new datasets, clones and resumed streams.
    pub(super) fn check_receive(&self, spec: &ReceiveSpec, header: &Header) -> Result<(), Problem> {
        let dataset = spec.snapshot.dataset();
        if let Some(done) = header.resumes_at {
            return self.check_resume(spec, header, done);
        }
        match self.datasets.get(dataset) {
            None => self.check_receive_new(spec, header),
            Some(_) if spec.origin.is_some() => Err(Problem::Exists),
            Some(node) => Self::check_receive_existing(spec, header, node),
        }
    }

    fn check_receive_new(&self, spec: &ReceiveSpec, header: &Header) -> Result<(), Problem> {
        if header.from.is_some() && spec.origin.is_none() {
            return Err(Problem::NotFound); // ENOENT: an incremental stream needs its dataset
        }
        self.check_new(spec.snapshot.dataset())?;
        if let Some(origin) = &spec.origin {
            let snapshot = self.snapshot(origin)?;
            if header.from.is_some_and(|from| from != snapshot.guid) {
                return Err(no_base()); // ENODEV
            }
            if origin.dataset().pool() != spec.snapshot.dataset().pool() {
                return Err(Problem::Other("the origin is in another pool".to_owned()));
            }
        }
        Ok(())
    }

    fn check_receive_existing(spec: &ReceiveSpec, header: &Header, node: &Node) -> Result<(), Problem> {
        let Some(from) = header.from else {
            return Err(Problem::Exists); // EEXIST: a full stream needs a new dataset
        };
        if node.partial.is_some() {
            return Err(Problem::Busy("it holds a receive that broke off".to_owned())); // EBUSY
        }
        if node.snapshot(spec.snapshot.name()).is_some() {
            return Err(Problem::Exists);
        }
        if header.is_raw && node.encryption == Encryption::Off {
            return Err(Problem::Other("a raw stream does not fit a plain dataset".to_owned())); // EINVAL
        }
        let base = Self::base(node, from).ok_or_else(no_base)?; // ENODEV
        let is_newest = node.newest().is_some_and(|newest| newest.object == base.object);
        if node.head != base.content || (header.is_raw && !is_newest) {
            return Err(Problem::Modified); // ETXTBSY
        }
        Ok(())
    }

    /// `dmu_recv_resume_begin_check`: the stream must continue exactly where the first one broke off.
    fn check_resume(&self, spec: &ReceiveSpec, header: &Header, done: u64) -> Result<(), Problem> {
        let node = self.node(spec.snapshot.dataset())?;
        let Some(partial) = &node.partial else {
            return Err(Problem::Other("there is nothing to resume".to_owned()));
        };
        let began = &partial.header;
        let arrived = u64::try_from(partial.blocks.len()).unwrap_or(u64::MAX);
        if (began.to, began.from, began.is_raw, arrived) != (header.to, header.from, header.is_raw, done) {
            return Err(Problem::Other("the stream does not go on where the first one broke off".to_owned())); // EINVAL
        }
        if node.snapshot(spec.snapshot.name()).is_some() {
            return Err(Problem::Exists);
        }
        if partial.pins != node.newest().map(|newest| newest.object) {
            return Err(Problem::Other("there is a newer snapshot than when it broke off".to_owned())); // EINVAL
        }
        Ok(())
    }

    /// Whether an increment would make a snapshot that is there: `zfs receive` reads past it (`zfs_receive_one`).
    pub(super) fn has_already(&self, spec: &ReceiveSpec, header: &Header) -> bool {
        let node = self.datasets.get(spec.snapshot.dataset());
        let known = node.and_then(|node| node.snapshot(spec.snapshot.name()));
        spec.origin.is_none() && header.from.is_some() && known.is_some_and(|known| known.guid == header.to)
    }

    /// Takes in what arrived of a stream: all of it, which makes the snapshot, or a part, which can be resumed.
    pub(super) fn receive(&mut self, spec: &ReceiveSpec, arrived: &Arrived) -> Result<(), Problem> {
        if self.has_already(spec, &arrived.header) {
            return Ok(());
        }
        self.check_receive(spec, &arrived.header)?;
        let dataset = spec.snapshot.dataset();
        if !arrived.is_begun && !arrived.is_whole {
            // Nothing is kept of nothing; `zfs receive` then does not find the dataset that it was to make.
            return Err(if self.datasets.contains_key(dataset) { truncated() } else { Problem::NotFound });
        }
        let mut blocks: Vec<Block> = Vec::new();
        if arrived.header.resumes_at.is_some() {
            if let Some(partial) = self.node_mut(dataset)?.partial.take() {
                blocks = partial.blocks;
            }
        } else if !self.datasets.contains_key(dataset) {
            self.begin_dataset(spec, &arrived.header)?;
        }
        blocks.extend_from_slice(&arrived.blocks);
        let end =
            if arrived.is_whole { self.complete(spec, &arrived.header, &blocks) } else { Err(truncated()) };
        if end.is_err() {
            self.keep_partial(dataset, &arrived.header, blocks)?;
        }
        end
    }

    fn begin_dataset(&mut self, spec: &ReceiveSpec, header: &Header) -> Result<(), Problem> {
        let kind = if header.is_volume { DatasetKind::Volume } else { DatasetKind::Filesystem };
        let encryption = if header.is_raw { Encryption::On } else { Encryption::Off };
        let mut node = self.new_node(kind, encryption);
        node.createtxg = self.next_txg(spec.snapshot.dataset().pool());
        node.is_safe_copy = spec.creates_dataset;
        node.readonly = spec.creates_dataset.then_some(true);
        let writer = spec.writer.as_ref().filter(|_| spec.creates_dataset);
        node.user.extend(writer.map(|writer| (WRITER_PROPERTY.to_owned(), writer.to_string())));
        if let Some(origin) = &spec.origin {
            let snapshot = self.snapshot(origin)?;
            node.head.clone_from(&snapshot.content);
            node.origin = Some(snapshot.object);
        }
        self.datasets.insert(spec.snapshot.dataset().clone(), node);
        Ok(())
    }

    fn keep_partial(
        &mut self,
        dataset: &DatasetName,
        header: &Header,
        blocks: Vec<Block>,
    ) -> Result<(), Problem> {
        let node = self.node_mut(dataset)?;
        let pins = node.newest().map(|snapshot| snapshot.object);
        let header = Header { resumes_at: None, ..header.clone() };
        node.partial = Some(Partial { header, blocks, pins });
        Ok(())
    }

    fn complete(&mut self, spec: &ReceiveSpec, header: &Header, blocks: &[Block]) -> Result<(), Problem> {
        let dataset = spec.snapshot.dataset();
        let createtxg = self.next_txg(dataset.pool());
        let object = self.next_object();
        let node = self.node_mut(dataset)?;
        let base = match header.resumes_at {
            Some(_) => node.newest(), // %recv is its clone; the base itself may have gone
            None => header.from.and_then(|from| Self::base(node, from)),
        };
        let mut content = match header.from.filter(|_| !node.snapshots.is_empty()) {
            Some(_) => {
                let base = base.ok_or_else(no_base)?;
                if node.head != base.content {
                    return Err(Problem::Modified); // written to while the receive was interrupted
                }
                base.content.clone()
            }
            None if node.origin.is_some() && header.from.is_some() => node.head.clone(),
            None => Vec::new(),
        };
        content.extend_from_slice(blocks);
        node.head.clone_from(&content);
        node.snapshots.push(Snapshot {
            object,
            name: spec.snapshot.name().clone(),
            guid: header.to,
            createtxg,
            content,
            holds: BTreeSet::new(),
            is_destroy_deferred: false,
            lineage: None,
        });
        self.reap();
        Ok(())
    }

    /// Gives an empty dataset its first snapshot, received from elsewhere.
    pub(super) fn adopt(&mut self, into: &DatasetName, sent: Snapshot) -> Result<(), Problem> {
        let createtxg = self.next_txg(into.pool());
        let object = self.next_object();
        let node = self.node_mut(into)?;
        node.head.clone_from(&sent.content);
        let (holds, lineage) = (BTreeSet::new(), None);
        node.snapshots.push(Snapshot {
            object,
            createtxg,
            holds,
            is_destroy_deferred: false,
            lineage,
            ..sent
        });
        Ok(())
    }

    /// `zfs receive -F` of an increment with all that is between: what is newer than the base is destroyed, and its bookmarks
    /// stay. `sent` are the snapshots of the other dataset up to the last one of the stream.
    pub(super) fn force_receive(
        &mut self,
        into: &DatasetName,
        sent: Vec<Snapshot>,
        has_properties: bool,
    ) -> Result<(), Problem> {
        let node = self.node(into)?;
        let mut here = node.snapshots.iter().rev();
        let base =
            here.find(|known| sent.iter().any(|other| other.guid == known.guid)).ok_or_else(no_base)?;
        let newer = node.snapshots.iter().skip_while(|known| known.object != base.object).skip(1);
        if let Some(problem) = newer.into_iter().find_map(|snapshot| self.held_or_cloned(snapshot)) {
            return Err(problem);
        }
        let (base, base_guid, since) = (base.object, base.guid, base.createtxg);
        let mut new = Vec::new();
        for snapshot in sent.into_iter().skip_while(|other| other.guid != base_guid).skip(1) {
            let createtxg = self.next_txg(into.pool());
            let object = self.next_object();
            let received = |property: UserProperty| UserProperty { is_local: false, ..property };
            let lineage = snapshot.lineage.clone().filter(|_| has_properties).map(received);
            new.push(Snapshot {
                object,
                createtxg,
                holds: BTreeSet::new(),
                is_destroy_deferred: false,
                lineage,
                ..snapshot
            });
        }
        if new.is_empty() {
            return Err(Problem::Other("there is nothing to send".to_owned()));
        }
        let node = self.node_mut(into)?;
        let keep = node.snapshots.iter().position(|known| known.object == base).map_or(0, |at| at + 1);
        node.snapshots.truncate(keep);
        node.left.extend(new.first().map(|first| (since, first.createtxg)));
        node.snapshots.extend(new);
        node.head = node.newest().map(|newest| newest.content.clone()).unwrap_or_default();
        Ok(())
    }

    /// `zfs receive -A`: a new dataset goes altogether, an existing one keeps its snapshots. For the program, which names a
    /// token, one that is gone is fine.
    pub(super) fn abort_receive(
        &mut self,
        dataset: &DatasetName,
        token: Option<&str>,
    ) -> Result<(), Problem> {
        let Some(partial) = self.datasets.get(dataset).and_then(|node| node.partial.as_ref()) else {
            return if token.is_some() { Ok(()) } else { Err(Problem::NotFound) };
        };
        if token.is_some_and(|token| token != token_of(partial)) {
            return Err(Problem::Changed("another receive broke off there".to_owned()));
        }
        if partial.pins.is_none() {
            self.datasets.remove(dataset);
        } else {
            self.node_mut(dataset)?.partial = None;
        }
        self.reap();
        Ok(())
    }
}

fn no_base() -> Problem {
    Problem::Changed("it has no snapshot that the stream starts from".to_owned())
}

/// The error for a stream that was cut short.
pub(super) const TRUNCATED: &str = "the stream ended before its end";

fn truncated() -> Problem {
    Problem::Other(TRUNCATED.to_owned())
}
