//! Processes that earlier runs left on this machine, as an agent sees them: sessions that have not noticed their dead
//! connection.
//!
//! A worker does the same in its script (`worker.sh`). Only processes of this user count, only those with the mark of the same
//! policy, and never those of the run that asks. A confined agent ends nothing but agents that were started with the same
//! words, and what these have started: its caller may make up any mark, and must not reach more than its own key does. What a
//! `zfs receive` that is ended has received stays, and can be resumed.

use std::fs;
use std::iter;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, geteuid, kill_process};

use crate::model::{CALLS_PROCESS, CALLS_VARIABLE, Orphan, RUN_VARIABLE, RunMark, printable};

/// How long they may take to end by themselves; then they are killed.
const END_LIMIT: Duration = Duration::from_secs(5);
/// How long the system may take after that.
const KILL_LIMIT: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(20);

/// How far up the processes that started one are looked for; the process numbers that they have may be taken again meanwhile.
const GENERATIONS_MAX: usize = 8;

/// How much of a command is reported, in bytes.
const COMMAND_BYTES_MAX: usize = 2000;
/// How many processes are reported; the others are still ended.
const REPORTED_MAX: usize = 100;

/// Ends what runs of the policy before `run` left here, and waits for that.
pub(super) fn end(run: RunMark, is_confined: bool) -> Vec<Orphan> {
    let own_words = fs::read("/proc/self/cmdline").unwrap_or_default();
    let all = marked(run);
    let wanted = with_words(&all, is_confined.then_some(&own_words[..]));
    let orphans = wanted.iter().take(REPORTED_MAX);
    let orphans = orphans.map(|one| Orphan { pid: one.pid, command: shown(&one.command) }).collect();
    let mut left: Vec<u32> = wanted.iter().map(|one| one.pid).collect();
    left.extend(started_by(&left, &all));
    for (signal, limit) in [(Signal::TERM, END_LIMIT), (Signal::KILL, KILL_LIMIT)] {
        for pid in left.iter().filter_map(|pid| Pid::from_raw(i32::try_from(*pid).ok()?)) {
            // Fails only where it has just ended.
            let _ = kill_process(pid, signal);
        }
        wait_for(&mut left, limit, |pid| is_of(pid, run));
    }
    orphans
}

/// Waits until no process makes calls into the kernel for runs of the policy before `run`, for `limit` at most; gives
/// the ones that still do. None of them is killed, since the kernel would still finish its call.
pub(super) fn wait_for_calls(run: RunMark, limit: Duration) -> Vec<u32> {
    let mut left: Vec<u32> = pids().filter(|pid| is_calling(*pid, run)).collect();
    wait_for(&mut left, limit, |pid| is_calling(pid, run));
    left
}

/// Waits until none of the processes `is_left`, for `limit` at most; takes out those that have ended.
fn wait_for(pids: &mut Vec<u32>, limit: Duration, is_left: impl Fn(u32) -> bool) {
    let until = Instant::now() + limit;
    while !pids.is_empty() && Instant::now() < until {
        thread::sleep(PAUSE);
        pids.retain(|pid| is_left(*pid));
    }
}

/// Whether the process makes the calls of an earlier run of the same policy.
fn is_calling(pid: u32, run: RunMark) -> bool {
    let name = fs::read(directory(pid).join("comm")).unwrap_or_default();
    name.trim_ascii_end() == CALLS_PROCESS.as_bytes()
        && has_variable(pid, |variable| is_earlier_mark(variable, CALLS_VARIABLE, run))
}

/// The processes of this machine.
fn pids() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten();
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
}

/// A process of an earlier run.
struct Process {
    pid: u32,
    /// The words that it was started with, each with a NUL behind it.
    command: Vec<u8>,
}

/// The processes of earlier runs.
fn marked(run: RunMark) -> Vec<Process> {
    let processes = pids().filter_map(|pid| {
        let directory = directory(pid);
        let is_own_user = fs::metadata(&directory).is_ok_and(|found| found.uid() == geteuid().as_raw());
        let is_mine = pid == std::process::id() || !is_own_user || !is_of(pid, run);
        let command = fs::read(directory.join("cmdline")).ok().filter(|_| !is_mine)?;
        Some(Process { pid, command })
    });
    processes.collect()
}

/// With `words`, only the ones that were started with exactly these.
fn with_words<'a>(all: &'a [Process], words: Option<&[u8]>) -> Vec<&'a Process> {
    all.iter().filter(|one| words.is_none_or(|words| words == one.command)).collect()
}

/// The other processes of earlier runs that these have started, such as an agent's `zfs receive`: as long as one is there,
/// what it receives into is in use.
fn started_by(pids: &[u32], all: &[Process]) -> Vec<u32> {
    let others = all.iter().map(|one| one.pid).filter(|pid| !pids.contains(pid));
    let is_below = |pid: &u32| {
        let above = iter::successors(parent(*pid), |pid| parent(*pid));
        above.take(GENERATIONS_MAX).any(|pid| pids.contains(&pid))
    };
    others.filter(is_below).collect()
}

/// The fourth field of `/proc/PID/stat`; the second one, the name, may have anything in it.
fn parent(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(directory(pid).join("stat")).ok()?;
    stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()
}

fn directory(pid: u32) -> PathBuf {
    Path::new("/proc").join(pid.to_string())
}

/// Whether the process is of an earlier run of the same policy. sshd gives a forced command the command that the client
/// asked for in `SSH_ORIGINAL_COMMAND`.
fn is_of(pid: u32, run: RunMark) -> bool {
    has_variable(pid, |variable| is_earlier(variable, run))
}

/// Whether the process has such a variable (`NAME=VALUE`).
fn has_variable(pid: u32, is_it: impl Fn(&str) -> bool) -> bool {
    let Ok(environment) = fs::read(directory(pid).join("environ")) else { return false };
    environment.split(|byte| *byte == 0).any(|variable| is_it(&String::from_utf8_lossy(variable)))
}

fn is_earlier(variable: &str, run: RunMark) -> bool {
    let variable = variable.strip_prefix("SSH_ORIGINAL_COMMAND=exec env ").unwrap_or(variable);
    is_earlier_mark(variable, RUN_VARIABLE, run)
}

/// Whether it is `NAME=MARK`, perhaps with more words behind it, with the mark of an earlier run of the same policy.
fn is_earlier_mark(variable: &str, name: &str, run: RunMark) -> bool {
    let value = variable.strip_prefix(name).and_then(|text| text.strip_prefix('='));
    let value = value.map(|value| value.split(' ').next().unwrap_or_default());
    value.is_some_and(|value| value.starts_with(&run.policy_prefix()) && value != run.to_string())
}

/// A command line for people.
fn shown(command: &[u8]) -> String {
    let words: Vec<u8> = command.iter().map(|byte| if *byte == 0 { b' ' } else { *byte }).collect();
    printable(words.get(..COMMAND_BYTES_MAX).unwrap_or(&words)).trim().to_owned()
}

/// A worker's line: a process number and its command.
pub(super) fn parse(line: &[u8]) -> Option<Orphan> {
    let line = printable(line);
    let (pid, command) = line.split_once(' ')?;
    let command = command.chars().take(COMMAND_BYTES_MAX).collect::<String>();
    Some(Orphan { pid: pid.parse().ok()?, command: command.trim().to_owned() })
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command};

    use super::*;

    #[test]
    fn only_an_earlier_run_of_the_same_policy_is_one() {
        let now = RunMark::new(5, 9);
        let of = |policy, run| format!("ZHAUL_RUN={}", RunMark::new(policy, run));
        let is = |text: &str| is_earlier(text, now);
        assert!(is(&of(5, 8)));
        assert!(is(&format!("SSH_ORIGINAL_COMMAND=exec env {} sh -c 'x' zhaul agent", of(5, 8))));
        assert!(!is(&of(5, 9)) && !is(&of(6, 8)), "this run, and another policy");
        assert!(!is(&format!("SSH_ORIGINAL_COMMAND=exec env {} sh", of(5, 9))));
        assert!(!is(&format!("OTHER={}", of(5, 8))) && !is("ZHAUL_RUN=") && !is("ZHAUL_RUNS=1"));
    }

    fn started(mark: RunMark, seconds: &str) -> Child {
        Command::new("sleep").arg(seconds).env(RUN_VARIABLE, mark.to_string()).spawn().unwrap()
    }

    #[test]
    fn what_an_agent_has_started_ends_with_it_and_its_siblings_stay() {
        let policy = (u64::from(std::process::id()) << 20) + 1;
        let (earlier, now) = (RunMark::new(policy, 1), RunMark::new(policy, 2));
        let mut shell = Command::new("sh")
            .args(["-c", "sleep 63 & sleep 63 & wait"])
            .env(RUN_VARIABLE, earlier.to_string())
            .spawn()
            .unwrap();
        let mut sibling = started(earlier, "63");
        let sleeping = || {
            let all = marked(now);
            with_words(&all, Some(b"sleep\x0063\x00")).iter().map(|one| one.pid).collect::<Vec<u32>>()
        };
        while sleeping().len() < 3 {
            thread::sleep(PAUSE);
        }
        let mut below = started_by(&[shell.id()], &marked(now));
        below.sort_unstable();
        let mut wanted: Vec<u32> = sleeping().into_iter().filter(|pid| *pid != sibling.id()).collect();
        wanted.sort_unstable();
        assert_eq!(below, wanted);
        for pid in below {
            kill_process(Pid::from_raw(i32::try_from(pid).unwrap()).unwrap(), Signal::KILL).unwrap();
        }
        shell.wait().unwrap();
        sibling.kill().unwrap();
        sibling.wait().unwrap();
    }

    #[test]
    fn a_confined_agent_ends_only_what_was_started_as_it_was() {
        let policy = u64::from(std::process::id()) << 20;
        let (earlier, now) = (RunMark::new(policy, 1), RunMark::new(policy, 2));
        let mut processes = [(earlier, "61"), (earlier, "62"), (now, "61")].map(|(mark, s)| started(mark, s));
        // Between fork(2) and execve(2) they are this process still.
        while marked(now).iter().filter(|one| one.command.starts_with(b"sleep")).count() < 2 {
            thread::sleep(PAUSE);
        }
        let all = marked(now);
        let found = with_words(&all, Some(b"sleep\x0061\x00"));
        assert_eq!(found.iter().map(|one| one.pid).collect::<Vec<_>>(), [processes[0].id()]);
        assert_eq!(end(now, true), [], "none of them is a test program");
        let reaper = thread::spawn(move || {
            let ended = [0, 1].map(|at: usize| processes[at].wait().unwrap().success());
            assert!(processes[2].try_wait().unwrap().is_none(), "it is of this run");
            processes[2].kill().unwrap();
            processes[2].wait().unwrap();
            ended
        });
        assert_eq!(end(now, false).len(), 2);
        assert_eq!(reaper.join().unwrap(), [false, false]);
    }
}
