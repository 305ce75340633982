//! Each stream has a base that both sides have, and makes a snapshot that no other one makes.

use std::collections::BTreeSet;

use super::{Promise, Proof};
use crate::plan::{Action, Base, Place, Step, Transfer};

/// Checks every stream of the plan.
pub(super) fn check(proof: &mut Proof<'_>) {
    let mut made = BTreeSet::new();
    for step in &proof.plan.steps {
        let Action::Send(transfer) = &step.action else { continue };
        if !made.insert((&step.place, &transfer.target)) {
            proof.breach(step, Promise::ReceivedOnce { target: transfer.target.clone() });
        }
        let is_shared = transfer.base.as_ref().is_none_or(|base| is_shared(proof, step, transfer, base));
        if !is_shared {
            proof.breach(step, Promise::SharedBase { snapshot: transfer.snapshot.clone() });
        }
    }
}

/// Whether the source has the base, and the target has it or gets it from a step that this one needs.
fn is_shared(proof: &Proof<'_>, step: &Step, transfer: &Transfer, base: &Base) -> bool {
    let known = proof.listed(&Place::Source, base.guid);
    // A clone begins at its origin, and only where it is received as a clone.
    let dataset = base.origin.as_ref().unwrap_or(transfer.snapshot.dataset());
    let is_known = known
        .iter()
        .any(|(at, point)| at.name == *dataset && point.kind == base.kind && point.name == base.name);
    let there = proof.listed(&step.place, base.guid);
    let is_there = there.iter().any(|(_, point)| point.kind == crate::model::PointKind::Snapshot);
    let arrives = |needed: &&Step| {
        matches!(&needed.action, Action::Send(other) if other.guid == Some(base.guid))
            && needed.place == step.place
    };
    is_known && (is_there || proof.needed(step).iter().any(arrives))
}
