//! Lengths of time as people write them in a policy.
//!
//! Not jiff's parser: there `10m` is ten minutes, and here it is refused, since it could be months.

use jiff::SignedDuration;

const UNITS: [(&str, i64); 5] = [("s", 1), ("min", 60), ("h", 3600), ("d", 86_400), ("w", 604_800)];

/// A century: more is a slip of the hand.
const SECONDS_MAX: i64 = 36_525 * 86_400;

/// Reads a whole number above 0 and a unit, `10min`; the error is what is wrong with it.
pub fn parse(text: &str) -> Result<SignedDuration, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit = unit.trim();
    if number.is_empty() {
        return Err(format!("{text:?} is not a length of time"));
    }
    let Some((_, scale)) = UNITS.iter().find(|(known, _)| *known == unit) else {
        return Err(match unit {
            "" => format!("{text:?} has no unit"),
            "m" => format!("the unit of {text:?} could be minutes or months"),
            other => format!("{other:?} is not a unit of time"),
        });
    };
    let seconds = number.parse().ok().and_then(|n: i64| n.checked_mul(*scale));
    match seconds {
        Some(0) => Err(format!("{text:?} is no time at all")),
        Some(seconds) if seconds <= SECONDS_MAX => Ok(SignedDuration::from_secs(seconds)),
        Some(_) | None => Err(format!("{text:?} is longer than a century")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_one_number_and_one_unit() {
        for (text, seconds) in [("1s", 1), ("10min", 600), ("2 h", 7200), ("90d", 7_776_000), ("1w", 604_800)]
        {
            assert_eq!(parse(text), Ok(SignedDuration::from_secs(seconds)), "{text}");
        }
        for (bad, why) in [
            ("", "not a length"),
            ("forever", "not a length"),
            ("-1d", "not a length"),
            ("90", "no unit"),
            ("10m", "minutes or months"),
            ("1.5h", "not a unit"),
            ("1h30min", "not a unit"),
            ("0d", "no time"),
            ("99999999999999999999d", "century"),
            ("36526d", "century"),
        ] {
            let error = parse(bad).unwrap_err();
            assert!(error.contains(why), "{bad}: {error}");
        }
    }
}
