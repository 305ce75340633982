//! The ways across the network: connections from this machine to itself, or an agent that discards the data.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::AtomicBool;
use std::thread;
use std::time::{Duration, Instant};

use super::compression_run::pump_settings;
use super::material::{Keeper, Limited, Memory};
use super::measured::{Way, channel_name};
use super::setup::{BenchError, Destination, Setup};
use super::timing::{Moved, Timed, moved_since};
use crate::channel::connections::{Caller, Connection, ConnectionError, ConnectionKind, Listening};
use crate::host::{HostError, Incoming, Problem, ReceiveInput};
use crate::model::{Channel, Compression, PortRange};
use crate::stream::framed::{FramedReceiver, FramedSender, workers};
use crate::stream::meter::{Meters, Places};
use crate::stream::pump::Pump;
use crate::stream::sample::SampleSender;
use crate::stream::supervise::{PumpError, PumpReport};
use crate::stream::threads::beside;
use crate::stream::{ByteSource, Cancel};

/// How many connections are tried.
const CONNECTIONS: [usize; 3] = [1, 2, 4];
/// How long connections may take to be there.
const CONNECTIONS_LIMIT: Duration = Duration::from_secs(20);

impl Setup<'_> {
    /// Every way there is, with a stream that is not compressed; and what could not be measured.
    pub(super) fn ways(&self, kept: &[u8]) -> Result<(Vec<Way>, Option<String>), BenchError> {
        match &self.destination {
            None => Ok((self.ways_here(kept)?, None)),
            Some(destination) => self.ways_there(destination, kept),
        }
    }

    fn ways_here(&self, kept: &[u8]) -> Result<Vec<Way>, BenchError> {
        let mut ways = Vec::new();
        for (channel, kind) in [(Channel::Tls, ConnectionKind::Tls), (Channel::Tcp, ConnectionKind::Tcp)] {
            for connections in CONNECTIONS {
                let what = format!("the network, {} x{connections}", channel_name(channel));
                let (flow, _) = self.timed(&what, |samples, cancel| {
                    let was_cut = AtomicBool::new(false);
                    let source = Limited::new(Memory::repeated(kept), self.limits, &was_cut, true);
                    let connections = Connections { kind, count: connections, compression: Compression::Off };
                    connections.carry(&what, source, samples, cancel)
                })?;
                ways.push(Way { channel, connections, has_both_ends: true, flow });
            }
        }
        Ok(ways)
    }

    fn ways_there(
        &self,
        destination: &Destination<'_>,
        kept: &[u8],
    ) -> Result<(Vec<Way>, Option<String>), BenchError> {
        let name = destination.name;
        let mut ways = Vec::new();
        let more = [Channel::Tls, Channel::Tcp].into_iter().flat_map(|c| CONNECTIONS.map(|n| (c, n)));
        for (channel, connections) in std::iter::once((Channel::Ssh, 1)).chain(more) {
            let what = format!("the network, {} x{connections}", channel_name(channel));
            let was_cut = AtomicBool::new(false);
            let source = Limited::new(Memory::repeated(kept), self.limits, &was_cut, true);
            let over = Over { destination, channel, connections, compression: Compression::Off };
            match self.send_to_sink(&over, &what, source) {
                Ok(Some((flow, _))) => ways.push(Way { channel, connections, has_both_ends: false, flow }),
                Ok(None) => {
                    let why = "no agent of zhaul there could throw a stream away";
                    return Ok((ways, Some(format!("the way to {name} was not measured by itself: {why}"))));
                }
                // Connections need a port, which may well be closed.
                Err(BenchError::Host { error, .. })
                    if channel != Channel::Ssh && matches!(error.problem, Problem::Unreachable(_)) =>
                {
                    let why = error.problem;
                    return Ok((ways, Some(format!("connections beside ssh were not measured: {why}"))));
                }
                Err(error) => return Err(error),
            }
        }
        Ok((ways, None))
    }

    /// Sends `source` to an agent that throws it away; `None` where there is none.
    pub(super) fn send_to_sink(
        &self,
        over: &Over<'_>,
        what: &str,
        source: impl ByteSource,
    ) -> Result<Option<Timed>, BenchError> {
        let failed = |error| BenchError::host(what, error);
        let mut has_sink = true;
        let timed = self.timed(what, |samples, cancel| {
            let end = (over.destination.open)(cancel, over.channel, over.connections);
            let Some(mut incoming) = end.sink().map_err(failed)? else {
                has_sink = false;
                return Ok(Moved { bytes: 0, sent_bytes: 0, time: Duration::ZERO });
            };
            let started = Instant::now();
            let pumped =
                pump(source, incoming.as_mut(), over.compression, samples, cancel).map_err(failed)?.0;
            match pumped {
                Ok(report) => incoming
                    .finish()
                    .map_err(failed)
                    .map(|()| moved_since(started, report.input_bytes, report.output_bytes)),
                Err(error) => Err(match incoming.abort() {
                    Some(cause) => failed(cause),
                    None => BenchError::stream(what, error),
                }),
            }
        });
        timed.map(|timed| has_sink.then_some(timed))
    }
}

/// How a destination is reached.
pub(super) struct Over<'a> {
    pub(super) destination: &'a Destination<'a>,
    pub(super) channel: Channel,
    pub(super) connections: usize,
    pub(super) compression: Compression,
}

/// Moves `source` into `incoming`; returns the pump's result, and in any case the bytes that went in and out.
pub(super) fn pump(
    source: impl ByteSource,
    incoming: &mut dyn Incoming,
    compression: Compression,
    samples: SampleSender,
    cancel: &Cancel,
) -> Result<(Result<PumpReport, PumpError>, u64, u64), HostError> {
    let compressors = if compression == Compression::Off { 0 } else { workers() };
    let meters = Meters::new(incoming.places(), compressors);
    let inlet = incoming.inlet(cancel, &meters)?;
    let (settings, cancel, samples) = (pump_settings(), cancel.clone(), Some(samples));
    let seen = std::sync::Arc::clone(&meters);
    let pumped = match inlet {
        ReceiveInput::Plain(target) => Pump { settings, meters, cancel, samples }.run(source, target),
        ReceiveInput::Framed { connections, stream, .. } => {
            FramedSender { settings, compression, stream, meters, cancel, samples }.run(source, connections)
        }
    };
    Ok((pumped, seen.input_bytes(), seen.output_bytes()))
}

/// Connections from this machine to itself.
pub(super) struct Connections {
    pub(super) kind: ConnectionKind,
    pub(super) count: usize,
    pub(super) compression: Compression,
}

impl Connections {
    /// Carries `source` across and throws it away.
    pub(super) fn carry(
        &self,
        what: &str,
        source: impl ByteSource,
        samples: SampleSender,
        cancel: &Cancel,
    ) -> Result<Moved, BenchError> {
        let (mut near, mut far) = self.open(cancel).map_err(|error| BenchError::connections(what, error))?;
        let near: Result<Vec<_>, _> = near.iter_mut().map(|connection| connection.target(cancel)).collect();
        let far: Result<Vec<_>, _> = far.iter_mut().map(|connection| connection.source(cancel)).collect();
        let (near, far) = (near?, far?);
        let sender = FramedSender {
            settings: pump_settings(),
            compression: self.compression,
            stream: 0,
            meters: Meters::new(Places::SENDING, workers()),
            cancel: cancel.clone(),
            samples: Some(samples),
        };
        let receiver = FramedReceiver {
            settings: pump_settings(),
            stream: 0,
            meters: Meters::new(Places::RECEIVING, workers()),
            cancel: cancel.clone(),
            samples: None,
        };
        let mut nothing = Vec::new();
        let started = Instant::now();
        let (sent, taken) = thread::scope(|scope| -> Result<_, BenchError> {
            let receiving =
                beside(scope, "receive", || receiver.run(far, Keeper { kept: &mut nothing, most: 0 }))?;
            let sent = sender.run(source, near);
            drop(sender);
            Ok((sent, receiving.join().unwrap_or(Err(PumpError::Crashed("receive")))))
        })?;
        let report = sent.map_err(|error| BenchError::stream(what, error))?;
        taken.map_err(|error| BenchError::stream(what, error))?;
        Ok(moved_since(started, report.input_bytes, report.output_bytes))
    }

    /// Both ends of all connections.
    fn open(&self, cancel: &Cancel) -> Result<(Vec<Connection>, Vec<Connection>), ConnectionError> {
        let caller = Caller::new(self.kind)?;
        let here = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let (listening, offer) = Listening::open(&caller.greeting(), here, PortRange::default())?;
        thread::scope(|scope| {
            let accepting =
                beside(scope, "accept", || listening.accept(self.count, CONNECTIONS_LIMIT, cancel))
                    .map_err(ConnectionError::Setup)?;
            let near = caller.connect(&offer, self.count, CONNECTIONS_LIMIT, cancel)?;
            let far = accepting.join().unwrap_or(Err(ConnectionError::Nonsense("the listening end died")))?;
            Ok((near, far))
        })
    }
}
