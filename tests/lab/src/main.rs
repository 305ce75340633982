//! `cargo lab`: builds and boots the lab, a machine with real OpenZFS and three hosts, wherever this runs. See `help.txt`.

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::{Result, bail};

use crate::cache::Cache;
use crate::options::{Job, Options};

mod apt;
mod boot;
mod cache;
mod kernel;
mod options;
mod packages;
mod recipe;
mod rundir;
mod say;
mod sources;
mod step;

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
    let name = if args.is_empty() {
        "help".to_owned()
    } else {
        args.remove(0).to_string_lossy().into_owned()
    };
    if matches!(name.as_str(), "help" | "--help" | "-h") {
        say::out(options::HELP.trim_end());
        return Ok(0);
    }
    let (options, rest) = options::parse(args)?;
    match name.as_str() {
        "setup" => setup().map(|_| 0),
        "run" if rest.is_empty() => bail!("run what? See `cargo lab help`"),
        "run" => in_lab(
            &options,
            &Job {
                command: rest,
                interactive: false,
                keep_stdout: false,
            },
        ),
        "shell" => in_lab(
            &options,
            &Job {
                command: vec!["bash".into()],
                interactive: true,
                keep_stdout: false,
            },
        ),
        "demo" => {
            let script = include_str!("../demo.sh");
            let command = vec!["bash".into(), "-c".into(), script.into()];
            in_lab(
                &options,
                &Job {
                    command,
                    interactive: false,
                    keep_stdout: false,
                },
            )
        }
        "clean" => clean().map(|()| 0),
        _ => bail!("unknown subcommand {name}; see `cargo lab help`"),
    }
}

fn setup() -> Result<boot::Lab> {
    let cache = Cache::open()?;
    let _lock = cache.lock()?;
    packages::install_build_tools(&cache)?;
    Ok(boot::Lab {
        kernel: kernel::get(&cache)?,
        tree: packages::lab_tree(&cache, true)?,
    })
}

fn in_lab(options: &Options, job: &Job) -> Result<u8> {
    let lab = setup()?;
    Ok(boot::run(&lab, &Cache::open()?.dir("runs")?, options, job)?.status)
}

fn clean() -> Result<()> {
    let lab = setup()?;
    let cache = Cache::open()?;
    let _lock = cache.lock()?;
    let keep = [&lab.kernel.dir, &lab.tree].map(|path| path.file_name().unwrap_or_default().to_owned());
    cache.clean(&keep)
}
