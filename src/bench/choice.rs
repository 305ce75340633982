//! Which settings the measurements speak for, and what would limit a transfer with them. Pure.
//!
//! A transfer is as fast as its slowest stage, and all stages of one machine share its cores. TCP connections are measured but
//! never chosen: that others may read along is for a person to decide.

use serde::Serialize;

use super::measured::{CompressionRun, Flow, Measured, Way, as_name, as_text};
use crate::model::{Channel, Compression};
use crate::stream::Bottleneck;

/// As fast as the fastest, within what measurements differ by: then less work is worth more than the rest.
const WORTH: f64 = 0.95;
/// A readable channel is reported if it is faster by this factor.
const TELLING: f64 = 1.15;

/// The choice that follows from the measurements.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Choice {
    /// For the policy; `None` where there is nothing to set.
    pub settings: Option<Settings>,
    /// The expected rate with these settings.
    pub mib_per_second: f64,
    /// The bottleneck with these settings.
    pub bottleneck: Bottleneck,
    /// How fast it would be over TCP, where TCP is much faster: authenticated, but readable.
    pub tcp_mib_per_second: Option<f64>,
}

/// The settings of a link, as the policy has them.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Settings {
    /// `channel`.
    #[serde(serialize_with = "as_name")]
    pub channel: Channel,
    /// `connections`.
    pub connections: usize,
    /// `compression`.
    #[serde(serialize_with = "as_text")]
    pub compression: Compression,
}

/// The settings that these measurements speak for.
pub fn choose(measured: &Measured) -> Choice {
    let is_open = |way: &&Way| way.channel == Channel::Tcp;
    let closed = best(measured, measured.ways.iter().filter(|way| !is_open(way)));
    let open = best(measured, measured.ways.iter().filter(is_open));
    let Some(chosen) = closed else {
        let alone = Candidate::new(measured, None, None);
        return Choice {
            settings: None,
            mib_per_second: alone.rate,
            bottleneck: alone.bottleneck,
            tcp_mib_per_second: None,
        };
    };
    Choice {
        settings: chosen.settings(),
        mib_per_second: chosen.rate,
        bottleneck: chosen.bottleneck,
        tcp_mib_per_second: open.map(|open| open.rate).filter(|rate| *rate > chosen.rate * TELLING),
    }
}

/// One possible choice, and what is to be expected of it.
struct Candidate<'a> {
    way: Option<&'a Way>,
    compression_run: Option<&'a CompressionRun>,
    rate: f64,
    bottleneck: Bottleneck,
    cpu_seconds_per_gib: f64,
}

fn best<'a>(measured: &'a Measured, ways: impl Iterator<Item = &'a Way>) -> Option<Candidate<'a>> {
    let threads = measured.compression_runs.iter().map(|compression_run| compression_run.threads).max();
    let compression_runs = || {
        measured.compression_runs.iter().filter(|compression_run| Some(compression_run.threads) == threads)
    };
    let candidates: Vec<_> = ways
        .flat_map(|way| {
            let compression_runs = std::iter::once(None).chain(compression_runs().map(Some));
            compression_runs.map(move |compression_run| Candidate::new(measured, Some(way), compression_run))
        })
        .collect();
    let fastest = candidates.iter().map(|one| one.rate).fold(0.0, f64::max);
    candidates.into_iter().filter(|one| one.rate >= fastest * WORTH).min_by(|a, b| {
        let connections = |one: &Candidate<'_>| one.way.map(|way| way.connections);
        a.cpu_seconds_per_gib
            .total_cmp(&b.cpu_seconds_per_gib)
            .then_with(|| connections(a).cmp(&connections(b)))
    })
}

impl<'a> Candidate<'a> {
    fn new(measured: &Measured, way: Option<&'a Way>, compression_run: Option<&'a CompressionRun>) -> Self {
        let ratio = compression_run
            .map_or(1.0, |compression_run| compression_run.compress.ratio.max(f64::MIN_POSITIVE));
        let cpu = |flow: &Flow| flow.cpu_seconds_per_gib;
        let has_both_ends = way.is_some_and(|way| way.has_both_ends);
        let compressed = compression_run.map_or(0.0, |compression_run| {
            cpu(&compression_run.compress)
                + if has_both_ends { cpu(&compression_run.decompress) } else { 0.0 }
        });
        // Who works most is what the cores would have to be spared.
        let shares = [
            (Bottleneck::SourceRead, cpu(&measured.source)),
            (Bottleneck::Compress, compressed),
            (Bottleneck::Network, way.map_or(0.0, |way| cpu(&way.flow) / ratio)),
        ];
        let cpu_seconds_per_gib: f64 = shares.iter().map(|(_, share)| share).sum();
        let worker = shares.iter().max_by(|a, b| a.1.total_cmp(&b.1)).map_or(Bottleneck::SourceRead, |s| s.0);
        let cores = f64::from(u32::try_from(measured.cores).unwrap_or(u32::MAX));
        let of_cores =
            if cpu_seconds_per_gib > 0.0 { cores * 1024.0 / cpu_seconds_per_gib } else { f64::MAX };
        let mut limits = vec![(Bottleneck::SourceRead, measured.source.mib_per_second)];
        if let Some(compression_run) = compression_run {
            limits.push((Bottleneck::Compress, compression_run.compress.mib_per_second));
            limits.push((Bottleneck::Compress, compression_run.decompress.mib_per_second));
        }
        limits.extend(way.map(|way| (Bottleneck::Network, way.flow.mib_per_second * ratio)));
        // One that waited for the network says nothing about the pool.
        let received = measured
            .receive
            .as_ref()
            .filter(|received| way.is_none() || received.waited_for == Some(Bottleneck::TargetReceive));
        limits.extend(received.map(|received| (Bottleneck::TargetReceive, received.flow.mib_per_second)));
        limits.push((worker, of_cores));
        let slowest = limits.into_iter().min_by(|a, b| a.1.total_cmp(&b.1));
        let (bottleneck, rate) = slowest.unwrap_or((Bottleneck::SourceRead, 0.0));
        Self { way, compression_run, rate, bottleneck, cpu_seconds_per_gib }
    }

    fn settings(&self) -> Option<Settings> {
        self.way.map(|way| Settings {
            channel: way.channel,
            connections: way.connections,
            compression: self
                .compression_run
                .map_or(Compression::Off, |compression_run| compression_run.compression),
        })
    }
}
