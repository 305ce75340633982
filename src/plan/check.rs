//! Proves what every plan promises, before it is carried out.
//!
//! The planner keeps these promises by the way it decides. This is the second pair of eyes: it knows nothing of those decisions
//! and looks only at the plan, the listings and the policy. A plan that breaks a promise is refused whole, since a mistake in
//! the planner must not cost data. Holds and clones, which only the kernel can know, are left to it: it refuses by
//! itself.

mod destroyed;
mod sent;

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::{Place, Plan, Step, StepId};
use crate::model::{Answer, Dataset, Guid, Inventory, Point, PointName, SnapshotName, TargetName};
use crate::policy::{Policy, TargetKind};

/// A step that would break a promise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Breach {
    /// The step.
    pub step: StepId,
    /// Which promise.
    #[serde(flatten)]
    pub promise: Promise,
}

/// The promises that every plan keeps for each of its steps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "promise", rename_all = "kebab-case")]
pub enum Promise {
    /// It waits only for earlier steps.
    InOrder,
    /// It is done where it can be: snapshots at the source, changes and streams at a target.
    RightPlace,
    /// It destroys nothing on an archive or through an append-only agent, and rolls nothing back there.
    NothingGoes,
    /// It destroys a dataset only where the target's own mark says that it was set aside.
    OnlySetAside,
    /// It destroys only points that were listed under that name with that GUID.
    OnlyListed {
        /// The point.
        point: PointName,
    },
    /// It destroys only points that are named in the policy's format.
    OnlyOwn {
        /// The point.
        point: PointName,
    },
    /// It leaves the newest own snapshot alone, unless a newer one is there before it starts.
    NewestStays {
        /// The snapshot.
        point: PointName,
    },
    /// It destroys a snapshot of the source only when a bookmark of it is there.
    BookmarkFirst {
        /// The snapshot.
        point: PointName,
    },
    /// It sends an increment from a point that the source has and the target has received.
    SharedBase {
        /// The snapshot that would be sent.
        snapshot: SnapshotName,
    },
    /// It makes a snapshot that no other step makes.
    ReceivedOnce {
        /// The snapshot.
        target: SnapshotName,
    },
}

/// The promises that `plan` would break.
pub fn check(policy: &Policy, inventory: &Inventory, plan: &Plan) -> Vec<Breach> {
    let mut proof = Proof { policy, inventory, plan, points: BTreeMap::new(), breaches: Vec::new() };
    proof.index();
    for (at, step) in plan.steps.iter().enumerate() {
        if step.id.0 != at || !step.needs.iter().chain(&step.after).all(|id| id.0 < at) {
            proof.breach(step, Promise::InOrder);
        }
        destroyed::check(&mut proof, step);
    }
    sent::check(&mut proof);
    proof.breaches
}

/// A point that was listed, and where.
type Listed<'a> = (&'a Dataset, &'a Point);

/// The facts of a proof, and the breaches that it has found.
struct Proof<'a> {
    policy: &'a Policy,
    inventory: &'a Inventory,
    plan: &'a Plan,
    /// By place and GUID. Datasets are renamed and set aside in the course of a plan, so names of datasets do not count.
    points: BTreeMap<Place, BTreeMap<Guid, Vec<Listed<'a>>>>,
    breaches: Vec<Breach>,
}

impl<'a> Proof<'a> {
    fn index(&mut self) {
        let targets =
            self.inventory.targets.iter().map(|(name, answer)| (Place::Target(name.clone()), answer));
        for (place, answer) in targets.chain([(Place::Source, &self.inventory.source)]) {
            let Answer::Listed(listing) = answer else { continue };
            let of_place = self.points.entry(place).or_default();
            for dataset in listing.datasets() {
                for point in dataset.history.points() {
                    of_place.entry(point.guid).or_default().push((dataset, point));
                }
            }
        }
    }

    fn listed(&self, place: &Place, guid: Guid) -> &[Listed<'a>] {
        self.points.get(place).and_then(|points| points.get(&guid)).map_or(&[], Vec::as_slice)
    }

    fn breach(&mut self, step: &Step, promise: Promise) {
        self.breaches.push(Breach { step: step.id, promise });
    }

    /// Whether nothing may go there.
    fn keeps_all(&self, name: &TargetName) -> bool {
        let target = self.policy.targets.iter().find(|target| target.name == *name);
        target.is_none_or(|target| matches!(target.kind, TargetKind::Archive(_)))
            || self.inventory.append_only.contains(name)
    }

    /// The steps that must have succeeded before `step` starts.
    fn needed(&self, step: &Step) -> Vec<&'a Step> {
        let (mut open, mut seen) = (step.needs.clone(), BTreeSet::new());
        let mut needed = Vec::new();
        while let Some(id) = open.pop() {
            if seen.insert(id)
                && let Some(step) = self.plan.steps.get(id.0)
            {
                open.extend(&step.needs);
                needed.push(step);
            }
        }
        needed
    }
}
