//! `zhaul help restore`: the section of the README on getting data back, built into the program.

use super::args::HelpPage;
use super::exit_code::{Code, Failure, OrExit};
use super::output;

const README: &str = include_str!("../../README.md");

/// Prints a page.
pub(super) fn help(page: HelpPage) -> Result<Code, Failure> {
    let title = match page {
        HelpPage::Restore => "## Getting data back",
    };
    output::print(section(title)).or_exit(Code::Failed)?;
    Ok(Code::Done)
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
