//! How strongly to compress, decided while the stream runs.
//!
//! Two questions, answered separately. *Does this chunk shrink?* A small sample of it is compressed first; what does not
//! shrink goes as it is. *Is it worth the time?* For each level of a short ladder the rate of the whole is estimated from
//! the measurements so far: that of the threads that compress at this level, or that of the link times the gain,
//! whichever is lower. The weakest level within two percent of the best is taken: on a slow link the strongest that keeps
//! it full, on one that outruns compression none at all. A level that was never tried is judged by what others like it are
//! on most machines, and corrected as soon as it is tried.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::stream::clock::StageState;
use crate::stream::codec::{ChunkCompressor, Method};
use crate::stream::meter::{Meters, Reading};

/// The levels, from weakest to strongest.
const LADDER: [Method; 6] =
    [Method::Raw, Method::Lz4, Method::Zstd(1), Method::Zstd(3), Method::Zstd(6), Method::Zstd(9)];
/// Seconds to compress one MiB at each level, before anything is measured.
const SECONDS_PER_MIB: [f64; 6] = [0.0, 0.0025, 0.004, 0.006, 0.018, 0.030];
/// The gain of each level, as a multiple of the sample's, before anything is measured.
const GAINS: [f64; 6] = [1.0, 0.75, 1.0, 1.08, 1.15, 1.18];

/// The sample of a chunk: this number of pieces of this length.
const PIECES: usize = 2;
const PIECE_BYTES: usize = 16 << 10;
/// How a sample is compressed.
const SAMPLE_METHOD: Method = Method::Zstd(1);
/// Without compression, one chunk in eight is sampled, to see when compression becomes worthwhile again.
const SAMPLE_EVERY: u64 = 8;
/// How often the level is reconsidered.
const PERIOD: Duration = Duration::from_millis(100);
/// Weight of what was measured last.
const FRESH: f64 = 0.3;
/// The measurements of an unused level fade a little each time, so the level is tried again after a while.
const FADE: f64 = 0.005;
/// Gains below this are not worth the work.
const WORTH: f64 = 0.98;

/// Chooses for all threads of one transfer.
#[derive(Debug)]
pub(super) struct Chooser {
    level: AtomicUsize,
    model: Mutex<Model>,
}

/// The method for one chunk, and the level that this was chosen for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Choice {
    pub(super) method: Method,
    level: usize,
}

impl Chooser {
    pub(super) fn new(workers: usize) -> Self {
        let workers = f64::from(u32::try_from(workers).unwrap_or(u32::MAX));
        Self { level: AtomicUsize::new(0), model: Mutex::new(Model::new(workers)) }
    }

    /// How to compress `raw`, which is chunk `number`; `room` is used for the sample.
    pub(super) fn choose(
        &self,
        compressor: &mut ChunkCompressor,
        number: u64,
        raw: &[u8],
        room: &mut [u8],
    ) -> Choice {
        let level = self.level.load(Ordering::Relaxed);
        if level == 0 && !number.is_multiple_of(SAMPLE_EVERY) {
            return Choice { method: Method::Raw, level: 0 };
        }
        let gain = sample(compressor, raw, room);
        self.with_model(|model| model.note_sample(gain));
        let method = if gain.is_some() { LADDER[level] } else { Method::Raw };
        Choice { method, level }
    }

    /// Notes the outcome of a choice.
    pub(super) fn note(&self, choice: Choice, raw_bytes: usize, stored_bytes: usize, spent: Duration) {
        if choice.method != Method::Raw {
            self.with_model(|model| model.note_compressed(choice.level, raw_bytes, stored_bytes, spent));
        }
    }

    /// Reconsiders the level, if it is time.
    pub(super) fn reconsider(&self, meters: &Meters) {
        // Whoever finds it taken leaves it to the other thread.
        if let Ok(mut model) = self.model.try_lock() {
            let reading = meters.reading();
            if reading.at.saturating_sub(model.last.at) >= PERIOD {
                let spent = reading.since(&model.last);
                model.last = reading;
                model.note_link(&spent);
                let level = model.decide(self.level.load(Ordering::Relaxed));
                if self.level.swap(level, Ordering::Relaxed) != level {
                    tracing::trace!("compression at {:?}: {model:?}", LADDER[level]);
                }
            }
        }
    }

    fn with_model(&self, note: impl FnOnce(&mut Model)) {
        note(&mut self.model.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// How much a sample of `raw` shrinks; `None`: not enough.
fn sample(compressor: &mut ChunkCompressor, raw: &[u8], room: &mut [u8]) -> Option<f64> {
    let (mut taken_bytes, mut stored_bytes) = (0, 0);
    // From the middle of each part.
    for part in raw.chunks(raw.len().div_ceil(PIECES).max(PIECE_BYTES)) {
        let start = part.len().saturating_sub(PIECE_BYTES) / 2;
        let piece = &part[start..part.len().min(start + PIECE_BYTES)];
        let stored = compressor.compress(SAMPLE_METHOD, piece, room).ok().flatten();
        taken_bytes += piece.len();
        stored_bytes += stored.map_or(piece.len(), |(_, bytes)| bytes);
    }
    (stored_bytes < taken_bytes).then(|| count(taken_bytes) / count(stored_bytes))
}

/// The measurements of the stream, the threads and the link.
#[derive(Debug)]
struct Model {
    workers: f64,
    /// Part of the chunks that shrink.
    shrinking: f64,
    /// By how much their samples do.
    sample_gain: f64,
    seconds_per_mib: [f64; LADDER.len()],
    /// The gain of each level, as a multiple of the sample's.
    gains: [f64; LADDER.len()],
    /// MiB per second that the link takes.
    link: Option<f64>,
    last: Reading,
}

impl Model {
    fn new(workers: f64) -> Self {
        Self {
            workers,
            shrinking: 0.0,
            sample_gain: 1.0,
            seconds_per_mib: SECONDS_PER_MIB,
            gains: GAINS,
            link: None,
            last: Reading::default(),
        }
    }

    fn note_sample(&mut self, gain: Option<f64>) {
        blend(&mut self.shrinking, if gain.is_some() { 1.0 } else { 0.0 }, FRESH / 2.0);
        if let Some(gain) = gain {
            let weight = if self.sample_gain <= 1.0 { 1.0 } else { FRESH / 2.0 };
            blend(&mut self.sample_gain, gain, weight);
        }
    }

    fn note_compressed(&mut self, level: usize, raw_bytes: usize, stored_bytes: usize, spent: Duration) {
        let (raw, stored) = (count(raw_bytes), count(stored_bytes.max(1)));
        blend(&mut self.seconds_per_mib[level], spent.as_secs_f64() / (raw / MIB), FRESH);
        blend(&mut self.gains[level], raw / stored / self.sample_gain, FRESH);
        for other in 1..LADDER.len() {
            if other != level {
                // Levels that were not tried are as much slower here as this one turned out to be.
                let expected = self.seconds_per_mib[level] / SECONDS_PER_MIB[level] * SECONDS_PER_MIB[other];
                blend(&mut self.seconds_per_mib[other], expected, FADE);
                let expected = self.gains[level] / GAINS[level] * GAINS[other];
                blend(&mut self.gains[other], expected, FADE);
            }
        }
    }

    /// The link took so much in the time for which it was waited.
    fn note_link(&mut self, spent: &Reading) {
        let waited = spent.writer.of(StageState::WaitOutput) + spent.writer.of(StageState::WaitRate);
        if waited < PERIOD / 50 || spent.output_bytes == 0 {
            return;
        }
        let mib = f64::from(u32::try_from(spent.output_bytes >> 10).unwrap_or(u32::MAX)) / 1024.0;
        let measured = mib / waited.as_secs_f64();
        match &mut self.link {
            Some(link) => blend(link, measured, FRESH),
            None => self.link = Some(measured),
        }
    }

    /// MiB per second of the stream at this level; `None` as long as the link is not known.
    fn rate(&self, level: usize) -> Option<f64> {
        let link = self.link?;
        if level == 0 {
            return Some(link);
        }
        let gain = (self.sample_gain * self.gains[level]).max(1.0);
        let sent_part = self.shrinking / gain + 1.0 - self.shrinking;
        let compression = self.workers / (self.shrinking * self.seconds_per_mib[level]).max(1e-6);
        Some(compression.min(link / sent_part))
    }

    /// The weakest level that is hardly slower than the best.
    fn decide(&self, now: usize) -> usize {
        let rates: Option<Vec<f64>> = (0..LADDER.len()).map(|level| self.rate(level)).collect();
        let Some(rates) = rates else { return now };
        let best = rates.iter().copied().fold(0.0, f64::max);
        rates.iter().position(|rate| *rate >= best * WORTH).unwrap_or(now)
    }
}

const MIB: f64 = 1_048_576.0;

fn blend(old: &mut f64, new: f64, weight: f64) {
    *old += (new - *old) * weight;
}

fn count(bytes: usize) -> f64 {
    f64::from(u32::try_from(bytes).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The level for a stream whose chunks shrink by `gain` (or not at all) on a link of `link` MiB per second.
    fn level_for(link: f64, shrinking: f64, gain: f64) -> Method {
        let mut model = Model::new(2.0);
        model.link = Some(link);
        (model.shrinking, model.sample_gain) = (shrinking, gain);
        LADDER[model.decide(0)]
    }

    #[test]
    fn the_link_and_the_data_decide() {
        assert_eq!(level_for(12.0, 1.0, 3.0), Method::Zstd(9), "100 Mbit/s leaves time");
        assert_eq!(level_for(118.0, 1.0, 1.4), Method::Zstd(3), "1 Gbit/s leaves some");
        assert_eq!(level_for(3000.0, 1.0, 3.0), Method::Raw, "nothing that compresses is as fast as memory");
        assert_eq!(level_for(12.0, 0.0, 1.0), Method::Raw, "incompressible data");
        assert_eq!(
            level_for(12.0, 0.5, 3.0),
            Method::Zstd(3),
            "half of it shrinks: hardly more by the last level"
        );
    }

    #[test]
    fn without_a_link_nothing_is_decided() {
        assert_eq!(Model::new(2.0).decide(3), 3);
    }

    #[test]
    fn a_level_that_turns_out_slow_is_left() {
        let mut model = Model::new(2.0);
        model.link = Some(118.0);
        (model.shrinking, model.sample_gain) = (1.0, 2.0);
        let before = model.decide(0);
        for _ in 0..20 {
            model.note_compressed(before, 1 << 20, 1 << 19, Duration::from_millis(100));
        }
        assert!(model.decide(before) < before);
    }

    #[test]
    fn noise_is_seen_in_a_sample() {
        let mut room = vec![0; 64 << 10];
        let mut state = 7_u64;
        let noise: Vec<u8> = std::iter::repeat_with(|| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            state.to_be_bytes()[0]
        })
        .take(1 << 20)
        .collect();
        let mut compressor = ChunkCompressor::default();
        assert_eq!(sample(&mut compressor, &noise, &mut room), None);
        assert!(sample(&mut compressor, &vec![1; 1 << 20], &mut room).unwrap() > 50.0);
        assert!(sample(&mut compressor, b"a short chunk", &mut room).is_none());
    }
}
