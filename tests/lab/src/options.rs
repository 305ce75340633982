//! The command line of `cargo lab`.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};

/// `cargo lab help`.
pub(crate) const HELP: &str = include_str!("help.txt");

/// How to boot.
#[derive(Debug, Clone, Default)]
pub(crate) struct Options {
    pub(crate) limit: Option<Duration>,
    pub(crate) memory: Option<String>,
    pub(crate) cpus: Option<u32>,
    pub(crate) out: Option<PathBuf>,
    pub(crate) disks: Vec<PathBuf>,
    pub(crate) kind: Option<Kind>,
    pub(crate) pool_size: Option<String>,
    pub(crate) verbose: bool,
}

/// Where the lab lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A User Mode Linux kernel of its own.
    Uml,
    /// This machine's kernel, which has OpenZFS.
    Host,
}

/// One command for the lab.
#[derive(Debug, Clone)]
pub(crate) struct Job {
    pub(crate) command: Vec<OsString>,
    pub(crate) interactive: bool,
    pub(crate) keep_stdout: bool,
}

impl Job {
    /// A command with its output passed through.
    pub(crate) fn new(command: Vec<OsString>) -> Self {
        Self { command, interactive: false, keep_stdout: false }
    }
}

/// Options first, then words that belong to the subcommand; `--` ends the options.
pub(crate) fn parse(args: impl IntoIterator<Item = OsString>) -> Result<(Options, Vec<OsString>)> {
    let mut options = Options::default();
    let mut args = args.into_iter();
    let mut rest = Vec::new();
    while let Some(arg) = args.next() {
        let text = arg.to_string_lossy().into_owned();
        if text == "--" {
            break;
        }
        if !text.starts_with("--") {
            rest.push(arg);
            break;
        }
        let (name, inline) = match text.split_once('=') {
            Some((name, value)) => (name.to_owned(), Some(OsString::from(value))),
            None => (text.clone(), None),
        };
        let mut value =
            || inline.clone().or_else(|| args.next()).with_context(|| format!("{name} needs a value"));
        match name.as_str() {
            "--limit" => options.limit = Some(Duration::from_secs(number(&value()?)?)),
            "--mem" => options.memory = Some(value()?.to_string_lossy().into_owned()),
            "--cpus" => options.cpus = Some(u32::try_from(number(&value()?)?)?),
            "--out" => options.out = Some(PathBuf::from(value()?)),
            "--disk" => options.disks.push(PathBuf::from(value()?)),
            "--pool-size" => options.pool_size = Some(value()?.to_string_lossy().into_owned()),
            "--uml" => options.kind = Some(Kind::Uml),
            "--host" => options.kind = Some(Kind::Host),
            "--verbose" => options.verbose = true,
            _ => bail!("unknown option {name}; see `cargo lab help`"),
        }
    }
    rest.extend(args);
    Ok((options, rest))
}

/// A whole number from an argument.
pub(crate) fn number(text: &OsString) -> Result<u64> {
    text.to_string_lossy().parse().with_context(|| format!("{} is not a whole number", text.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<OsString> {
        text.split_whitespace().map(OsString::from).collect()
    }

    #[test]
    fn the_commands_own_options_are_left_to_it() {
        let (options, rest) = parse(words("--limit 60 --mem=2G -- zfs list --limit 5")).unwrap();
        assert_eq!(options.limit, Some(Duration::from_secs(60)));
        assert_eq!(options.memory.as_deref(), Some("2G"));
        assert_eq!(rest, words("zfs list --limit 5"));
        let (_, rest) = parse(words("zpool status -- --limit")).unwrap();
        assert_eq!(rest, words("zpool status -- --limit"));
        assert!(parse(words("--limt 60 true")).is_err());
        assert!(parse(words("--limit")).is_err());
    }
}
