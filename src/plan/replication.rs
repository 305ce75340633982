//! A replication: the steps that bring one source dataset to one target, in their order.
//!
//! Each step of a replication needs the one before it, so that a failure stops this replication and no other.

mod ends;

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::builder::{Builder, Order};
use super::comparison::{Comparison, GuidIndex};
use super::containers::{self, Containers};
use super::ground::Ground;
use super::linked::LinkedOrigin;
use super::outbound::{How, Outbound};
use super::partial::{self, Partial};
use super::{Action, FindingKind, PartialFault, Place, Reason, Severity, Source, StepId, Transfer, sending};
use crate::model::{
    Change, Dataset, DatasetName, Encryption, Guid, NameError, NameFormat, Point, PointKind, PointName,
    ResumePoint, SetAside, Writer,
};

/// Where the target's line stands while the plan is made.
#[derive(Debug, Clone)]
enum Head<'a> {
    /// The dataset does not exist.
    Absent,
    /// Its newest point in common with the source.
    At(Outbound<'a>),
}

/// The steps and the state of one replication.
#[derive(Debug)]
pub(super) struct Replication<'a> {
    pub(super) place: Place,
    /// The target dataset.
    pub(super) name: DatasetName,
    pub(super) source: &'a Source<'a>,
    /// The target dataset as it was listed.
    pub(super) there: Option<&'a Dataset>,
    /// Lineages of this copy that were set aside.
    pub(super) set_asides: Vec<&'a Dataset>,
    /// Who writes the copy, if it is this source.
    pub(super) writer: Writer,
    /// The request that finishes setting the lineage aside, when the copy exists again: its children move back.
    pub(super) children_wait: Option<SetAside>,
    /// The step after which datasets below the copy are in their place again.
    pub(super) set_aside_step: Option<StepId>,
    pub(super) ground: Ground<'a>,
    /// How the histories stand to each other; `None` where the target has none.
    pub(super) comparison: Option<Comparison<'a>>,
    /// The snapshots that the target has received in this plan, each with its name there.
    pub(super) received: Vec<(PointName, Outbound<'a>)>,
    /// GUIDs of target snapshots that this plan destroys or renames away.
    pub(super) removed: BTreeSet<Guid>,
    /// Names that this plan gives to snapshots that the target has already.
    pub(super) renamed: BTreeSet<PointName>,
    /// The same, by the GUID of the snapshot.
    pub(super) renamed_to: BTreeMap<Guid, PointName>,
    /// The origin that the copy is made from, if the source is a clone and the target has or gets it.
    pub(super) origin: Option<LinkedOrigin<'a>>,
    /// Snapshots of the source that clones begin at: they are sent, whoever made them.
    pub(super) wanted_origins: BTreeSet<Guid>,
    /// The names in `received`.
    received_names: BTreeSet<PointName>,
    /// The snapshots that the target has, by name; filled when first needed.
    names_there: OnceCell<HashMap<&'a PointName, Guid>>,
    /// Nothing more is sent: a person has to decide.
    pub(super) is_blocked: bool,
    /// Whether the copy is, or may be, another source's: nothing of it is touched.
    pub(super) is_of_another: bool,
    /// The step that drops a partial receive, and with it the hidden clone that pins the target's newest snapshot.
    dropped: Option<StepId>,
    /// A snapshot that a partial receive still needs.
    pub(super) resumable: Option<Resumable>,
    index: GuidIndex<'a>,
    head: Head<'a>,
    first: Option<StepId>,
    pub(super) last: Option<StepId>,
    pub(super) sends: Vec<StepId>,
}

/// The two ends of a partial receive that can be resumed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Resumable {
    /// The snapshot that it makes.
    pub(super) to: Guid,
    /// Its base; `None` for a full stream.
    pub(super) base: Option<Guid>,
}

impl<'a> Replication<'a> {
    pub(super) fn new(
        builder: &mut Builder,
        ground: &Ground<'a>,
        name: &DatasetName,
        source: &'a Source<'a>,
    ) -> Self {
        let Ground { target, listing, .. } = *ground;
        let there = listing.get(name);
        let index = GuidIndex::new(&source.selected.dataset.history);
        let comparison = there.filter(|there| there.history.newest_snapshot().is_some());
        let comparison =
            comparison.map(|there| Comparison::new(builder, &index, &source.trust, &there.history));
        let common = comparison.as_ref().and_then(|comparison| comparison.common);
        let head = common.map_or(Head::Absent, |common| Head::At(Outbound::Taken(common.source)));
        let is_aside = |dataset: &&Dataset| dataset.set_aside().is_some_and(|mark| mark.of == *name);
        Self {
            place: Place::Target(target.name.clone()),
            name: name.clone(),
            source,
            there,
            set_asides: listing.starting_with(format!("{name}.")).filter(is_aside).collect(),
            writer: Writer { guid: source.selected.dataset.guid, label: source.label.clone() },
            children_wait: ground
                .waiting
                .iter()
                .find(|mark| mark.of == *name)
                .map(|mark| mark.wish(&source.label)),
            set_aside_step: None,
            ground: *ground,
            comparison,
            received: Vec::new(),
            renamed: BTreeSet::new(),
            renamed_to: BTreeMap::new(),
            origin: None,
            wanted_origins: BTreeSet::new(),
            received_names: BTreeSet::new(),
            names_there: OnceCell::new(),
            removed: BTreeSet::new(),
            is_blocked: false,
            is_of_another: false,
            dropped: None,
            resumable: None,
            index,
            head,
            first: None,
            last: None,
            sends: Vec::new(),
        }
    }

    /// Whether other datasets are below the copy.
    pub(super) fn has_children(&self) -> bool {
        self.ground.listing.has_children(&self.name)
    }

    /// The source's point of this GUID.
    pub(super) fn find_at_source(&self, guid: Guid) -> Option<&'a Point> {
        self.index.find(guid)
    }

    /// Whether the copy is there and only continues: it has begun, and nothing of it has to make way.
    pub(super) fn is_continued(&self) -> bool {
        match &self.comparison {
            Some(comparison) => comparison.common.is_some() && comparison.unknown.is_empty(),
            None => self.there.is_some_and(|there| there.resume_token.is_some()),
        }
    }

    /// The source dataset.
    pub(super) fn dataset(&self) -> &'a Dataset {
        self.source.selected.dataset
    }

    /// Whether `point` is newer than what the target has.
    pub(super) fn is_newer_than_head(&self, point: &Point) -> bool {
        match self.head {
            Head::Absent => true,
            Head::At(Outbound::Taken(head)) => point.createtxg > head.createtxg,
            Head::At(Outbound::Pending(_)) => false,
        }
    }

    /// Whether a target snapshot could not be destroyed after what this plan has done so far. The hidden clone of a receive
    /// that it drops (`%recv`, of the newest snapshot) is gone by then.
    pub(super) fn is_held_or_cloned(&self, point: &Point) -> bool {
        let newest = self.there.and_then(|there| there.history.newest_snapshot());
        // A lineage that is set aside becomes a clone of the base.
        if self.set_aside_step.is_some() && self.target_base().is_some_and(|base| base.guid == point.guid) {
            return true;
        }
        let is_let_go = self.dropped.is_some() && newest.is_some_and(|newest| newest.guid == point.guid);
        point.is_held_or_cloned_but_for(u32::from(is_let_go))
    }

    /// Whether the source knows this GUID, as snapshot or bookmark.
    pub(super) fn knows(&self, guid: Guid) -> bool {
        self.index.find(guid).is_some()
    }

    /// The source's point at which the target's line stands, if it stands at one that exists.
    pub(super) fn head_point(&self) -> Option<&'a Point> {
        match self.head {
            Head::At(Outbound::Taken(point)) => Some(point),
            Head::At(Outbound::Pending(_)) | Head::Absent => None,
        }
    }

    /// Adds a step that needs the replication's last one.
    pub(super) fn step(&mut self, builder: &mut Builder, action: impl Into<Action>, reason: Reason) {
        let order = Order::needs(self.last);
        let dataset = Some(&self.dataset().name);
        let step = builder.step(dataset, self.place.clone(), action, reason, order);
        self.first.get_or_insert(step);
        self.last = Some(step);
    }

    /// Lets the replication's first step, and so all of them, start only when `step` has ended, well or not.
    pub(super) fn begin_after(&self, builder: &mut Builder, step: StepId) {
        if let Some(first) = self.first {
            builder.before(step, first);
        }
    }

    /// Whether a guest's config lists a snapshot of this name: then it is Proxmox VE's.
    pub(super) fn is_a_guests(&self, point: &Point) -> bool {
        self.source.selected.guest.is_some_and(|guest| guest.snapshots.contains(&point.name))
    }

    /// The newest snapshot that both sides have as one, and that stays on the target.
    pub(super) fn newest_shared(&self) -> Option<Guid> {
        let there = self.there?.history.snapshots().rev();
        let mut stay = there.filter(|point| !self.removed.contains(&point.guid));
        let is_shared = |point: &&Point| {
            self.index.find(point.guid).is_some_and(|known| known.kind == PointKind::Snapshot)
        };
        stay.find(is_shared).map(|point| point.guid)
    }

    /// Ends the replication: a person has to decide.
    pub(super) fn block(&mut self, builder: &mut Builder, kind: impl Into<FindingKind>) {
        self.is_blocked = true;
        builder.find(Severity::Blocked, Some(&self.dataset().name), self.place.clone(), kind);
    }

    /// The target starts over: the name is free, and nothing is in common.
    pub(super) fn start_over(&mut self) {
        if let Some(there) = self.there {
            self.removed.extend(there.history.points().map(|point| point.guid));
        }
        self.head = Head::Absent;
    }

    /// The name of `what` on the target: its own, or with its GUID where another snapshot has that name.
    pub(super) fn free_name(&self, what: Outbound<'_>) -> Result<PointName, NameError> {
        match what.guid() {
            Some(guid) if self.is_taken(what.name()) => NameFormat::name_with_guid(what.name(), guid),
            _ => Ok(what.name().clone()),
        }
    }

    /// Whether a snapshot of this name will be on the target.
    pub(super) fn is_taken(&self, name: &PointName) -> bool {
        let listed = self.names_there.get_or_init(|| {
            let points = self.there.into_iter().flat_map(|there| there.history.points());
            let snapshots = points.filter(|point| point.kind == PointKind::Snapshot);
            snapshots.map(|point| (&point.name, point.guid)).collect()
        });
        let is_there = listed.get(name).is_some_and(|guid| !self.removed.contains(guid));
        is_there || self.renamed.contains(name) || self.received_names.contains(name)
    }

    /// Deals with a receive that broke off. Gives the snapshot that resuming it would make, where that is possible; not on a
    /// copy that `must_be_free` of it, since its lineage changes.
    pub(super) fn resolve_partial(
        &mut self,
        builder: &mut Builder,
        must_be_free: bool,
    ) -> Option<(&'a Point, ResumePoint)> {
        let there = self.there?;
        let origin = self.origin.as_ref().map(|origin| origin.point);
        let judged =
            partial::judge(builder, (self.dataset(), origin), &self.source.trust, &self.index, there);
        let (drop, fault) = match judged {
            Partial::None => return None,
            Partial::Resumable { to, base, resume } => {
                let from = base;
                let base = base.map(|base| base.guid);
                let is_ours = match (&self.comparison, &self.head) {
                    (None, _) => true,
                    (Some(comparison), Head::At(head)) => {
                        comparison.unknown.is_empty() && base == head.guid()
                    }
                    (Some(_), Head::Absent) => false,
                };
                if is_ours && !must_be_free {
                    self.resumable = Some(Resumable { to: to.guid, base });
                    if let (None, Some(base)) = (&self.comparison, from) {
                        self.head = Head::At(Outbound::Taken(base));
                    }
                    return Some((to, resume));
                }
                (true, PartialFault::NotNewestBase)
            }
            Partial::Stale { fault } => (true, fault),
            Partial::Foreign { fault } => (false, fault),
        };
        if drop {
            let token = there.resume_token.clone().unwrap_or_default();
            let action = Change::AbortReceive { dataset: self.name.clone(), token };
            self.step(builder, action, Reason::CannotResume { fault });
            self.dropped = self.last;
        } else {
            self.block(builder, FindingKind::ForeignReceive { copy: self.name.clone(), fault });
        }
        None
    }

    /// Adds the transfer of `what` as `name`; the first one of a clone begins at its origin.
    pub(super) fn send(
        &mut self,
        builder: &mut Builder,
        containers: &mut Containers<'_>,
        what: Outbound<'a>,
        name: &PointName,
        how: How<'a>,
    ) {
        let dataset = self.dataset();
        let names = dataset.name.snapshot(what.name()).and_then(|from| Ok((from, self.name.snapshot(name)?)));
        let (snapshot, target) = match names {
            Ok(names) => names,
            Err(error) => return self.block(builder, FindingKind::CopyName { error }),
        };
        let creates_dataset = matches!(self.head, Head::Absent);
        let mut needs: Vec<StepId> = self.last.into_iter().collect();
        // A dataset whose snapshot or bookmarks failed in this run is still sent, as far as it can be.
        let taken = &self.source.taken;
        let mut after: Vec<StepId> = taken.missing_bookmarks.into_iter().collect();
        if matches!(what, Outbound::Pending(_)) {
            after.extend(taken.snapshot.into_iter().chain(taken.bookmark));
        }
        if creates_dataset {
            match containers.parent_of(builder, &self.name) {
                Ok(steps) => needs.extend(steps),
                Err(why) => return self.block(builder, *why),
            }
        }
        let (origin, origin_needs) = self.origin_for(builder, &how);
        needs.extend(origin_needs);
        let base = match self.head {
            Head::Absent => origin.as_ref().map(|origin| self.base(origin.point)),
            Head::At(Outbound::Taken(point)) => Some(self.base(point)),
            Head::At(Outbound::Pending(_)) => return,
        };
        if creates_dataset && base.is_none() && how.resume.is_none() {
            self.report_missing_origin(builder);
        }
        self.want_ends(builder, what);
        self.report_doubtful(builder);
        let fallback = how.fallback.and_then(|point| self.fallback(point));
        let breaks = self.there.is_some_and(|there| there.resume_token.is_some());
        let mark =
            if breaks && self.sends.is_empty() { sending::mark(builder, self.source, what) } else { None };
        let transfer = Box::new(Transfer {
            snapshot,
            guid: what.guid(),
            base,
            fallback,
            resume: how.resume,
            target,
            origin: origin.map(|origin| origin.there),
            creates_dataset,
            kind: dataset.kind,
            encryption: dataset.encryption,
            copy_encryption: containers.encryption_of(
                &self.name,
                dataset.encryption,
                self.there.filter(|_| !creates_dataset),
            ),
            writer: creates_dataset.then(|| self.writer.clone()),
        });
        let place = self.place.clone();
        after.extend(mark);
        let order = Order { needs, after };
        let id = builder.step(Some(&dataset.name), place, Action::Send(transfer), how.reason, order);
        self.first.get_or_insert(id);
        if creates_dataset {
            containers.made(&self.name, id);
        }
        self.last = Some(id);
        self.sends.push(id);
        self.head = Head::At(what);
        self.received_names.insert(name.clone());
        self.received.push((name.clone(), what));
        if let Some(wish) = self.children_wait.take() {
            self.step(builder, Change::SetAside(wish), Reason::ChildrenMoveBack);
            self.set_aside_step = self.last;
        }
    }

    /// The next stream must not begin or end at a snapshot that will vanish by itself. A stream is sent even if this is
    /// not known: the kernel keeps the snapshots that it reads.
    fn want_ends(&self, builder: &mut Builder, what: Outbound<'a>) {
        let sent = match what {
            Outbound::Taken(point) => Some(point),
            Outbound::Pending(_) => None,
        };
        let ends = self.head_point().into_iter().chain(sent);
        builder.knows(&Place::Source, &self.dataset().name, ends);
        let base = self.target_base().filter(|_| self.received.is_empty());
        builder.knows(&self.place, &self.name, base);
    }

    /// Whether enough is known of the target's snapshots after the base, and of the base, to judge or remove them; ends the
    /// replication if not.
    pub(super) fn knows_unknown(&mut self, builder: &mut Builder) -> bool {
        let Some(comparison) = &self.comparison else { return true };
        let points = comparison.unknown.iter().copied().chain(comparison.common.map(|common| common.target));
        let known = builder.knows(&self.place, &self.name, points);
        if !known {
            self.block(builder, FindingKind::DetailsUnknown { copy: self.name.clone() });
        }
        known
    }

    /// Whether what the target has was sent the way it must be sent now; ends the replication if not.
    pub(super) fn check_encryption(&mut self, builder: &mut Builder) {
        let Some(there) = self.there.filter(|_| matches!(self.head, Head::At(_))) else {
            return;
        };
        let copy = self.name.clone();
        match (self.dataset().encryption, there.encryption) {
            (Encryption::On, Encryption::Off) => self.block(builder, FindingKind::PlainCopy { copy }),
            (Encryption::Off, Encryption::On) if containers::is_raw_copy(there, &self.ground.target.root) => {
                self.block(builder, FindingKind::RawCopy { copy });
            }
            _ => {}
        }
    }

    /// The target snapshot that is the base.
    pub(super) fn target_base(&self) -> Option<&'a Point> {
        self.comparison.as_ref()?.common.map(|common| common.target)
    }
}
