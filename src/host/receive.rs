//! The receiving half of a transfer, through a worker session.

use std::sync::{Arc, MutexGuard, PoisonError};

use super::guard::{Expected, Gate, Seen, SharedSeen};
use super::session::{CompletedCommand, Session};
use super::zfs_program::ZfsProgram;
use super::{HostError, Incoming, Problem, ReceiveInput, ReceiveSpec, zfs_errors};
use crate::model::{CopyEncryption, DatasetKind, Guid, Orphan, SnapshotName, WRITER_PROPERTY};
use crate::stream::Cancel;
use crate::stream::meter::{Meters, Places};
use crate::stream::probe::Probe;

const OPERATION: &str = "receive into";

/// Errors of a receiver whose stream was cut: they have no cause of their own.
const ECHOES: [&str; 3] = ["incomplete stream", "failed to read from stream", "without a word"];

/// `zfs receive` on the target, reading from a session's input.
#[derive(Debug)]
pub(super) struct ShellIncoming<'a> {
    program: &'a ZfsProgram,
    session: Session,
    snapshot: SnapshotName,
    outcome: Outcome,
    /// The required beginning of the stream, where its sender is not trusted.
    guard: Option<(Expected, SharedSeen)>,
}

/// The required result of a receive that reports no error.
#[derive(Debug, Clone, Copy)]
struct Outcome {
    /// The GUID of the snapshot.
    sent: Option<Guid>,
    /// Of a dataset that the stream makes: its properties are read back.
    made: Option<DatasetKind>,
    /// Whether whoever sends it is not believed.
    is_guarded: bool,
}

impl Outcome {
    fn check(self, program: &ZfsProgram, snapshot: &SnapshotName) -> Result<(), Problem> {
        self.sent.map_or(Ok(()), |sent| program.check_arrived(snapshot, sent))?;
        let Some(kind) = self.made else { return Ok(()) };
        // A user who may not set a property gets the data, a word on standard error and exit status 0.
        program.check_safe(snapshot.dataset(), kind)?;
        if self.is_guarded { program.check_nothing_received(snapshot.dataset()) } else { Ok(()) }
    }
}

impl<'a> ShellIncoming<'a> {
    pub(super) fn start(program: &'a ZfsProgram, spec: &ReceiveSpec) -> Result<Self, HostError> {
        let is_guarded = program.is_guarded();
        let failed = |problem| program.error(OPERATION, &spec.snapshot, problem);
        if spec.heals {
            program.check_scratch(spec).map_err(failed)?;
        }
        let mut spec = spec.clone();
        if is_guarded {
            spec.creates_dataset = !program.exists(spec.snapshot.dataset()).map_err(failed)?;
        }
        let spec = &spec;
        let arguments = arguments(spec, is_guarded);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let started = program.take_session().and_then(|mut session| {
            session.start_receive(&arguments, is_guarded)?;
            Ok(session)
        });
        let session = started.map_err(failed)?;
        let made = spec.creates_dataset.then_some(spec.kind);
        let guard = is_guarded.then(|| (Expected::of(spec), SharedSeen::default()));
        let outcome = Outcome { sent: spec.to, made, is_guarded };
        Ok(Self { program, session, snapshot: spec.snapshot.clone(), outcome, guard })
    }
}

impl ShellIncoming<'_> {
    /// The state of its gate, where the stream is checked.
    fn seen(&self) -> Option<MutexGuard<'_, Seen>> {
        let (_, seen) = self.guard.as_ref()?;
        Some(seen.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Why `zfs receive` failed.
    fn refused(&self, answer: CompletedCommand) -> Problem {
        let dataset = self.snapshot.dataset();
        let problem = self.program.with_room(zfs_errors::problem(answer), dataset);
        if matches!(problem, Problem::NotFound) {
            return self.program.first_cause_of_a_missing(dataset.as_str());
        }
        let Problem::Busy(text) = &problem else { return problem };
        if let Some(Orphan { pid, .. }) = self.program.receiver(dataset) {
            return Problem::Busy(format!("{text}; process {pid} there (zfs receive) is receiving into it"));
        }
        let has_token = self.program.resume_token(dataset).is_ok_and(|token| token.is_some());
        if text.contains(zfs_errors::PARTIAL_RECEIVE) || !has_token {
            return problem;
        }
        // Its call into the kernel was begun again, in mid-stream, and found what it had itself received before.
        Problem::Other(format!(
            "zfs receive was stopped or frozen there, and ended ({text}); what has arrived stays"
        ))
    }
}

impl Incoming for ShellIncoming<'_> {
    fn inlet(&mut self, cancel: &Cancel, _meters: &Arc<Meters>) -> Result<ReceiveInput<'_>, HostError> {
        match self.session.stream(cancel) {
            Ok(target) => Ok(ReceiveInput::Plain(match &self.guard {
                Some((expected, seen)) => Box::new(Gate::new(target, *expected, Arc::clone(seen))),
                None => Box::new(target),
            })),
            Err(error) => {
                let problem = Problem::Other(error.to_string());
                Err(self.program.error(OPERATION, &self.snapshot, problem))
            }
        }
    }

    fn probe(&self) -> Option<Probe> {
        Some(self.program.probe(self.snapshot.dataset().pool()))
    }

    fn places(&self) -> Places {
        if self.program.is_remote() { Places::SENDING } else { Places::LOCAL }
    }

    fn finish(mut self: Box<Self>) -> Result<(), HostError> {
        if self.seen().is_some_and(|seen| !seen.has_ended()) {
            // Its own words are only that the stream is cut.
            drop(self.session.cut_receive());
            let problem = Problem::Protocol("the stream ended before its end record".to_owned());
            return Err(self.program.error(OPERATION, &self.snapshot, problem));
        }
        let mut doubt = self.program.doubt(self.snapshot.dataset().pool());
        let problem = match self.session.end_receive(&mut doubt) {
            Ok(answer) if answer.status == 0 => {
                // A guarded receive is its worker's last.
                if self.guard.is_none() {
                    self.program.give_back(self.session);
                }
                let checked = self.outcome.check(self.program, &self.snapshot);
                return checked.map_err(|problem| self.program.error(OPERATION, &self.snapshot, problem));
            }
            Ok(answer) if self.session.is_closed() && answer.errors.contains(ECHOES[0]) => {
                Problem::Protocol("the stream ended before its end record".to_owned())
            }
            Ok(answer) => self.refused(answer),
            Err(problem) => problem,
        };
        Err(self.program.error(OPERATION, &self.snapshot, problem))
    }

    fn abort(mut self: Box<Self>) -> Option<HostError> {
        let refused = self.seen().and_then(|mut seen| seen.refused.take());
        let problem = match self.session.cut_receive() {
            _ if refused.is_some() => Problem::Denied(refused.unwrap_or_default()),
            Ok(answer) if answer.status == 0 => return None,
            Ok(answer) => self.refused(answer),
            Err(problem) => problem,
        };
        let is_echo = matches!(problem, Problem::Cancelled | Problem::Stalled(_))
            || matches!(&problem, Problem::Other(text) if ECHOES.iter().any(|echo| text.contains(echo)));
        (!is_echo).then(|| self.program.error(OPERATION, &self.snapshot, problem))
    }
}

/// Properties that no stream may bring to a copy behind an agent, whatever it is: they stay as they are, or what the copy
/// inherits. No stream that an agent takes has properties; this holds also where one slipped through.
const EXCLUDED: [&str; 15] = [
    "sharenfs",
    "sharesmb",
    "setuid",
    "exec",
    "devices",
    "snapdir",
    "overlay",
    "quota",
    "refquota",
    "reservation",
    "refreservation",
    "filesystem_limit",
    "snapshot_limit",
    "snapdev",
    "keylocation",
];

/// Always resumable (`-s`), never mounted (`-u`), never forced.
fn arguments(spec: &ReceiveSpec, is_guarded: bool) -> Vec<String> {
    if spec.heals {
        return ["receive", "-c"].map(str::to_owned).into_iter().chain([spec.snapshot.to_string()]).collect();
    }
    let mut arguments: Vec<String> = ["receive", "-s", "-u"].map(str::to_owned).into();
    if let Some(origin) = &spec.origin {
        arguments.extend(["-o".to_owned(), format!("origin={origin}")]);
    }
    // A clone is encrypted as its origin is.
    if spec.creates_dataset && spec.origin.is_none() && spec.copy_encryption == CopyEncryption::Off {
        arguments.extend(["-o", "encryption=off"].map(str::to_owned));
    }
    if spec.creates_dataset {
        let properties: &[&str] = match spec.kind {
            DatasetKind::Filesystem => &["-o", "readonly=on", "-o", "canmount=noauto", "-x", "mountpoint"],
            DatasetKind::Volume => &["-o", "readonly=on", "-o", "volmode=none"],
        };
        arguments.extend(properties.iter().map(|&property| property.to_owned()));
        if let Some(writer) = &spec.writer {
            arguments.extend(["-o".to_owned(), format!("{WRITER_PROPERTY}={writer}")]);
        }
    }
    if is_guarded {
        let forced: &[&str] =
            if spec.creates_dataset { &[] } else { &["mountpoint", "canmount", "readonly", "volmode"] };
        let excluded = forced.iter().chain(&EXCLUDED);
        arguments.extend(excluded.flat_map(|name| ["-x", name]).map(str::to_owned));
    }
    arguments.push(spec.snapshot.to_string());
    arguments
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Guid, Writer};

    #[test]
    fn a_new_dataset_gets_the_properties_of_a_safe_copy() {
        let mut spec = ReceiveSpec {
            copy_encryption: CopyEncryption::AsSent,
            snapshot: SnapshotName::parse("tank/vm 1@a").unwrap(),
            origin: Some(SnapshotName::parse("tank/old@b").unwrap()),
            heals: false,
            creates_dataset: true,
            kind: DatasetKind::Volume,
            to: None,
            from: None,
            writer: Some(Writer { guid: Guid(7), label: "pve0:rpool/a b".to_owned() }),
        };
        let volume = arguments(&spec, false).join("|");
        assert_eq!(
            volume,
            "receive|-s|-u|-o|origin=tank/old@b|-o|readonly=on|-o|volmode=none|-o|zhaul:writer=7 pve0:rpool/a b|tank/vm 1@a"
        );
        spec.kind = DatasetKind::Filesystem;
        assert!(
            arguments(&spec, false).join(" ").contains("-o canmount=noauto -x mountpoint -o zhaul:writer=7")
        );
        (spec.creates_dataset, spec.origin) = (false, None);
        assert_eq!(
            arguments(&spec, false).join(" "),
            "receive -s -u tank/vm 1@a",
            "the copy keeps what it has"
        );
        let guarded = arguments(&spec, true).join(" ");
        for excluded in ["mountpoint", "canmount", "readonly", "setuid", "sharenfs", "quota", "keylocation"] {
            assert!(guarded.contains(&format!(" -x {excluded} ")), "{guarded}");
        }
        spec.creates_dataset = true;
        let guarded = arguments(&spec, true).join(" ");
        assert!(guarded.contains("-o canmount=noauto") && !guarded.contains("-x canmount"), "{guarded}");
    }
}
