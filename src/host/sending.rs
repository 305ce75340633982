//! A machine that copies are read from: `zfs send` on that machine, through a worker session.
//!
//! No agent takes part: a key that a target confines to `zhaul agent` cannot read copies, and that is reported.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::BorrowedFd;
use std::process::ChildStdout;
use std::sync::Arc;
use std::time::Duration;

use super::listing::is_token;
use super::session::{Limits, Session};
use super::session_words::Speaks;
use super::sessions::{Machine, Sessions};
use super::zfs_program::ZfsProgram;
use super::{ContentSpec, HostError, Outgoing, Problem, SendSpec, TakeSpans, content, hold_back, zfs_errors};
use crate::model::{
    ByteCount, CONSISTENCY_PROPERTY, CopyEncryption, Encryption, Guid, SnapshotName, UserProperty,
};
use crate::stream::probe::Probe;
use crate::stream::{self, Cancel, FdSource};
use crate::zfs::StreamBegin;

/// How long the first record of a stream may take: `zfs send` of a large dataset from a busy pool is slow to begin.
const BEGIN_LIMIT: Duration = Duration::from_secs(10 * 60);

/// A machine that sends what it keeps.
#[derive(Debug)]
pub struct Sending {
    program: ZfsProgram,
}

impl Sending {
    /// A machine called `host` in errors. Nothing is connected before it is needed; `cancel` ends every wait.
    pub fn new(host: impl Into<String>, machine: Machine, cancel: &Cancel) -> Self {
        let sessions = Sessions::new(machine, Limits::default(), cancel);
        Self { program: ZfsProgram::new(host.into(), Arc::new(sessions)) }
    }

    /// How many bytes the stream will have (`zfs send -nP`), about.
    pub fn estimate(&self, spec: &SendSpec, token: Option<&str>) -> Result<ByteCount, HostError> {
        let failed = |problem| self.program.error("estimate the size of", &spec.snapshot, problem);
        let arguments = arguments(spec, token, &["-n", "-P"]).map_err(failed)?;
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let mut size = None;
        let answer = self.program.read(&arguments, &mut |line| {
            let text = String::from_utf8_lossy(line);
            if let Some(number) = text.strip_prefix("size\t") {
                size = number.trim().parse().ok().map(ByteCount::of_estimate);
            }
            Ok(())
        });
        match answer.map_err(failed)? {
            answer if answer.status == 0 => Ok(size.unwrap_or_default()),
            answer => Err(failed(zfs_errors::problem(answer))),
        }
    }

    /// The configuration of its guest that a snapshot carries, as user properties; none where it has none.
    pub fn config(&self, snapshot: &SnapshotName) -> Result<BTreeMap<String, String>, HostError> {
        let read = self.program.config(snapshot.dataset(), snapshot.name());
        read.map_err(|problem| self.program.error("read the properties of", snapshot, problem))
    }

    /// [`CONSISTENCY_PROPERTY`] of these snapshots, in their order; one that is gone, or whose name is another's by now, has
    /// one that does not count.
    pub fn consistency(
        &self,
        snapshots: &[(SnapshotName, Guid)],
    ) -> Result<Vec<Option<UserProperty>>, HostError> {
        let object = snapshots.first().map(|(name, _)| name.to_string()).unwrap_or_default();
        let read = self.program.user_property(CONSISTENCY_PROPERTY, snapshots);
        read.map_err(|problem| self.program.error("read the properties of", object, problem))
    }

    /// Starts to send. A broken-off stream resumes by its `token`, which the receiving dataset has.
    pub fn send(&self, spec: &SendSpec, token: Option<&str>) -> Result<Box<dyn Outgoing + '_>, HostError> {
        let started = arguments(spec, token, &[]).and_then(|arguments| start(&self.program, &arguments));
        let session = started.map_err(|problem| self.program.error("send", &spec.snapshot, problem))?;
        Ok(Box::new(ShellOutgoing {
            program: &self.program,
            session,
            spec: spec.clone(),
            is_confirmed: false,
        }))
    }
}

/// Starts `zfs` with these arguments, whose output is a stream.
fn start(program: &ZfsProgram, arguments: &[String]) -> Result<Session, Problem> {
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let mut session = program.take_session()?;
    if session.speaks() == Speaks::Agent {
        return Err(Problem::Denied(
            "the ssh key is confined to `zhaul agent` there, which does not send copies; \
             use a key without a forced command, or start `zfs send` there"
                .to_owned(),
        ));
    }
    session.start_send(&arguments)?;
    Ok(session)
}

impl ZfsProgram {
    /// Reads the content of a snapshot on the machine that it is on, or, behind a shell, here.
    pub(super) fn content(
        &self,
        spec: &ContentSpec,
        cancel: &Cancel,
        take: TakeSpans<'_>,
    ) -> Result<(), HostError> {
        let failed = |problem| self.error("read", &spec.snapshot, problem);
        let raw: &[&str] = if spec.is_raw { &["-w"] } else { &[] };
        let arguments: Vec<String> = ["send"]
            .iter()
            .chain(raw)
            .map(|&word| word.to_owned())
            .chain([spec.snapshot.to_string()])
            .collect();
        let session = start(self, &arguments).map_err(failed)?;
        let outgoing = ShellOutgoing { program: self, session, spec: spec.send(), is_confirmed: false };
        content::read(Box::new(outgoing), spec, cancel, &failed, take)
    }
}

/// Large, embedded and compressed blocks as they are, raw where encrypted: a resumed stream has its flags in the token.
fn arguments(spec: &SendSpec, token: Option<&str>, more: &[&str]) -> Result<Vec<String>, Problem> {
    let mut arguments: Vec<String> = ["send"].iter().chain(more).map(|&word| word.to_owned()).collect();
    if let Some(token) = token {
        if !is_token(token) {
            return Err(Problem::Other("the resume token is malformed".to_owned()));
        }
        arguments.extend(["-t".to_owned(), token.to_owned()]);
        return Ok(arguments);
    }
    arguments.extend(["-L", "-c"].map(str::to_owned));
    if spec.copy_encryption != CopyEncryption::ByTarget {
        arguments.push("-e".to_owned());
    }
    if spec.encryption == Encryption::On {
        arguments.push("-w".to_owned());
    }
    if let Some(base) = &spec.base {
        let dataset = base.origin.as_ref().unwrap_or(spec.snapshot.dataset());
        let base = format!("{dataset}{}{}", base.kind.separator(), base.name);
        arguments.extend(["-i".to_owned(), base]);
    }
    arguments.push(spec.snapshot.to_string());
    Ok(arguments)
}

/// `zfs send` on the machine that has the copy.
struct ShellOutgoing<'a> {
    program: &'a ZfsProgram,
    session: Session,
    spec: SendSpec,
    /// Whether its exit status was read already.
    is_confirmed: bool,
}

/// The output of `zfs send`. Its end alone does not show success, so the exit status is read too.
struct ShellSource<'a> {
    session: &'a mut Session,
    is_confirmed: &'a mut bool,
    output: FdSource<ChildStdout>,
}

impl stream::ByteSource for ShellSource<'_> {
    fn read_within(&mut self, buffer: &mut [u8], limit: Option<Duration>) -> io::Result<Option<usize>> {
        self.output.read_within(buffer, limit)
    }

    fn bare_fd(&self) -> Option<BorrowedFd<'_>> {
        self.output.bare_fd()
    }

    fn confirm_end(&mut self) -> io::Result<()> {
        *self.is_confirmed = true;
        end(self.session).map_err(io::Error::other)
    }
}

/// `Ok` only where `zfs send` wrote all of its stream.
fn end(session: &mut Session) -> Result<(), Problem> {
    match session.end_send()? {
        answer if answer.status == 0 => Ok(()),
        answer => Err(zfs_errors::problem(answer)),
    }
}

impl Outgoing for ShellOutgoing<'_> {
    fn stream(&mut self, cancel: &Cancel) -> Result<Box<dyn stream::ByteSource + '_>, HostError> {
        let Self { program, session, spec, is_confirmed } = self;
        let refuse = |problem| program.error("send", &spec.snapshot, problem);
        let output = session.sent().map_err(refuse)?;
        let mut record = [0; StreamBegin::BYTES];
        let count = match output.peek(&mut record, BEGIN_LIMIT) {
            Ok(count) => count,
            Err(_) if cancel.is_requested() => return Err(refuse(Problem::Cancelled)),
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                return Err(refuse(Problem::Stalled(BEGIN_LIMIT.as_secs())));
            }
            Err(error) => return Err(refuse(session.broken(&error))),
        };
        let Some(begin) = StreamBegin::parse(record.get(..count).unwrap_or_default()) else {
            let problem = Problem::Protocol("the stream does not begin as one".to_owned());
            // Where it gave up before its first record was whole, it says why.
            let ended = if count < record.len() { end(session) } else { Ok(()) };
            return Err(refuse(ended.err().unwrap_or(problem)));
        };
        spec.check_ends(begin.to, begin.from).map_err(refuse)?;
        let source = ShellSource { session, is_confirmed, output };
        if !begin.is_resumed {
            return Ok(Box::new(source));
        }
        let mut doubt = program.doubt(spec.snapshot.dataset().pool());
        let held = hold_back::until_first_block(source, cancel, &mut doubt).map_err(refuse)?;
        Ok(Box::new(held))
    }

    fn probe(&self) -> Option<Probe> {
        Some(self.program.probe(self.spec.snapshot.dataset().pool()))
    }

    fn finish(mut self: Box<Self>) -> Result<(), HostError> {
        // Not every reader asks: to `zfs receive` a stream that ended early is one that is still to come.
        if self.is_confirmed {
            return Ok(());
        }
        end(&mut self.session).map_err(|problem| self.program.error("send", &self.spec.snapshot, problem))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::SendBase;
    use crate::model::{Guid, PointKind, PointName, SnapshotName};

    #[test]
    fn streams_are_raw_where_encrypted_and_a_token_says_the_rest() {
        let mut spec = SendSpec {
            copy_encryption: CopyEncryption::AsSent,
            snapshot: SnapshotName::parse("tank/vm 1@b").unwrap(),
            guid: Some(Guid(2)),
            base: Some(SendBase {
                kind: PointKind::Snapshot,
                name: PointName::new("a").unwrap(),
                origin: None,
                guid: Guid(1),
            }),
            resume: None,
            encryption: Encryption::On,
        };
        let words = |spec: &SendSpec, token| arguments(spec, token, &[]).unwrap().join("|");
        assert_eq!(words(&spec, None), "send|-L|-c|-e|-w|-i|tank/vm 1@a|tank/vm 1@b");
        (spec.base, spec.encryption) = (None, Encryption::Off);
        assert_eq!(words(&spec, None), "send|-L|-c|-e|tank/vm 1@b");
        assert_eq!(words(&spec, Some("1-ab-2-cd")), "send|-t|1-ab-2-cd");
        assert!(arguments(&spec, Some("-R tank"), &[]).is_err());
    }
}
