//! `zhaul verify`: whether every copy is what its source says, by GUID, and whether the pools of both ends are sound. Reads no
//! block: that is what a scrub does, and `--deep`.

mod copies;
mod damage;
mod deep;
mod drill;
mod heal;
mod pools;

pub(super) use pools::error_troubles;

use std::fmt::Write as _;

use anyhow::{Context, anyhow};

use super::args::VerifyArgs;
use super::context::CommandContext;
use super::exit_code::{Code, Failure, OrExit};
use super::{output, trouble};
use crate::discover;
use crate::model::{Inventory, TargetName};
use crate::plan::content::{ContentChecks, WantedContent, content_checks};
use crate::plan::damage::damaged_copies;
use crate::plan::verify::check_copies;

/// Carries out `zhaul verify`.
pub(super) fn verify(args: &VerifyArgs) -> Result<Code, Failure> {
    let context = CommandContext::open(&args.policy, args.log, args.lab_clock)?;
    if args.deep {
        return deep::deep(args, &context);
    }
    if args.drill {
        return drill::drill(args, &context);
    }
    if args.heal {
        return heal::heal(args, &context);
    }
    let inventory = context.inventory()?;
    let states = discover::pool_states(&context.policy, &context.targets, &context.cancel);
    let checks = check_copies(&context.policy, &inventory, context.now);
    let not_listed = |why| anyhow!("this machine could not be listed: {why}");
    let checks = checks.map_err(not_listed).or_exit(Code::Failed)?;
    let damaged = damaged_copies(&context.policy, &inventory, context.now, &damage::damaged(&states));
    let damaged = damaged.map_err(not_listed).or_exit(Code::Failed)?;
    let mut troubles = copies::troubles(&checks);
    troubles.extend(damage::troubles(&damaged));
    troubles.extend(pools::troubles(&states, context.now, args.scrub_after));
    trouble::sort(&mut troubles);
    let text = if args.json {
        let value = serde_json::json!({
            "at": context.now, "copies": checks, "damaged": damaged, "pools": pools::json(&states),
            "troubles": troubles,
        });
        format!("{value}\n")
    } else {
        let mut text = copies::text(&checks);
        text.push_str(&pools::text(&states));
        let nothing = "every copy can continue from its source, and no pool reports errors";
        let _ = write!(text, "{}", trouble::text(&troubles, nothing, output::stdout_style()));
        text
    };
    output::print(&text).context("cannot print what was found").or_exit(Code::Failed)?;
    Ok(trouble::code(&troubles))
}

/// The target that a person named, if one of the policy.
fn known_target(args: &VerifyArgs, context: &CommandContext) -> Result<Option<TargetName>, Failure> {
    let target = args.target.clone().map(TargetName);
    if let Some(unknown) = target.as_ref().filter(|name| !context.targets.contains_key(name)) {
        let known: Vec<&str> = context.targets.keys().map(|name| name.0.as_str()).collect();
        let error = anyhow!("the policy has no target {:?}; it has {}", unknown.0, known.join(", "));
        return Err(error).or_exit(Code::Usage);
    }
    Ok(target)
}

/// Refuses a guest or dataset that the policy does not select.
fn refuse_unknown(args: &VerifyArgs, context: &CommandContext, inventory: &Inventory) -> Result<(), Failure> {
    let wanted = WantedContent { what: args.what.clone(), ..WantedContent::default() };
    let checks = content_checks(&context.policy, inventory, context.now, &wanted)
        .map_err(|why| anyhow!("this machine could not be listed: {why}"))
        .or_exit(Code::Failed)?;
    if args.what.is_some() && checks == ContentChecks::default() {
        let error = anyhow!("the policy selects nothing of that; `zhaul list` names what it selects");
        return Err(error).or_exit(Code::Usage);
    }
    Ok(())
}
