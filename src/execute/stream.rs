//! Moves one stream from where it is sent to where it is received, through a pump.
//!
//! The end of the stream is not success. The receive is committed only after the sender has said that all was sent;
//! in every other case the receive is broken off, and what it has is kept for the next run to resume.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use super::Settings;
use crate::host::{HostError, Incoming, Outgoing, Problem, ReceiveInput};
use crate::model::SnapshotName;
use crate::stream::Cancel;
use crate::stream::framed::FramedSender;
use crate::stream::meter::{Meters, Places};
use crate::stream::pump::Pump;
use crate::stream::sample::{Sample, SampleReceiver, samples};
use crate::stream::supervise::{PumpError, PumpReport};
use crate::stream::threads::beside;

/// How often a watcher is shown a sample.
const SAMPLE_PAUSE: Duration = Duration::from_millis(200);

/// One stream to move, and its watcher.
pub(super) struct Stream<'a> {
    /// The snapshot that is sent, and its name at the target: for errors.
    pub(super) snapshot: &'a SnapshotName,
    pub(super) target: &'a SnapshotName,
    pub(super) settings: &'a Settings,
    pub(super) show: &'a (dyn Fn(&Sample) + Sync),
    /// Requested by a person: then nothing else was wrong.
    pub(super) run_cancel: &'a Cancel,
    /// Gets the bytes that were handed to the target added, also where the stream fails.
    pub(super) handed_on: Option<&'a AtomicU64>,
}

impl Stream<'_> {
    /// Moves it. `cancel` is its own.
    pub(super) fn run(
        &self,
        mut outgoing: Box<dyn Outgoing + '_>,
        mut incoming: Box<dyn Incoming + '_>,
        cancel: Cancel,
    ) -> Result<PumpReport, HostError> {
        let pumped = pump(self, outgoing.as_mut(), incoming.as_mut(), cancel);
        resolve(self, pumped, outgoing, incoming)
    }

    fn failed(&self, problem: Problem) -> HostError {
        HostError::new(self.snapshot, "send to", self.target, problem)
    }
}

/// The pump's result, or the host's error where an end could not even be opened.
type Pumped = Result<Result<PumpReport, PumpError>, HostError>;

fn pump(
    stream: &Stream<'_>,
    outgoing: &mut dyn Outgoing,
    incoming: &mut dyn Incoming,
    cancel: Cancel,
) -> Pumped {
    let meters = Meters::new(incoming.places(), incoming.compressors());
    let counted = Arc::clone(&meters);
    meters.set_probes(outgoing.probe(), incoming.probe());
    // The source checks its stream before anything is sent: nothing of a wrong stream reaches the target.
    let reader = outgoing.stream(&cancel)?;
    let inlet = incoming.inlet(&cancel, &meters)?;
    let settings = stream.settings.pump.clone();
    let (sender, receiver) = samples();
    let samples = stream.settings.expects_sizes.then_some(sender);
    let over = AtomicBool::new(false);
    let pumped = std::thread::scope(|scope| {
        if samples.is_some() {
            // Without the thread the stream is still sent; its progress is not shown.
            drop(beside(scope, "show", || show(stream, &receiver, &over)));
        }
        let pumped = match inlet {
            ReceiveInput::Plain(target) => Pump { settings, meters, cancel, samples }.run(reader, target),
            ReceiveInput::Framed { connections, stream, compression } => {
                FramedSender { settings, compression, stream, meters, cancel, samples }
                    .run(reader, connections)
            }
        };
        over.store(true, Ordering::Relaxed);
        pumped
    });
    if let Some(handed_on) = stream.handed_on {
        handed_on.fetch_add(counted.output_bytes(), Ordering::Relaxed);
    }
    Ok(pumped)
}

fn show(stream: &Stream<'_>, receiver: &SampleReceiver, over: &AtomicBool) {
    while !over.load(Ordering::Relaxed) {
        if let Ok(sample) = receiver.try_recv() {
            (stream.show)(&sample);
        }
        std::thread::sleep(SAMPLE_PAUSE);
    }
}

fn resolve(
    stream: &Stream<'_>,
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
            let is_remote = incoming.places() == Places::SENDING;
            let reported = incoming.abort();
            drop(outgoing);
            Err(reported.unwrap_or_else(|| stream.failed(connection_broke(&cause, is_remote))))
        }
        PumpError::Source(cause) => {
            incoming.abort();
            let reported = outgoing.finish().err();
            Err(reported.unwrap_or_else(|| stream.failed(Problem::Other(cause.to_string()))))
        }
        PumpError::Frame(damage) => end(stream, incoming, outgoing, Problem::Protocol(damage.to_string())),
        PumpError::Peer(text) => end(stream, incoming, outgoing, Problem::Other(text)),
        PumpError::Cancelled => {
            let reported = incoming.abort();
            drop(outgoing);
            // Not the run was stopped but this transfer, by a target that gave up and says why.
            let reported = reported.filter(|_| !stream.run_cancel.is_requested());
            Err(reported.unwrap_or_else(|| stream.failed(Problem::Cancelled)))
        }
        PumpError::Stalled { limit, .. } => {
            end(stream, incoming, outgoing, Problem::Stalled(limit.as_secs()))
        }
        PumpError::PoolHangs(hanging) => end(stream, incoming, outgoing, Problem::PoolHangs(hanging)),
        PumpError::Setup(cause) => end(stream, incoming, outgoing, Problem::Other(cause.to_string())),
        PumpError::Crashed(stage) => {
            end(stream, incoming, outgoing, Problem::Other(format!("internal error in stage {stage}")))
        }
    }
}

/// The problem of a stream that the target no longer takes, where the target itself gives no reason.
fn connection_broke(cause: &io::Error, is_remote: bool) -> Problem {
    if is_remote {
        return Problem::Unreachable(format!("the connection broke in mid-transfer: {cause}"));
    }
    Problem::Other(cause.to_string())
}

fn end(
    stream: &Stream<'_>,
    incoming: Box<dyn Incoming + '_>,
    outgoing: Box<dyn Outgoing + '_>,
    problem: Problem,
) -> Result<PumpReport, HostError> {
    incoming.abort();
    drop(outgoing);
    Err(stream.failed(problem))
}
