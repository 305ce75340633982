//! The fake as the machine whose guests are backed up.

use std::collections::BTreeMap;

use super::send::Sending;
use super::{FakeHost, joined};
use crate::host::{
    Bookmarked, ContentSpec, Freeze, Held, HostError, Outgoing, Problem, Refusal, SendSpec, SnapshotGroup,
    Snapshots, SourceHost, TakeSpans,
};
use crate::model::{
    BookmarkName, ByteCount, DatasetName, Details, Guid, LineHistory, Listing, PointName, SnapshotName,
    Unlisted, UserProperty,
};
use crate::stream::Cancel;

impl SourceHost for FakeHost {
    fn list(&self, roots: &[DatasetName]) -> Result<Listing, HostError> {
        self.look("list", "list", &joined(roots.iter()), |machine| {
            let mut all = Listing::default();
            for root in roots {
                let has_pool = machine.datasets.keys().any(|name| name.pool() == root.pool());
                match machine.node(root) {
                    Ok(_) => all.absorb(self.listing(machine, root, true)),
                    Err(_) if has_pool => all.mark_unlisted(root.as_str(), Unlisted::Missing),
                    Err(_) => all.mark_unlisted(root.as_str(), Unlisted::NoPool),
                }
            }
            Ok(all)
        })
    }

    fn content(&self, spec: &ContentSpec, _: &Cancel, _: TakeSpans<'_>) -> Result<(), HostError> {
        let problem = Problem::Other("the fake has no content to read".to_owned());
        Err(HostError::new(self.name(), "read", &spec.snapshot, problem))
    }

    fn details(&self, snapshots: &[(SnapshotName, Guid)]) -> Result<Vec<Option<Details>>, HostError> {
        self.load_details(snapshots)
    }

    fn lineage(&self, snapshots: &[(SnapshotName, Guid)]) -> Result<Vec<Option<UserProperty>>, HostError> {
        self.look("lineage", "look at", &joined(snapshots.iter().map(|(name, _)| name)), |machine| {
            Ok(snapshots.iter().map(|(name, guid)| machine.lineage(name, *guid)).collect())
        })
    }

    fn line_histories(&self, datasets: &[DatasetName]) -> Result<Vec<LineHistory>, HostError> {
        self.look("history", "read the history of", &joined(datasets.iter()), |machine| {
            Ok(datasets.iter().map(|dataset| machine.line_history(dataset)).collect())
        })
    }

    fn hold(&self, snapshots: &[(SnapshotName, Guid)]) -> Held {
        let machine = self.machine();
        let is_it =
            |(name, guid): &&(SnapshotName, Guid)| machine.snapshot(name).is_ok_and(|it| it.guid == *guid);
        Held { snapshots: snapshots.iter().filter(is_it).cloned().collect(), guard: Vec::new() }
    }

    fn config(&self, _snapshot: &SnapshotName) -> Result<BTreeMap<String, String>, HostError> {
        Ok(BTreeMap::new())
    }

    fn snapshot(&self, group: &SnapshotGroup) -> Result<Snapshots, HostError> {
        let not_made =
            self.alter("snapshot", "take snapshots", &joined(group.snapshots.iter()), |machine| {
                let mut not_made = Vec::new();
                for of_pool in group.by_pool() {
                    not_made.extend(machine.take_group(&of_pool)?);
                }
                Ok(not_made)
            })?;
        // No guest of it runs.
        let freeze = if group.freeze.is_some() { Freeze::NotRunning } else { Freeze::Unwanted };
        Ok(Snapshots { not_made, freeze })
    }

    fn bookmark(&self, bookmarks: &[(SnapshotName, BookmarkName)]) -> Result<Bookmarked, HostError> {
        let object = joined(bookmarks.iter().map(|(_, bookmark)| bookmark));
        self.alter("bookmark", "bookmark", &object, |machine| machine.bookmark_each(bookmarks))
    }

    fn destroy_snapshots(
        &self,
        dataset: &DatasetName,
        snapshots: &[(PointName, Guid)],
    ) -> Result<Vec<Refusal>, HostError> {
        let object = joined(snapshots.iter().map(|(name, _)| format!("{dataset}@{name}")));
        self.alter("destroy_snapshots", "destroy", &object, |machine| {
            machine.destroy_snapshots(dataset, snapshots)
        })
    }

    fn destroy_bookmarks(
        &self,
        dataset: &DatasetName,
        bookmarks: &[(PointName, Guid)],
    ) -> Result<Vec<Refusal>, HostError> {
        let object = joined(bookmarks.iter().map(|(name, _)| format!("{dataset}#{name}")));
        self.alter("destroy_bookmarks", "destroy", &object, |machine| {
            Ok(machine.destroy_bookmarks(dataset, bookmarks))
        })
    }

    fn estimate(&self, spec: &SendSpec, _: &Cancel) -> Result<ByteCount, HostError> {
        self.look("estimate", "estimate", &spec.snapshot, |machine| machine.estimate(spec).map(ByteCount))
    }

    fn send(&self, spec: &SendSpec) -> Result<Box<dyn Outgoing + '_>, HostError> {
        let (header, blocks) =
            self.look("send", "send", &spec.snapshot, |machine| machine.make_stream(spec))?;
        let refuse = |problem| HostError::new(&self.name, "send", &spec.snapshot, problem);
        spec.check_ends(header.to, header.from).map_err(refuse)?;
        Ok(Box::new(Sending::new(&header, &blocks)))
    }
}
