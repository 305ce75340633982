//! Compression and its reverse, through frames in memory.

use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use super::material::{Keeper, Limited, Memory};
use super::measured::{CompressionRun, Flow};
use super::setup::{BenchError, Limits, Setup};
use super::timing::moved_since;
use crate::model::Compression;
use crate::stream::framed::{FramedReceiver, FramedSender};
use crate::stream::meter::{Meters, Places};
use crate::stream::pump::PumpSettings;
use crate::stream::{ByteSink, ByteSource};

/// The compressions to measure.
const COMPRESSIONS: [Compression; 5] = [
    Compression::Lz4,
    Compression::Zstd(1),
    Compression::Zstd(3),
    Compression::Zstd(6),
    Compression::Zstd(9),
];

/// Memory for what is on its way: what is measured is to flow, not to be stored.
pub(super) const BUFFER_BYTES: u64 = 32 << 20;

pub(super) fn pump_settings() -> PumpSettings {
    PumpSettings { buffer_bytes: BUFFER_BYTES, rate: None, stall_limit: Some(Duration::from_secs(60)) }
}

fn count(threads: usize) -> String {
    if threads == 1 { "1 thread".to_owned() } else { format!("{threads} threads") }
}

impl Setup<'_> {
    /// Every compression of `kept` on one thread and on `threads`.
    pub(super) fn compression_runs(
        &self,
        kept: &[u8],
        threads: usize,
    ) -> Result<Vec<CompressionRun>, BenchError> {
        let mut counts = vec![1, threads];
        counts.dedup();
        let mut compression_runs = Vec::new();
        for compression in COMPRESSIONS {
            for &threads in &counts {
                compression_runs.push(self.compression_run(kept, compression, threads)?);
            }
        }
        Ok(compression_runs)
    }

    fn compression_run(
        &self,
        kept: &[u8],
        compression: Compression,
        threads: usize,
    ) -> Result<CompressionRun, BenchError> {
        let mut frames = Vec::new();
        let compress = self.compress(kept, compression, threads, &mut frames)?;
        let decompress = self.decompress(&frames, compression, threads)?;
        Ok(CompressionRun { compression, threads, compress, decompress })
    }

    fn compress(
        &self,
        kept: &[u8],
        compression: Compression,
        threads: usize,
        frames: &mut Vec<u8>,
    ) -> Result<Flow, BenchError> {
        let what = format!("compression with {compression}, {}", count(threads));
        let (flow, _) = self.timed(&what, |samples, cancel| {
            let was_cut = AtomicBool::new(false);
            let limits = Limits { bytes: u64::MAX, ..self.limits };
            let source = Limited::new(Memory::once(kept), limits, &was_cut, true);
            let connection: Box<dyn ByteSink + '_> = Box::new(Keeper { kept: frames, most: usize::MAX });
            let sender = FramedSender {
                settings: pump_settings(),
                compression,
                stream: 0,
                meters: Meters::new(Places::SENDING, threads),
                cancel: cancel.clone(),
                samples: Some(samples),
            };
            let started = Instant::now();
            let report =
                sender.run(source, vec![connection]).map_err(|error| BenchError::stream(&what, error))?;
            Ok(moved_since(started, report.input_bytes, report.output_bytes))
        })?;
        Ok(flow)
    }

    fn decompress(
        &self,
        frames: &[u8],
        compression: Compression,
        threads: usize,
    ) -> Result<Flow, BenchError> {
        let what = format!("decompressing of {compression}, {}", count(threads));
        let (flow, _) = self.timed(&what, |samples, cancel| {
            let connection: Box<dyn ByteSource + '_> = Box::new(Memory::once(frames));
            let mut nothing = Vec::new();
            let receiver = FramedReceiver {
                settings: pump_settings(),
                stream: 0,
                meters: Meters::new(Places::RECEIVING, threads),
                cancel: cancel.clone(),
                samples: Some(samples),
            };
            let started = Instant::now();
            let report = receiver
                .run(vec![connection], Keeper { kept: &mut nothing, most: 0 })
                .map_err(|error| BenchError::stream(&what, error))?;
            Ok(moved_since(started, report.output_bytes, report.input_bytes))
        })?;
        Ok(flow)
    }
}
