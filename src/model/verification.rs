//! When and how a copy was last shown to be what its source is: the marks on a copy's snapshot and on the copy.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Dataset, Guid};

/// On a copy's snapshot: when and how its content was compared. Counts only where it is local.
pub const VERIFIED_PROPERTY: &str = "zhaul:verified";
/// On a copy: the same, and of which snapshot, for the comparison that was made last. Counts only where it is local.
pub const LAST_VERIFIED_PROPERTY: &str = "zhaul:last-verified";
/// The same for the drill that was made last.
pub const LAST_DRILL_PROPERTY: &str = "zhaul:last-drill";

/// How a copy was compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum VerifiedBy {
    /// All content, with the snapshot of the source.
    Content,
    /// All content of the copy, with what was restored from it.
    Drill,
}

impl VerifiedBy {
    /// The property of the copy that notes the last one.
    pub fn property(self) -> &'static str {
        match self {
            Self::Content => LAST_VERIFIED_PROPERTY,
            Self::Drill => LAST_DRILL_PROPERTY,
        }
    }

    /// In one word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Content => "content",
            Self::Drill => "drill",
        }
    }
}

/// One comparison that found no difference: the value of [`VERIFIED_PROPERTY`], `2026-11-30T13:00:00Z content`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Verification {
    /// When it was made, by the clock of the source.
    pub at: Timestamp,
    /// How.
    pub by: VerifiedBy,
}

impl fmt::Display for Verification {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.0} {}", self.at, self.by.word())
    }
}

impl FromStr for Verification {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (at, by) = text.split_once(' ').ok_or(())?;
        let by = match by {
            "content" => VerifiedBy::Content,
            "drill" => VerifiedBy::Drill,
            _ => return Err(()),
        };
        Ok(Self { at: at.parse().map_err(|_| ())?, by })
    }
}

/// The value of [`LAST_VERIFIED_PROPERTY`]: the GUID of the snapshot, and its [`Verification`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LastVerified {
    /// The snapshot.
    pub guid: Guid,
    /// The comparison.
    pub verification: Verification,
}

impl fmt::Display for LastVerified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.guid, self.verification)
    }
}

impl FromStr for LastVerified {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (guid, verification) = text.split_once(' ').ok_or(())?;
        Ok(Self { guid: Guid(guid.parse().map_err(|_| ())?), verification: verification.parse()? })
    }
}

impl Dataset {
    /// The comparison with its source that was made last of this copy, whether it still has the snapshot or not.
    pub fn last_verified(&self) -> Option<LastVerified> {
        self.user.local(LAST_VERIFIED_PROPERTY)?.parse().ok()
    }

    /// The drill that was made last of this copy.
    pub fn last_drill(&self) -> Option<LastVerified> {
        self.user.local(LAST_DRILL_PROPERTY)?.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_read_as_it_was_written_and_nothing_else_is_one() {
        let text = "18446744073709551615 2026-11-30T13:00:00Z drill";
        let read: LastVerified = text.parse().unwrap();
        assert_eq!((read.guid, read.verification.by), (Guid(u64::MAX), VerifiedBy::Drill));
        assert_eq!(read.to_string(), text);
        for odd in [
            "",
            "7",
            "7 now content",
            "7 2026-11-30T13:00:00Z",
            "7 2026-11-30T13:00:00Z other",
            "x 2026-11-30T13:00:00Z content",
        ] {
            assert!(odd.parse::<LastVerified>().is_err(), "{odd}");
        }
    }
}
