//! `cargo lab test`: format, lints, licences, the tests that need no OpenZFS, and the binary `real` in the lab. Everything runs
//! even after a failure; the last line counts.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::boot;
use crate::memory::Free;
use crate::options::{Job, Options};
use crate::{cargo, cpus, deny, say, step};

/// Longer than the tests on real pools may ever take.
const REAL_LIMIT: Duration = Duration::from_secs(4500);

/// The same of tests that somebody has chosen, such as five hundred nights by chance.
const CHOSEN_LIMIT: Duration = Duration::from_secs(4 * 3600);

/// The result of a suite or a check.
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
    in_lab: impl Fn(&Options, &Job) -> Result<boot::Outcome> + Sync,
) -> u8 {
    let mut rows = vec![
        check("format", &["fmt", "--all", "--check"], None),
        check("lints", &["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"], None),
        check("lints of tests/real", &["clippy", "--test", "real", "--", "-D", "warnings"], None),
        timed("licences", || deny::licences(tools)),
        timed("advisories", || deny::advisories(tools)),
        check("tests without OpenZFS", &["test", "--workspace", "--no-fail-fast"], libraries),
    ];
    rows.push(real(options, args, libraries, in_lab));
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
        command.env("LD_LIBRARY_PATH", library_path(dir));
    }
    timed(name, || {
        say::line(format_args!("{name}: cargo {}", args.join(" ")));
        passed_through(&mut command).unwrap_or_else(|error| {
            say::line(format_args!("{name}: {error:#}"));
            Count::FAILED
        })
    })
}

/// The search path with `dir` last, so that libraries of the machine's own OpenZFS come first.
fn library_path(dir: &Path) -> OsString {
    let own = std::env::var_os("LD_LIBRARY_PATH").filter(|path| !path.is_empty());
    own.map_or_else(|| dir.into(), |own| [&own, dir.as_os_str()].join(OsStr::new(":")))
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
    let text = boot::carry_lines(File::from(std::os::fd::OwnedFd::from(pipe)), std::io::stdout());
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

/// The tests on real pools: all of them in as many labs side by side as there is room for, or those that `args` choose in one.
fn real(
    options: &Options,
    args: &[OsString],
    libraries: Option<&Path>,
    in_lab: impl Fn(&Options, &Job) -> Result<boot::Outcome> + Sync,
) -> Row {
    const NAME: &str = "tests on real pools";
    let started = Instant::now();
    let count = in_labs(options, args, libraries, in_lab).unwrap_or_else(|error| {
        say::line(format_args!("{NAME}: {error:#}"));
        Count::FAILED
    });
    (NAME, count, started.elapsed())
}

fn in_labs(
    options: &Options,
    args: &[OsString],
    libraries: Option<&Path>,
    in_lab: impl Fn(&Options, &Job) -> Result<boot::Outcome> + Sync,
) -> Result<Count> {
    let binary = cargo::build(&["test", "--no-run", "--test", "real"], "test", "real")?;
    let mut options = options.clone();
    options.limit.get_or_insert(if args.is_empty() { REAL_LIMIT } else { CHOSEN_LIMIT });
    // Labs of this machine's own OpenZFS share its kernel, and there chosen tests are few: one lab.
    let free = Free::now();
    let labs = match libraries {
        Some(_) if args.is_empty() && options.memory.is_none() => free.labs(cpus::allowed().len()),
        _ => 1,
    };
    let parts = if labs == 1 {
        vec![args.to_vec()]
    } else {
        options.memory = Some(free.for_each(labs)?);
        dealt(&names(&binary, libraries)?, labs)
    };
    say::line(format_args!("tests on real pools: {} in {labs} labs", binary.display()));
    let counts = std::thread::scope(|scope| {
        let running: Vec<_> = parts
            .iter()
            .map(|part| {
                scope.spawn(|| in_lab(&options, &job(&binary, part)).map(|outcome| judge_real(&outcome)))
            })
            .collect();
        running.into_iter().map(|lab| lab.join().unwrap_or(Ok(Count::FAILED))).collect::<Result<Vec<_>>>()
    })?;
    Ok(counts.into_iter().fold(Count::default(), Count::add))
}

/// The names of all tests of `binary`.
fn names(binary: &Path, libraries: Option<&Path>) -> Result<Vec<String>> {
    let mut command = Command::new(binary);
    command.args(["--list", "--format", "terse"]);
    if let Some(dir) = libraries {
        command.env("LD_LIBRARY_PATH", library_path(dir));
    }
    let list = step::output(&mut command)?;
    Ok(list.lines().filter_map(|line| line.strip_suffix(": test")).map(str::to_owned).collect())
}

/// Deals `names` out like cards, since neighbours are alike in length; each part is the arguments of one lab's test binary.
fn dealt(names: &[String], labs: usize) -> Vec<Vec<OsString>> {
    let mut parts = vec![vec![OsString::from("--exact")]; labs];
    for (name, place) in names.iter().zip((0..labs).cycle()) {
        parts[place].push(name.into());
    }
    parts
}

fn job(binary: &Path, args: &[OsString]) -> Job {
    let mut command = settings();
    command.push(binary.as_os_str().to_owned());
    command.extend(args.iter().cloned());
    // The lab has one CPU, but its tests mostly wait for each other's hosts.
    if !args.iter().any(|arg| arg.to_string_lossy().starts_with("--test-threads")) {
        command.extend(["--test-threads", "2"].map(Into::into));
    }
    Job { command, interactive: false, keep_stdout: true }
}

/// Brings the variables that tests/real/random reads into the lab, whose environment is its own.
fn settings() -> Vec<OsString> {
    let ours = std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("ZHAUL_RANDOM_"));
    let mut command = vec![OsString::from("env")];
    command.extend(ours.map(|(name, value)| [name, value].join(OsStr::new("="))));
    command
}

/// As [`judge`]; a run that ended well but executed nothing has shown nothing.
fn judge_real(outcome: &boot::Outcome) -> Count {
    let count = counts(&outcome.stdout);
    match outcome.status {
        0 if count == Count::default() => Count::FAILED,
        boot::LIMIT | boot::BROKEN => count.add(Count::FAILED),
        status => judge(count, status == 0),
    }
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
        let judged = |status, line: &str| judge_real(&boot::Outcome { status, stdout: line.to_owned() });
        assert_eq!(judged(0, ""), Count::FAILED);
        assert_eq!(judged(0, "test result: ok. 3 passed; 0 failed").failed, 0);
        assert_eq!(judged(boot::BROKEN, "test result: ok. 3 passed; 0 failed").failed, 1);
        assert_eq!(judged(101, "test result: FAILED. 3 passed; 2 failed").failed, 2);
        assert_eq!(judge(Count::default(), false), Count::FAILED);
        assert_eq!(judge(Count::default(), true), Count::OK);
    }

    #[test]
    fn each_test_is_dealt_to_one_lab() {
        let names: Vec<String> = (0..5).map(|number| format!("test_{number}")).collect();
        let parts = dealt(&names, 2);
        assert_eq!(parts[0], ["--exact", "test_0", "test_2", "test_4"]);
        assert_eq!(parts[1], ["--exact", "test_1", "test_3"]);
    }
}
