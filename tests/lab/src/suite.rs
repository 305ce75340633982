//! `cargo lab test`: format, lints, licences, the tests that need no OpenZFS, and the binary `real` in the lab. Everything runs
//! even after a failure; the last line counts.

use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::boot;
use crate::options::{Job, Options};
use crate::{cargo, deny, say};

/// Longer than the tests on real pools may ever take.
const REAL_LIMIT: Duration = Duration::from_secs(3600);

/// What a suite or a check came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Count {
    passed: u64,
    failed: u64,
    skipped: u64,
}

impl Count {
    pub(crate) const OK: Self = Self { passed: 1, failed: 0, skipped: 0 };
    pub(crate) const FAILED: Self = Self { passed: 0, failed: 1, skipped: 0 };
    pub(crate) const SKIPPED: Self = Self { passed: 0, failed: 0, skipped: 1 };

    fn add(self, other: Self) -> Self {
        Self {
            passed: self.passed + other.passed,
            failed: self.failed + other.failed,
            skipped: self.skipped + other.skipped,
        }
    }
}

impl std::fmt::Display for Count {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} passed, {} failed, {} skipped", self.passed, self.failed, self.skipped)
    }
}

/// Runs all; `libraries` are OpenZFS's where the machine has none, programs that are missing go to `tools`, `in_lab` runs
/// one job in the lab. The exit status is 1 if anything failed.
pub(crate) fn run(
    options: &Options,
    args: &[OsString],
    libraries: Option<&Path>,
    tools: &Path,
    in_lab: impl Fn(&Options, &Job) -> Result<boot::Outcome>,
) -> u8 {
    let mut rows = vec![
        check("format", &["fmt", "--all", "--check"], None),
        check("lints", &["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"], None),
        check("lints of tests/real", &["clippy", "--test", "real", "--", "-D", "warnings"], None),
        timed("licences", || deny::licences(tools)),
        timed("advisories", || deny::advisories(tools)),
        check("tests without OpenZFS", &["test", "--workspace"], libraries),
    ];
    rows.push(real(options, args, in_lab));
    let mut total = Count::default();
    say::out("");
    for (name, count, took) in &rows {
        say::out(format_args!("{name:24} {count}  ({})", say::time(*took)));
        total = total.add(*count);
    }
    // Alone on its line: the line that tools look for.
    say::out(total);
    u8::from(total.failed > 0)
}

type Row = (&'static str, Count, Duration);

fn check(name: &'static str, args: &[&str], libraries: Option<&Path>) -> Row {
    let mut command = cargo::command();
    command.args(args);
    if let Some(dir) = libraries {
        // Last, so that libraries of the machine's own OpenZFS come first.
        let mut value = std::env::var_os("LD_LIBRARY_PATH").filter(|old| !old.is_empty()).map_or_else(
            OsString::new,
            |mut old| {
                old.push(":");
                old
            },
        );
        value.push(dir);
        command.env("LD_LIBRARY_PATH", value);
    }
    timed(name, || {
        say::line(format_args!("{name}: cargo {}", args.join(" ")));
        passed_through(&mut command).unwrap_or_else(|error| {
            say::line(format_args!("{name}: {error:#}"));
            Count::FAILED
        })
    })
}

fn timed(name: &'static str, count: impl FnOnce() -> Count) -> Row {
    let started = Instant::now();
    (name, count(), started.elapsed())
}

/// Runs a program with its stdout shown; counts its tests, or itself if it has none.
fn passed_through(command: &mut Command) -> Result<Count> {
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().context("cannot start cargo")?;
    let pipe = child.stdout.take().context("no stdout")?;
    let text = boot::carry(File::from(std::os::fd::OwnedFd::from(pipe)), std::io::stdout(), true);
    let status = child.wait()?;
    Ok(judge(counts(&text), status.success()))
}

/// A failure that no test accounts for (it did not build, it crashed) is one more; a success without tests counts itself.
fn judge(count: Count, success: bool) -> Count {
    if !success && count.failed == 0 {
        return count.add(Count::FAILED);
    }
    if success && count == Count::default() { Count::OK } else { count }
}

/// Adds up libtest's closing lines: `test result: ok. 5 passed; 0 failed; 1 ignored; …`.
fn counts(text: &str) -> Count {
    let mut sum = Count::default();
    for line in text.lines().filter_map(|line| line.trim().strip_prefix("test result: ")) {
        let (_, numbers) = line.split_once(". ").unwrap_or(("", ""));
        for part in numbers.split(';') {
            let mut words = part.split_whitespace();
            let number: u64 = words.next().and_then(|word| word.parse().ok()).unwrap_or(0);
            match words.next() {
                Some("passed") => sum.passed += number,
                Some("failed") => sum.failed += number,
                Some("ignored") => sum.skipped += number,
                _ => {}
            }
        }
    }
    sum
}

fn real(
    options: &Options,
    args: &[OsString],
    in_lab: impl Fn(&Options, &Job) -> Result<boot::Outcome>,
) -> Row {
    const NAME: &str = "tests on real pools";
    let started = Instant::now();
    let count = match real_binary() {
        Ok(None) => {
            say::line("tests on real pools: SKIPPED, there is no tests/real/main.rs yet");
            Count::SKIPPED
        }
        Ok(Some(binary)) => {
            say::line(format_args!("{NAME}: {} in the lab", binary.display()));
            let mut command = settings();
            command.push(binary.into_os_string());
            command.extend(args.iter().cloned());
            // The lab has one CPU, but its tests mostly wait for each other's hosts.
            if !args.iter().any(|arg| arg.to_string_lossy().starts_with("--test-threads")) {
                command.extend(["--test-threads", "2"].map(Into::into));
            }
            let mut options = options.clone();
            options.limit.get_or_insert(REAL_LIMIT);
            match in_lab(&options, &Job { command, interactive: false, keep_stdout: true }) {
                Ok(outcome) => judge_real(counts(&outcome.stdout), outcome.status),
                Err(error) => {
                    say::line(format_args!("{NAME}: {error:#}"));
                    Count::FAILED
                }
            }
        }
        Err(error) => {
            say::line(format_args!("{NAME}: {error:#}"));
            Count::FAILED
        }
    };
    (NAME, count, started.elapsed())
}

/// Brings the variables that tests/real/random reads into the lab, whose environment is its own.
fn settings() -> Vec<OsString> {
    let ours = std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("ZHAUL_RANDOM_"));
    let mut command = vec![OsString::from("env")];
    command.extend(ours.map(|(name, value)| [name, value].join(std::ffi::OsStr::new("="))));
    command
}

/// As [`judge`]; a run that ended well but executed nothing has shown nothing.
fn judge_real(count: Count, status: u8) -> Count {
    match status {
        0 if count == Count::default() => Count::FAILED,
        boot::LIMIT | boot::BROKEN => count.add(Count::FAILED),
        _ => judge(count, status == 0),
    }
}

fn real_binary() -> Result<Option<PathBuf>> {
    if !cargo::root().join("tests/real/main.rs").is_file() {
        return Ok(None);
    }
    cargo::build(&["test", "--no-run", "--test", "real"], "test", "real").map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closing_lines_add_up() {
        let text = "running 2 tests\ntest result: ok. 2 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s\n\
            noise\ntest result: FAILED. 3 passed; 4 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.00s\n";
        assert_eq!(counts(text), Count { passed: 5, failed: 4, skipped: 1 });
    }

    #[test]
    fn nothing_executed_is_no_success_on_real_pools() {
        assert_eq!(judge_real(Count::default(), 0), Count::FAILED);
        assert_eq!(judge_real(Count { passed: 3, ..Count::default() }, 0).failed, 0);
        assert_eq!(judge_real(Count { passed: 3, ..Count::default() }, boot::BROKEN).failed, 1);
        assert_eq!(judge_real(Count { passed: 3, failed: 2, skipped: 0 }, 101).failed, 2);
        assert_eq!(judge(Count::default(), false), Count::FAILED);
        assert_eq!(judge(Count::default(), true), Count::OK);
    }
}
