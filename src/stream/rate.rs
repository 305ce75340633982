//! A rate limit that is smooth, shared, and follows the time of day.
//!
//! Limiters that hand out a second's worth at once make a link stutter for everybody else. This one plans:
//! each grant is a slice of at most 20 ms, and gets the moment at which the slice before it is used up. What
//! a transfer did not use is forgotten after 40 ms, so that no window of one second can exceed the rate by more
//! than six percent, and planned moments (not measured sleeps) keep the average exact.
//!
//! One limit is shared by all transfers of a run: grants are handed out in the order they are asked for.

use std::fmt;
use std::num::NonZeroU64;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use jiff::civil::Time;
use jiff::tz::TimeZone;

use super::cancel::{Cancel, Cancelled};
use crate::model::RateSchedule;
#[cfg(test)]
use crate::model::RateWindow;

/// Longest slice that is granted at once.
const SLICE: Duration = Duration::from_millis(20);
/// How much unused time may be caught up.
const CREDIT: Duration = Duration::from_millis(40);

/// Time as a rate limit needs it; tests bring their own.
pub trait Clock: Send + Sync + fmt::Debug {
    /// Time since some fixed moment; never goes back.
    fn now(&self) -> Duration;
    /// The local time of day.
    fn time_of_day(&self) -> Time;
    /// Sleeps, or returns `Err` when cancelled.
    fn sleep(&self, duration: Duration, cancel: &Cancel) -> Result<(), Cancelled>;
}

/// The real time, in one time zone.
#[derive(Debug)]
pub struct SystemClock {
    started: Instant,
    zone: TimeZone,
}

impl SystemClock {
    /// A clock whose time of day is that of `zone`.
    pub fn new(zone: TimeZone) -> Self {
        Self { started: Instant::now(), zone }
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    fn time_of_day(&self) -> Time {
        Timestamp::now().to_zoned(self.zone.clone()).time()
    }

    fn sleep(&self, duration: Duration, cancel: &Cancel) -> Result<(), Cancelled> {
        cancel.sleep(duration)
    }
}

/// The limit of a run; see the module's description.
#[derive(Debug)]
pub struct RateLimit {
    schedule: RateSchedule,
    clock: Box<dyn Clock>,
    /// When the last slice granted will be used up, by `clock`.
    used_until: Mutex<Duration>,
}

impl RateLimit {
    /// A limit that follows `schedule` by `clock`.
    pub fn new(schedule: RateSchedule, clock: impl Clock + 'static) -> Self {
        Self { schedule, clock: Box::new(clock), used_until: Mutex::new(Duration::ZERO) }
    }

    /// Waits until some of `wanted_bytes` may be sent and says how many: at least one, at most as many as take
    /// 20 ms. `Err`: cancelled while waiting.
    pub fn take(&self, wanted_bytes: usize, cancel: &Cancel) -> Result<usize, Cancelled> {
        let Some(rate) = self.schedule.rate_at(self.clock.time_of_day()) else {
            return Ok(wanted_bytes);
        };
        let granted_bytes = wanted_bytes.min(slice_bytes(rate)).max(1);
        let now = self.clock.now();
        let begins = {
            let mut used_until = self.used_until.lock().unwrap_or_else(PoisonError::into_inner);
            let begins = (*used_until).max(now.saturating_sub(CREDIT));
            *used_until = begins + time_for(granted_bytes, rate);
            begins
        };
        let wait = begins.saturating_sub(now);
        if !wait.is_zero() {
            self.clock.sleep(wait, cancel)?;
        }
        Ok(granted_bytes)
    }
}

fn slice_bytes(rate: NonZeroU64) -> usize {
    let bytes = u128::from(rate.get()) * SLICE.as_nanos() / 1_000_000_000;
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

fn time_for(bytes: usize, rate: NonZeroU64) -> Duration {
    let nanos = u128::from(super::as_u64(bytes)) * 1_000_000_000 / u128::from(rate.get());
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    /// A clock that only sleeping moves on. Sleeps overshoot by `late`, as real ones do.
    #[derive(Clone, Debug)]
    struct FakeClock {
        now: Arc<Mutex<Duration>>,
        midnight_at: Duration,
        late: Duration,
    }

    impl FakeClock {
        fn new(late: Duration) -> Self {
            Self { now: Arc::default(), midnight_at: Duration::ZERO, late }
        }
    }

    impl Clock for FakeClock {
        fn now(&self) -> Duration {
            *self.now.lock().unwrap()
        }

        fn time_of_day(&self) -> Time {
            let seconds = (self.now() + self.midnight_at).as_secs() % 86_400;
            Time::midnight() + Duration::from_secs(seconds)
        }

        fn sleep(&self, duration: Duration, cancel: &Cancel) -> Result<(), Cancelled> {
            *self.now.lock().unwrap() += duration + self.late;
            cancel.check()
        }
    }

    fn rate(bytes_per_second: u64) -> NonZeroU64 {
        NonZeroU64::new(bytes_per_second).unwrap()
    }

    /// The granted bytes, by moment, until `end`.
    fn grants(limit: &RateLimit, clock: &FakeClock, end: Duration) -> Vec<(Duration, usize)> {
        let cancel = Cancel::new().unwrap();
        let mut grants = Vec::new();
        while clock.now() < end {
            let bytes = limit.take(1 << 20, &cancel).unwrap();
            grants.push((clock.now(), bytes));
        }
        grants
    }

    fn bytes_between(grants: &[(Duration, usize)], from: Duration, to: Duration) -> f64 {
        let bytes: usize =
            grants.iter().filter(|(at, _)| (from..to).contains(at)).map(|(_, bytes)| bytes).sum();
        f64::from(u32::try_from(bytes).unwrap())
    }

    #[test]
    fn it_is_exact_over_ten_seconds_and_smooth_within_each() {
        for (bytes_per_second, late_micros) in
            [(10_u32, 0), (1_000, 100), (300_000, 60), (12_500_000, 100), (125_000_000, 1000)]
        {
            let clock = FakeClock::new(Duration::from_micros(late_micros));
            let limit = RateLimit::new(RateSchedule::constant(rate(bytes_per_second.into())), clock.clone());
            let grants = grants(&limit, &clock, Duration::from_secs(12));
            let expected = f64::from(bytes_per_second);
            let ten = bytes_between(&grants, Duration::from_secs(1), Duration::from_secs(11)) / 10.0;
            assert!((ten / expected - 1.0).abs() < 0.02, "{bytes_per_second}: {ten} in ten seconds");
            if bytes_per_second >= 1_000 {
                for start_millis in (0..10_000).step_by(50) {
                    let from = Duration::from_millis(start_millis);
                    let one = bytes_between(&grants, from, from + Duration::from_secs(1));
                    assert!((one / expected - 1.0).abs() < 0.1, "{bytes_per_second}: {one} from {from:?}");
                }
                for pair in grants.windows(2) {
                    assert!(pair[1].0 <= pair[0].0 + Duration::from_millis(100), "a gap in {pair:?}");
                }
            }
        }
    }

    #[test]
    fn idle_time_is_not_saved_up() {
        let clock = FakeClock::new(Duration::ZERO);
        let limit = RateLimit::new(RateSchedule::constant(rate(1_000_000)), clock.clone());
        let cancel = Cancel::new().unwrap();
        limit.take(1, &cancel).unwrap();
        *clock.now.lock().unwrap() += Duration::from_mins(1);
        let from = clock.now();
        let grants = grants(&limit, &clock, from + Duration::from_secs(2));
        let first = bytes_between(&grants, from, from + Duration::from_secs(1));
        assert!(first < 1_100_000.0, "{first} in the second after a minute of nothing");
    }

    #[test]
    fn the_time_of_day_decides() {
        let at = |text: &str| text.parse::<Time>().unwrap();
        let schedule = RateSchedule {
            windows: vec![
                RateWindow { from: at("12:00"), to: at("13:00"), bytes_per_second: None },
                RateWindow { from: at("08:00"), to: at("18:00"), bytes_per_second: Some(rate(10)) },
                RateWindow { from: at("22:00"), to: at("06:00"), bytes_per_second: Some(rate(99)) },
            ],
            otherwise: Some(rate(50)),
        };
        let cases = [
            ("07:59:59", Some(50)),
            ("08:00", Some(10)),
            ("12:30", None),
            ("17:59:59", Some(10)),
            ("18:00", Some(50)),
            ("22:00", Some(99)),
            ("00:00", Some(99)),
            ("06:00", Some(50)),
        ];
        for (time, expected) in cases {
            assert_eq!(schedule.rate_at(at(time)).map(NonZeroU64::get), expected, "at {time}");
        }
    }

    #[test]
    fn a_running_transfer_follows_the_schedule() {
        let at = |text: &str| text.parse::<Time>().unwrap();
        let schedule = RateSchedule {
            windows: vec![RateWindow {
                from: at("23:00"),
                to: at("00:00"),
                bytes_per_second: Some(rate(1_000)),
            }],
            otherwise: Some(rate(5_000)),
        };
        let mut clock = FakeClock::new(Duration::ZERO);
        clock.midnight_at = Duration::from_secs(86_400 - 5);
        let limit = RateLimit::new(schedule, clock.clone());
        let grants = grants(&limit, &clock, Duration::from_secs(10));
        let before = bytes_between(&grants, Duration::ZERO, Duration::from_secs(5));
        let after = bytes_between(&grants, Duration::from_secs(5), Duration::from_secs(10));
        assert!(
            (4_900.0..5_200.0).contains(&before) && (24_500.0..25_500.0).contains(&after),
            "{before} {after}"
        );
    }

    #[test]
    fn transfers_share_one_limit() {
        let limit =
            Arc::new(RateLimit::new(RateSchedule::constant(rate(400_000)), SystemClock::new(TimeZone::UTC)));
        let cancel = Cancel::new().unwrap();
        let until = Instant::now() + Duration::from_millis(500);
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let (limit, cancel) = (Arc::clone(&limit), cancel.clone());
                std::thread::spawn(move || {
                    let mut bytes = 0;
                    while Instant::now() < until {
                        bytes += limit.take(1 << 20, &cancel).unwrap();
                    }
                    bytes
                })
            })
            .collect();
        let each: Vec<usize> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
        let total: usize = each.iter().sum();
        // 0.5 s at the rate, and at most the slices asked for at the end.
        assert!((180_000..260_000).contains(&total), "{each:?}");
        assert!(each.iter().all(|bytes| *bytes > total / 8), "no thread starves: {each:?}");
    }

    #[test]
    fn a_waiting_transfer_hears_the_cancel() {
        let limit = RateLimit::new(RateSchedule::constant(rate(1)), SystemClock::new(TimeZone::UTC));
        let cancel = Cancel::new().unwrap();
        limit.take(1, &cancel).unwrap();
        cancel.request();
        let asked = Instant::now();
        assert_eq!(limit.take(1, &cancel), Err(Cancelled));
        assert!(asked.elapsed() < Duration::from_millis(500));
    }
}
