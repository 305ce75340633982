//! Runs one transfer of a plan: which stream it is by now, and what each end is asked for.

use std::collections::BTreeMap;

use super::state::{State, Taken};
use super::stream::Stream;
use super::work::{StepResult, Work};
use crate::host::{HostError, Problem, ReceiveSpec, SendBase, SendSpec, SourceHost, TargetHost};
use crate::model::{ByteCount, Change, PointKind};
use crate::plan::{Fallback, Step, Transfer};
use crate::stream::Cancel;
use crate::stream::threads::beside;

pub(super) fn run(
    work: &Work<'_>,
    step: &Step,
    transfer: &Transfer,
    target: &dyn TargetHost,
) -> Result<StepResult, HostError> {
    let source = work.hosts.source;
    let send = send_spec(transfer);
    work.observer.started(step);
    // Read before the stream: its end lets go of the snapshot, which may be destroyed at once with its guest.
    let config = source.config(&transfer.snapshot);
    let cancel = work.cancel.child().map_err(|error| failed(transfer, Problem::Other(error.to_string())))?;
    let incoming = target.receive(&receive_spec(transfer))?;
    let outgoing = match source.send(&send) {
        Ok(outgoing) => outgoing,
        Err(error) => {
            incoming.abort();
            return Err(error);
        }
    };
    let stream = Stream {
        snapshot: &transfer.snapshot,
        target: &transfer.target,
        settings: work.settings,
        show: &|sample| work.observer.moved(step, sample),
        run_cancel: work.cancel,
        handed_on: None,
    };
    let estimating =
        work.cancel.child().map_err(|error| failed(transfer, Problem::Other(error.to_string())))?;
    let report = std::thread::scope(|scope| {
        if work.settings.expects_sizes {
            let estimate = || {
                if let Ok(expected) = source.estimate(&send, &estimating) {
                    work.observer.sized(step, expected);
                }
            };
            // Beside the transfer: from a bookmark it reads as much as the transfer does. No step depends on it.
            drop(beside(scope, "estimate", estimate));
        }
        let report = stream.run(outgoing, incoming, cancel);
        estimating.request();
        report
    });
    let report = report.map_err(|error| with_size(source, &send, error, work.cancel))?;
    let remarks = store_config(config, transfer, target).into_iter().collect();
    Ok(StepResult { moved_bytes: ByteCount(report.input_bytes), remarks, ..StepResult::default() })
}

/// Adds how large the stream is to what failed because the target has too little room.
fn with_size(source: &dyn SourceHost, send: &SendSpec, error: HostError, cancel: &Cancel) -> HostError {
    let Problem::NoSpace(text) = &error.problem else { return error };
    let Ok(size) = source.estimate(send, cancel) else { return error };
    let problem = Problem::NoSpace(format!("{text}; the stream has about {size}"));
    HostError { problem, ..error }
}

/// Gives the copy's snapshot the configuration that the source's carries. The copy is complete without it, so a failure
/// is only remarked.
fn store_config(
    config: Result<BTreeMap<String, String>, HostError>,
    transfer: &Transfer,
    target: &dyn TargetHost,
) -> Option<String> {
    let stored = config.and_then(|properties| {
        let guid = transfer.guid.filter(|_| !properties.is_empty());
        let Some(guid) = guid else { return Ok(()) };
        let (dataset, snapshot) = (transfer.target.dataset().clone(), transfer.target.name().clone());
        target.change(&Change::StoreConfig { dataset, snapshot, guid, properties }).map(drop)
    });
    let error = stored.err()?;
    Some(format!("{} is there without the guest's configuration: {}", transfer.target, error.chain()))
}

/// The transfer as it can be made now, with a remark: of this run's snapshot with the GUID that it got, or of
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

/// Looks once more at what an increment of this run's snapshot from a bookmark rests on: the newest own snapshot that was there
/// when the plan was made must still exist, now that the new one does, and the history of the pool must not say that the dataset
/// has left the bookmark. Else it may have left its line in between, as `zfs receive -F` does.
pub(super) fn confirm_line(work: &Work<'_>, planned: &Transfer) -> Result<(), HostError> {
    let base = planned.base.as_ref().filter(|base| base.kind == PointKind::Bookmark);
    let Some(base) = base.filter(|_| planned.guid.is_none()) else { return Ok(()) };
    let member = work.state.member(&planned.snapshot);
    // Without an own snapshot, or with one that is older than the bookmark, only the history of the pool shows this.
    if member.and_then(|member| member.previous_txg).is_none_or(|txg| txg < base.createtxg) {
        let histories = work.hosts.source.line_histories(std::slice::from_ref(planned.snapshot.dataset()))?;
        if histories.iter().any(|history| history.left(base.createtxg)) {
            let why = "the dataset was rolled back or received into; the next run plans again";
            return Err(failed(planned, Problem::Changed(why.to_owned())));
        }
    }
    let Some((name, guid)) = member.and_then(|member| member.previous.clone()) else { return Ok(()) };
    match work.hosts.source.details(&[(name.clone(), guid)])?.as_slice() {
        [Some(_)] => Ok(()),
        _ => Err(failed(planned, Problem::Changed(format!("{name} is gone; the next run plans without it")))),
    }
}

fn send_spec(transfer: &Transfer) -> SendSpec {
    SendSpec {
        snapshot: transfer.snapshot.clone(),
        guid: transfer.guid,
        base: transfer.base.as_ref().map(|base| SendBase {
            kind: base.kind,
            name: base.name.clone(),
            origin: base.origin.clone(),
            guid: base.guid,
        }),
        resume: transfer.resume.clone(),
        encryption: transfer.encryption,
        copy_encryption: transfer.copy_encryption,
    }
}

fn receive_spec(transfer: &Transfer) -> ReceiveSpec {
    ReceiveSpec {
        snapshot: transfer.target.clone(),
        origin: transfer.origin.clone(),
        // A resumed stream goes into the dataset that its first part made, with the properties it got then.
        heals: false,
        creates_dataset: transfer.creates_dataset && transfer.resume.is_none(),
        kind: transfer.kind,
        copy_encryption: transfer.copy_encryption,
        to: transfer.guid,
        from: transfer.base.as_ref().map(|base| base.guid),
        writer: transfer.writer.clone(),
    }
}

fn failed(transfer: &Transfer, problem: Problem) -> HostError {
    HostError::new(&transfer.snapshot, "send to", &transfer.target, problem)
}
