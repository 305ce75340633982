//! All that a person types or sees. Only this module prints, reads the environment, or decides how the process ends.
//!
//! `args` is the command line as typed; each subcommand has its file; `render` and `progress` turn plans, reports and
//! samples into text; `exit_code` says what everything leads to.

mod agent;
mod args;
mod bench;
mod carrying_out;
mod config;
mod context;
mod doctor;
mod exit_code;
mod freezing;
mod guest_state;
mod help;
mod hidden;
mod list;
mod lock;
mod logging;
mod output;
mod pages;
mod policy_source;
mod progress;
mod prune;
mod render;
mod restore;
mod rollback;
mod run;
mod running;
mod signals;
mod slots;
mod status;
mod trouble;
mod verify;
mod when;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;

use args::{Cli, Command};
use exit_code::{Code, Failure};

pub use render::{Estimates, plan_json};

/// Parses the command line, does what it says, and gives the code to end with.
pub fn main(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version go to stdout and are no errors. If printing fails, no way is left to report it.
            drop(error.print());
            return if error.use_stderr() { Code::Usage.into() } else { Code::Done.into() };
        }
    };
    match carry_out(cli.command) {
        Ok(code) => code.into(),
        Err(failure) => {
            output::complain(&output::error_text(&failure.error, output::stderr_style()));
            failure.code.into()
        }
    }
}

fn carry_out(command: Command) -> Result<Code, Failure> {
    match command {
        Command::Doctor(args) => doctor::doctor(&args),
        Command::Help { page } => help::help(page.as_deref()),
        Command::Completions { shell } => pages::completions(shell),
        Command::Man { directory } => pages::manual(&directory),
        Command::Run(args) => run::run(&args),
        Command::ZfsCalls => hidden::zfs_calls(),
        Command::FreezeGuest { guest, limit, directory } => hidden::freeze_guest(guest, limit, &directory),
        Command::ReadGuests { directory, guests } => hidden::read_guests(&directory, &guests),
        Command::Agent(args) => agent::agent(&args),
        Command::Bench(args) => bench::bench(&args),
        Command::Status(args) => status::status(&args),
        Command::Verify(args) => verify::verify(&args),
        Command::List(args) => list::list(&args),
        Command::Restore(args) => restore::restore(&args),
        Command::Rollback(args) => rollback::rollback(&args),
        Command::Prune(args) => prune::prune(&args),
        Command::Config { command } => config::config(&command),
    }
}
