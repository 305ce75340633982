//! The receiving half of a transfer, through a worker session.

use std::sync::Arc;

use super::session::Session;
use super::zfs_program::ZfsProgram;
use super::{HostError, Incoming, Inlet, Problem, ReceiveSpec, zfs_words};
use crate::model::{CopyEncryption, DatasetKind, SnapshotName, WRITER_PROPERTY};
use crate::stream::Cancel;
use crate::stream::meter::{Meters, Places};

const OPERATION: &str = "receive into";

/// What a cut of the stream looks like from the other end: no account of its own.
const ECHOES: [&str; 3] = ["incomplete stream", "failed to read from stream", "without a word"];

/// `zfs receive` at the other end, reading from a session's input.
#[derive(Debug)]
pub(super) struct ShellIncoming<'a> {
    program: &'a ZfsProgram,
    session: Session,
    snapshot: SnapshotName,
    /// Of a dataset that the stream makes: its properties are read back.
    made: Option<DatasetKind>,
}

impl<'a> ShellIncoming<'a> {
    pub(super) fn start(program: &'a ZfsProgram, spec: &ReceiveSpec) -> Result<Self, HostError> {
        let arguments = arguments(spec);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let started = program.take_session().and_then(|mut session| {
            session.start_receive(&arguments)?;
            Ok(session)
        });
        let session = started.map_err(|problem| program.error(OPERATION, &spec.snapshot, problem))?;
        let made = spec.creates_dataset.then_some(spec.kind);
        Ok(Self { program, session, snapshot: spec.snapshot.clone(), made })
    }
}

impl Incoming for ShellIncoming<'_> {
    fn inlet(&mut self, cancel: &Cancel, _meters: &Arc<Meters>) -> Result<Inlet<'_>, HostError> {
        match self.session.stream(cancel) {
            Ok(target) => Ok(Inlet::Plain(Box::new(target))),
            Err(error) => {
                let problem = Problem::Other(error.to_string());
                Err(self.program.error(OPERATION, &self.snapshot, problem))
            }
        }
    }

    fn places(&self) -> Places {
        if self.program.is_remote() { Places::SENDING } else { Places::LOCAL }
    }

    fn finish(mut self: Box<Self>) -> Result<(), HostError> {
        let problem = match self.session.end_receive() {
            Ok(answer) if answer.status == 0 => {
                self.program.give_back(self.session);
                // A user who may not set a property gets the data, a word on standard error and exit status 0.
                let made =
                    self.made.map_or(Ok(()), |kind| self.program.check_safe(self.snapshot.dataset(), kind));
                return made.map_err(|problem| self.program.error(OPERATION, &self.snapshot, problem));
            }
            Ok(answer) => zfs_words::problem(answer),
            Err(problem) => problem,
        };
        Err(self.program.error(OPERATION, &self.snapshot, problem))
    }

    fn abort(mut self: Box<Self>) -> Option<HostError> {
        let problem = match self.session.cut_receive() {
            Ok(answer) if answer.status == 0 => return None,
            Ok(answer) => zfs_words::problem(answer),
            Err(problem) => problem,
        };
        let is_echo = matches!(problem, Problem::Cancelled | Problem::Stalled(_))
            || matches!(&problem, Problem::Other(text) if ECHOES.iter().any(|echo| text.contains(echo)));
        (!is_echo).then(|| self.program.error(OPERATION, &self.snapshot, problem))
    }
}

/// Always resumable (`-s`), never mounted (`-u`), never forced.
fn arguments(spec: &ReceiveSpec) -> Vec<String> {
    let mut arguments: Vec<String> = ["receive", "-s", "-u"].map(str::to_owned).into();
    if let Some(origin) = &spec.origin {
        arguments.extend(["-o".to_owned(), format!("origin={origin}")]);
    }
    if spec.creates_dataset && spec.copy_encryption == CopyEncryption::Off {
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
            creates_dataset: true,
            kind: DatasetKind::Volume,
            writer: Some(Writer { guid: Guid(7), label: "pve0:rpool/a b".to_owned() }),
        };
        let volume = arguments(&spec).join("|");
        assert_eq!(
            volume,
            "receive|-s|-u|-o|origin=tank/old@b|-o|readonly=on|-o|volmode=none|-o|zhaul:writer=7 pve0:rpool/a b|tank/vm 1@a"
        );
        spec.kind = DatasetKind::Filesystem;
        assert!(arguments(&spec).join(" ").contains("-o canmount=noauto -x mountpoint -o zhaul:writer=7"));
        (spec.creates_dataset, spec.origin) = (false, None);
        assert_eq!(arguments(&spec).join(" "), "receive -s -u tank/vm 1@a", "the copy keeps what it has");
    }
}
