//! Events while a run is under way, between its plan and its steps.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use jiff::SignedDuration;
use jiff::tz::TimeZone;
use serde_json::Value;

use super::Stage;
use super::conditions::{self, attempt};
use super::seen::Seen;
use crate::outcome::Run;
use crate::pool::zfs;

/// Snapshots are destroyed, and their names taken again, while the first stream is on its way.
pub(super) fn taken_again(stage: &mut Stage) -> Option<String> {
    meddle(stage, true)
}

/// Snapshots are destroyed while the first stream is on its way.
pub(super) fn destroyed(stage: &mut Stage) -> Option<String> {
    meddle(stage, false)
}

fn meddle(stage: &mut Stage, again: bool) -> Option<String> {
    let guest = stage.a_guest()?;
    for file in 0..3 {
        if crate::pool::property("type", &guest) == "filesystem" {
            conditions::write_file(&guest, &format!("much-{file}"));
        }
    }
    // Somebody has taken snapshots under own names: a plan sends them under their GUIDs, where it sends all between.
    let earlier = stage.now.saturating_add(SignedDuration::from_hours(1)).unwrap();
    let between = earlier.to_zoned(TimeZone::UTC).strftime("%Y-%m-%d-%H%M%S").to_string();
    if again {
        for guest in stage.guests() {
            attempt(&["snapshot", &format!("{guest}@{between}")]);
        }
    }
    stage.write_policy();
    "rate = \"3MiB\"\njobs = 1".clone_into(&mut stage.world.policy.transfer);
    stage.pass(3);
    stage.known.planned_with = Some(Seen::of(&stage.world).points);
    let late = destroyed_late(stage);
    let mut run = stage.world.start(&stage.now.to_string(), &[]);
    stage.world.policy.transfer.clear();
    let deadline = Instant::now() + Duration::from_secs(20);
    while stage.world.receivers().is_empty() && run.try_wait().unwrap().is_none() {
        assert!(Instant::now() < deadline, "a run neither sends nor ends");
        thread::sleep(Duration::from_millis(5));
    }
    let mut chosen = Vec::new();
    if let Some(snapshot) = stage.pick(late) {
        chosen.push(snapshot);
    }
    for guest in [stage.a_guest()?, stage.a_guest()?] {
        // The newest is about to be sent.
        let snapshots = crate::look::snapshots(&guest);
        let last = snapshots.len().saturating_sub(1);
        let made = snapshots.iter().position(|name| *name == between).unwrap_or(last);
        let which = [0, last, made, made, stage.random.below(snapshots.len())];
        let snapshot = snapshots.get(which[stage.random.below(5)]);
        chosen.extend(snapshot.map(|snapshot| format!("{guest}@{snapshot}")));
    }
    let mut what = Vec::new();
    for snapshot in chosen {
        if !attempt(&["destroy", &snapshot]) {
            continue;
        }
        if again {
            let dataset = snapshot.split('@').next().unwrap();
            if dataset.starts_with(&stage.world.source()) {
                conditions::write(stage, dataset);
            }
            zfs(&["snapshot", &snapshot]);
        }
        what.push(snapshot);
    }
    let before = Seen::of(&stage.world);
    let code = run.wait().unwrap().code();
    let read = |name: &str| fs::read_to_string(stage.world.directory().join(name)).unwrap();
    let run = Run { code, stdout: read("stdout"), stderr: read("stderr") };
    let what = format!("in a run of {} {what:?} were destroyed, taken again: {again}", stage.now);
    stage.story.push(what.clone());
    stage.check(&before, &run);
    stage.known.planned_with = None;
    stage.story.pop();
    Some(what)
}

/// The snapshots that the next run is going to destroy after its first stream.
fn destroyed_late(stage: &mut Stage) -> Vec<String> {
    let plan = stage.world.run_with(&stage.now.to_string(), &["--dry-run"]);
    let steps = plan.did().into_iter().skip_while(|step| step.action != "send");
    let destroys = steps.filter(|step| step.action == "destroy-snapshots");
    let names = destroys.flat_map(|step| {
        let action = &step.step["action"];
        let name = |point: &Value| {
            format!("{}@{}", action["dataset"].as_str().unwrap(), point["name"].as_str().unwrap())
        };
        action["snapshots"].as_array().unwrap().iter().map(name).collect::<Vec<_>>()
    });
    names.collect()
}
