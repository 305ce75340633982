//! One stage after the other, then all together.

use std::sync::atomic::AtomicBool;
use std::time::Instant;

use super::choice::{Choice, Settings, choose};
use super::compression_run::pump_settings;
use super::material::{KEPT_BYTES, Keeper, Limited, Memory, made};
use super::measured::{Flow, Measured, Received};
use super::network::{Connections, Over};
use super::receive::{Trial, check_can_destroy};
use super::report::{Report, Together};
use super::setup::{BenchError, Destination, Limits, Material, Setup, Snapshot};
use super::timing::{Timed, moved_since};
use crate::channel::connections::ConnectionKind;
use crate::model::{Channel, Compression};
use crate::stream::framed::workers;
use crate::stream::meter::{Meters, Places};
use crate::stream::pump::Pump;
use crate::stream::{ByteSource, Cancel};

/// The destination of a measured receive, and the snapshot to receive.
type Trials<'a> = Option<(&'a Destination<'a>, &'a Snapshot)>;

/// Measures everything.
pub fn run(setup: &Setup<'_>) -> Result<Report, BenchError> {
    let mut left_behind = Vec::new();
    let measured = measure(setup, &mut left_behind);
    match measured {
        Ok(report) => Ok(Report { left_behind, ..report }),
        Err(error) if left_behind.is_empty() => Err(error),
        Err(error) => Err(BenchError::LeftBehind { left: left_behind, error: Box::new(error) }),
    }
}

fn measure(setup: &Setup<'_>, left_behind: &mut Vec<String>) -> Result<Report, BenchError> {
    let trials = setup.trials()?;
    let (source, kept, is_whole) = setup.source()?;
    let compression_runs = setup.compression_runs(&kept, workers())?;
    let (ways, missing) = setup.ways(&kept)?;
    let mut remarks: Vec<String> = missing.into_iter().collect();
    let fastest = ways
        .iter()
        .filter(|way| way.channel != Channel::Tcp)
        .max_by(|a, b| a.flow.mib_per_second.total_cmp(&b.flow.mib_per_second));
    let receive = match trials {
        None => None,
        Some(trial) => {
            let way = fastest.map_or((Channel::Ssh, 1), |way| (way.channel, way.connections));
            let over = over(trial.0, way, Compression::Off);
            let most = u64::try_from(kept.len()).unwrap_or(u64::MAX);
            let bytes = if is_whole { u64::MAX } else { most };
            let limits = Limits { bytes, ..setup.limits };
            let (received, left) =
                setup.try_receive("the receive", trial.1, &over, Memory::once(&kept), limits);
            left_behind.extend(left);
            Some(received?)
        }
    };
    drop(kept);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let measured = Measured { cores, source, compression_runs, ways, receive };
    let choice = choose(&measured);
    let together = setup.together(&choice, trials, left_behind)?;
    if let Some(rate) = choice.tcp_mib_per_second {
        remarks.push(format!(
            "channel = \"tcp\" would do {rate:.0} MiB/s: authenticated, but readable by whoever listens in"
        ));
    }
    Ok(Report {
        target: setup.destination.as_ref().map_or("loopback", |destination| destination.name).to_owned(),
        stream: setup.material.to_string(),
        measured,
        choice,
        together,
        remarks,
        left_behind: Vec::new(),
    })
}

impl Setup<'_> {
    /// The measured receive, if it was asked for; refused here if the received dataset could not be removed again.
    fn trials(&self) -> Result<Trials<'_>, BenchError> {
        let (Some(destination), Material::Snapshot(_, snapshot), true) =
            (&self.destination, &self.material, self.receives)
        else {
            return Ok(None);
        };
        let end = (destination.open)(self.cancel, Channel::Ssh, 1);
        check_can_destroy(end.is_append_only(), destination.name)?;
        Ok(Some((destination, snapshot)))
    }

    /// The source read, the beginning of what it read, and whether that is all of the stream.
    fn source(&self) -> Result<(Flow, Vec<u8>, bool), BenchError> {
        let what = "the source";
        let (mut kept, was_cut) = (Vec::new(), AtomicBool::new(false));
        let (flow, _) = self.timed(what, |samples, cancel| {
            self.with_stream(what, cancel, |stream| {
                let keeper = Keeper { kept: &mut kept, most: KEPT_BYTES };
                let meters = Meters::new(Places::LOCAL, 0);
                let (settings, cancel, samples) = (pump_settings(), cancel.clone(), Some(samples));
                let source = Limited::new(stream, self.limits, &was_cut, true);
                let started = Instant::now();
                let pumped = Pump { settings, meters, cancel, samples }.run(source, keeper);
                let report = pumped.map_err(|error| BenchError::stream(what, error))?;
                Ok(moved_since(started, report.input_bytes, report.input_bytes))
            })
        })?;
        let is_whole =
            !was_cut.into_inner() && u64::try_from(kept.len()).is_ok_and(|kept| kept == flow.bytes);
        Ok((flow, kept, is_whole))
    }

    /// Opens the stream for `work`. That a snapshot's stream was not read to its end is no error.
    fn with_stream<T>(
        &self,
        what: &str,
        cancel: &Cancel,
        work: impl FnOnce(Box<dyn ByteSource + '_>) -> Result<T, BenchError>,
    ) -> Result<T, BenchError> {
        match &self.material {
            Material::Made => {
                let made = made();
                work(Box::new(Memory::repeated(&made)))
            }
            Material::Snapshot(host, snapshot) => {
                let failed = |error| BenchError::host(what, error);
                let mut outgoing = host.send(&snapshot.send_spec()).map_err(failed)?;
                let worked = work(outgoing.stream(cancel).map_err(failed)?);
                drop(outgoing);
                worked
            }
        }
    }

    /// Receives `source` and removes the dataset; also returns what could not be removed.
    fn try_receive(
        &self,
        what: &str,
        snapshot: &Snapshot,
        over: &Over<'_>,
        source: impl ByteSource,
        limits: Limits,
    ) -> (Result<Received, BenchError>, Option<String>) {
        // A cancelled bench still removes the dataset that it made.
        let patient = match Cancel::new() {
            Ok(patient) => patient,
            Err(error) => return (Err(error.into()), None),
        };
        let open = |cancel| (over.destination.open)(cancel, over.channel, over.connections);
        let (end, keeper) = (open(self.cancel), open(&patient));
        let trial = Trial {
            host: end.host(),
            keeper: keeper.host(),
            root: over.destination.root,
            snapshot,
            compression: over.compression,
        };
        self.receive(what, &trial, source, limits)
    }

    /// The whole way with the settings chosen.
    fn together(
        &self,
        choice: &Choice,
        trials: Trials<'_>,
        left_behind: &mut Vec<String>,
    ) -> Result<Option<Together>, BenchError> {
        let what = "all together";
        let settings = choice.settings.as_ref();
        let way = settings.map_or((Channel::Ssh, 1), |settings| (settings.channel, settings.connections));
        let compression = settings.map_or(Compression::Off, |settings| settings.compression);
        let was_cut = AtomicBool::new(false);
        if let Some((destination, snapshot)) = trials {
            let over = over(destination, way, compression);
            let cancel = self.cancel.child()?;
            let received = self.with_stream(what, &cancel, |stream| {
                let (received, left) = self.try_receive(what, snapshot, &over, stream, self.limits);
                left_behind.extend(left);
                received
            })?;
            return Ok(Some(Together { end: "received", received }));
        }
        let timed = match (&self.destination, settings) {
            (_, None) => None,
            (Some(destination), Some(_)) => {
                let over = over(destination, way, compression);
                let cancel = self.cancel.child()?;
                self.with_stream(what, &cancel, |stream| {
                    self.send_to_sink(&over, what, Limited::new(stream, self.limits, &was_cut, true))
                })?
            }
            (None, Some(settings)) => Some(self.together_here(settings)?),
        };
        Ok(timed.map(|(flow, waited_for)| Together {
            end: "thrown away",
            received: Received { flow, waited_for },
        }))
    }

    fn together_here(&self, settings: &Settings) -> Result<Timed, BenchError> {
        let what = "all together";
        let was_cut = AtomicBool::new(false);
        let kind = if settings.channel == Channel::Tcp { ConnectionKind::Tcp } else { ConnectionKind::Tls };
        let connections =
            Connections { kind, count: settings.connections, compression: settings.compression };
        self.timed(what, |samples, cancel| {
            self.with_stream(what, cancel, |stream| {
                connections.carry(what, Limited::new(stream, self.limits, &was_cut, true), samples, cancel)
            })
        })
    }
}

fn over<'a>(
    destination: &'a Destination<'a>,
    (channel, connections): (Channel, usize),
    compression: Compression,
) -> Over<'a> {
    Over { destination, channel, connections, compression }
}
