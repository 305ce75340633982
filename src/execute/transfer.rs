//! Runs one transfer: the source's stream, through a pump, into the target.
//!
//! The end of the stream is not success. The receiver is told that all is in only when the sender has said that all was
//! sent; in every other case the receive is broken off, and what it has is kept for the next run to resume.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::state::{State, Taken};
use super::step::{Told, Work};
use crate::host::{
    HostError, Incoming, Inlet, Outgoing, Problem, ReceiveSpec, SendBase, SendSpec, TargetHost,
};
use crate::model::ByteCount;
use crate::plan::{Fallback, Step, Transfer};
use crate::stream::Cancel;
use crate::stream::framed::Sender;
use crate::stream::meter::Meters;
use crate::stream::pump::Pump;
use crate::stream::sample::{SampleReceiver, samples};
use crate::stream::supervise::{PumpError, PumpReport};

/// How often a watcher is shown a sample.
const SAMPLE_PAUSE: Duration = Duration::from_millis(200);

pub(super) fn run(
    work: &Work<'_>,
    step: &Step,
    transfer: &Transfer,
    target: &dyn TargetHost,
) -> Result<Told, HostError> {
    let source = work.hosts.source;
    let send = send_spec(transfer);
    let expected = work.settings.expects_sizes.then(|| source.estimate(&send).ok()).flatten();
    work.observer.started(step, expected);
    let cancel = work.cancel.child().map_err(|error| failed(transfer, Problem::Other(error.to_string())))?;
    let mut incoming = target.receive(&receive_spec(transfer))?;
    let mut outgoing = match source.send(&send) {
        Ok(outgoing) => outgoing,
        Err(error) => {
            incoming.abort();
            return Err(error);
        }
    };
    let pumped = pump(work, step, outgoing.as_mut(), incoming.as_mut(), cancel);
    let report = settle(work, transfer, pumped, outgoing, incoming)?;
    Ok(Told { moved_bytes: ByteCount(report.input_bytes), ..Told::default() })
}

/// The transfer as it can be made now, with what is to be told: of this run's snapshot with the GUID that it got, or of
/// the newest earlier one where it could not be taken. `Err` is why there is nothing to send.
pub(super) fn resolve(state: &State, planned: &Transfer) -> Result<(Transfer, Option<String>), String> {
    if planned.guid.is_some() {
        return Ok((planned.clone(), None));
    }
    let why = match state.taken(planned.snapshot.dataset()) {
        Taken::Yes(guid) => return Ok((Transfer { guid, ..planned.clone() }, None)),
        Taken::No(why) => why,
    };
    let why = format!("this run's snapshot was not taken: {why}");
    let Some(Fallback { snapshot, guid, target }) = planned.fallback.clone() else { return Err(why) };
    let remark = format!("sends {snapshot} instead: {why}");
    let transfer = Transfer { snapshot, guid: Some(guid), target, fallback: None, ..planned.clone() };
    Ok((transfer, Some(remark)))
}

fn send_spec(transfer: &Transfer) -> SendSpec {
    SendSpec {
        snapshot: transfer.snapshot.clone(),
        guid: transfer.guid,
        base: transfer.base.as_ref().map(|base| SendBase {
            kind: base.kind,
            name: base.name.clone(),
            guid: base.guid,
        }),
        resume: transfer.resume.clone(),
        encryption: transfer.encryption,
    }
}

fn receive_spec(transfer: &Transfer) -> ReceiveSpec {
    ReceiveSpec {
        snapshot: transfer.target.clone(),
        origin: transfer.origin.clone(),
        // A resumed stream goes into the dataset that its first part made, with the properties it got then.
        creates_dataset: transfer.creates_dataset && transfer.resume.is_none(),
        kind: transfer.kind,
        writer: transfer.writer.clone(),
    }
}

/// What the pump did, or the host's error where an end could not even be opened.
type Pumped = Result<Result<PumpReport, PumpError>, HostError>;

fn pump(
    work: &Work<'_>,
    step: &Step,
    outgoing: &mut dyn Outgoing,
    incoming: &mut dyn Incoming,
    cancel: Cancel,
) -> Pumped {
    let meters = Meters::new(incoming.places(), incoming.packers());
    // What is to be sent is looked at before anything is: nothing of a wrong stream reaches the target.
    let reader = outgoing.stream(&cancel)?;
    let inlet = incoming.inlet(&cancel, &meters)?;
    let settings = work.settings.pump.clone();
    let (sender, receiver) = samples();
    let samples = work.settings.expects_sizes.then_some(sender);
    let over = AtomicBool::new(false);
    Ok(std::thread::scope(|scope| {
        if samples.is_some() {
            scope.spawn(|| show(work, step, &receiver, &over));
        }
        let pumped = match inlet {
            Inlet::Plain(target) => Pump { settings, meters, stop: cancel, samples }.run(reader, target),
            Inlet::Framed { lanes, stream, compression } => {
                Sender { settings, compression, stream, meters, stop: cancel, samples }.run(reader, lanes)
            }
        };
        over.store(true, Ordering::Relaxed);
        pumped
    }))
}

fn show(work: &Work<'_>, step: &Step, receiver: &SampleReceiver, over: &AtomicBool) {
    while !over.load(Ordering::Relaxed) {
        if let Ok(sample) = receiver.try_recv() {
            work.observer.moved(step, &sample);
        }
        std::thread::sleep(SAMPLE_PAUSE);
    }
}

fn settle(
    work: &Work<'_>,
    transfer: &Transfer,
    pumped: Pumped,
    outgoing: Box<dyn Outgoing + '_>,
    incoming: Box<dyn Incoming + '_>,
) -> Result<PumpReport, HostError> {
    let error = match pumped {
        Ok(Ok(report)) => match outgoing.finish() {
            Ok(()) => return incoming.finish().map(|()| report),
            Err(error) => {
                // The stream ended early, which a receiver could take for its end: it must not commit.
                incoming.abort();
                return Err(error);
            }
        },
        Ok(Err(error)) => error,
        Err(error) => {
            incoming.abort();
            drop(outgoing);
            return Err(error);
        }
    };
    // The end that failed first knows why; the other one only sees that it is alone.
    match error {
        PumpError::Target(cause) => {
            let told = incoming.abort();
            drop(outgoing);
            Err(told.unwrap_or_else(|| failed(transfer, Problem::Other(cause.to_string()))))
        }
        PumpError::Source(cause) => {
            incoming.abort();
            let told = outgoing.finish().err();
            Err(told.unwrap_or_else(|| failed(transfer, Problem::Other(cause.to_string()))))
        }
        PumpError::Frame(damage) => end(transfer, incoming, outgoing, Problem::Protocol(damage.to_string())),
        PumpError::Peer(text) => end(transfer, incoming, outgoing, Problem::Other(text)),
        PumpError::Cancelled => {
            let told = incoming.abort();
            drop(outgoing);
            // Not the run was stopped but this transfer, by a target that gave up and says why.
            let told = told.filter(|_| !work.cancel.is_requested());
            Err(told.unwrap_or_else(|| failed(transfer, Problem::Cancelled)))
        }
        PumpError::Stalled { limit, .. } => {
            end(transfer, incoming, outgoing, Problem::Stalled(limit.as_secs()))
        }
        PumpError::Setup(cause) => end(transfer, incoming, outgoing, Problem::Other(cause.to_string())),
        PumpError::Crashed(stage) => {
            end(transfer, incoming, outgoing, Problem::Other(format!("internal error in stage {stage}")))
        }
    }
}

fn end(
    transfer: &Transfer,
    incoming: Box<dyn Incoming + '_>,
    outgoing: Box<dyn Outgoing + '_>,
    problem: Problem,
) -> Result<PumpReport, HostError> {
    incoming.abort();
    drop(outgoing);
    Err(failed(transfer, problem))
}

fn failed(transfer: &Transfer, problem: Problem) -> HostError {
    HostError::new(&transfer.snapshot, "send to", &transfer.target, problem)
}
