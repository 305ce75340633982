//! `zhaul verify --deep`: every byte of the newest snapshot that a copy and its source have in common.

use std::fmt::Write as _;
use std::time::Instant;

use anyhow::{Context, anyhow};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use super::super::args::VerifyArgs;
use super::super::context::CommandContext;
use super::super::exit_code::{Code, Failure, OrExit};
use super::super::render::{count, escape, load_key_command};
use super::super::trouble::Trouble;
use super::super::{output, trouble};
use super::known_target;
use crate::execute::comparing::{Compared, HowToCompare, Reader, Side, compare};
use crate::host::{HostError, Problem};
use crate::model::{ByteCount, Change, DatasetKind, Inventory, Verification, VerifiedBy};
use crate::plan::Severity;
use crate::plan::content::{ContentCheck, ContentChecks, NotComparable, WantedContent, content_checks};

/// How one comparison ended.
enum Outcome {
    Same { read: ByteCount, not_marked: Option<HostError> },
    Differs { at: Option<(u64, u64)> },
    Failed(HostError),
}

/// Compares the copies that `args` name, and marks those that are the same.
pub(super) fn deep(args: &VerifyArgs, context: &CommandContext) -> Result<Code, Failure> {
    let target = known_target(args, context)?;
    let inventory = context.inventory()?;
    let wanted = WantedContent { what: args.what.clone(), target, recent: args.again_after };
    let checks = content_checks(&context.policy, &inventory, context.now, &wanted)
        .map_err(|why| anyhow!("this machine could not be listed: {why}"))
        .or_exit(Code::Failed)?;
    if checks == ContentChecks::default() {
        let error = anyhow!("the policy selects nothing of that; `zhaul list` names what it selects");
        return Err(error).or_exit(Code::Usage);
    }
    let started = Instant::now();
    let mut outcomes = Vec::new();
    let mut left_for_later = Vec::new();
    for check in &checks.checks {
        let is_over = args.time.is_some_and(|limit| started.elapsed() >= limit);
        if context.cancel.is_requested() || is_over {
            left_for_later.push(check);
            continue;
        }
        let outcome = one(args, context, check);
        tracing::info!("{}", line(check, &outcome).trim_end());
        outcomes.push((check, outcome));
    }
    let mut troubles = troubles(&inventory, &checks, &outcomes);
    trouble::sort(&mut troubles);
    let text = if args.json {
        let compared: Vec<_> = outcomes.iter().map(|(check, outcome)| json_of(check, outcome)).collect();
        let value = json!({
            "at": context.now, "compared": compared, "recent": checks.recent, "left_for_later": left_for_later,
            "impossible": checks.impossible, "troubles": troubles,
        });
        format!("{value}\n")
    } else {
        let mut text: String = outcomes.iter().map(|(check, outcome)| line(check, outcome)).collect();
        text.push_str(&left_out(&checks, left_for_later.len()));
        let nothing = if outcomes.is_empty() {
            "nothing was compared".to_owned()
        } else {
            format!(
                "{} the same as {}",
                copies_are(outcomes.len()),
                if outcomes.len() == 1 { "its source" } else { "their sources" }
            )
        };
        let _ = write!(text, "{}", trouble::text(&troubles, &nothing, output::stdout_style()));
        text
    };
    output::print(&text).context("cannot print what was found").or_exit(Code::Failed)?;
    if context.cancel.is_requested() {
        return Err(anyhow!("interrupted; the same command compares the others")).or_exit(Code::Interrupted);
    }
    Ok(trouble::code(&troubles))
}

fn copies_are(copies: usize) -> String {
    if copies == 1 {
        "the copy that was compared is".to_owned()
    } else {
        format!("the {copies} copies that were compared are")
    }
}

fn left_out(checks: &ContentChecks, later: usize) -> String {
    let mut text = String::new();
    if !checks.recent.is_empty() {
        let _ = writeln!(
            text,
            "{} compared not long ago and left out; --again-after 0 compares all",
            match checks.recent.len() {
                1 => "1 copy was".to_owned(),
                several => format!("{several} copies were"),
            }
        );
    }
    if later > 0 {
        let _ = writeln!(text, "{} left for the next time", count(later, "copy").replace("copys", "copies"));
    }
    text
}

fn one(args: &VerifyArgs, context: &CommandContext, check: &ContentCheck) -> Outcome {
    let Some(target) = context.targets.get(&check.target) else {
        let problem = Problem::Other("no such host is set up; this is a bug".to_owned());
        return Outcome::Failed(HostError::new(&check.target.0, "read", &check.there, problem));
    };
    let how = HowToCompare { guid: check.guid, is_raw: check.is_raw, bytes_per_second: args.rate };
    let here = Side { reader: Reader::Source(&*context.source), snapshot: &check.here };
    let there = Side { reader: Reader::Target(&**target), snapshot: &check.there };
    let bar = context.screen.add(ProgressBar::no_length().with_style(
        ProgressStyle::with_template("{wide_msg}").unwrap_or_else(|_| ProgressStyle::default_bar()),
    ));
    let name = format!("{} ({})", check.dataset, check.target.0);
    tracing::info!("{name}: comparing {} with {}", check.here, check.there);
    let compared = compare((here, there), how, &context.cancel, &|read| {
        bar.set_message(format!("{}  {read} compared", escape(&name)));
    });
    bar.finish_and_clear();
    match compared {
        Err(error) => Outcome::Failed(error),
        Ok(Compared::Differs { at }) => {
            let (dataset, snapshot) = (check.there.dataset().clone(), check.there.name().clone());
            let mark = Change::MarkVerified { dataset, snapshot, guid: check.guid, verification: None };
            if let Err(error) = target.change(&mark) {
                tracing::warn!("an earlier mark stays: {}", error.chain());
            }
            Outcome::Differs { at }
        }
        Ok(Compared::Same { read }) => {
            let verification = Verification { at: context.now, by: VerifiedBy::Content };
            let (dataset, snapshot) = (check.there.dataset().clone(), check.there.name().clone());
            let mark = Change::MarkVerified {
                dataset,
                snapshot,
                guid: check.guid,
                verification: Some(verification),
            };
            Outcome::Same { read, not_marked: target.change(&mark).err() }
        }
    }
}

fn about(check: &ContentCheck) -> String {
    format!("{} ({})", check.dataset, check.target.0)
}

fn line(check: &ContentCheck, outcome: &Outcome) -> String {
    let what = match outcome {
        Outcome::Same { read, .. } => format!("@{} is the same, {read} compared", check.there.name()),
        Outcome::Differs { .. } => format!("@{} differs", check.there.name()),
        Outcome::Failed(_) => format!("@{} could not be compared", check.there.name()),
    };
    format!("{}: {}\n", escape(&about(check)), escape(&what))
}

fn json_of(check: &ContentCheck, outcome: &Outcome) -> serde_json::Value {
    let mut value = json!(check);
    value["result"] = match outcome {
        Outcome::Same { read, .. } => json!({ "same": true, "read_bytes": read.0 }),
        Outcome::Differs { at } => json!({
            "same": false, "object": at.map(|at| at.0), "offset": at.map(|at| at.1),
        }),
        Outcome::Failed(error) => json!({ "why": error.chain() }),
    };
    value
}

fn troubles(
    inventory: &Inventory,
    checks: &ContentChecks,
    outcomes: &[(&ContentCheck, Outcome)],
) -> Vec<Trouble> {
    let mut troubles = Vec::new();
    for (check, outcome) in outcomes {
        let mut add = |severity, kind, what: String, next: String| {
            troubles.push(Trouble { severity, kind, about: about(check), what, next });
        };
        match outcome {
            Outcome::Same { not_marked: None, .. } => {}
            Outcome::Same { not_marked: Some(error), .. } => add(
                Severity::Warning,
                "not-marked",
                format!("it is the same, but could not be marked as compared: {}", error.chain()),
                format!("on {}, `zfs allow` userprop for the user that zhaul logs in as", check.target.0),
            ),
            Outcome::Differs { at } => add(
                Severity::Failed,
                "content-differs",
                format!(
                    "{} and {} have one GUID and not the same content{}",
                    check.here,
                    check.there,
                    place(inventory, check, *at)
                ),
                differs_next(check),
            ),
            Outcome::Failed(error) if matches!(error.problem, Problem::NotFound | Problem::Changed(_)) => {
                let what = format!("was not compared: the snapshot went meanwhile ({})", error.chain());
                let next = "the same command compares the next one; best not while `zhaul run` is active";
                add(Severity::Warning, "gone-meanwhile", what, next.to_owned());
            }
            Outcome::Failed(error) => add(
                Severity::Failed,
                "not-compared",
                format!("could not be compared: {}", error.chain()),
                failed_next(check, error),
            ),
        }
    }
    for one in &checks.impossible {
        let about = format!("{} ({})", one.dataset, one.target.0);
        let next = match &one.why {
            NotComparable::NotKnown { .. } => "`zhaul doctor` says what is wrong there".to_owned(),
            NotComparable::NoCopy | NotComparable::NothingInCommon => {
                format!("`zhaul run --dry-run --dataset {}` shows what the next run does", one.dataset)
            }
        };
        let (severity, kind, what) = match &one.why {
            NotComparable::NotKnown { text } => {
                (Severity::Failed, "not-known", format!("could not be compared: {text}"))
            },
            NotComparable::NoCopy => (Severity::Note, "no-copy", "there is no copy yet".to_owned()),
            NotComparable::NothingInCommon => (
                Severity::Note,
                "nothing-in-common",
                "this host has no snapshot of the copy any more: nothing can be compared until the next one is sent".to_owned(),
            ),
        };
        troubles.push(Trouble { severity, kind, about, what, next });
    }
    troubles
}

/// Where they differ: of a file system the object is the number of an inode.
fn place(inventory: &Inventory, check: &ContentCheck, at: Option<(u64, u64)>) -> String {
    let kind = match &inventory.source {
        crate::model::Answer::Listed(listing) => listing.get(&check.dataset).map(|dataset| dataset.kind),
        crate::model::Answer::CouldNotAsk(_) => None,
    };
    match (at, kind) {
        (None, _) => ": one of them ends before the other".to_owned(),
        (Some((1, offset)), Some(DatasetKind::Volume)) => {
            format!(": at byte {offset} or up to 16 MiB after it")
        }
        (Some((object, _)), Some(DatasetKind::Filesystem)) => {
            format!(": in inode {object} or one of the 255 after it (`find -inum`)")
        }
        (Some((object, offset)), _) => format!(": in object {object}, from byte {offset}"),
    }
}

fn differs_next(check: &ContentCheck) -> String {
    let copy = check.there.dataset();
    format!(
        "keep both until you know which is right; on {}, `zfs rename {copy} {copy}-differs`: the next run sends everything again, and the \
         old copy stays. `zpool status -v` on both machines, and memory without ECC, are the first suspects",
        check.target.0
    )
}

fn failed_next(check: &ContentCheck, error: &HostError) -> String {
    let is_key = matches!(error.problem, Problem::Locked) || error.chain().contains("key");
    if is_key {
        return format!(
            "on {}, load its key for as long as it is compared: {}",
            check.target.0,
            load_key_command(check.there.dataset())
        );
    }
    format!(
        "`zpool status -v` here and on {}; `zhaul verify` names copies that have lost data",
        check.target.0
    )
}
