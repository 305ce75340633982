//! Remembered periods agree with the calendar.

use jiff::ToSpan;
use proptest::prelude::*;

use super::*;

#[test]
fn remembered_stretches_agree_with_jiff() {
    let zones = ["UTC0", "CET-1CEST,M3.5.0,M10.5.0/3", "<+1030>-10:30<+11>-11,M10.1.0,M4.1.0"];
    for zone in zones.map(|zone| TimeZone::posix(zone).unwrap()) {
        let mut calendar = Calendar::new(&zone);
        let mut at: Timestamp = "2024-12-20T00:00:00.5Z".parse().unwrap();
        for _ in 0..20_000 {
            at = at.checked_add(31.minutes().seconds(7)).unwrap();
            let local = zone.to_datetime(at);
            let (date, week) = (local.date(), local.date().iso_week_date());
            let day = i64::from(date.since(jiff::civil::date(1970, 1, 1)).unwrap().get_days());
            assert_eq!(calendar.number(Period::Day, at), day, "{local}");
            assert_eq!(calendar.number(Period::Hour, at), day * 24 + i64::from(local.hour()));
            assert_eq!(calendar.number(Period::Year, at), i64::from(local.year()));
            assert_eq!(calendar.number(Period::Month, at) % 12, i64::from(local.month()) - 1, "{local}");
            let monday = week.first_of_week().unwrap().date();
            let monday = zone.to_timestamp(monday.at(0, 30, 0, 0)).unwrap();
            assert_eq!(calendar.number(Period::IsoWeek, at), calendar.number(Period::IsoWeek, monday));
        }
    }
}

proptest! {
    #[test]
    fn any_order_of_questions_gives_the_same_answers(seconds in proptest::collection::vec(-3_000_000_000_i64..5_000_000_000, 1..20)) {
        let zone = TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
        let mut calendar = Calendar::new(&zone);
        for second in seconds {
            let at = Timestamp::from_second(second).unwrap();
            for period in [Period::Hour, Period::Day, Period::IsoWeek, Period::Month, Period::Year] {
                prop_assert_eq!(calendar.number(period, at), Calendar::new(&zone).number(period, at));
            }
        }
    }
}
