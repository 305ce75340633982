//! The pump between real pipes: exact bytes, bounded memory, and an end to every way of hanging.

use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use jiff::tz::TimeZone;

use super::cancel::Cancel;
use super::departed::END_GRACE;
use super::direct::is_spliceable;
use super::endpoint::{ByteSink, ByteSource, FdSource, FdTarget, Plain, pipe};
use super::meter::{Bottleneck, Meters, Places};
use super::probe::Probe;
use super::pump::{Pump, PumpSettings};
use super::rate::{RateLimit, SystemClock};
use super::sample::{SampleReceiver, samples};
use super::supervise::{PumpError, PumpReport};
use crate::model::{Liveness, RateSchedule};

const MIB: usize = 1 << 20;

fn pump(buffer_bytes: u64) -> Pump {
    Pump {
        settings: PumpSettings { buffer_bytes, rate: None, stall_limit: None },
        meters: Meters::new(Places::LOCAL, 0),
        cancel: Cancel::new().unwrap(),
        samples: None,
    }
}

/// The two ways in which a pump moves a stream from pipe to pipe.
#[derive(Clone, Copy, Debug)]
enum Way {
    Direct,
    Ring,
}

impl Way {
    const ALL: [Self; 2] = [Self::Direct, Self::Ring];

    fn run(self, pump: &Pump, source: OwnedFd, target: OwnedFd) -> Result<PumpReport, PumpError> {
        let source = FdSource::new(source, &pump.cancel).unwrap();
        let target = FdTarget::new(target, &pump.cancel).unwrap();
        match self {
            Self::Direct => {
                assert!(is_spliceable(source.bare_fd().unwrap()) && is_spliceable(target.bare_fd().unwrap()));
                pump.run(source, target)
            }
            Self::Ring => pump.run(Hidden(source), Hidden(target)),
        }
    }
}

/// An endpoint that does not show its descriptor.
struct Hidden<T>(T);

impl<S: ByteSource> ByteSource for Hidden<S> {
    fn read_within(&mut self, buffer: &mut [u8], limit: Option<Duration>) -> io::Result<Option<usize>> {
        self.0.read_within(buffer, limit)
    }
}

impl<T: ByteSink> ByteSink for Hidden<T> {
    fn write_some(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write_some(bytes)
    }

    fn is_gone(&self) -> bool {
        self.0.is_gone()
    }
}

/// Bytes of which each depends on its place, made as they are read.
struct Pattern {
    at: u64,
    end: u64,
}

fn pattern_byte(at: u64) -> u8 {
    (at.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56).to_le_bytes()[0]
}

impl Read for Pattern {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        // Pieces of odd sizes, as a send stream has them.
        let left = usize::try_from(self.end - self.at).unwrap();
        let piece = buffer.len().min(left).min(1 + usize::try_from(self.at % 90_001).unwrap());
        for byte in &mut buffer[..piece] {
            *byte = pattern_byte(self.at);
            self.at += 1;
        }
        Ok(piece)
    }
}

/// Counts the output and checks it against the pattern.
#[derive(Default)]
struct Checked {
    at: u64,
}

impl Write for Checked {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        for byte in bytes {
            assert_eq!(*byte, pattern_byte(self.at), "at {}", self.at);
            self.at += 1;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn feed(write_end: OwnedFd, bytes: usize) -> thread::JoinHandle<io::Result<u64>> {
    thread::spawn(move || {
        let mut pattern = Pattern { at: 0, end: u64::try_from(bytes).unwrap() };
        io::copy(&mut pattern, &mut std::fs::File::from(write_end))
    })
}

#[test]
fn every_length_arrives_byte_for_byte_through_pipes() {
    for way in Way::ALL {
        for bytes in [0, 1, MIB - 1, MIB, MIB + 1, 37 * MIB + 11] {
            let (source, feed_end) = pipe(MIB).unwrap();
            let (drain_end, target) = pipe(MIB).unwrap();
            let feeder = feed(feed_end, bytes);
            let drainer = thread::spawn(move || {
                let mut checked = Checked::default();
                io::copy(&mut std::fs::File::from(drain_end), &mut checked).map(|_| checked.at)
            });
            let report = way.run(&pump(8 << 20), source, target).unwrap();
            let expected = u64::try_from(bytes).unwrap();
            assert_eq!(feeder.join().unwrap().unwrap(), expected);
            assert_eq!(drainer.join().unwrap().unwrap(), expected);
            assert_eq!((report.input_bytes, report.output_bytes), (expected, expected));
            assert!(report.allocated_bytes <= 8 << 20);
        }
    }
}

#[test]
fn a_target_that_is_only_slow_gets_a_small_buffer() {
    for way in Way::ALL {
        let (source, feed_end) = pipe(MIB).unwrap();
        let (drain_end, target) = pipe(4096).unwrap();
        let feeder = feed(feed_end, 64 * MIB);
        let pump = pump(64 << 20);
        let (meters, cancel) = (Arc::clone(&pump.meters), pump.cancel.clone());
        let runner = thread::spawn(move || way.run(&pump, source, target));
        thread::sleep(Duration::from_millis(300));
        assert!(meters.gauge.allocated_bytes() <= 4 << 20, "{way:?}: {:?}", meters.gauge);
        cancel.request();
        assert!(matches!(runner.join().unwrap(), Err(PumpError::Cancelled)));
        drop(drain_end);
        assert!(feeder.join().unwrap().is_err(), "the source sees the pipe close");
    }
}

#[test]
fn sides_that_pause_in_turn_get_all_of_the_buffer_and_not_more() {
    for way in Way::ALL {
        let (source, feed_end) = pipe(MIB).unwrap();
        let (drain_end, target) = pipe(4096).unwrap();
        let mut feed_end = std::fs::File::from(feed_end);
        let feeder = thread::spawn(move || {
            for _ in 0..60 {
                feed_end.write_all(&vec![3; 24 * MIB])?;
                thread::sleep(Duration::from_millis(100));
            }
            Ok::<_, io::Error>(())
        });
        let pump = pump(16 << 20);
        let (meters, cancel) = (Arc::clone(&pump.meters), pump.cancel.clone());
        let runner = thread::spawn(move || way.run(&pump, source, target));
        let mut drain = std::fs::File::from(drain_end);
        let mut round = vec![0; 24 * MIB];
        // The target pauses longer than the source: in every round each of them waits for the other once. Where other programs
        // take the processors, some rounds are lost.
        for _ in 0..50 {
            thread::sleep(Duration::from_millis(300));
            drain.read_exact(&mut round).unwrap();
            if meters.gauge.allocated_bytes() == 16 << 20 {
                break;
            }
        }
        let is_full = || meters.gauge.used_bytes() >= 12 << 20;
        for _ in 0..100 {
            thread::sleep(Duration::from_millis(100));
            if is_full() {
                break;
            }
        }
        assert!(is_full(), "{way:?}: {:?}", meters.gauge);
        assert_eq!(meters.gauge.allocated_bytes(), 16 << 20, "{way:?}: all of the buffer, and nothing else");
        assert!(meters.gauge.used_bytes() <= 16 << 20, "{way:?}: {:?}", meters.gauge);
        cancel.request();
        assert!(matches!(runner.join().unwrap(), Err(PumpError::Cancelled)));
        drop(drain);
        feeder.join().unwrap().unwrap_err();
    }
}

#[test]
fn a_cancel_ends_a_pump_that_is_blocked_on_both_sides() {
    for way in Way::ALL {
        let (silent, _feed_end) = pipe(MIB).unwrap();
        let (_drain_end, target) = pipe(MIB).unwrap();
        let pump = pump(8 << 20);
        let cancel = pump.cancel.clone();
        let runner = thread::spawn(move || way.run(&pump, silent, target));
        thread::sleep(Duration::from_millis(50));
        let asked = Instant::now();
        cancel.request();
        assert!(matches!(runner.join().unwrap(), Err(PumpError::Cancelled)));
        assert!(asked.elapsed() < Duration::from_secs(1));
    }
}

#[test]
fn a_target_that_closes_early_is_a_target_error() {
    for way in Way::ALL {
        let (source, feed_end) = pipe(MIB).unwrap();
        let (drain_end, target) = pipe(4096).unwrap();
        let feeder = feed(feed_end, 64 * MIB);
        let drainer = thread::spawn(move || {
            let mut some = [0; 10_000];
            std::fs::File::from(drain_end).read_exact(&mut some)
        });
        let error = way.run(&pump(8 << 20), source, target).unwrap_err();
        assert!(
            matches!(&error, PumpError::Target(cause) if cause.kind() == io::ErrorKind::BrokenPipe),
            "{error:?}"
        );
        drainer.join().unwrap().unwrap();
        assert!(feeder.join().unwrap().is_err());
    }
}

#[test]
fn a_target_that_dies_is_noticed_while_the_source_is_silent() {
    for way in Way::ALL {
        let (silent, _feed_end) = pipe(MIB).unwrap();
        let (drain_end, target) = pipe(MIB).unwrap();
        drop(drain_end);
        let began = Instant::now();
        let error = way.run(&pump(8 << 20), silent, target).unwrap_err();
        assert!(matches!(error, PumpError::Target(_)), "{error:?}");
        assert!((END_GRACE..2 * END_GRACE).contains(&began.elapsed()), "{:?}", began.elapsed());
    }
}

#[test]
fn a_target_that_has_everything_may_go_before_the_source_ends() {
    for way in Way::ALL {
        // As `zfs receive` does at its end record: once while the source stays open, once after it was closed.
        for pause in [Duration::from_millis(900), Duration::ZERO] {
            let (source, feed_end) = pipe(MIB).unwrap();
            let (drain_end, target) = pipe(MIB).unwrap();
            let drainer = thread::spawn(move || {
                let mut all = vec![0; 100_000];
                std::fs::File::from(drain_end).read_exact(&mut all)
            });
            let feeder = thread::spawn(move || {
                let mut feed_end = std::fs::File::from(feed_end);
                feed_end.write_all(&vec![7; 100_000]).unwrap();
                drainer.join().unwrap().unwrap();
                thread::sleep(pause);
            });
            let report = way.run(&pump(8 << 20), source, target);
            feeder.join().unwrap();
            assert_eq!(report.unwrap().output_bytes, 100_000, "{way:?}, {pause:?}");
        }
    }
}

#[test]
fn a_target_that_has_gone_is_missed_by_what_still_comes() {
    for way in Way::ALL {
        let (source, feed_end) = pipe(MIB).unwrap();
        let (drain_end, target) = pipe(MIB).unwrap();
        drop(drain_end);
        let feeder = thread::spawn(move || {
            thread::sleep(Duration::from_millis(700));
            std::fs::File::from(feed_end).write_all(b"more").unwrap();
        });
        let began = Instant::now();
        let error = way.run(&pump(8 << 20), source, target).unwrap_err();
        assert!(matches!(error, PumpError::Target(_)), "{error:?}");
        assert!(began.elapsed() < END_GRACE);
        feeder.join().unwrap();
    }
}

#[test]
fn a_source_that_fails_is_a_source_error() {
    struct Broken;
    impl ByteSource for Broken {
        fn read_within(&mut self, _: &mut [u8], _: Option<Duration>) -> io::Result<Option<usize>> {
            Err(io::Error::other("a test"))
        }
    }
    let error = pump(0).run(Broken, Plain(Vec::new())).unwrap_err();
    assert!(matches!(error, PumpError::Source(_)), "{error:?}");
}

#[test]
fn a_stage_that_crashes_is_an_error_of_this_transfer_only() {
    struct Crashing;
    impl ByteSink for Crashing {
        fn write_some(&mut self, _: &[u8]) -> io::Result<usize> {
            panic!("a test");
        }
    }
    let error = pump(0).run(Plain(Pattern { at: 0, end: 10 << 20 }), Crashing).unwrap_err();
    assert!(matches!(error, PumpError::Crashed("write")), "{error:?}");
}

#[test]
fn a_stall_names_the_side_that_was_waited_for() {
    for way in Way::ALL {
        let limit = Duration::from_millis(250);
        let (silent, _feed_end) = pipe(MIB).unwrap();
        let (_drain_end, target) = pipe(4096).unwrap();
        let mut waiting_for_source = pump(4 << 20);
        waiting_for_source.settings.stall_limit = Some(limit);
        let error = way.run(&waiting_for_source, silent, target).unwrap_err();
        assert!(matches!(error, PumpError::Stalled { waited_for: Bottleneck::SourceRead, .. }), "{error:?}");

        let (source, feed_end) = pipe(MIB).unwrap();
        let (_drain_end, target) = pipe(4096).unwrap();
        let feeder = feed(feed_end, 64 * MIB);
        let mut waiting_for_target = pump(4 << 20);
        waiting_for_target.settings.stall_limit = Some(limit);
        let error = way.run(&waiting_for_target, source, target).unwrap_err();
        assert!(
            matches!(error, PumpError::Stalled { waited_for: Bottleneck::TargetReceive, .. }),
            "{error:?}"
        );
        assert!(feeder.join().unwrap().is_err());
    }
}

#[test]
fn life_is_no_progress() {
    for way in Way::ALL {
        let (silent, _feed_end) = pipe(MIB).unwrap();
        let (_drain_end, target) = pipe(MIB).unwrap();
        let mut pump = pump(4 << 20);
        pump.settings.stall_limit = Some(Duration::from_millis(300));
        let meters = Arc::clone(&pump.meters);
        let runner = thread::spawn(move || way.run(&pump, silent, target));
        for _ in 0..20 {
            thread::sleep(Duration::from_millis(50));
            meters.note_life();
        }
        let stalled = runner.join().unwrap();
        assert!(matches!(stalled, Err(PumpError::Stalled { .. })), "{stalled:?}");
    }
}

/// Moves into a target that takes nothing, whose pool has this state at each look.
fn blocked(limit: Duration, state: impl Fn() -> Liveness + Send + Sync + 'static) -> (PumpError, Duration) {
    let (source, feed_end) = pipe(MIB).unwrap();
    let (_drain_end, target) = pipe(4096).unwrap();
    let feeder = feed(feed_end, 64 * MIB);
    let mut pump = pump(4 << 20);
    pump.settings.stall_limit = Some(limit);
    pump.meters.set_probes(None, Some(Probe::new("tank", state)));
    let started = Instant::now();
    let error = Way::Ring.run(&pump, source, target).unwrap_err();
    drop(feeder.join());
    (error, started.elapsed())
}

#[test]
fn a_target_is_waited_for_as_long_as_its_pool_is_at_work() {
    let limit = Duration::from_millis(1200);
    let started = Instant::now();
    let (error, took) = blocked(limit, move || {
        let tenths = u64::try_from(started.elapsed().as_millis() / 100).unwrap();
        Liveness::Alive(tenths.min(30))
    });
    assert!(matches!(error, PumpError::PoolHangs(_) | PumpError::Stalled { .. }), "{error:?}");
    assert!(took >= Duration::from_secs(3), "its groups went on for 3 s, {took:?}");
    let (error, took) = blocked(Duration::from_secs(60), || Liveness::Suspended);
    assert_eq!(error.to_string(), "pool tank hangs: it is suspended after I/O errors");
    assert!(took < Duration::from_secs(30), "{took:?}");
    let (error, _) = blocked(limit, || Liveness::Unknown);
    assert!(matches!(error, PumpError::Stalled { .. }), "{error:?}");
}

#[test]
fn the_rate_limit_holds_between_real_pipes_and_is_named() {
    for way in Way::ALL {
        let rate = 5_000_000;
        let (source, feed_end) = pipe(MIB).unwrap();
        let (drain_end, target) = pipe(MIB).unwrap();
        let feeder = feed(feed_end, 128 * MIB);
        let (sender, receiver) = samples();
        let mut pump = pump(8 << 20);
        let schedule = RateSchedule::constant(rate.try_into().unwrap());
        pump.settings.rate = Some(Arc::new(RateLimit::new(schedule, SystemClock::new(TimeZone::UTC))));
        pump.samples = Some(sender);
        let cancel = pump.cancel.clone();
        let drainer = thread::spawn(move || io::copy(&mut std::fs::File::from(drain_end), &mut io::sink()));
        let runner = thread::spawn(move || way.run(&pump, source, target));
        thread::sleep(Duration::from_secs(2));
        let sample = receiver.try_recv().unwrap();
        cancel.request();
        runner.join().unwrap().unwrap_err();
        drainer.join().unwrap().unwrap();
        feeder.join().unwrap().unwrap_err();
        assert_eq!(sample.bottleneck, Bottleneck::RateLimit);
        let expected = u128::from(rate) * sample.elapsed.as_millis() / 1000;
        let got = u128::from(sample.output_bytes);
        assert!(
            // Two seconds on a machine that may be busy: the 2 % hold over ten seconds.
            got.abs_diff(expected) * 10 < expected,
            "{got} bytes in {:?}, expected {expected}",
            sample.elapsed
        );
    }
}

/// Waits until the samples say that this is the bottleneck: on a busy machine that takes a while.
fn wait_for(receiver: &SampleReceiver, bottleneck: Bottleneck) {
    let deadline = Instant::now() + Duration::from_secs(20);
    let is_it = || receiver.try_recv().is_ok_and(|sample| sample.bottleneck == bottleneck);
    while !is_it() {
        assert!(Instant::now() < deadline, "{bottleneck:?} is never the bottleneck");
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn the_screen_learns_who_is_slow() {
    for way in Way::ALL {
        let (source, mut feed_end) =
            pipe(MIB).map(|(read, write)| (read, std::fs::File::from(write))).unwrap();
        let (drain_end, target) = pipe(MIB).unwrap();
        let (sender, receiver) = samples();
        let mut pump = pump(8 << 20);
        pump.samples = Some(sender);
        let runner = thread::spawn(move || way.run(&pump, source, target));
        let mut drain = std::fs::File::from(drain_end);
        for _ in 0..30 {
            feed_end.write_all(&[1; 1000]).unwrap();
            thread::sleep(Duration::from_millis(20));
        }
        wait_for(&receiver, Bottleneck::SourceRead);
        let feeder = thread::spawn(move || feed_end.write_all(&vec![2; 30 * MIB]));
        wait_for(&receiver, Bottleneck::TargetReceive);
        io::copy(&mut drain, &mut io::sink()).unwrap();
        feeder.join().unwrap().unwrap();
        assert_eq!(runner.join().unwrap().unwrap().input_bytes, u64::try_from(30 * MIB + 30_000).unwrap());
        assert_eq!(receiver.try_recv().unwrap().output_bytes, u64::try_from(30 * MIB + 30_000).unwrap());
    }
}
