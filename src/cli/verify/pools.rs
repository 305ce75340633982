//! The text about the pools of both ends.

use std::fmt::Write as _;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::super::render::{count, escape};
use super::super::trouble::Trouble;
use crate::channel::login_advice;
use crate::discover::PoolAnswer;
use crate::model::{PoolState, Scrub};
use crate::plan::{Place, Severity};

/// A line for each pool.
pub(super) fn text(answers: &[PoolAnswer]) -> String {
    let mut text = String::new();
    for answer in answers {
        let what = match &answer.state {
            Err(_) => "not known".to_owned(),
            Ok(state) => format!("{}, {}", state.pool.health, scrub_text(&state.pool.scrub)),
        };
        let _ = writeln!(text, "pool {}: {}", escape(&about(answer)), escape(&what));
    }
    text
}

fn scrub_text(scrub: &Scrub) -> String {
    match scrub {
        Scrub::Never => "never scrubbed".to_owned(),
        Scrub::UnderWay => "a scrub is under way".to_owned(),
        Scrub::Ended { at, .. } => format!("last scrubbed {}", at.strftime("%Y-%m-%d")),
        Scrub::NotTold => "when it was last scrubbed is not known".to_owned(),
    }
}

/// For programs.
pub(super) fn json(answers: &[PoolAnswer]) -> Value {
    let one = |answer: &PoolAnswer| match &answer.state {
        Ok(state) => json!({ "place": answer.place, "pool": answer.pool, "state": state.pool }),
        Err(why) => json!({ "place": answer.place, "pool": answer.pool, "why": why }),
    };
    answers.iter().map(one).collect()
}

/// Errors of the pools of those that answered.
pub(in crate::cli) fn error_troubles(answers: &[PoolAnswer]) -> Vec<Trouble> {
    let known: Vec<PoolAnswer> = answers.iter().filter(|answer| answer.state.is_ok()).cloned().collect();
    let mut troubles = troubles(&known, Timestamp::MIN, SignedDuration::MAX);
    troubles.retain(|trouble| trouble.kind != "scrub-old");
    troubles
}

/// The troubles of the pools.
pub(super) fn troubles(answers: &[PoolAnswer], now: Timestamp, scrub_after: SignedDuration) -> Vec<Trouble> {
    let mut troubles = Vec::new();
    for answer in answers {
        let pool = &answer.pool;
        let mut push = |severity, kind, what: String, next: String| {
            troubles.push(Trouble { severity, kind, about: format!("pool {}", about(answer)), what, next });
        };
        let to_run = |command: &str| match &answer.place {
            Place::Source => format!("`{command} {pool}`"),
            Place::Target(name) => format!("`{command} {pool}` on {}", name.0),
        };
        match &answer.state {
            Err(why) => {
                let next = login_advice(why).map_or_else(|| to_run("zpool status"), str::to_owned);
                push(Severity::Failed, "pool-unknown", format!("could not be asked: {why}"), next);
            }
            Ok(state) => {
                let mut add =
                    |severity, kind, what: String, command: &str| push(severity, kind, what, to_run(command));
                of_errors(&state.pool, &mut add);
                of_scrub(&state.pool, now, scrub_after, &mut add);
            }
        }
    }
    troubles
}

fn of_errors(pool: &PoolState, add: &mut dyn FnMut(Severity, &'static str, String, &str)) {
    if pool.health != "ONLINE" {
        add(Severity::Failed, "pool-health", format!("is {}", pool.health), "zpool status -v");
    }
    match pool.data_errors {
        Some(0) => {}
        Some(errors) => {
            let which = match pool.damaged.as_slice() {
                [] => "-v names the files, volumes and snapshots".to_owned(),
                [first] => first.clone(),
                [first, others @ ..] => format!("{first} and {} more", others.len()),
            };
            let what = format!("has lost data: {}: {which}", errors_text(errors));
            add(Severity::Failed, "pool-data-errors", what, "zpool status -v");
        }
        None => add(
            Severity::Warning,
            "pool-data-errors",
            "does not report whether it has lost data".to_owned(),
            "zpool status -v",
        ),
    }
    if pool.devices_with_errors > 0 {
        let devices = usize::try_from(pool.devices_with_errors).unwrap_or(usize::MAX);
        let what = format!("counts errors on {}", count(devices, "device"));
        add(Severity::Warning, "pool-device-errors", what, "zpool status -v");
    }
}

fn of_scrub(
    pool: &PoolState,
    now: Timestamp,
    scrub_after: SignedDuration,
    add: &mut dyn FnMut(Severity, &'static str, String, &str),
) {
    let what = match &pool.scrub {
        Scrub::UnderWay => return,
        Scrub::Never => "was never scrubbed: whether old blocks can still be read is unknown".to_owned(),
        Scrub::NotTold => "does not report when it was last scrubbed".to_owned(),
        Scrub::Ended { at, errors } => {
            let what = format!("its last scrub could not repair {}", errors_text(*errors));
            match (*errors, pool.data_errors) {
                (0, _) => {}
                (_, Some(0)) => {
                    add(
                        Severity::Warning,
                        "scrub-errors",
                        format!("{what}; now it names none"),
                        "zpool scrub",
                    );
                }
                _ => add(Severity::Failed, "scrub-errors", what, "zpool status -v"),
            }
            let age = now.duration_since(*at);
            if age <= scrub_after {
                return;
            }
            format!("was last scrubbed {} days ago", age.as_hours() / 24)
        }
    };
    add(Severity::Warning, "scrub-old", what, "zpool scrub");
}

fn errors_text(errors: u64) -> String {
    count(usize::try_from(errors).unwrap_or(usize::MAX), "error")
}

fn about(answer: &PoolAnswer) -> String {
    match &answer.place {
        Place::Source => answer.pool.clone(),
        Place::Target(name) => format!("{} ({})", answer.pool, name.0),
    }
}
