//! Seconds, CPU seconds, and what was waited for.

use std::thread;
use std::time::{Duration, Instant};

use super::measured::Flow;
use super::setup::{BenchError, Setup, Watcher};
use crate::stream::sample::{SampleReceiver, SampleSender, samples};
use crate::stream::threads::beside;
use crate::stream::{Bottleneck, Cancel};

/// How often a sample is looked for.
const LOOK: Duration = Duration::from_millis(50);

/// The bytes and the time that a measured piece of work reports.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moved {
    pub(super) bytes: u64,
    pub(super) sent_bytes: u64,
    pub(super) time: Duration,
}

/// The result of one measurement, and its most frequent bottleneck.
pub(super) type Timed = (Flow, Option<Bottleneck>);

impl Setup<'_> {
    /// Does `work`, with a cancel of its own, while the watcher looks on. Children that it starts and ends count as this
    /// process.
    pub(super) fn timed(
        &self,
        what: &str,
        work: impl FnOnce(SampleSender, &Cancel) -> Result<Moved, BenchError>,
    ) -> Result<Timed, BenchError> {
        self.cancel.check()?;
        self.watcher.begins(what);
        let cancel = self.cancel.child()?;
        let (sender, receiver) = samples();
        let before = cpu_seconds();
        thread::scope(|scope| {
            let watcher = self.watcher;
            let tallying = beside(scope, "look-on", move || look_on(watcher, &receiver))?;
            let worked = work(sender, &cancel);
            let spent = (cpu_seconds() - before).max(0.0);
            let waited_for = tallying.join().unwrap_or_default();
            // Whatever failed then is only an echo.
            self.cancel.check()?;
            let moved = worked?;
            let seconds = moved.time.as_secs_f64();
            Ok((Flow::new(moved.bytes, moved.sent_bytes, seconds, spent), waited_for))
        })
    }
}

/// Shows samples until the work is over; returns the most frequent bottleneck.
fn look_on(watcher: &dyn Watcher, receiver: &SampleReceiver) -> Option<Bottleneck> {
    let mut tally: Vec<(Bottleneck, u32)> = Vec::new();
    loop {
        match receiver.try_recv() {
            Ok(sample) => {
                watcher.moved(&sample);
                match tally.iter_mut().find(|(known, _)| *known == sample.bottleneck) {
                    Some((_, count)) => *count += 1,
                    None => tally.push((sample.bottleneck, 1)),
                }
            }
            Err(ring_channel::TryRecvError::Empty) => thread::sleep(LOOK),
            Err(ring_channel::TryRecvError::Disconnected) => break,
        }
    }
    tally.into_iter().max_by_key(|(_, count)| *count).map(|(bottleneck, _)| bottleneck)
}

/// Counts the time of something, with how many bytes went in and out.
pub(super) fn moved_since(started: Instant, bytes: u64, sent_bytes: u64) -> Moved {
    Moved { bytes, sent_bytes, time: started.elapsed() }
}

/// Of this process so far, and of its children that have ended. From proc(5), whose hundredths of a second are exact
/// enough, and not by a system call: rustix makes this one only where the kernel has a vDSO, which User Mode Linux has not.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    seconds_in(&stat, rustix::param::clock_ticks_per_second())
}

/// `utime`, `stime`, `cutime` and `cstime` of proc(5).
fn seconds_in(stat: &str, ticks_per_second: u64) -> f64 {
    // The name, in parentheses, may have spaces and parentheses itself; behind it, the state is the third field of all.
    let behind = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let ticks: u32 =
        behind.split_whitespace().skip(11).take(4).filter_map(|word| word.parse::<u32>().ok()).sum();
    let per_second = u32::try_from(ticks_per_second).unwrap_or(0).max(1);
    f64::from(ticks) / f64::from(per_second)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_times_are_found_behind_any_name() {
        let stat = "42 (a (b) c) S 1 42 42 0 -1 4194560 1 2 3 4 100 50 230 20 20 0 1 0 5 6 7";
        assert!((seconds_in(stat, 100) - 4.0).abs() < 1e-9);
        assert!(seconds_in("", 100).abs() < 1e-9);
    }

    #[test]
    fn work_costs_time_and_so_does_a_childs() {
        let (before, started) = (cpu_seconds(), Instant::now());
        let mut sum = 0_u64;
        // On a busy machine it takes a while to get so much of it.
        while cpu_seconds() < before + 0.05 {
            for _ in 0..100_000 {
                sum = std::hint::black_box(sum.wrapping_add(1));
            }
            assert!(started.elapsed() < Duration::from_secs(60), "work that costs nothing");
        }
        let own = cpu_seconds();
        let script = "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done";
        assert!(std::process::Command::new("sh").args(["-c", script]).status().unwrap().success());
        assert!(cpu_seconds() > own + 0.02);
    }
}
