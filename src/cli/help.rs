//! `zhaul help restore`: the section of the README on getting data back, built into the program. `zhaul help COMMAND`: as
//! `zhaul COMMAND --help`.

use clap::CommandFactory as _;

use super::args::Cli;
use super::exit_code::{Code, Failure, OrExit};
use super::output;

const README: &str = include_str!("../../README.md");

/// Prints a page.
pub(super) fn help(page: Option<&str>) -> Result<Code, Failure> {
    let text = match page {
        Some("restore") => section("## Getting data back").to_owned(),
        page => of_command(page).or_exit(Code::Usage)?,
    };
    output::print(&text).or_exit(Code::Failed)?;
    Ok(Code::Done)
}

/// The help of a command, or of all.
fn of_command(name: Option<&str>) -> anyhow::Result<String> {
    let mut all = Cli::command();
    all.build();
    let Some(name) = name else { return Ok(all.render_long_help().to_string()) };
    let one = all.find_subcommand_mut(name);
    let none = || anyhow::anyhow!("no command is called {name:?}\n  next: `zhaul help` lists all");
    Ok(one.ok_or_else(none)?.render_long_help().to_string())
}

/// A section of the README up to the next one of its level.
fn section(title: &str) -> &'static str {
    let start = README.find(title).unwrap_or(0);
    let rest = README.get(start..).unwrap_or(README);
    let end = rest.match_indices("\n## ").map(|(at, _)| at + 1).next();
    rest.get(..end.unwrap_or(rest.len())).unwrap_or(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_the_whole_section() {
        let page = section("## Getting data back");
        assert!(page.starts_with("## Getting data back\n") && page.contains("### A lost site"));
        assert!(page.contains("without zhaul") && !page.contains("## Schedule"));
    }
}
