//! Carries a plan out, step by step; chooses nothing.
//!
//! `schedule` decides when each step runs, from nothing but its `needs` and `after`; `step` runs one; `transfer` runs a
//! stream; `state` holds what steps learn that later ones need. A step whose precondition no longer holds fails, and takes with it only the steps that need it.

mod advice;
mod busy;
pub mod comparing;
pub mod healing;
mod observer;
mod report;
pub mod restore;
mod resuming;
mod schedule;
mod state;
mod step;
mod stream;
mod transfer;
mod work;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use state::State;

use crate::host::{SourceHost, TargetHost};
use crate::model::{DatasetName, TargetName};
use crate::plan::Plan;
use crate::stream::Cancel;
use crate::stream::pump::PumpSettings;

pub use observer::{Observer, Silent};
pub use report::{MemberFailure, Outcome, Report};

/// The machines that a plan acts on.
#[derive(Clone, Copy)]
pub struct Hosts<'a> {
    /// This machine.
    pub source: &'a dyn SourceHost,
    /// Every backup and archive.
    pub targets: &'a BTreeMap<TargetName, Box<dyn TargetHost>>,
}

impl std::fmt::Debug for Hosts<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hosts").field("targets", &self.targets.keys()).finish_non_exhaustive()
    }
}

/// How guests are frozen while their snapshots are taken.
#[derive(Debug, Clone)]
pub struct Freezing {
    /// For how long at most.
    pub limit: Duration,
    /// The directory for the notes of what is frozen.
    pub directory: PathBuf,
}

/// How a plan is carried out.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How many steps, and so streams, run at once; at least one does.
    pub jobs: usize,
    /// How streams are moved.
    pub pump: PumpSettings,
    /// Ask for the size of each stream before it starts. Costs a walk over the dataset's block pointers where the base is
    /// a bookmark, so only where somebody watches.
    pub expects_sizes: bool,
    /// The configuration of its guest that each snapshot of a dataset gets, as user properties.
    pub configs: BTreeMap<DatasetName, BTreeMap<String, String>>,
    /// How guests are frozen where the plan says so; `None` freezes none.
    pub freezing: Option<Freezing>,
}

/// Carries out `plan`. Returns when every step has ended, or, after `cancel`, as soon as those under way have.
pub fn run(
    plan: Plan,
    hosts: Hosts<'_>,
    settings: &Settings,
    observer: &dyn Observer,
    cancel: &Cancel,
) -> Report {
    let work = work::Work { hosts, settings, observer, cancel, state: State::new(&plan.steps) };
    let outcomes = schedule::run(
        &plan.steps,
        settings.jobs,
        |step| work.run(step),
        |step, outcome| {
            work.state.note_ended(step);
            observer.ended(step, outcome);
        },
    );
    Report { plan, outcomes, was_interrupted: cancel.is_requested() }
}
