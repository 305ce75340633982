//! Runs another program that may never end, on our own clock. Its output is judged, never its exit code: Proxmox VE's programs
//! exit with 0 also where what was asked for was refused.

use std::io::{self, Read as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, kill_process_group};

/// Of each of its outputs no more than this is kept.
const BYTES_MAX: usize = 64 << 10;
/// How often it is asked whether it has ended, where it says nothing.
const PAUSE: Duration = Duration::from_millis(20);
/// Searched after PATH, which cron sets to `/usr/bin:/bin`: `qm` and `pct` are in `/usr/sbin`.
const MORE_PLACES: [&str; 2] = ["/usr/sbin/", "/usr/local/sbin/"];

/// What a program has written by its end, without white space around it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Answer {
    /// Standard output.
    pub output: String,
    /// Standard error.
    pub errors: String,
}

/// The answer of `program`, whatever its exit code. Fails with the reason where it has not ended within `limit`: it is killed then,
/// with all that it started. `None` where it is not installed.
pub fn answer(program: &str, arguments: &[&str], limit: Duration) -> Option<Result<Answer, String>> {
    let mut child = match start(program, arguments) {
        Ok(child) => child,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
        Err(error) => return Some(Err(format!("cannot be started: {error}"))),
    };
    let answer = read(&mut child, Instant::now() + limit);
    if !matches!(answer, Ok(Some(_)))
        && let Some(group) = i32::try_from(child.id()).ok().and_then(Pid::from_raw)
    {
        // It may have ended just now.
        let _ = kill_process_group(group, Signal::KILL);
        drop(child.try_wait());
    }
    Some(match answer {
        Ok(Some(answer)) => Ok(answer),
        Ok(None) => Err(format!("does not answer within {} s", limit.as_secs_f64())),
        Err(error) => Err(format!("cannot be read: {error}")),
    })
}

/// In a process group of its own, for the signal that ends it.
fn start(program: &str, arguments: &[&str]) -> io::Result<Child> {
    let mut started = Err(io::ErrorKind::NotFound.into());
    for place in [""].into_iter().chain(MORE_PLACES) {
        let mut command = Command::new(format!("{place}{program}"));
        // Its words are judged.
        command.env("LC_ALL", "C");
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        started = command.process_group(0).spawn();
        if !matches!(&started, Err(error) if error.kind() == io::ErrorKind::NotFound) {
            break;
        }
    }
    started
}

/// Reads until it ends, whoever still has its outputs open then; `None` where that takes too long.
fn read(child: &mut Child, until: Instant) -> io::Result<Option<Answer>> {
    let mut pipes = [child.stdout.take().map(OwnedFd::from), child.stderr.take().map(OwnedFd::from)];
    let mut texts = [Vec::new(), Vec::new()];
    loop {
        let has_ended = child.try_wait()?.is_some();
        let has_read = read_ready(&mut pipes, &mut texts, if has_ended { Duration::ZERO } else { PAUSE })?;
        if has_ended && !has_read {
            let [output, errors] = texts.map(|text| String::from_utf8_lossy(&text).trim().to_owned());
            return Ok(Some(Answer { output, errors }));
        }
        if Instant::now() >= until {
            return Ok(None);
        }
    }
}

/// Reads from each pipe that has something, after a wait of at most `limit`. Gives whether anything was read.
fn read_ready(
    pipes: &mut [Option<OwnedFd>; 2],
    texts: &mut [Vec<u8>; 2],
    limit: Duration,
) -> io::Result<bool> {
    let timeout = Timespec { tv_sec: 0, tv_nsec: limit.subsec_nanos().into() };
    let mut polled: Vec<PollFd<'_>> =
        pipes.iter().flatten().map(|pipe| PollFd::from_borrowed_fd(pipe.as_fd(), PollFlags::IN)).collect();
    match poll(&mut polled, Some(&timeout)) {
        Ok(_) | Err(rustix::io::Errno::INTR) => {}
        Err(error) => return Err(error.into()),
    }
    let mut ready = polled.iter().map(|pipe| !pipe.revents().is_empty()).collect::<Vec<_>>().into_iter();
    let mut has_read = false;
    for (pipe, text) in pipes.iter_mut().zip(texts) {
        let Some(open) = pipe.take() else { continue };
        if ready.next() != Some(true) {
            *pipe = Some(open);
            continue;
        }
        let mut file = std::fs::File::from(open);
        let mut piece = [0; 4096];
        let count = file.read(&mut piece)?;
        if count > 0 {
            has_read = true;
            let room = BYTES_MAX.saturating_sub(text.len()).min(count);
            text.extend_from_slice(piece.get(..room).unwrap_or_default());
            *pipe = Some(file.into());
        }
    }
    Ok(has_read)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, limit: Duration) -> Result<Answer, String> {
        answer("sh", &["-c", script], limit).unwrap()
    }

    #[test]
    fn both_outputs_are_read_whatever_the_exit_code() {
        let long = Duration::from_secs(60);
        let expected = Answer { output: "a\nb".to_owned(), errors: "no".to_owned() };
        assert_eq!(shell("echo a; echo no >&2; echo b; exit 3", long), Ok(expected));
        let much = shell("yes | head -c 1000000; yes no | head -c 300000 >&2", long).unwrap();
        assert_eq!(much.output.len().div_ceil(1 << 10), 64);
        assert_eq!(answer("/there/is/none", &[], long), None);
        let refused = answer("/", &[], long).unwrap().unwrap_err();
        assert!(refused.starts_with("cannot be started"), "{refused}");
    }

    #[test]
    fn one_that_does_not_end_is_killed_with_all_that_it_started() {
        let directory = tempfile::tempdir().unwrap();
        let mark = directory.path().join("mark");
        let begun = Instant::now();
        let script = format!("(sleep 2; touch {}) & echo half; sleep 60", mark.display());
        let refused = shell(&script, Duration::from_millis(300)).unwrap_err();
        assert_eq!(refused, "does not answer within 0.3 s");
        assert!(begun.elapsed() < Duration::from_secs(30));
        std::thread::sleep(Duration::from_secs(3));
        assert!(!mark.exists());
    }

    #[test]
    fn one_that_has_ended_is_not_waited_for_where_others_have_its_output() {
        let begun = Instant::now();
        assert_eq!(shell("sleep 300 & echo done", Duration::from_secs(100)).unwrap().output, "done");
        assert!(begun.elapsed() < Duration::from_secs(60));
    }
}
