//! `zhaul list`: the restore points of a guest or dataset, over this host and all targets; changes nothing.

mod consistency;
mod table;
mod unlisted;

use anyhow::{Context, anyhow};

use consistency::Consistency;
use unlisted::Unknown;

use super::args::ListArgs;
use super::context::CommandContext;
use super::exit_code::{Code, Failure, OrExit};
use super::output;
use crate::plan::restore::{Volume, What, everything, volumes};

/// Carries out `zhaul list`.
pub(super) fn list(args: &ListArgs) -> Result<Code, Failure> {
    let context = CommandContext::open(&args.policy, args.log, args.lab_clock)?;
    let inventory = context.inventory()?;
    let known = volumes(&context.policy, &inventory, &everything(context.now));
    let unknown = unlisted::here(&context.policy, &inventory);
    let is_all_known = known.unlisted.is_empty() && unknown.is_empty();
    let view = table::View { policy: &context.policy, now: context.now, known: &known, unknown: &unknown };
    let text = match &args.what {
        None if args.json => json_text(&view.all_json())?,
        None => view.all_text(output::stdout_style()),
        Some(what) => {
            let meant: Vec<&Volume<'_>> =
                known.volumes.iter().filter(|volume| is_meant(volume, what)).collect();
            if meant.is_empty() {
                let targets = known.unlisted.iter();
                let targets = targets.map(|(name, why)| format!("\n  {name} could not be listed: {why}"));
                let here = unknown.iter().map(Unknown::lines).map(|lines| format!("\n  {lines}"));
                let unlisted: Vec<String> = targets.chain(here).collect();
                let error = anyhow!(
                    "nothing of {} is known here or on any target that could be listed{}\n  \
                     next: `zhaul list` names all that can be restored",
                    match what {
                        What::Guest(id) => format!("guest {id}"),
                        What::Dataset(name) => name.to_string(),
                    },
                    unlisted.concat()
                );
                return Err(error).or_exit(if is_all_known { Code::Usage } else { Code::Failed });
            }
            let consistency = Consistency::of(&context, &meant);
            if args.json {
                json_text(&view.points_json(&meant, &consistency))?
            } else {
                view.points_text(&meant, &consistency, output::stdout_style())
            }
        }
    };
    output::print(&text).context("cannot print the list").or_exit(Code::Failed)?;
    // An unlisted place may have the very point that the admin needs.
    Ok(if is_all_known { Code::Done } else { Code::Failed })
}

/// A guest's volumes, or the dataset, by its own name or by that of a copy.
fn is_meant(volume: &Volume<'_>, what: &What) -> bool {
    match what {
        What::Guest(id) => volume.guest() == Some(*id),
        What::Dataset(name) => {
            volume.name == *name || volume.copies.iter().any(|copy| copy.dataset.name == *name)
        }
    }
}

fn json_text(value: &serde_json::Value) -> Result<String, Failure> {
    let text = serde_json::to_string(value).context("cannot write the list as JSON").or_exit(Code::Failed)?;
    Ok(format!("{text}\n"))
}
