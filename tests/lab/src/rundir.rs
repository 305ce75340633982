//! The directory of one run: the scripts and parameters that the lab reads, and what it leaves (exit status, kernel log). The
//! lab sees it as /lab/run; /lab/out is a directory of the caller's choice, by default one in here.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result};

use crate::boot::Lab;
use crate::options::{Job, Options};
use crate::{cache, say};

const INIT: &str = include_str!("init.sh");
const LAB: &str = include_str!("lab.sh");
const HOST: &str = include_str!("host.sh");

/// Not handed to the command: they speak of the machine outside.
const OUTSIDE: [&str; 12] = [
    "HOME",
    "USER",
    "LOGNAME",
    "PWD",
    "OLDPWD",
    "SHLVL",
    "TMPDIR",
    "XDG_RUNTIME_DIR",
    "SSH_AUTH_SOCK",
    "SSH_CONNECTION",
    "_",
    "HOSTNAME",
];

/// Removed when dropped.
#[derive(Debug)]
pub(crate) struct RunDir {
    pub(crate) path: PathBuf,
    out: PathBuf,
}

impl RunDir {
    /// Makes `runs/PID`, or `runs/PID.N` for a further one of this process, with the scripts and the command; sweeps away what
    /// killed runs left.
    pub(crate) fn make(runs: &Path, options: &Options, job: &Job) -> Result<Self> {
        static MADE: AtomicU32 = AtomicU32::new(0);
        sweep(runs);
        let path = match MADE.fetch_add(1, Ordering::Relaxed) {
            0 => runs.join(std::process::id().to_string()),
            further => runs.join(format!("{}.{further}", std::process::id())),
        };
        cache::remove(&path)?;
        let out = match &options.out {
            Some(dir) => {
                fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
                dir.canonicalize()?
            }
            None => path.join("out"),
        };
        fs::create_dir_all(path.join("out"))?;
        let dir = Self { path, out };
        dir.script("init", INIT)?;
        dir.script("host", HOST)?;
        dir.script("lab.sh", LAB)?;
        dir.script("command", &command(job)?)?;
        Ok(dir)
    }

    fn script(&self, name: &str, text: &str) -> Result<()> {
        let path = self.path.join(name);
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
        Ok(())
    }

    /// Parameters of a User Mode Linux run.
    pub(crate) fn write_uml(&self, lab: &Lab, options: &Options, job: &Job) -> Result<()> {
        let mut text = self.common(options, Some(&lab.tree));
        text.extend([assign("LAB_KERNEL", lab.kernel.dir.as_os_str())]);
        if job.interactive {
            text.push_str("LAB_INTERACTIVE=1\n");
        }
        if !rustix::process::geteuid().is_root() {
            text.push_str("LAB_NOT_ROOT=1\n");
        }
        // Progress is drawn for a width, and the lab's consoles have none of their own.
        if let Ok(size) = rustix::termios::tcgetwinsize(std::io::stderr()) {
            text.extend([format!("LAB_SIZE='cols {} rows {}'\n", size.ws_col, size.ws_row)]);
        }
        self.script("params", &text)
    }

    /// Parameters of a run on this machine's own OpenZFS; `tree` if it lacks programs.
    pub(crate) fn write_host(&self, tree: Option<&Path>, options: &Options) -> Result<()> {
        let mut text = self.common(options, tree);
        let prefix = format!("zlab{}_", std::process::id());
        text.extend([assign("LAB_POOL_PREFIX", OsStr::new(&prefix))]);
        self.script("params", &text)
    }

    fn common(&self, options: &Options, tree: Option<&Path>) -> String {
        let mut text = assign("LAB_OUT", self.out.as_os_str());
        if let Some(tree) = tree {
            text.extend([assign("LAB_TREE", tree.as_os_str())]);
        }
        if let Some(size) = &options.pool_size {
            text.extend([assign("LAB_POOL_SIZE", OsStr::new(size))]);
        }
        text
    }

    /// The kernel's log, where a result directory was asked for.
    pub(crate) fn keep_log(&self, log: &str) {
        if !self.out.starts_with(&self.path) {
            drop(fs::write(self.out.join("lab-console.log"), log));
            drop(fs::copy(self.path.join("dmesg"), self.out.join("lab-dmesg.log")));
        }
    }
}

impl Drop for RunDir {
    fn drop(&mut self) {
        if let Err(error) = cache::remove(&self.path) {
            say::line(format_args!("{error:#}"));
        }
    }
}

/// Removes the directories of runs whose process is gone.
fn sweep(runs: &Path) {
    for item in fs::read_dir(runs).into_iter().flatten().flatten() {
        if !is_of_a_living_run(&item.file_name()) {
            drop(cache::remove(&item.path()));
        }
    }
}

/// Whether the process that made the run directory of this name lives.
pub(crate) fn is_of_a_living_run(name: &OsStr) -> bool {
    let name = name.to_string_lossy();
    let process = name.split_once('.').map_or(&*name, |(process, _)| process);
    Path::new("/proc").join(process).exists()
}

/// The script that the lab runs on pve0: the caller's environment and directory, then the command in place of the shell.
fn command(job: &Job) -> Result<String> {
    let mut text = "#!/bin/sh\n".to_owned();
    for (name, value) in std::env::vars_os() {
        let name = name.to_string_lossy();
        let plain = name.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '_');
        if plain
            && !OUTSIDE.contains(&&*name)
            && !name.starts_with("ZHAUL_LAB")
            && name != "LC_ALL"
            && name != "PATH"
        {
            text.extend([format!("export {}", assign(&name, &value))]);
        }
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    text.extend([assign("PATH", &path)]);
    text.push_str("export PATH=\"$PATH:/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin:/lab/bin\" HOME=/root USER=root LOGNAME=root\n");
    match std::env::var_os("LC_ALL") {
        Some(locale) => text.extend(["export ".to_owned(), assign("LC_ALL", &locale)]),
        None => text.push_str("unset LC_ALL\n"),
    }
    let cwd = std::env::current_dir().context("the current directory is gone")?;
    text.extend([format!("cd {} || exit 126\nexec", quote(cwd.as_os_str()))]);
    for word in &job.command {
        text.extend([format!(" {}", quote(word))]);
    }
    text.push('\n');
    Ok(text)
}

fn assign(name: &str, value: &OsStr) -> String {
    format!("{name}={}\n", quote(value))
}

/// One shell word, whatever is in it. A byte that is not UTF-8 would be lost, and no path of the lab has one.
fn quote(word: &OsStr) -> String {
    let text = String::from_utf8_lossy(word.as_bytes());
    format!("'{}'", text.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_survive_the_shell() {
        let word = "it's $HOME `x` \"q\"\nnew";
        let script = format!("printf %s {}", quote(OsStr::new(word)));
        let shown = std::process::Command::new("sh").arg("-c").arg(script).output().unwrap();
        assert_eq!(String::from_utf8(shown.stdout).unwrap(), word);
    }
}
