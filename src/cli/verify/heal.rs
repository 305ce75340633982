//! `zhaul verify --heal`: the damaged blocks of copies are rewritten from a machine that has them whole.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use anyhow::{Context, anyhow};
use serde_json::json;

use super::super::args::VerifyArgs;
use super::super::carrying_out::{Configs, settings};
use super::super::context::CommandContext;
use super::super::exit_code::{Code, Failure, OrExit};
use super::super::render::escape;
use super::super::trouble::Trouble;
use super::super::{lock, output, trouble};
use super::{damage, known_target, refuse_unknown};
use crate::discover::{self, PoolAnswer};
use crate::execute::Settings;
use crate::execute::comparing::{Compared, HowToCompare, Reader, Side, compare};
use crate::execute::healing::{SentToHeal, ToHeal, WholeAt, heal as heal_one};
use crate::host::{HostError, Problem, Sending, TargetHost};
use crate::model::{Change, Encryption, TargetName, Verification, VerifiedBy};
use crate::plan::damage::{DamagedCopy, DamagedSnapshot, Whole, damaged_copies};
use crate::plan::{Place, Severity};

/// How the blocks of a copy's newest snapshot were healed.
enum Sent {
    From {
        place: String,
        sent: SentToHeal,
    },
    /// No machine has the snapshot whole.
    Nowhere,
    Failed(Vec<String>),
}

/// The state of a damaged snapshot afterwards.
enum State {
    /// It was compared, and is the same.
    Whole,
    /// It still cannot be read, or is not the same.
    Damaged(String),
    /// No machine has it to compare it with.
    Unknown,
}

/// Heals what the pools of the targets name as damaged.
pub(super) fn heal(args: &VerifyArgs, context: &CommandContext) -> Result<Code, Failure> {
    let only = known_target(args, context)?;
    // A run would meet the scratch snapshot.
    let lock = (!args.dry_run)
        .then(|| lock::take(&context.policy, context.policy_file.as_deref(), Duration::ZERO, &context.cancel))
        .transpose()?;
    let inventory = match lock.as_ref().map(lock::Lock::run_mark) {
        Some(Ok(mark)) => context.inventory_of_run(mark)?,
        // Without a mark for what an interrupted command has left; the work itself needs none.
        Some(Err(_)) | None => context.inventory()?,
    };
    let states = discover::pool_states(&context.policy, &context.targets, &context.cancel);
    let all = damaged_copies(&context.policy, &inventory, context.now, &damage::damaged(&states))
        .map_err(|why| anyhow!("this machine could not be listed: {why}"))
        .or_exit(Code::Failed)?;
    let is_wanted = |copy: &&DamagedCopy| {
        only.as_ref().is_none_or(|only| *only == copy.target)
            && args.what.as_ref().is_none_or(|what| what.is_of(&copy.dataset))
    };
    let copies: Vec<&DamagedCopy> = all.iter().filter(is_wanted).collect();
    refuse_unknown(args, context, &inventory)?;
    let unknown = unknown(&states, only.as_ref());
    if args.dry_run {
        return show(args, &copies, &unknown);
    }
    let senders = discover::senders(&context.policy, &context.cancel);
    let settings = settings(&context.policy, context.is_watched, Configs::default(), None);
    let healer = Healer { context, senders: &senders, settings };
    let results: Vec<Healed<'_>> = copies.iter().map(|copy| healer.heal(copy)).collect();
    report(args, context, &results, unknown)
}

/// The targets of which it is not known what they have lost.
fn unknown(states: &[PoolAnswer], only: Option<&TargetName>) -> Vec<Trouble> {
    let of = |answer: &PoolAnswer| {
        let Place::Target(name) = &answer.place else { return None };
        if only.is_some_and(|only| only != name) {
            return None;
        }
        let pool = &answer.pool;
        let next = format!("`zpool status -v {pool}` on {name}");
        let (what, next) = match &answer.state {
            Err(why) => {
                (format!("could not be asked: {why}"), "`zhaul doctor` says what is wrong there".to_owned())
            }
            Ok(state)
                if state.pool.damaged.is_empty()
                    && state.pool.data_errors.is_none_or(|errors| errors > 0) =>
            {
                let keys = "it does not where the key of an encrypted dataset is not loaded";
                (format!("has lost data and does not name what; {keys}"), next)
            }
            Ok(_) => return None,
        };
        let about = format!("pool {pool} ({name})");
        Some(Trouble { severity: Severity::Failed, kind: "pool-unknown", about, what, next })
    };
    states.iter().filter_map(of).collect()
}

fn show(args: &VerifyArgs, copies: &[&DamagedCopy], unknown: &[Trouble]) -> Result<Code, Failure> {
    let mut text = String::new();
    for copy in copies {
        let from = copy.newest.as_ref().and_then(|newest| newest.whole.first()).map_or_else(
            || "no machine has its newest snapshot whole".to_owned(),
            |whole| format!("send the blocks of its newest snapshot from {}", place_of(whole)),
        );
        let _ =
            writeln!(text, "{} on {}: {}", escape(copy.copy.as_str()), escape(&copy.target.0), escape(&from));
    }
    match (copies.is_empty(), unknown.is_empty()) {
        (true, true) => text.push_str(NOTHING),
        (_, false) => text.push_str(&trouble::text(unknown, "", output::stdout_style())),
        (false, true) => {}
    }
    let text =
        if args.json { format!("{}\n", json!({ "damaged": copies, "troubles": unknown })) } else { text };
    output::print(&text).context("cannot print what was found").or_exit(Code::Failed)?;
    Ok(trouble::code(unknown))
}

const NOTHING: &str = "no pool names a copy as damaged; a scrub finds damage that was not read yet\n";

/// A copy, what was sent to it, and what its damaged snapshots are now.
struct Healed<'a> {
    copy: &'a DamagedCopy,
    sent: Sent,
    states: Vec<(&'a DamagedSnapshot, State)>,
}

struct Healer<'a> {
    context: &'a CommandContext,
    senders: &'a BTreeMap<TargetName, Sending>,
    settings: Settings,
}

impl Healer<'_> {
    fn heal<'a>(&self, copy: &'a DamagedCopy) -> Healed<'a> {
        let sent = self.send(copy);
        let state = |damaged: &'a DamagedSnapshot| {
            let state = match &sent {
                Sent::From { .. } => self.state(copy, damaged),
                Sent::Nowhere | Sent::Failed(_) => State::Damaged("it was not healed".to_owned()),
            };
            (damaged, state)
        };
        let states = copy.snapshots.iter().map(state).collect();
        Healed { copy, sent, states }
    }

    /// Tries each machine that has the newest snapshot whole.
    fn send(&self, copy: &DamagedCopy) -> Sent {
        let Some(newest) = &copy.newest else { return Sent::Nowhere };
        if copy.encryption_of_streams == Encryption::On {
            return Sent::Failed(vec!["a raw encrypted copy is not healed yet".to_owned()]);
        }
        let mut failures = Vec::new();
        for whole in &newest.whole {
            if self.context.cancel.is_requested() {
                failures.push("interrupted".to_owned());
                break;
            }
            tracing::info!("{}: sending its blocks from {}", newest.snapshot, place_of(whole));
            match self.send_from(copy, newest, whole) {
                Ok(sent) => return Sent::From { place: place_of(whole), sent },
                Err(error) => failures.push(error.chain()),
            }
        }
        if failures.is_empty() { Sent::Nowhere } else { Sent::Failed(failures) }
    }

    fn send_from(
        &self,
        copy: &DamagedCopy,
        newest: &DamagedSnapshot,
        whole: &Whole,
    ) -> Result<SentToHeal, HostError> {
        let from = match &whole.place {
            Place::Source => WholeAt::Source(&*self.context.source),
            Place::Target(name) => {
                WholeAt::Target(self.senders.get(name).ok_or_else(|| no_host(&name.0, newest))?)
            }
        };
        let wish = ToHeal {
            newest: newest.snapshot.clone(),
            whole: whole.snapshot.clone(),
            guid: newest.guid,
            kind: copy.kind,
            encryption: copy.encryption_of_streams,
            copy_encryption: copy.copy_encryption,
        };
        let target = self.target(&copy.target, newest)?;
        heal_one(&wish, (from, target), &self.settings, &|_| {}, &self.context.cancel)
    }

    fn target(&self, name: &TargetName, of: &DamagedSnapshot) -> Result<&dyn TargetHost, HostError> {
        self.context.targets.get(name).map(|host| &**host).ok_or_else(|| no_host(&name.0, of))
    }

    /// Compares it with the first machine that can be read.
    fn state(&self, copy: &DamagedCopy, damaged: &DamagedSnapshot) -> State {
        let mut failure = None;
        for whole in &damaged.whole {
            match self.compare(copy, damaged, whole) {
                Ok(Compared::Same { .. }) => return State::Whole,
                Ok(Compared::Differs { .. }) => {
                    return State::Damaged(format!(
                        "it can be read, and is not the same as on {}",
                        place_of(whole)
                    ));
                }
                Err(error) => failure = Some(error.chain()),
            }
        }
        failure.map_or(State::Unknown, State::Damaged)
    }

    fn compare(
        &self,
        copy: &DamagedCopy,
        damaged: &DamagedSnapshot,
        whole: &Whole,
    ) -> Result<Compared, HostError> {
        let target = self.target(&copy.target, damaged)?;
        let reader = match &whole.place {
            Place::Source => Reader::Source(&*self.context.source),
            Place::Target(name) => Reader::Target(self.target(name, damaged)?),
        };
        let is_raw = copy.encryption_of_streams == Encryption::On;
        let how = HowToCompare { guid: damaged.guid, is_raw, bytes_per_second: None };
        let first = Side { reader, snapshot: &whole.snapshot };
        let second = Side { reader: Reader::Target(target), snapshot: &damaged.snapshot };
        let compared = compare((first, second), how, &self.context.cancel, &|_| {})?;
        if matches!(compared, Compared::Same { .. }) {
            let mark = Change::MarkVerified {
                dataset: copy.copy.clone(),
                snapshot: damaged.snapshot.name().clone(),
                guid: damaged.guid,
                verification: Some(Verification { at: self.context.now, by: VerifiedBy::Content }),
            };
            if let Err(error) = target.change(&mark) {
                tracing::warn!("{}", error.chain());
            }
        }
        Ok(compared)
    }
}

fn no_host(name: &str, of: &DamagedSnapshot) -> HostError {
    let problem = Problem::Other("no such host is set up; this is a bug".to_owned());
    HostError::new(name, "heal", &of.snapshot, problem)
}

fn place_of(whole: &Whole) -> String {
    match &whole.place {
        Place::Source => format!("this host ({})", whole.snapshot),
        Place::Target(name) => format!("{} ({})", name.0, whole.snapshot),
    }
}

fn lines(healed: &Healed<'_>) -> String {
    let mut text = String::new();
    let name = healed.copy.copy.as_str();
    let what = match &healed.sent {
        Sent::From { place, sent: SentToHeal { bytes, left_out: 0 } } => {
            format!("the blocks of its newest snapshot were sent from {place}, {bytes}")
        }
        Sent::From { place, sent: SentToHeal { bytes, left_out } } => format!(
            "the blocks of its newest snapshot were sent from {place}, {bytes}, without {left_out} that are compressed with gzip or zstd"
        ),
        Sent::Nowhere => "nothing was sent: no machine has its newest snapshot whole".to_owned(),
        Sent::Failed(_) => "nothing was healed".to_owned(),
    };
    let _ = writeln!(text, "{}: {}", escape(name), escape(&what));
    for (damaged, state) in &healed.states {
        let what = match state {
            State::Whole => "whole: compared, and the same",
            State::Damaged(_) => "not shown to be whole",
            State::Unknown => {
                "healed as far as its blocks are in the newest snapshot; no machine has it to compare it with"
            }
        };
        let _ = writeln!(text, "  @{}: {what}", escape(damaged.snapshot.name().as_str()));
    }
    text
}

fn troubles(healed: &Healed<'_>) -> Vec<Trouble> {
    let copy = healed.copy;
    let (target, name) = (&copy.target.0, &copy.copy);
    let next = format!(
        "on {target}, `zfs rename {name} {name}-damaged`: the next run sends everything again, and the old copy stays with all that \
         can still be read of it"
    );
    let mut add = Vec::new();
    let about = format!("{} ({target})", copy.dataset);
    let mut push = |what: String| {
        add.push(Trouble {
            severity: Severity::Failed,
            kind: "not-healed",
            about: about.clone(),
            what,
            next: next.clone(),
        });
    };
    match &healed.sent {
        Sent::From { .. } => {
            for (damaged, state) in &healed.states {
                if let State::Damaged(why) = state {
                    push(format!(
                        "{} is not shown to be whole: {why}; only blocks that the newest snapshot has, too, can be healed",
                        damaged.snapshot
                    ));
                }
            }
        }
        Sent::Nowhere => push(format!("no machine has the newest snapshot of {name} whole")),
        Sent::Failed(failures) => push(format!("{name} could not be healed: {}", failures.join("; "))),
    }
    add
}

fn report(
    args: &VerifyArgs,
    context: &CommandContext,
    healed: &[Healed<'_>],
    unknown: Vec<Trouble>,
) -> Result<Code, Failure> {
    if context.cancel.is_requested() && healed.is_empty() {
        return Err(anyhow!("interrupted; nothing was changed")).or_exit(Code::Interrupted);
    }
    let mut troubles: Vec<Trouble> = healed.iter().flat_map(troubles).chain(unknown).collect();
    trouble::sort(&mut troubles);
    let sent = healed.iter().filter(|one| matches!(one.sent, Sent::From { .. }));
    let mut pools: Vec<String> =
        sent.map(|one| format!("`zpool scrub {}` on {}", one.copy.copy.pool(), one.copy.target.0)).collect();
    pools.dedup();
    let text = if args.json {
        let all: Vec<_> = healed.iter().map(json_of).collect();
        format!("{}\n", json!({ "at": context.now, "copies": all, "troubles": troubles }))
    } else {
        let mut text: String = healed.iter().map(lines).collect();
        if healed.is_empty() && troubles.is_empty() {
            text.push_str(NOTHING);
        } else {
            let nothing = "everything that could be compared is whole";
            text.push_str(&trouble::text(&troubles, nothing, output::stdout_style()));
        }
        if !pools.is_empty() {
            let _ = writeln!(
                text,
                "next: {}: a pool names what was healed until it is scrubbed, maybe twice",
                pools.join(", ")
            );
        }
        text
    };
    output::print(&text).context("cannot print what was found").or_exit(Code::Failed)?;
    if context.cancel.is_requested() {
        return Err(anyhow!("interrupted; the same command heals the rest")).or_exit(Code::Interrupted);
    }
    Ok(trouble::code(&troubles))
}

fn json_of(healed: &Healed<'_>) -> serde_json::Value {
    let sent = match &healed.sent {
        Sent::From { place, sent } => {
            json!({ "from": place, "bytes": sent.bytes.0, "left_out": sent.left_out })
        }
        Sent::Nowhere => json!({ "why": ["no machine has its newest snapshot whole"] }),
        Sent::Failed(why) => json!({ "why": why }),
    };
    let state = |(damaged, state): &(&DamagedSnapshot, State)| {
        let state = match state {
            State::Whole => "whole",
            State::Damaged(_) => "damaged",
            State::Unknown => "unknown",
        };
        json!({ "snapshot": damaged.snapshot, "state": state })
    };
    let states: Vec<_> = healed.states.iter().map(state).collect();
    json!({
        "dataset": healed.copy.dataset, "target": healed.copy.target, "copy": healed.copy.copy,
        "sent": sent, "snapshots": states,
    })
}
