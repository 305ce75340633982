//! The agent's side of a transfer: frames in, `zfs receive` behind them, and a progress reply every half second.

use std::convert::Infallible;
use std::io;
use std::sync::{Arc, PoisonError};
use std::thread;
use std::time::Duration;

use crossbeam_channel::RecvTimeoutError;
use ring_channel::TryRecvError;

use super::exclusive::Exclusive;
use super::server::{Ended, Server, lost};
use super::wire::{Receive, Reply, Sink};
use crate::host::{HostError, Incoming, Problem, ReceiveInput};
use crate::stream::framed::{FramedReceiver, workers};
use crate::stream::meter::{Meters, Places};
use crate::stream::pump::PumpSettings;
use crate::stream::sample::{SampleReceiver, SampleSender, samples};
use crate::stream::supervise::{PumpError, PumpReport};
use crate::stream::threads::beside;
use crate::stream::{Bottleneck, ByteSink, ByteSource, Cancel, FdSource};

/// How often the sender gets the receiver's bottleneck.
const WORD: Duration = Duration::from_millis(500);

/// Receives a stream; `exclusive` until its `zfs receive` can be seen.
pub(super) fn run(server: &Server<'_>, receive: &Receive, exclusive: Option<Exclusive<'_>>) -> Ended {
    let started = server.service.host.receive(&receive.spec);
    drop(exclusive);
    let incoming = match started {
        Ok(incoming) => incoming,
        Err(error) => return Ended::Clean(Err(error.problem)),
    };
    let Receive { over_connections, stream, buffer_bytes, stall_limit_seconds, .. } = *receive;
    serve_frames(server, &Sink { over_connections, stream, buffer_bytes, stall_limit_seconds }, incoming)
}

/// Takes frames in as a receive does, and keeps nothing.
pub(super) fn sink(server: &Server<'_>, sink: &Sink) -> Ended {
    serve_frames(server, sink, Box::new(Nowhere))
}

/// `zfs receive` for a stream that is only measured.
struct Nowhere;

impl ByteSink for Nowhere {
    fn write_some(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }
}

impl Incoming for Nowhere {
    fn inlet(&mut self, _: &Cancel, _: &Arc<Meters>) -> Result<ReceiveInput<'_>, HostError> {
        Ok(ReceiveInput::Plain(Box::new(Self)))
    }

    fn finish(self: Box<Self>) -> Result<(), HostError> {
        Ok(())
    }

    fn abort(self: Box<Self>) -> Option<HostError> {
        None
    }
}

fn serve_frames(server: &Server<'_>, frames: &Sink, incoming: Box<dyn Incoming + '_>) -> Ended {
    let cancel = match server.cancel.child() {
        Ok(cancel) => cancel,
        Err(error) => return Ended::Clean(Err(Problem::Other(error.to_string()))),
    };
    if let Err(error) = server.reply(&Reply::Ready) {
        incoming.abort();
        return Ended::Torn(lost(&error));
    }
    let (sender, latest) = samples();
    let (running, over) = crossbeam_channel::bounded(0);
    thread::scope(|scope| {
        if let Err(error) = beside(scope, "progress", || report_progress(server, &latest, &over, &cancel)) {
            incoming.abort();
            return Ended::Torn(Problem::Other(error.to_string()));
        }
        let received = take_in(server, frames, incoming, &cancel, sender);
        drop(running);
        match received {
            Ok(()) => Ended::Clean(Ok(())),
            Err(problem) => Ended::Torn(problem),
        }
    })
}

/// Receives everything and waits until the snapshot is complete; or breaks off and keeps what can be resumed.
fn take_in(
    server: &Server<'_>,
    frames: &Sink,
    mut incoming: Box<dyn Incoming + '_>,
    cancel: &Cancel,
    samples: SampleSender,
) -> Result<(), Problem> {
    let pumped = pump(server, frames, incoming.as_mut(), cancel, samples);
    match pumped {
        Ok(Ok(_)) => server.while_caller_is_there(|| incoming.finish().map_err(|error| error.problem)),
        Ok(Err(error)) => {
            let reported = incoming.abort().map(|error| error.problem);
            // Whoever failed first knows why: to `zfs receive` all else is only a stream that ends too early.
            let reported = reported.filter(|_| matches!(error, PumpError::Target(_)));
            Err(reported.unwrap_or_else(|| of_pump(&error)))
        }
        Err(problem) => {
            incoming.abort();
            Err(problem)
        }
    }
}

fn pump(
    server: &Server<'_>,
    frames: &Sink,
    incoming: &mut dyn Incoming,
    cancel: &Cancel,
    samples: SampleSender,
) -> Result<Result<PumpReport, PumpError>, Problem> {
    let meters = Meters::new(Places::RECEIVING, workers());
    meters.set_probes(None, incoming.probe());
    let inlet = incoming.inlet(cancel, &meters).map_err(|error| error.problem)?;
    let ReceiveInput::Plain(target) = inlet else {
        return Err(Problem::Other("this machine's own host wants frames; this is a bug".to_owned()));
    };
    let settings = PumpSettings {
        buffer_bytes: frames.buffer_bytes.min(server.service.buffer_bytes_max),
        rate: None,
        stall_limit: frames.stall_limit_seconds.map(Duration::from_secs),
    };
    let own = |error: io::Error| Problem::Other(error.to_string());
    let mut opened = server.connections.lock().unwrap_or_else(PoisonError::into_inner);
    let connections: Vec<Box<dyn ByteSource + '_>> = if frames.over_connections {
        opened
            .iter_mut()
            .map(|connection| connection.source(cancel))
            .collect::<Result<_, _>>()
            .map_err(own)?
    } else {
        vec![Box::new(FdSource::new(server.input, cancel).map_err(own)?)]
    };
    let receiver = FramedReceiver {
        settings,
        stream: frames.stream,
        meters: Arc::clone(&meters),
        cancel: cancel.clone(),
        samples: Some(samples),
    };
    Ok(receiver.run(connections, target))
}

/// Reports the receiver's bottleneck, until the sender side of `over` is dropped. If a reply cannot be written any
/// more, the receive is cancelled.
fn report_progress(
    server: &Server<'_>,
    samples: &SampleReceiver,
    over: &crossbeam_channel::Receiver<Infallible>,
    cancel: &Cancel,
) {
    let mut waiting_for = Bottleneck::Network;
    while over.recv_timeout(WORD) == Err(RecvTimeoutError::Timeout) {
        waiting_for = match samples.try_recv() {
            Ok(sample) => sample.bottleneck,
            Err(TryRecvError::Empty) => waiting_for,
            // After the last sample only `zfs receive` is at work.
            Err(TryRecvError::Disconnected) => Bottleneck::TargetReceive,
        };
        if server.reply(&Reply::Progress { waiting_for }).is_err() {
            cancel.request();
            return;
        }
    }
}

fn of_pump(error: &PumpError) -> Problem {
    match error {
        PumpError::Cancelled => Problem::Cancelled,
        PumpError::Stalled { limit, .. } => Problem::Stalled(limit.as_secs()),
        PumpError::PoolHangs(hanging) => Problem::PoolHangs(hanging.clone()),
        PumpError::Frame(damage) => Problem::Protocol(damage.to_string()),
        PumpError::Peer(text) => Problem::Other(text.clone()),
        PumpError::Source(_) | PumpError::Target(_) | PumpError::Setup(_) | PumpError::Crashed(_) => {
            Problem::Other(crate::stream::chain(error))
        }
    }
}
