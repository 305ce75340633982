//! Completion scripts and manual pages, made from the very definition that parses the command line.

use std::path::Path;

use anyhow::Context;
use clap::CommandFactory;
use clap_complete::Shell;

use super::args::Cli;
use super::exit_code::{Code, Failure, OrExit};
use super::output;

/// Prints the completion script for `shell`.
pub(super) fn completions(shell: Shell) -> Result<Code, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "zhaul", &mut script);
    output::print(&String::from_utf8_lossy(&script)).or_exit(Code::Failed)?;
    Ok(Code::Done)
}

/// Writes one manual page a command into `directory`.
pub(super) fn manual(directory: &Path) -> Result<Code, Failure> {
    let context = || format!("cannot write manual pages into {}", directory.display());
    clap_mangen::generate_to(Cli::command(), directory).with_context(context).or_exit(Code::Failed)?;
    Ok(Code::Done)
}
