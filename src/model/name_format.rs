//! The format of our own snapshots' names: writes a name for a time, and reads the time back.
//!
//! A name that reads back is *ours*; this is the whole of ownership, so reading is strict: every digit must be there, the
//! date must exist, and nothing may be left over but the `-<6 hex>` that distinguishes two GUIDs of one name.

use std::fmt;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use serde::{Serialize, Serializer};

use super::{Guid, NameError, PointName};

/// Why a format cannot name snapshots.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{format:?} cannot name snapshots: {why}")]
pub struct FormatError {
    format: String,
    why: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Year,
    Month,
    Day,
    Hour,
    Minute,
    Second,
}

const FIELDS: [(char, Field); 6] = [
    ('Y', Field::Year),
    ('m', Field::Month),
    ('d', Field::Day),
    ('H', Field::Hour),
    ('M', Field::Minute),
    ('S', Field::Second),
];

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Field(Field),
}

/// A name format in `strftime` notation, restricted to `%Y %m %d %H %M %S` (each exactly once, all in UTC) and plain
/// text, so that names are unique to the second, sort by time and read back without doubt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NameFormat {
    text: String,
    parts: Vec<Part>,
}

impl NameFormat {
    /// What `vm-backup.sh` used, so that its snapshots are ours too.
    pub const DEFAULT: &'static str = "%Y-%m-%d-%H%M%S";

    /// Checks `format` and takes it apart.
    pub fn new(format: &str) -> Result<Self, FormatError> {
        let error = |why: String| FormatError { format: format.to_owned(), why };
        let mut parts: Vec<Part> = Vec::new();
        let mut chars = format.chars();
        while let Some(c) = chars.next() {
            if c == '%' {
                let directive = chars.next().ok_or_else(|| error("it ends in '%'".to_owned()))?;
                let known = FIELDS.iter().find(|(letter, _)| *letter == directive);
                let (_, field) =
                    known.ok_or_else(|| error(format!("%{directive} is not one of %Y %m %d %H %M %S")))?;
                if parts.contains(&Part::Field(*field)) {
                    return Err(error(format!("%{directive} stands twice")));
                }
                parts.push(Part::Field(*field));
            } else if let Some(Part::Text(text)) = parts.last_mut() {
                text.push(c);
            } else {
                parts.push(Part::Text(c.to_string()));
            }
        }
        for (letter, field) in FIELDS {
            if !parts.contains(&Part::Field(field)) {
                return Err(error(format!("%{letter} is missing, so names would not be unique")));
            }
        }
        let format = Self { text: format.to_owned(), parts };
        PointName::new(&format.write(Timestamp::UNIX_EPOCH))
            .map_err(|cause| FormatError { format: format.text.clone(), why: cause.to_string() })?;
        Ok(format)
    }

    fn write(&self, at: Timestamp) -> String {
        let time = TimeZone::UTC.to_datetime(at);
        let write = |part: &Part| match part {
            Part::Text(text) => text.clone(),
            Part::Field(Field::Year) => format!("{:04}", time.year()),
            Part::Field(Field::Month) => format!("{:02}", time.month()),
            Part::Field(Field::Day) => format!("{:02}", time.day()),
            Part::Field(Field::Hour) => format!("{:02}", time.hour()),
            Part::Field(Field::Minute) => format!("{:02}", time.minute()),
            Part::Field(Field::Second) => format!("{:02}", time.second()),
        };
        self.parts.iter().map(write).collect()
    }

    /// The name for `at`, in UTC; fractions of a second are dropped.
    pub fn name(&self, at: Timestamp) -> Result<PointName, NameError> {
        PointName::new(&self.write(at))
    }

    /// The name for `at` that no other point with another GUID can have.
    pub fn name_with_guid(name: &PointName, guid: Guid) -> Result<PointName, NameError> {
        PointName::new(&format!("{name}-{}", guid.short()))
    }

    /// The time in `name`, if it is one of ours.
    pub fn time(&self, name: &PointName) -> Option<Timestamp> {
        let (time, rest) = self.read(name.as_str())?;
        let is_guid = |digits: &str| {
            digits.len() == 6 && digits.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
        };
        (rest.is_empty() || rest.strip_prefix('-').is_some_and(is_guid)).then_some(time)
    }

    /// Whether a snapshot or bookmark of this name is ours.
    pub fn is_own(&self, name: &PointName) -> bool {
        self.time(name).is_some()
    }

    fn read<'a>(&self, name: &'a str) -> Option<(Timestamp, &'a str)> {
        let mut rest = name;
        let (mut year, mut fields) = (0_i16, [1_i8; 6]);
        for part in &self.parts {
            match part {
                Part::Text(text) => rest = rest.strip_prefix(text.as_str())?,
                Part::Field(Field::Year) => {
                    year = take_digits(&mut rest, 4)?;
                }
                Part::Field(field) => {
                    let slot = match field {
                        Field::Year | Field::Month => 1,
                        Field::Day => 2,
                        Field::Hour => 3,
                        Field::Minute => 4,
                        Field::Second => 5,
                    };
                    *fields.get_mut(slot)? = i8::try_from(take_digits(&mut rest, 2)?).ok()?;
                }
            }
        }
        let [_, month, day, hour, minute, second] = fields;
        let time = DateTime::new(year, month, day, hour, minute, second, 0).ok()?;
        Some((TimeZone::UTC.to_timestamp(time).ok()?, rest))
    }
}

fn take_digits(rest: &mut &str, count: usize) -> Option<i16> {
    let (digits, after) = rest.split_at_checked(count)?;
    let mut number = 0;
    for digit in digits.bytes() {
        // A plan reads names by the million.
        number = number * 10 + i16::from(digit.checked_sub(b'0').filter(|digit| *digit < 10)?);
    }
    *rest = after;
    Some(number)
}

impl fmt::Display for NameFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Serialize for NameFormat {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn format(text: &str) -> NameFormat {
        NameFormat::new(text).unwrap()
    }

    fn time(format: &NameFormat, name: &str) -> Option<String> {
        format.time(&PointName::new(name).unwrap()).map(|t| t.to_string())
    }

    #[test]
    fn names_read_back_to_the_second() {
        let ours = format(NameFormat::DEFAULT);
        let at: Timestamp = "2026-01-31T01:02:03.9Z".parse().unwrap();
        assert_eq!(ours.name(at).unwrap().as_str(), "2026-01-31-010203");
        assert_eq!(time(&ours, "2026-01-31-010203").as_deref(), Some("2026-01-31T01:02:03Z"));
        assert_eq!(time(&ours, "2026-01-31-010203-0a1b2c").as_deref(), Some("2026-01-31T01:02:03Z"));
        assert_eq!(
            time(&format("z_%Y%m%dT%H%M%S.x"), "z_20260131T010203.x").as_deref(),
            Some("2026-01-31T01:02:03Z")
        );
    }

    #[test]
    fn what_others_make_is_not_ours() {
        let ours = format(NameFormat::DEFAULT);
        for foreign in [
            "manual",
            "vzdump",
            "__replicate_100-0_1700000000__",
            "__base__",
            "__migration__",
            "2026-Jan",
            "autosnap_2026-01-31_00:00:01_daily",
            "2026-01-31",
            "2026-02-30-010203",
            "2026-01-31-250203",
            "2026-01-31-0102033",
            "2026-01-31-010203-",
            "2026-01-31-010203-0A1B2C",
            "2026-01-31-010203-0a1b2",
            "2026-01-31-010203-manual",
        ] {
            assert_eq!(time(&ours, foreign), None, "{foreign}");
        }
    }

    #[test]
    fn any_other_character_at_any_place_is_not_ours() {
        let (ours, name) = (format(NameFormat::DEFAULT), "2026-01-31-010203");
        for at in 0..name.len() {
            for other in " !-./:@_a".chars().filter(|other| !name[at..].starts_with(*other)) {
                let odd = format!("{}{other}{}", &name[..at], &name[at + 1..]);
                assert_eq!(ours.read(&odd), None, "{odd}");
            }
        }
    }

    #[test]
    fn formats_that_could_repeat_a_name_are_refused() {
        for (bad, why) in [
            ("%Y-%m-%d", "%H is missing"),
            ("%Y%Y-%m-%d-%H%M%S", "twice"),
            ("%Y-%m-%d-%H%M%S%", "ends in"),
            ("%Y-%b-%d-%H%M%S", "%b is not"),
            ("%Y/%m-%d-%H%M%S", "allowed"),
            ("%Y@%m-%d-%H%M%S", "allowed"),
        ] {
            let error = NameFormat::new(bad).unwrap_err().to_string();
            assert!(error.contains(why) && error.contains(bad), "{error}");
        }
    }
}
