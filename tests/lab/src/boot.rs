//! Boots the User Mode Linux lab, runs one command in it, and brings back its output and exit status. The lab is one process
//! tree that dies with this program, however this program ends.

use std::fs::File;
use std::io::{BufRead, BufReader, PipeReader, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::cpus::Cpu;
use crate::memory::Free;
use crate::options::{Job, Options};
use crate::rundir::RunDir;
use crate::say;

/// Lines of the kernel's log after which no result can be trusted.
const TROUBLE: [&str; 8] = [
    "blocked for more than",
    "Oops",
    "BUG:",
    "Kernel panic",
    "PANIC at",
    "VERIFY",
    "general protection",
    "lab-fatal:",
];

/// Exit status when the time limit ran out, as of timeout(1).
pub(crate) const LIMIT: u8 = 124;
/// Exit status when the lab itself failed.
pub(crate) const BROKEN: u8 = 125;

/// The result of one command in the lab.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// The command's exit status, or [`LIMIT`] or [`BROKEN`].
    pub(crate) status: u8,
    /// Everything the command wrote to stdout, if the job asked to keep it.
    pub(crate) stdout: String,
}

/// The kernel and the tree that a boot needs.
#[derive(Debug)]
pub(crate) struct Lab {
    pub(crate) kernel: crate::kernel::Kernel,
    pub(crate) tree: std::path::PathBuf,
}

/// Boots, runs `job`, switches off.
pub(crate) fn run(lab: &Lab, runs: &Path, options: &Options, job: &Job) -> Result<Outcome> {
    let memory = options.memory.clone().map_or_else(|| Free::now().for_each(1), Ok)?;
    let dir = RunDir::make(runs, options, job)?;
    dir.write_uml(lab, options, job)?;
    let terminal = if job.interactive { Some(Terminal::save()?) } else { None };
    let cpu = (cpus(options, lab) == 1).then(|| Cpu::take(runs)).flatten();
    let mut uml = Uml::start(lab, &dir, options, job, &memory, cpu.as_ref())?;
    let deadline = options.limit.map(|limit| Instant::now() + limit);
    let ended = uml.wait(deadline)?;
    let (stdout, log, trouble) = uml.finish()?;
    drop(terminal);
    dir.keep_log(&log);
    let late = std::fs::read_to_string(dir.path.join("dmesg")).unwrap_or_default();
    let status =
        std::fs::read_to_string(dir.path.join("status")).ok().and_then(|text| text.trim().parse::<u8>().ok());
    let troubled = trouble || late.lines().any(is_trouble);
    let status = match (ended, troubled, status) {
        (End::Limit, _, _) => {
            say::line("the time limit ran out; the lab was switched off");
            LIMIT
        }
        (_, true, _) | (_, _, None) => {
            say::line("the lab itself failed; its kernel's last words:");
            say::line(last_words(&log, &late));
            BROKEN
        }
        (_, false, Some(status)) => status,
    };
    Ok(Outcome { status, stdout })
}

fn last_words(log: &str, dmesg: &str) -> String {
    let text = if dmesg.is_empty() { log } else { dmesg };
    let lines: Vec<&str> = text.lines().collect();
    let first = lines.iter().position(|line| is_trouble(line)).unwrap_or(lines.len().saturating_sub(30));
    let from = first.saturating_sub(5);
    lines[from..lines.len().min(from + 60)].join("\n")
}

/// Whether a line of the kernel's log is a reason not to trust the run.
pub(crate) fn is_trouble(line: &str) -> bool {
    TROUBLE.iter().any(|word| line.contains(word)) && !line.contains("Kernel command line")
}

/// How many CPUs the lab gets: as many as asked for if its kernel can, and otherwise what it can, with a word.
fn cpus(options: &Options, lab: &Lab) -> u32 {
    let (wish, most) = (options.cpus.unwrap_or(1).max(1), lab.kernel.cpus);
    if wish > most {
        say::line(format_args!("the lab's kernel can use {most} CPU: --cpus {wish} is not followed"));
    }
    wish.min(most)
}

#[derive(Debug, PartialEq, Eq)]
enum End {
    Off,
    Limit,
}

/// The running kernel and the threads that carry its consoles.
struct Uml {
    child: Child,
    stdout: JoinHandle<String>,
    stderr: JoinHandle<()>,
    log: JoinHandle<String>,
    trouble: Arc<AtomicBool>,
}

impl Uml {
    fn start(
        lab: &Lab,
        dir: &RunDir,
        options: &Options,
        job: &Job,
        memory: &str,
        cpu: Option<&Cpu>,
    ) -> Result<Self> {
        let (log_read, log_write) = std::io::pipe()?;
        let (out_read, out_write) = inherited_pipe()?;
        let (err_read, err_write) = inherited_pipe()?;
        // util-linux's setpriv sets what only a child can set for itself: SIGKILL when its parent is gone.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]);
        if let Some(cpu) = cpu {
            if cpu.is_shared() {
                say::line(format_args!(
                    "more labs than processors: this one shares processor {}",
                    cpu.number
                ));
            }
            command.args(["taskset", "--cpu-list", &cpu.number.to_string()]);
        }
        command.arg(lab.kernel.dir.join("linux"));
        command.args([
            "root=/dev/root",
            "rootfstype=hostfs",
            "rootflags=/",
            "ro",
            "seccomp=on",
            "quiet",
            "panic=-1",
        ]);
        command.arg(format!("mem={memory}"));
        let cpus = cpus(options, lab);
        if cpus > 1 {
            command.arg(format!("ncpus={cpus}"));
        }
        command.arg(format!("init={}", dir.path.join("init").display()));
        command.arg(format!("uml_dir={}/", dir.path.display())).arg("umid=uml");
        for (index, disk) in options.disks.iter().enumerate() {
            command.arg(format!("ubd{index}={}", disk.display()));
        }
        command.args(["con=null", "con0=null,fd:1"]);
        if job.interactive {
            // The terminal itself; the kernel sets it raw.
            let (input, output) = (inherited(std::io::stdin())?, inherited(std::io::stdout())?);
            command.arg(format!("con1=fd:{},fd:{}", input.as_raw_fd(), output.as_raw_fd()));
            std::mem::forget((input, output));
        } else {
            command.arg(format!("con1=null,fd:{}", out_write.as_raw_fd()));
            command.arg(format!("con2=null,fd:{}", err_write.as_raw_fd()));
        }
        command
            .env("TMPDIR", "/dev/shm")
            .stdin(Stdio::null())
            .stdout(log_write.try_clone()?)
            .stderr(log_write);
        let child = command
            .spawn()
            .context("cannot start the lab's kernel (setpriv and taskset of util-linux are needed)")?;
        drop((command, out_write, err_write));
        let trouble = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&trouble);
        let keep = job.keep_stdout;
        let verbose = options.verbose;
        Ok(Self {
            child,
            stdout: std::thread::spawn(move || {
                if keep {
                    return carry_lines(out_read, std::io::stdout());
                }
                pass(out_read, std::io::stdout());
                String::new()
            }),
            stderr: std::thread::spawn(move || pass(err_read, std::io::stderr())),
            log: std::thread::spawn(move || watch(log_read, &flag, verbose)),
            trouble,
        })
    }

    fn wait(&mut self, deadline: Option<Instant>) -> Result<End> {
        let mut trouble_since: Option<Instant> = None;
        loop {
            if self.child.try_wait()?.is_some() {
                return Ok(End::Off);
            }
            let now = Instant::now();
            if deadline.is_some_and(|deadline| now >= deadline) {
                self.child.kill()?;
                self.child.wait()?;
                return Ok(End::Limit);
            }
            if self.trouble.load(Ordering::Relaxed) {
                // A few seconds for the rest of the trace, then off.
                let since = *trouble_since.get_or_insert(now);
                if now.duration_since(since) > Duration::from_secs(5) {
                    self.child.kill()?;
                }
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn finish(self) -> Result<(String, String, bool)> {
        let failed = |_| anyhow::anyhow!("a console thread failed");
        let (stdout, log) = (self.stdout.join().map_err(failed)?, self.log.join().map_err(failed)?);
        self.stderr.join().map_err(failed)?;
        Ok((stdout, log, self.trouble.load(Ordering::Relaxed)))
    }
}

/// A pipe whose writing end the kernel process inherits under its number.
fn inherited_pipe() -> Result<(File, OwnedFd)> {
    let (read, write) = rustix::pipe::pipe()?;
    rustix::io::fcntl_setfd(&read, rustix::io::FdFlags::CLOEXEC)?;
    Ok((File::from(read), write))
}

/// A copy of a descriptor that survives exec.
fn inherited(of: impl std::os::fd::AsFd) -> Result<OwnedFd> {
    Ok(rustix::io::fcntl_dupfd_cloexec(&of, 10).and_then(|copy| {
        rustix::io::fcntl_setfd(&copy, rustix::io::FdFlags::empty())?;
        Ok(copy)
    })?)
}

/// Copies all of `from` to `to` as it comes.
fn pass(mut from: File, mut to: impl Write) {
    let mut buffer = vec![0; 1 << 16];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        // A reader that went away (`| head`) does not stop the command: its output has nowhere to go, that is all.
        drop(to.write_all(&buffer[..count]).and_then(|()| to.flush()));
    }
}

/// Copies `from` to `to` line by line, so that several can share one `to`; returns all of it.
pub(crate) fn carry_lines(from: File, mut to: impl Write) -> String {
    let mut from = BufReader::new(from);
    let mut kept = Vec::new();
    let mut start = 0;
    while let Ok(1..) = from.read_until(b'\n', &mut kept) {
        drop(to.write_all(&kept[start..]).and_then(|()| to.flush()));
        start = kept.len();
    }
    String::from_utf8_lossy(&kept).into_owned()
}

fn watch(mut from: PipeReader, trouble: &AtomicBool, verbose: bool) -> String {
    let mut text = String::new();
    let mut seen = 0;
    let mut buffer = vec![0; 1 << 12];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        let piece = String::from_utf8_lossy(&buffer[..count]).replace('\r', "");
        if verbose {
            drop(std::io::stderr().write_all(piece.as_bytes()));
        }
        text.push_str(&piece);
        while let Some(end) = text[seen..].find('\n') {
            if is_trouble(&text[seen..seen + end]) {
                trouble.store(true, Ordering::Relaxed);
            }
            seen += end + 1;
        }
    }
    text
}

/// The caller's terminal settings, put back when the shell is over.
struct Terminal(String);

impl Terminal {
    fn save() -> Result<Self> {
        let found = Command::new("stty").arg("-g").stdin(Stdio::inherit()).output()?;
        if !found.status.success() {
            bail!("`cargo lab shell` needs a terminal; use `cargo lab run -- COMMAND`");
        }
        Ok(Self(String::from_utf8_lossy(&found.stdout).trim().to_owned()))
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        drop(Command::new("stty").arg(&self.0).stdin(Stdio::inherit()).status());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trouble_is_seen_and_a_command_line_is_not() {
        assert!(is_trouble("[ 133.1] INFO: task txg_sync:123 blocked for more than 30 seconds."));
        assert!(is_trouble("[ 1.1] BUG: unable to handle kernel NULL pointer"));
        assert!(!is_trouble("[ 0.0] ZFS: Loaded module v2.4.4-1, ZFS pool version 5000"));
    }
}
