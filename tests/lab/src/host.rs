//! The lab on a machine whose kernel has OpenZFS: the same hosts and scripts, in private namespaces, on file-backed pools
//! under names of their own, which are destroyed at the end. `host.sh` says how.

use std::fs::{self, File};
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::boot::{self, LIMIT, Outcome};
use crate::cache::Cache;
use crate::options::{Job, Options};
use crate::rundir::{self, RunDir};
use crate::{packages, say, step};

/// Whether this machine can be the lab.
pub(crate) fn possible() -> bool {
    let device = fs::metadata("/dev/zfs").is_ok_and(|meta| meta.file_type().is_char_device());
    device && rustix::process::geteuid().is_root() && step::has("zpool")
}

/// Sets up, runs `job`, destroys the pools.
pub(crate) fn run(cache: &Cache, options: &Options, job: &Job) -> Result<Outcome> {
    if !possible() {
        bail!(
            "this machine cannot be the lab itself: that needs root, /dev/zfs (modprobe zfs) and zpool. Leave --host out"
        );
    }
    let lacks =
        ["sshd", "ssh", "ip", "unshare", "nsenter", "setpriv"].iter().any(|program| !step::has(program));
    let tree = if lacks { Some(packages::lab_tree(cache, false)?) } else { None };
    let runs = cache.dir("runs")?;
    destroy_leftovers(&runs);
    let dir = RunDir::make(&runs, options, job)?;
    dir.write_host(tree.as_deref(), options)?;
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--", "unshare", "--mount", "--net", "--uts", "--pid", "--fork"]);
    command.args(["--kill-child=KILL", "--", "bash"]).arg(dir.path.join("host"));
    if !job.interactive {
        command.stdin(Stdio::null());
    }
    if job.keep_stdout {
        command.stdout(Stdio::piped());
    }
    let done = attend(&mut command, options, job);
    destroy_pools(&dir.path);
    if !dir.path.join("up.log").exists() {
        say::line("the lab did not come up");
    } else if !matches!(done, Ok(Outcome { status: 0, .. })) && options.verbose {
        say::line(step::tail(&dir.path.join("up.log"), 40));
    }
    done
}

fn attend(command: &mut Command, options: &Options, job: &Job) -> Result<Outcome> {
    let mut child = command.spawn().context("cannot start setpriv and unshare (util-linux)")?;
    let output = child.stdout.take().map(|pipe| {
        std::thread::spawn(move || {
            boot::carry_lines(File::from(std::os::fd::OwnedFd::from(pipe)), std::io::stdout())
        })
    });
    let deadline = options.limit.map(|limit| Instant::now() + limit);
    let ended = loop {
        if let Some(status) = child.try_wait()? {
            break Some(status);
        }
        if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            child.kill()?;
            child.wait()?;
            say::line("the time limit ran out; the lab was ended");
            break None;
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    let stdout = match output {
        Some(thread) if job.keep_stdout => {
            thread.join().map_err(|_| anyhow::anyhow!("the output thread failed"))?
        }
        _ => String::new(),
    };
    Ok(Outcome { status: ended.map_or(LIMIT, code), stdout })
}

fn code(status: ExitStatus) -> u8 {
    status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(boot::BROKEN)
}

/// Destroys the pools that a run's own list names. The processes that used them are gone by now, or nearly.
fn destroy_pools(run: &Path) {
    let list = fs::read_to_string(run.join("lab-pools")).unwrap_or_default();
    for pool in list.lines().filter(|pool| pool.starts_with("zlab")) {
        let destroy = || step::output(Command::new("zpool").args(["destroy", "-f", pool]));
        let mut done = destroy();
        for _ in 0..20 {
            if done.is_err() {
                std::thread::sleep(Duration::from_millis(250));
                done = destroy();
            }
        }
        if let Err(error) = done {
            say::line(format_args!("pool {pool} is left over: {error:#}"));
        }
    }
}

/// Pools of runs that were killed.
fn destroy_leftovers(runs: &Path) {
    for item in fs::read_dir(runs).into_iter().flatten().flatten() {
        if !rundir::is_of_a_living_run(&item.file_name()) {
            destroy_pools(&item.path());
        }
    }
}
