//! `cargo deny`: licences, sources and bans always; advisories where their database can be reached. Where the program is
//! missing it is installed once, into the cache.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::suite::Count;
use crate::{cargo, say};

/// Reads version 2 of its configuration; a newer one may want other words there.
const VERSION: &str = "0.20.2";

/// The message of cargo-deny when it cannot get the advisories, which is no judgement on any dependency.
const UNREACHABLE: &str = "failed to fetch advisory database";

/// Licences, sources and bans.
pub(crate) fn licences(tools: &Path) -> Count {
    judged(tools, &["check", "licenses", "sources", "bans"])
}

/// Known vulnerabilities.
pub(crate) fn advisories(tools: &Path) -> Count {
    judged(tools, &["check", "advisories"])
}

fn judged(tools: &Path, args: &[&str]) -> Count {
    say::line(format_args!("cargo deny {}", args.join(" ")));
    run(tools, args).unwrap_or_else(|error| {
        say::line(format_args!("cargo deny {}: {error:#}", args.join(" ")));
        Count::FAILED
    })
}

fn run(tools: &Path, args: &[&str]) -> Result<Count> {
    let program = program(tools)?;
    let output = Command::new(program)
        .args(args)
        .current_dir(cargo::root())
        .stdin(Stdio::null())
        .output()
        .context("cannot start cargo-deny")?;
    let said = String::from_utf8_lossy(&output.stderr);
    if output.status.success() {
        return Ok(Count::OK);
    }
    if said.contains(UNREACHABLE) {
        say::line("advisories: SKIPPED, their database cannot be reached from here");
        return Ok(Count::SKIPPED);
    }
    bail!("{}", said.trim())
}

/// `cargo-deny`, of the cache or the user's own; installed if neither is there.
fn program(tools: &Path) -> Result<PathBuf> {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cargo")));
    let mut places = vec![tools.to_owned()];
    places.extend(home);
    let found = places.iter().map(|place| place.join("bin/cargo-deny")).find(|program| program.is_file());
    if let Some(program) = found {
        return Ok(program);
    }
    say::line("licences: installing cargo-deny into the cache (about 6 min on 2 cores)");
    let mut command = cargo::command();
    command.args(["install", "--quiet", "--locked", "cargo-deny", "--version", VERSION, "--root"]).arg(tools);
    let status = command.stdin(Stdio::null()).status().context("cannot start cargo")?;
    if !status.success() {
        bail!("cargo install cargo-deny failed");
    }
    Ok(tools.join("bin/cargo-deny"))
}
