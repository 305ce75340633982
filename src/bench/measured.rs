//! The results of measurements, as numbers.

use serde::{Serialize, Serializer};

use crate::model::{Channel, Compression};
use crate::stream::Bottleneck;

/// The result of one measurement. Rates and CPU are those of the stream before compression.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Flow {
    /// Bytes of the stream.
    pub bytes: u64,
    /// Bytes that went out: fewer if compressed.
    pub sent_bytes: u64,
    /// How long it took.
    pub seconds: f64,
    /// MiB of the stream a second.
    pub mib_per_second: f64,
    /// How often `sent_bytes` fit into `bytes`.
    pub ratio: f64,
    /// CPU seconds of this process and its children for one GiB of the stream.
    pub cpu_seconds_per_gib: f64,
}

impl Flow {
    /// From what was counted.
    pub fn new(bytes: u64, sent_bytes: u64, seconds: f64, cpu_seconds: f64) -> Self {
        let mib = mib(bytes);
        // A stream of nothing took no time: there is no rate to report.
        let per = |amount: f64, of: f64| if of > 0.0 { amount / of } else { 0.0 };
        Self {
            bytes,
            sent_bytes,
            seconds,
            mib_per_second: per(mib, seconds),
            ratio: per(mib, self::mib(sent_bytes)),
            cpu_seconds_per_gib: per(cpu_seconds, mib / 1024.0),
        }
    }
}

/// In MiB; exact to a KiB, and up to 4 TiB.
fn mib(bytes: u64) -> f64 {
    f64::from(u32::try_from(bytes >> 10).unwrap_or(u32::MAX)) / 1024.0
}

/// One compression on a number of threads, in memory.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CompressionRun {
    /// Which.
    #[serde(serialize_with = "as_text")]
    pub compression: Compression,
    /// On how many threads.
    pub threads: usize,
    /// Compression; the ratio holds the headers of frames, too.
    pub compress: Flow,
    /// And the reverse.
    pub decompress: Flow,
}

/// One way across the network, with a stream that is not compressed.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Way {
    /// The channel that carries the stream.
    #[serde(serialize_with = "as_name")]
    pub channel: Channel,
    /// Over how many connections.
    pub connections: usize,
    /// Both ends are on this machine, so its CPU did the work of both.
    pub has_both_ends: bool,
    /// The result.
    pub flow: Flow,
}

/// A measurement of a stage that cannot be had alone.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Received {
    /// The result.
    pub flow: Flow,
    /// The most frequent bottleneck, by the meters of the transfer; `None`: the transfer was too short for a sample.
    pub waited_for: Option<Bottleneck>,
}

/// All stages, each alone.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Measured {
    /// How many threads this machine runs at once.
    pub cores: usize,
    /// The stream read and thrown away.
    pub source: Flow,
    /// Compressions.
    pub compression_runs: Vec<CompressionRun>,
    /// Ways across the network.
    pub ways: Vec<Way>,
    /// The target's receive, with nothing in front of it but the network.
    pub receive: Option<Received>,
}

/// The policy's name for a channel.
pub fn channel_name(channel: Channel) -> &'static str {
    match channel {
        Channel::Auto => "auto",
        Channel::Ssh => "ssh",
        Channel::Tls => "tls",
        Channel::Tcp => "tcp",
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde wants it so")]
pub(super) fn as_text<S: Serializer>(value: &Compression, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde wants it so")]
pub(super) fn as_name<S: Serializer>(channel: &Channel, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(channel_name(*channel))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_those_of_the_stream_before_it_is_compressed() {
        let flow = Flow::new(1 << 30, 1 << 28, 2.0, 3.0);
        assert_eq!((flow.mib_per_second, flow.ratio, flow.cpu_seconds_per_gib), (512.0, 4.0, 3.0));
    }

    #[test]
    fn nothing_has_no_rate() {
        let flow = Flow::new(0, 0, 0.0, 0.1);
        assert_eq!((flow.mib_per_second, flow.ratio, flow.cpu_seconds_per_gib), (0.0, 0.0, 0.0));
    }
}
