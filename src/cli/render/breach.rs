//! The message that refuses a plan which would break a promise.

use std::fmt::Write as _;

use super::{dataset_label, escape, step_line};
use crate::plan::Plan;
use crate::plan::check::{Breach, Promise};

/// Every step that would break a promise, and the next action.
pub(in crate::cli) fn breaches_text(plan: &Plan, breaches: &[Breach]) -> String {
    let mut text = "the plan would break a promise of zhaul: nothing was done".to_owned();
    for Breach { step, promise } in breaches {
        let why = promise_text(promise);
        match plan.steps.get(step.0) {
            Some(step) => {
                let (dataset, line) = (dataset_label(step), step_line(step));
                _ = write!(text, "\n  {dataset} ({}): {line}: {why}", step.place);
            }
            None => _ = write!(text, "\n  step {}: {why}", step.0),
        }
    }
    text.push_str(
        "\n  next: this is a bug in zhaul: please report it with this message; `zhaul run --guest ID` still backs up the guests \
         whose steps are not named here",
    );
    text
}

fn promise_text(promise: &Promise) -> String {
    match promise {
        Promise::InOrder => "it waits for a later step".to_owned(),
        Promise::RightPlace => "it cannot be done there".to_owned(),
        Promise::NothingGoes => "nothing may be destroyed or rolled back there".to_owned(),
        Promise::OnlySetAside => "the dataset has no mark that says that it was set aside".to_owned(),
        Promise::OnlyListed { point } => format!("no {} with that GUID was listed", escape(point.as_str())),
        Promise::OnlyOwn { point } => format!("{} was not named by this policy", escape(point.as_str())),
        Promise::NewestStays { point } => {
            format!("{} is the newest, and no newer one is there before", escape(point.as_str()))
        }
        Promise::BookmarkFirst { point } => format!("{} has no bookmark", escape(point.as_str())),
        Promise::SharedBase { snapshot } => {
            format!("{} is to be sent from a point that not both sides have", escape(&snapshot.to_string()))
        }
        Promise::ReceivedOnce { target } => {
            format!("another step makes {}, too", escape(&target.to_string()))
        }
    }
}
