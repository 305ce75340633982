//! `cargo lab`: builds and boots the lab, a machine with real OpenZFS and three hosts, wherever this runs. See `help.txt`.

use std::ffi::OsString;
use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::boot::{Lab, Outcome};
use crate::cache::Cache;
use crate::options::{Job, Kind, Options};

mod apt;
mod boot;
mod cache;
mod cargo;
mod cpus;
mod deny;
mod host;
mod kernel;
mod memory;
mod mutants;
mod options;
mod packages;
mod recipe;
mod rundir;
mod say;
mod sources;
mod step;
mod suite;

/// The script of the demo. Run by bash on pve0; `$ZHAUL` is the program.
const DEMO: &str = include_str!("../demo.sh");
/// One round of load for the soak.
const SOAK: &str = include_str!("../soak.sh");

fn main() -> ExitCode {
    match dispatch(std::env::args_os().skip(1).collect()) {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            say::line(format_args!("{error:#}"));
            ExitCode::from(boot::BROKEN)
        }
    }
}

fn dispatch(mut args: Vec<OsString>) -> Result<u8> {
    let name =
        if args.is_empty() { "help".to_owned() } else { args.remove(0).to_string_lossy().into_owned() };
    if matches!(name.as_str(), "help" | "--help" | "-h") {
        say::out(options::HELP.trim_end());
        return Ok(0);
    }
    let (options, rest) = options::parse(args)?;
    match name.as_str() {
        "setup" => Site::ready(&options).map(|_| 0),
        "run" if rest.is_empty() => bail!("run what? See `cargo lab help`"),
        "run" => Ok(Site::ready(&options)?.run(&options, &Job::new(rest))?.status),
        "shell" => {
            let job = Job { interactive: true, ..Job::new(vec!["bash".into()]) };
            Ok(Site::ready(&options)?.run(&options, &job)?.status)
        }
        "test" => test(&options, &rest),
        "mutants" => mutants(&options, &rest),
        "demo" => demo(&options),
        "soak" => soak(&options, rest.first()),
        "clean" => clean(&options),
        _ => bail!("unknown subcommand {name}; see `cargo lab help`"),
    }
}

/// Where the lab is: everything built, ready to run.
enum Site {
    Uml(Cache, Lab),
    Host(Cache),
}

impl Site {
    /// Decides which kind of lab this machine is for, and sets up what is missing.
    fn ready(options: &Options) -> Result<Self> {
        let cache = Cache::open()?;
        let kind = options.kind.unwrap_or_else(|| if host::possible() { Kind::Host } else { Kind::Uml });
        if kind == Kind::Host {
            return Ok(Self::Host(cache));
        }
        if !cfg!(all(target_os = "linux", target_arch = "x86_64")) {
            bail!(
                "a kernel for the lab can be built on x86-64 Linux only. On another machine load OpenZFS and be root"
            );
        }
        let lock = cache.lock()?;
        packages::install_build_tools(&cache)?;
        let lab = Lab { kernel: kernel::get(&cache)?, tree: packages::lab_tree(&cache, true)? };
        drop(lock);
        Ok(Self::Uml(cache, lab))
    }

    /// OpenZFS's libraries, where the machine has none.
    fn libraries(&self) -> Option<PathBuf> {
        match self {
            Self::Uml(_, lab) => Some(lab.tree.join("usr/lib/x86_64-linux-gnu")),
            Self::Host(_) => None,
        }
    }

    fn run(&self, options: &Options, job: &Job) -> Result<Outcome> {
        match self {
            Self::Uml(cache, lab) => boot::run(lab, &cache.dir("runs")?, options, job),
            Self::Host(cache) => host::run(cache, options, job),
        }
    }
}

fn test(options: &Options, args: &[OsString]) -> Result<u8> {
    let site = Site::ready(options)?;
    let libraries = site.libraries();
    let in_lab = |options: &Options, job: &Job| site.run(options, job);
    let (Site::Uml(cache, _) | Site::Host(cache)) = &site;
    Ok(suite::run(options, args, libraries.as_deref(), &cache.path("tools"), in_lab))
}

fn mutants(options: &Options, names: &[OsString]) -> Result<u8> {
    let site = Site::ready(options)?;
    let libraries = site.libraries();
    let (Site::Uml(cache, _) | Site::Host(cache)) = &site;
    mutants::run(options, names, cache, libraries.as_deref(), |options, job| site.run(options, job))
}

fn demo(options: &Options) -> Result<u8> {
    let site = Site::ready(options)?;
    say::line("demo: building zhaul");
    let program = cargo::build(&["build", "--package", "zhaul", "--bin", "zhaul"], "bin", "zhaul")?;
    let mut setting = OsString::from("ZHAUL=");
    setting.push(program);
    let plain = if std::io::stderr().is_terminal() { "PLAIN=" } else { "PLAIN=1" };
    let job = Job::new(vec!["env".into(), setting, plain.into(), "bash".into(), "-c".into(), DEMO.into()]);
    Ok(site.run(options, &job)?.status)
}

fn soak(options: &Options, rounds: Option<&OsString>) -> Result<u8> {
    let rounds = rounds.map_or(Ok(10), options::number)?;
    let site = Site::ready(options)?;
    let mut options = options.clone();
    options.limit.get_or_insert(Duration::from_secs(600));
    let mut failed = 0;
    for round in 1..=rounds {
        let started = Instant::now();
        let outcome = site.run(&options, &Job::new(vec!["bash".into(), "-c".into(), SOAK.into()]))?;
        failed += u64::from(outcome.status != 0);
        say::line(format_args!(
            "soak {round}/{rounds}: status {}, {}",
            outcome.status,
            say::time(started.elapsed())
        ));
    }
    say::out(format_args!("{} passed, {failed} failed", rounds - failed));
    Ok(u8::from(failed > 0))
}

fn clean(options: &Options) -> Result<u8> {
    let site = Site::ready(options)?;
    let (cache, keep) = match &site {
        Site::Uml(cache, lab) => (cache, vec![&lab.kernel.dir, &lab.tree]),
        Site::Host(cache) => (cache, Vec::new()),
    };
    let names = keep.iter().map(|path| path.file_name().unwrap_or_default().to_owned());
    let names: Vec<_> = names.chain(["tools".into()]).collect();
    let lock = cache.lock()?;
    cache.clean(&names)?;
    drop(lock);
    Ok(0)
}
