//! Streams to measure with, and where they go.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::setup::Limits;
use crate::stream::{ByteSink, ByteSource};

/// How much of a stream is kept in memory, to measure other stages with the same data. As much again holds it compressed.
pub(super) const KEPT_BYTES: usize = 128 << 20;

/// How long a synthetic stream is before it comes again: longer than what is compressed at once.
const MADE_BYTES: usize = 8 << 20;
/// Synthetic data changes its kind after this number of bytes.
const STRIPE_BYTES: usize = 64 << 10;

/// The period of a synthetic stream: noise and text by turns.
pub(super) fn made() -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut noise = move || {
        // xorshift64: as hard to compress as anything.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let mut all = Vec::with_capacity(MADE_BYTES + STRIPE_BYTES);
    while all.len() < MADE_BYTES {
        let end = all.len() + STRIPE_BYTES;
        while all.len() < end {
            all.extend(noise().to_le_bytes());
        }
        let end = all.len() + STRIPE_BYTES;
        while all.len() < end {
            let line = format!("sector {:>12} of the disk holds {:04x}\n", all.len() / 512, noise() & 0xfff);
            all.extend(line.as_bytes());
        }
        all.truncate(end);
    }
    all
}

/// Reads from memory, once or again and again.
#[derive(Debug)]
pub(super) struct Memory<'a> {
    pub(super) data: &'a [u8],
    pub(super) at: usize,
    pub(super) repeats: bool,
}

impl<'a> Memory<'a> {
    pub(super) fn once(data: &'a [u8]) -> Self {
        Self { data, at: 0, repeats: false }
    }

    pub(super) fn repeated(data: &'a [u8]) -> Self {
        Self { data, at: 0, repeats: true }
    }
}

impl ByteSource for Memory<'_> {
    fn read_within(&mut self, buffer: &mut [u8], _: Option<Duration>) -> io::Result<Option<usize>> {
        if self.at == self.data.len() && self.repeats {
            self.at = 0;
        }
        let rest = self.data.get(self.at..).unwrap_or_default();
        let bytes = rest.len().min(buffer.len());
        buffer[..bytes].copy_from_slice(&rest[..bytes]);
        self.at += bytes;
        Ok(Some(bytes))
    }
}

/// A source that ends when the limits are reached.
#[derive(Debug)]
pub(super) struct Limited<'a, S> {
    inner: S,
    time: Duration,
    until: Option<Instant>,
    left: u64,
    was_cut: &'a AtomicBool,
    /// Whether it may end there as if it were complete: not in front of a receive.
    is_complete: bool,
}

impl<'a, S: ByteSource> Limited<'a, S> {
    /// `was_cut` is set if the limits were the end. `is_complete`: that counts as the stream's end.
    pub(super) fn new(inner: S, limits: Limits, was_cut: &'a AtomicBool, is_complete: bool) -> Self {
        Self { inner, time: limits.time, until: None, left: limits.bytes, was_cut, is_complete }
    }
}

impl<S: ByteSource> ByteSource for Limited<'_, S> {
    fn read_within(&mut self, buffer: &mut [u8], limit: Option<Duration>) -> io::Result<Option<usize>> {
        let now = Instant::now();
        let left = self.until.get_or_insert(now + self.time).saturating_duration_since(now);
        let room = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        if left.is_zero() || room == 0 {
            self.was_cut.store(true, Ordering::Relaxed);
            return Ok(Some(0));
        }
        let read =
            self.inner.read_within(&mut buffer[..room], Some(limit.map_or(left, |limit| limit.min(left))))?;
        if let Some(bytes) = read {
            self.left -= u64::try_from(bytes).unwrap_or(u64::MAX).min(self.left);
        }
        Ok(match (read, limit) {
            // The one who waits without a limit wants an answer: the next look finds the time over.
            (None, None) => {
                self.was_cut.store(true, Ordering::Relaxed);
                Some(0)
            }
            (read, _) => read,
        })
    }

    fn confirm_end(&mut self) -> io::Result<()> {
        if self.was_cut.load(Ordering::Relaxed) {
            return if self.is_complete { Ok(()) } else { Err(io::Error::other("enough was measured")) };
        }
        self.inner.confirm_end()
    }
}

/// A target that keeps the first bytes that come, and throws the rest away.
#[derive(Debug)]
pub(super) struct Keeper<'a> {
    pub(super) kept: &'a mut Vec<u8>,
    pub(super) most: usize,
}

impl ByteSink for Keeper<'_> {
    fn write_some(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = self.most.saturating_sub(self.kept.len()).min(bytes.len());
        self.kept.extend_from_slice(&bytes[..room]);
        Ok(bytes.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { time: Duration::from_secs(60), bytes: 10 };

    #[test]
    fn a_cut_is_an_end_only_where_it_may_be_one() {
        let mut buffer = [0; 8];
        for is_complete in [true, false] {
            let was_cut = AtomicBool::new(false);
            let mut source = Limited::new(Memory::repeated(b"abc"), LIMITS, &was_cut, is_complete);
            let mut bytes = 0;
            while let Some(read @ 1..) = source.read_within(&mut buffer, None).unwrap() {
                bytes += read;
            }
            assert_eq!((bytes, source.confirm_end().is_ok()), (10, is_complete));
            assert!(was_cut.load(Ordering::Relaxed));
        }
    }

    #[test]
    fn a_stream_that_ends_before_the_limits_is_whole() {
        let was_cut = AtomicBool::new(false);
        let mut source = Limited::new(Memory::once(b"abcdefghi"), LIMITS, &was_cut, false);
        let mut buffer = [0; 16];
        assert_eq!(source.read_within(&mut buffer, None).unwrap(), Some(9));
        assert_eq!(source.read_within(&mut buffer, None).unwrap(), Some(0));
        source.confirm_end().unwrap();
        assert!(!was_cut.load(Ordering::Relaxed));
    }

    #[test]
    fn time_ends_it_too() {
        let was_cut = AtomicBool::new(false);
        let limits = Limits { time: Duration::ZERO, bytes: u64::MAX };
        let mut source = Limited::new(Memory::repeated(b"abc"), limits, &was_cut, true);
        assert_eq!(source.read_within(&mut [0; 4], None).unwrap(), Some(0));
        assert!(was_cut.load(Ordering::Relaxed));
    }

    #[test]
    fn half_of_what_is_made_can_be_compressed() {
        let made = made();
        assert_eq!(made.len(), MADE_BYTES);
        let compressed = zstd::bulk::compress(&made[..1 << 20], 3).unwrap().len();
        assert!((500_000..700_000).contains(&compressed), "{compressed}");
    }

    #[test]
    fn only_the_first_bytes_are_kept() {
        let mut kept = Vec::new();
        let mut keeper = Keeper { kept: &mut kept, most: 4 };
        assert_eq!(keeper.write_some(b"abc").unwrap(), 3);
        assert_eq!(keeper.write_some(b"def").unwrap(), 3);
        assert_eq!(kept, b"abcd");
    }
}
