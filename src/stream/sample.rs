//! Samples of a transfer for a screen, taken from the meters a few times a second.
//!
//! They travel through a ring that keeps the latest and drops the rest, so no reader is needed.

use std::num::NonZeroUsize;
use std::time::Duration;

use ring_channel::{RingReceiver, RingSender, ring_channel};

use super::meter::{Bottleneck, Meters, Reading};

/// The state of a transfer at one moment, for a screen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Time since the transfer began.
    pub elapsed: Duration,
    /// Bytes of the stream taken in so far.
    pub input_bytes: u64,
    /// Bytes handed on so far: fewer than `input_bytes` if compressed, or if some are still in the buffer.
    pub output_bytes: u64,
    /// Input, smoothed over a few seconds.
    pub input_bytes_per_second: u64,
    /// Output, smoothed over a few seconds.
    pub output_bytes_per_second: u64,
    /// Bytes in the buffer.
    pub buffer_used_bytes: u64,
    /// Size of the buffer.
    pub buffer_total_bytes: u64,
    /// Who all others waited for since the last sample.
    pub bottleneck: Bottleneck,
}

/// Turns meters into samples; remembers the last reading and the smoothed rates.
#[derive(Debug, Default)]
pub(super) struct Sampler {
    last: Reading,
    input_bytes_per_second: u64,
    output_bytes_per_second: u64,
}

/// Over which time rates are smoothed.
const SMOOTHING: Duration = Duration::from_secs(2);

impl Sampler {
    pub(super) fn sample(&mut self, meters: &Meters) -> Sample {
        let now = meters.reading();
        let spent = now.since(&self.last);
        let is_first = self.last.at.is_zero();
        let smooth = |old, bytes| smooth_rate(old, bytes, spent.at, is_first);
        self.input_bytes_per_second = smooth(self.input_bytes_per_second, spent.input_bytes);
        self.output_bytes_per_second = smooth(self.output_bytes_per_second, spent.output_bytes);
        self.last = now;
        Sample {
            elapsed: now.at,
            input_bytes: now.input_bytes,
            output_bytes: now.output_bytes,
            input_bytes_per_second: self.input_bytes_per_second,
            output_bytes_per_second: self.output_bytes_per_second,
            buffer_used_bytes: meters.gauge.used_bytes(),
            buffer_total_bytes: meters.buffer_bytes(),
            bottleneck: meters.decide_bottleneck(&spent),
        }
    }
}

fn smooth_rate(old_rate: u64, bytes: u64, span: Duration, is_first: bool) -> u64 {
    let span_nanos = span.as_nanos().max(1);
    let rate = u128::from(bytes) * 1_000_000_000 / span_nanos;
    let smoothed = if is_first {
        rate
    } else {
        let memory_nanos = SMOOTHING.as_nanos();
        (u128::from(old_rate) * memory_nanos + rate * span_nanos) / (memory_nanos + span_nanos)
    };
    u64::try_from(smoothed).unwrap_or(u64::MAX)
}

/// Where samples are put; without a reader, the oldest is overwritten.
pub type SampleSender = RingSender<Sample>;
/// Where the latest sample is taken from.
pub type SampleReceiver = RingReceiver<Sample>;

/// A way for samples from a pump to a screen: holds one, the latest.
pub fn samples() -> (SampleSender, SampleReceiver) {
    ring_channel(NonZeroUsize::MIN)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::meter::Places;

    #[test]
    fn rates_are_smooth_and_settle() {
        let tick = Duration::from_millis(200);
        let mut rate = smooth_rate(0, 20_000, tick, true);
        assert_eq!(rate, 100_000);
        rate = smooth_rate(rate, 0, tick, false);
        assert!((90_000..100_000).contains(&rate), "one empty interval is not a stop: {rate}");
        for _ in 0..100 {
            rate = smooth_rate(rate, 0, tick, false);
        }
        assert!(rate < 100, "after 20 s of nothing the rate is nothing: {rate}");
    }

    #[test]
    fn only_the_latest_sample_is_kept() {
        let (sender, receiver) = samples();
        let meters = Meters::new(Places::LOCAL, 0);
        let mut sampler = Sampler::default();
        for bytes in [1, 2, 3] {
            meters.count_input(bytes);
            sender.send(sampler.sample(&meters)).unwrap();
        }
        assert_eq!(receiver.try_recv().unwrap().input_bytes, 6);
        assert!(receiver.try_recv().is_err());
    }
}
