//! `cargo lab mutants`: shows that the nights by chance would notice if a mechanism of zhaul did not work. Each mutant of
//! `tests/mutants.toml` is built in a copy of the work tree, and plays until a night fails.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::boot::Outcome;
use crate::cache::Cache;
use crate::cargo;
use crate::options::{Job, Options};
use crate::say;

/// How many nights a mutant may survive.
const NIGHTS: u32 = 500;

/// The parts of the work tree that the copy needs.
const PARTS: [&str; 10] = [
    "src",
    "tests",
    "benches",
    "vendor",
    ".cargo",
    "build.rs",
    "Cargo.toml",
    "Cargo.lock",
    ".clippy.toml",
    "README.md",
];

#[derive(Debug, Deserialize)]
struct Mutants {
    mutant: Vec<Mutant>,
}

/// One mechanism, switched off.
#[derive(Debug, Deserialize)]
struct Mutant {
    name: String,
    off: String,
    #[serde(default)]
    plays: Plays,
    edits: Vec<Edit>,
}

/// The tests that are run with the mutant.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Plays {
    #[default]
    Nights,
    Fake,
}

#[derive(Debug, Deserialize)]
struct Edit {
    file: PathBuf,
    old: String,
    new: String,
}

/// Builds and plays the mutants with one of `names` in their names, or all. The exit status is 1 if one was not caught.
pub(crate) fn run(
    options: &Options,
    names: &[OsString],
    cache: &Cache,
    libraries: Option<&Path>,
    in_lab: impl Fn(&Options, &Job) -> Result<Outcome>,
) -> Result<u8> {
    let text =
        fs::read_to_string(cargo::root().join("tests/mutants.toml")).context("cannot read the mutants")?;
    let all: Mutants = toml::from_str(&text).context("tests/mutants.toml")?;
    let is_wanted = |one: &&Mutant| {
        names.is_empty() || names.iter().any(|name| one.name.contains(name.to_string_lossy().as_ref()))
    };
    let wanted: Vec<&Mutant> = all.mutant.iter().filter(is_wanted).collect();
    if wanted.is_empty() {
        bail!("no mutant is called so; tests/mutants.toml has them");
    }
    let tree = Tree::copy(cache)?;
    say::line("mutants: building the tests");
    let real = tree.build(&["test", "--no-run", "--test", "real"], "test", "real")?;
    let mut survivors = 0;
    for mutant in wanted {
        let started = Instant::now();
        let caught = tree.with(mutant, || match mutant.plays {
            Plays::Nights => {
                let zhaul = tree.build(&["build", "--package", "zhaul", "--bin", "zhaul"], "bin", "zhaul")?;
                nights(options, &real, &zhaul, &in_lab)
            }
            Plays::Fake => tree.fake(libraries),
        })?;
        let took = say::time(started.elapsed());
        if let Some(why) = caught {
            say::out(format_args!("caught    {}: {why} ({took})", mutant.name));
        } else {
            survivors += 1;
            say::out(format_args!("SURVIVED  {}: {} ({took})", mutant.name, mutant.off));
        }
    }
    say::out(format_args!("{survivors} survived"));
    Ok(u8::from(survivors > 0))
}

/// Plays nights until one fails; gives what it said.
fn nights(
    options: &Options,
    real: &Path,
    zhaul: &Path,
    in_lab: &impl Fn(&Options, &Job) -> Result<Outcome>,
) -> Result<Option<String>> {
    let mut options = options.clone();
    options.limit.get_or_insert(Duration::from_secs(7200));
    let mut program = OsString::from("ZHAUL_RANDOM_PROGRAM=");
    program.push(zhaul);
    let mut command: Vec<OsString> = vec!["env".into(), program];
    command.push(format!("ZHAUL_RANDOM_RUNS={NIGHTS}").into());
    // Values that the caller has set take precedence.
    let set = std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("ZHAUL_RANDOM_"));
    command.extend(set.map(|(name, value)| [name, value].join(std::ffi::OsStr::new("="))));
    command.extend([
        "ZHAUL_RANDOM_UNTIL_FAILURE=1".into(),
        "RUST_BACKTRACE=0".into(),
        real.as_os_str().to_owned(),
    ]);
    command.extend(["--test-threads", "2", "random::"].map(Into::into));
    let outcome = in_lab(&options, &Job { command, interactive: false, keep_stdout: true })?;
    match outcome.status {
        0 => Ok(None),
        101 => Ok(Some(reason(&outcome.stdout))),
        status => bail!("the lab ended with status {status}"),
    }
}

/// The message of a failed test, out of all output: a night begins with its seed, any other test has just panicked.
fn reason(stdout: &str) -> String {
    let mut panics = stdout.lines().skip_while(|line| !line.contains("panicked at"));
    let night = stdout.lines().find(|line| line.starts_with("seed "));
    night.or_else(|| panics.nth(1)).unwrap_or_default().chars().take(300).collect()
}

/// A copy of the work tree with a target directory of its own.
struct Tree {
    root: PathBuf,
    target: PathBuf,
}

impl Tree {
    fn copy(cache: &Cache) -> Result<Self> {
        let tree = Self { root: cache.dir("mutants/tree")?, target: cache.dir("mutants/target")? };
        for part in PARTS {
            follow(&cargo::root().join(part), &tree.root.join(part))?;
        }
        Ok(tree)
    }

    fn cargo(&self, args: &[&str]) -> Command {
        let mut command = cargo::command();
        command.args(args).current_dir(&self.root).env("CARGO_TARGET_DIR", &self.target);
        // The value that cargo has set for this program refers to the work tree.
        command.env("PKG_CONFIG", self.root.join("vendor/openzfs/pkg-config"));
        command.stdin(Stdio::null());
        command
    }

    fn build(&self, args: &[&str], kind: &str, name: &str) -> Result<PathBuf> {
        cargo::build_with(self.cargo(args), args, kind, name)
    }

    /// Does `work` while the edits of `mutant` are in the copy.
    fn with<T>(&self, mutant: &Mutant, work: impl FnOnce() -> Result<T>) -> Result<T> {
        for Edit { file, old, new } in &mutant.edits {
            let path = self.root.join(file);
            let text =
                fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
            if text.matches(old.as_str()).count() != 1 {
                bail!("{}: the text to replace is not once in {}", mutant.name, file.display());
            }
            fs::write(&path, text.replace(old.as_str(), new))?;
        }
        say::line(format_args!("mutants: {}", mutant.name));
        let done = work();
        for Edit { file, .. } in &mutant.edits {
            fs::copy(cargo::root().join(file), self.root.join(file))?;
            // A copy may be older than what was built of the mutant.
            fs::File::options()
                .append(true)
                .open(self.root.join(file))?
                .set_modified(std::time::SystemTime::now())?;
        }
        done
    }

    /// Plays the histories on the fake; gives what failed.
    fn fake(&self, libraries: Option<&Path>) -> Result<Option<String>> {
        let mut command =
            self.cargo(&["test", "--quiet", "--test", "plan_properties", "--", "lineage::", "months::"]);
        if let Some(libraries) = libraries {
            command.env("LD_LIBRARY_PATH", libraries);
        }
        command.env("RUST_BACKTRACE", "0");
        let played = command.output().context("cannot start cargo")?;
        let stdout = String::from_utf8_lossy(&played.stdout);
        if !stdout.contains("running ") {
            bail!("cargo: {}", String::from_utf8_lossy(&played.stderr));
        }
        Ok((!played.status.success()).then(|| reason(&stdout)))
    }
}

/// Makes `to` what `from` is, and leaves alone what is the same already: what was built of it stays good.
fn follow(from: &Path, to: &Path) -> Result<()> {
    if !from.is_dir() {
        if !from.exists() {
            return crate::cache::remove(to);
        }
        let text = fs::read(from).with_context(|| format!("cannot read {}", from.display()))?;
        if fs::read(to).is_ok_and(|there| there == text) {
            return Ok(());
        }
        fs::copy(from, to).with_context(|| format!("cannot write {}", to.display()))?;
        return Ok(fs::File::options().append(true).open(to)?.set_modified(std::time::SystemTime::now())?);
    }
    fs::create_dir_all(to).with_context(|| format!("cannot create {}", to.display()))?;
    for there in fs::read_dir(to)? {
        let name = there?.file_name();
        if !from.join(&name).exists() {
            crate::cache::remove(&to.join(&name))?;
        }
    }
    for here in fs::read_dir(from)? {
        let name = here?.file_name();
        follow(&from.join(&name), &to.join(&name))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mutants_can_be_read() {
        let text = fs::read_to_string(cargo::root().join("tests/mutants.toml")).unwrap();
        let all: Mutants = toml::from_str(&text).unwrap();
        assert!(all.mutant.iter().any(|one| one.plays == Plays::Fake));
        assert!(all.mutant.iter().all(|one| !one.edits.is_empty()));
    }

    #[test]
    fn what_a_night_says_for_itself_is_the_reason() {
        let night = "running 5 tests\n\nthread 'x' panicked at a.rs:1:2:\nX is gone\nseed 3, night 2: X is gone\nwhat happened:\n";
        assert_eq!(reason(night), "seed 3, night 2: X is gone");
        assert_eq!(reason("\nthread 'x' panicked at a.rs:1:2:\nX is gone\n"), "X is gone");
    }
}
