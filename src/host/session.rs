//! One worker session: a shell on the remote host that runs one `zfs` after another, without a new login for each.
//!
//! The protocol is described in `worker.sh`. Both outputs carry trailers with the session's random key, so the output
//! of zfs is distinguished from everything else. Each wait has a limit and ends when the run is cancelled. A session
//! that did anything unexpected is not used again: dropping it ends the child and what the child started.

use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};
use std::{io, thread};

use crossbeam_channel::{Receiver, RecvTimeoutError, bounded};

use super::Problem;
use super::answer_limit::AnswerLimit;
use super::lines::{Line, Lines};
use super::liveness;
use super::session_errors::{Record, read_errors};
use super::session_words::{Speaks, random_key, speaks, trailer};
use crate::channel::connections::Connection;
use crate::model::Liveness;
use crate::stream::endpoint::widen;
use crate::stream::threads::alone;
use crate::stream::{Cancel, Cancelled, FdSource, FdTarget};
use crate::zfs::PIPE_BYTES;

/// A healthy pool may be this slow.
const ANSWER_MIN: Duration = Duration::from_secs(30);

/// How long to wait before the peer is given up.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// For login and the worker's first line.
    pub(super) hello: Duration,
    /// For the next line of an answer: an administrator's `zfs destroy` of a big dataset takes minutes.
    pub(super) answer: Duration,
    /// For last words after something broke.
    pub(super) farewell: Duration,
}

impl Limits {
    /// An answer may take as long as `limit` says, but no less than 30 s and no more than usual.
    pub(super) fn within(limit: Duration) -> Self {
        let usual = Self::default();
        Self { answer: limit.clamp(ANSWER_MIN, usual.answer), ..usual }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            hello: Duration::from_secs(60),
            answer: Duration::from_secs(15 * 60),
            farewell: Duration::from_secs(10),
        }
    }
}

/// How long a receive that has got everything may be silent before its input is closed.
const REST_LIMIT: Duration = Duration::from_secs(20);

/// Asked while nothing comes, with the time since the last line: why nothing will.
pub(super) type Doubt<'a> = &'a mut dyn FnMut(Duration) -> Option<Problem>;

/// How often that is asked.
pub(super) const LOOK: Duration = Duration::from_secs(2);

/// How one `zfs` ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CompletedCommand {
    /// Its exit status.
    pub(super) status: i32,
    /// Its standard error, made printable; the first 16 KiB.
    pub(super) errors: String,
}

/// The output of the peer.
pub(super) type Output = Lines<FdSource<ChildStdout>>;

/// A live worker or agent.
#[derive(Debug)]
pub(super) struct Session {
    child: Child,
    pub(super) input: Option<ChildStdin>,
    /// To an agent, for the frames of streams.
    pub(super) connections: Vec<Connection>,
    /// `None` while an agent's replies are read elsewhere.
    pub(super) output: Option<Output>,
    errors: Receiver<Record>,
    key: String,
    speaks: Speaks,
    /// Whether its agent reported to be append-only.
    pub(super) is_append_only: bool,
    is_remote: bool,
    pub(super) limits: Limits,
    pub(super) cancel: Cancel,
}

impl Session {
    /// Starts `command`, which must run the worker script, and waits for its hello.
    pub(super) fn open(
        mut command: Command,
        is_remote: bool,
        limits: Limits,
        cancel: &Cancel,
    ) -> Result<Self, Problem> {
        let key = random_key()?;
        let program = command.get_program().to_string_lossy().into_owned();
        // A group of its own: Ctrl-C on the terminal reaches zhaul alone, which then ends things in order.
        command.process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child =
            command.spawn().map_err(|e| Problem::Other(format!("cannot start {program}: {e}")))?;
        let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (Some(input), Some(output), Some(errors)) = pipes else {
            return Err(Problem::Other(format!("{program} was started without pipes")));
        };
        // As large as the pipe of a local stream: large pieces, and few changes between the processes on both sides.
        widen(&input, PIPE_BYTES);
        widen(&output, PIPE_BYTES);
        let output = FdSource::new(output, cancel).map_err(|e| Problem::Other(e.to_string()))?;
        let mut session = Self {
            child,
            input: Some(input),
            connections: Vec::new(),
            output: Some(Lines::new(output)),
            errors: spawn_errors_reader(errors, key.clone())?,
            key,
            speaks: Speaks::Worker,
            is_append_only: false,
            is_remote,
            limits,
            cancel: cancel.clone(),
        };
        session.greet()?;
        Ok(session)
    }

    fn greet(&mut self) -> Result<(), Problem> {
        self.write(&format!("{}\n", self.key))?;
        let limit = self.limits.hello;
        let line = self.line(limit)?;
        let line = line.ok_or_else(|| {
            let text = format!(
                "no answer within {} seconds after the login began; perhaps a start file of the login shell there reads \
                 standard input, which is zhaul's",
                limit.as_secs()
            );
            Problem::Unreachable(text)
        })?;
        self.speaks = speaks(&line, &self.key)?;
        // The text before, a banner or ssh's own warnings, is no part of any answer.
        self.next_record(limit)?;
        if self.speaks == Speaks::Agent { self.introduce() } else { Ok(()) }
    }

    /// The kind of peer.
    pub(super) fn speaks(&self) -> Speaks {
        self.speaks
    }

    /// Says that nothing more will be written.
    pub(super) fn close_input(&mut self) {
        self.input = None;
    }

    /// The next line, `None` if there is none in time.
    fn line(&mut self, limit: Duration) -> Result<Option<Vec<u8>>, Problem> {
        let Some(output) = &mut self.output else {
            return Err(self.lost());
        };
        match output.next(limit) {
            Ok(Line::Text(line)) => Ok(Some(line.to_vec())),
            Ok(Line::End) => Err(self.lost()),
            Ok(Line::Late) => Ok(None),
            Err(error) => Err(self.broken(&error)),
        }
    }

    /// The key, to forge requests with.
    #[cfg(test)]
    pub(super) fn key(&self) -> &str {
        &self.key
    }

    /// Whether it is idle and still there.
    pub(super) fn is_usable(&mut self) -> bool {
        let is_silent = self.output.as_mut().is_some_and(Lines::is_silent);
        self.input.is_some() && is_silent && self.errors.is_empty()
    }

    /// Runs `zfs` with `arguments` and hands each line of its output to `take`.
    #[cfg(test)]
    pub(super) fn run(
        &mut self,
        arguments: &[&str],
        take: &mut dyn FnMut(&[u8]) -> Result<(), Problem>,
    ) -> Result<CompletedCommand, Problem> {
        self.request("run", arguments)?;
        self.answer(self.limits.answer, AnswerLimit::of_list(), take, &mut |_| None)
    }

    /// Has the worker do something with a pool in one of its modes (`worker.sh`): `run` a `zfs` with `arguments`, or
    /// print the `history` or the status (`pool`) of one. Each line goes to `take`; while nothing comes, `doubt` says
    /// whether anything still will.
    pub(super) fn ask_of_pool(
        &mut self,
        mode: &str,
        arguments: &[&str],
        take: &mut dyn FnMut(&[u8]) -> Result<(), Problem>,
        doubt: Doubt<'_>,
    ) -> Result<CompletedCommand, Problem> {
        self.request(mode, arguments)?;
        let most = if mode == "history" { AnswerLimit::of_history() } else { AnswerLimit::of_list() };
        self.answer(Duration::MAX, most, take, doubt)
    }

    /// Asks for what needs no pool: the `date`, the processes of earlier runs (`orphans`, which are ended), those that receive
    /// (`receivers`), the `health` of a pool as the kernel has it in memory.
    pub(super) fn ask_of_machine(
        &mut self,
        mode: &str,
        arguments: &[&str],
        take: &mut dyn FnMut(&[u8]) -> Result<(), Problem>,
    ) -> Result<CompletedCommand, Problem> {
        self.request(mode, arguments)?;
        self.answer(self.limits.answer, AnswerLimit::of_words(), take, &mut |_| None)
    }

    /// The state of `pool`.
    pub(super) fn liveness(&mut self, pool: &str) -> Result<Liveness, Problem> {
        let mut lines = Vec::new();
        self.ask_of_machine("health", &[pool], &mut |line| {
            lines.push(String::from_utf8_lossy(line).into_owned());
            Ok(())
        })?;
        let line = |at| lines.get(at).map_or("", String::as_str);
        Ok(liveness::parse(line(0), line(1)))
    }

    /// Starts `zfs receive`: the stream is to be written to [`Session::stream`]. With `is_last` the session ends with it:
    /// nothing that follows the stream is read.
    pub(super) fn start_receive(&mut self, arguments: &[&str], is_last: bool) -> Result<(), Problem> {
        self.request(if is_last { "receive-once" } else { "receive" }, arguments)
    }

    /// Where the stream of a receive goes in.
    pub(super) fn stream<'a>(&'a mut self, cancel: &Cancel) -> io::Result<FdTarget<&'a ChildStdin>> {
        let input = self.input.as_ref().ok_or(io::ErrorKind::BrokenPipe)?;
        FdTarget::new(input, cancel)
    }

    /// Waits for the end of a receive whose last byte is in, unless `doubt` says that it will not come.
    pub(super) fn end_receive(&mut self, doubt: Doubt<'_>) -> Result<CompletedCommand, Problem> {
        match self.answer(REST_LIMIT, AnswerLimit::of_words(), &mut |_| Ok(()), doubt) {
            // A stream may be cut although its sender reports success: then a receive waits for the rest. One that is still at
            // work has all it needs.
            Err(Problem::Stalled(_)) => {
                self.input = None;
                self.answer(Duration::MAX, AnswerLimit::of_words(), &mut |_| Ok(()), doubt)
            }
            ended => ended,
        }
    }

    /// Whether its input was closed: no request can follow.
    pub(super) fn is_closed(&self) -> bool {
        self.input.is_none()
    }

    /// Cuts the stream of a receive off, so that `zfs receive` keeps what it has, and waits a little for its words.
    pub(super) fn cut_receive(&mut self) -> Result<CompletedCommand, Problem> {
        self.input = None;
        self.answer(self.limits.farewell, AnswerLimit::of_words(), &mut |_| Ok(()), &mut |_| None)
    }

    /// Starts `zfs send`: the stream comes out of [`Session::sent`], and its end is the end of the session.
    pub(super) fn start_send(&mut self, arguments: &[&str]) -> Result<(), Problem> {
        self.request("send", arguments)
    }

    /// Where the stream of a send comes out. Asked for once.
    pub(super) fn sent(&mut self) -> Result<FdSource<ChildStdout>, Problem> {
        let output = self.output.take().ok_or_else(|| self.lost())?;
        output
            .into_source()
            .ok_or_else(|| Problem::Protocol("it wrote something before the stream".to_owned()))
    }

    /// How a `zfs send` ended. Whoever reads its stream must have seen the end, or be gone.
    pub(super) fn end_send(&mut self) -> Result<CompletedCommand, Problem> {
        let until = Instant::now() + self.limits.farewell;
        let said = self.errors.recv_deadline(until).map(|record| record.text).unwrap_or_default();
        self.input = None;
        match wait(&mut self.child, self.limits.farewell).and_then(|status| status.code()) {
            Some(255) if self.is_remote => Err(Problem::Unreachable(said)),
            Some(status) => Ok(CompletedCommand { status, errors: said }),
            None => Err(Problem::Protocol(format!("zfs send did not end by itself {said}"))),
        }
    }

    fn request(&mut self, mode: &str, arguments: &[&str]) -> Result<(), Problem> {
        let mut request = format!("{} {} {mode}\n", self.key, arguments.len());
        for argument in arguments {
            if argument.contains(['\n', '\0']) {
                return Err(Problem::Other(format!("{argument:?} cannot be an argument of zfs")));
            }
            request.push_str(argument);
            request.push('\n');
        }
        self.write(&request)
    }

    fn write(&mut self, text: &str) -> Result<(), Problem> {
        let Some(input) = &self.input else {
            return Err(self.lost());
        };
        let written = FdTarget::new(input, &self.cancel).and_then(|mut to| to.write_all(text.as_bytes()));
        written.map_err(|error| self.broken(&error))
    }

    fn answer(
        &mut self,
        limit: Duration,
        mut most: AnswerLimit,
        take: &mut dyn FnMut(&[u8]) -> Result<(), Problem>,
        doubt: Doubt<'_>,
    ) -> Result<CompletedCommand, Problem> {
        let mut heard = Instant::now();
        let status = loop {
            let Some(output) = &mut self.output else {
                return Err(self.lost());
            };
            match output.next(LOOK.min(limit)) {
                Ok(Line::Text(line)) => {
                    if let Some(status) = trailer(line, &self.key) {
                        break status;
                    }
                    most.count(line.len())?;
                    if line.is_empty() {
                        continue;
                    }
                    heard = Instant::now();
                    take(line)?;
                }
                Ok(Line::End) => return Err(self.lost()),
                Ok(Line::Late) if heard.elapsed() >= limit => {
                    return Err(Problem::Stalled(limit.as_secs()));
                }
                Ok(Line::Late) => {
                    if let Some(problem) = doubt(heard.elapsed()) {
                        return Err(problem);
                    }
                }
                Err(error) => return Err(self.broken(&error)),
            }
        };
        let record = self.next_record(limit.min(self.limits.answer))?;
        Ok(CompletedCommand { status, errors: record.text })
    }

    fn next_record(&mut self, limit: Duration) -> Result<Record, Problem> {
        match self.errors.recv_timeout(limit) {
            Ok(record) if record.is_complete => Ok(record),
            Ok(record) => Err(self.lost_saying(record.text)),
            Err(RecvTimeoutError::Timeout) => Err(Problem::Stalled(limit.as_secs())),
            Err(RecvTimeoutError::Disconnected) => Err(self.lost_saying(String::new())),
        }
    }

    /// The child's end of a pipe has gone, or somebody cancelled.
    pub(super) fn broken(&mut self, error: &io::Error) -> Problem {
        if Cancelled::is_in(error) {
            Problem::Cancelled
        } else if error.kind() == io::ErrorKind::InvalidData {
            Problem::Protocol(error.to_string())
        } else {
            self.lost()
        }
    }

    /// Why the child ended, in its own words if it had any.
    pub(super) fn lost(&mut self) -> Problem {
        let until = Instant::now() + self.limits.farewell;
        let mut text = String::new();
        while let Ok(record) = self.errors.recv_deadline(until) {
            text = record.text;
            if !record.is_complete {
                break;
            }
        }
        self.lost_saying(text)
    }

    fn lost_saying(&mut self, text: String) -> Problem {
        self.input = None;
        let status = wait(&mut self.child, self.limits.farewell);
        let said = if text.is_empty() { "without a word".to_owned() } else { format!("and said: {text}") };
        match status.map(|status| status.code()) {
            Some(Some(255)) if self.is_remote && !text.is_empty() => Problem::Unreachable(text),
            Some(Some(255)) if self.is_remote => Problem::Unreachable("ssh ended without a word".to_owned()),
            Some(Some(code)) => Problem::Protocol(format!("the shell ended with exit status {code} {said}")),
            Some(None) => Problem::Protocol(format!("the shell was killed by a signal {said}")),
            None => Problem::Protocol(format!("the shell closed its output {said}")),
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.input = None;
        if matches!(self.child.try_wait(), Ok(Some(_))) {
            return;
        }
        // The whole group: the worker's `zfs` as well, if it is on this machine.
        let group = i32::try_from(self.child.id()).ok().and_then(rustix::process::Pid::from_raw);
        for signal in [rustix::process::Signal::TERM, rustix::process::Signal::KILL] {
            if let Some(group) = group {
                // Fails only where it has just ended.
                let _ = rustix::process::kill_process_group(group, signal);
            }
            if wait(&mut self.child, Duration::from_secs(1)).is_some() {
                return;
            }
        }
        tracing::warn!("process {} does not end; it is left behind", self.child.id());
    }
}

fn spawn_errors_reader(errors: ChildStderr, key: String) -> Result<Receiver<Record>, Problem> {
    // More than one record at a time comes only from a worker that does not keep to the protocol; then it waits.
    let (records, receiver) = bounded(2);
    let reading = alone("errors", move || read_errors(errors, &key, &records));
    reading.map(|_| receiver).map_err(|error| Problem::Other(error.to_string()))
}

fn wait(child: &mut Child, limit: Duration) -> Option<ExitStatus> {
    let until = Instant::now() + limit;
    loop {
        if let Ok(Some(status)) = child.try_wait() {
            return Some(status);
        }
        if Instant::now() >= until {
            return None;
        }
        thread::sleep(Duration::from_millis(2));
    }
}
