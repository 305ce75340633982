//! Numbers of bytes, as people write and read them.
//!
//! Not the `bytesize` crate: there `64K` is 64,000 bytes, and to ZFS and Proxmox VE it is 65,536.

use std::fmt;
use std::iter::Sum;
use std::str::FromStr;

use serde::Serialize;

/// A number of bytes. Reads and prints binary units (`256MiB`), as ZFS and Proxmox VE mean them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct ByteCount(pub u64);

impl ByteCount {
    /// An estimate of ZFS. It takes from the size of a stream what a resumed one has got already, also where that is more: then
    /// it answers with a number below zero, as one without a sign.
    pub fn of_estimate(bytes: u64) -> Self {
        Self(i64::try_from(bytes).map_or(0, |_| bytes))
    }
}

/// A sum that is too large for its type is the largest number: other machines say sizes that may be anything, and a sum of them must
/// neither panic nor seem small.
impl Sum for ByteCount {
    fn sum<I: Iterator<Item = Self>>(counts: I) -> Self {
        counts.fold(Self(0), |sum, one| Self(sum.0.saturating_add(one.0)))
    }
}

/// Why a text is not a size.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a size; write a whole number and a unit, for example \"256MiB\"")]
pub struct SizeError {
    text: String,
}

const UNITS: [&str; 6] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];

impl FromStr for ByteCount {
    type Err = SizeError;

    /// Takes `512`, `64K`, `64KiB`, `1.5GiB`; the letters K, M, G, T, P are powers of 1024 in any case.
    fn from_str(text: &str) -> Result<Self, SizeError> {
        let error = || SizeError { text: text.to_owned() };
        let trimmed = text.trim();
        let digits = trimmed.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(trimmed.len());
        let (number, unit) = trimmed.split_at(digits);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        let unit = unit.trim().to_ascii_lowercase();
        let unit = unit.strip_suffix("ib").or(unit.strip_suffix('b')).unwrap_or(&unit);
        let power = match unit {
            "" => 0,
            "k" => 1,
            "m" => 2,
            "g" => 3,
            "t" => 4,
            "p" => 5,
            _ => return Err(error()),
        };
        if fraction.len() > 3 || (number.contains('.') && (fraction.is_empty() || power == 0)) {
            return Err(error());
        }
        let scale = 1024_u64.pow(power);
        let whole: u64 = whole.parse().map_err(|_| error())?;
        let thousandths: u64 =
            if fraction.is_empty() { 0 } else { format!("{fraction:0<3}").parse().map_err(|_| error())? };
        // The two products are exact: scale is at most 2^50, thousandths below 1000.
        let bytes = whole.checked_mul(scale).and_then(|b| b.checked_add(thousandths * scale / 1000));
        bytes.map(Self).ok_or_else(error)
    }
}

impl fmt::Display for ByteCount {
    /// Three significant digits and a binary unit; exact below 1 KiB.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut unit = 0;
        let mut tenths = u128::from(self.0) * 100;
        while tenths >= 102_400 && unit + 1 < UNITS.len() {
            tenths /= 1024;
            unit += 1;
        }
        let text = match (unit, tenths) {
            (0, _) => format!("{}", self.0),
            (_, ..1_000) => format!("{}.{:02}", tenths / 100, tenths % 100),
            (_, ..10_000) => format!("{}.{}", tenths / 100, tenths % 100 / 10),
            _ => format!("{}", tenths / 100),
        };
        f.pad(&format!("{text} {}", UNITS[unit]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sum_of_what_others_say_never_begins_again_at_zero() {
        let sum = |counts: &[u64]| counts.iter().copied().map(ByteCount).sum::<ByteCount>().0;
        assert_eq!(sum(&[]), 0);
        assert_eq!(sum(&[1, 2, 3]), 6);
        assert_eq!(sum(&[u64::MAX, 1]), u64::MAX);
        assert_eq!(sum(&[(1 << 63) - 1, (1 << 63) - 1, (1 << 63) - 1]), u64::MAX);
    }

    #[test]
    fn sizes_are_read_in_binary_units() {
        for (text, bytes) in [
            ("0", 0),
            ("512", 512),
            ("64K", 65_536),
            ("256MiB", 268_435_456),
            ("1.5 GiB", 1_610_612_736),
            ("2t", 2_199_023_255_552),
        ] {
            assert_eq!(text.parse::<ByteCount>().unwrap().0, bytes, "{text}");
        }
        for bad in ["", "MiB", "-1", "1.5", "1.", "1..2G", "1X", "99999999999P", "1e3"] {
            assert!(bad.parse::<ByteCount>().is_err(), "{bad}");
        }
    }

    #[test]
    fn sizes_print_with_three_digits() {
        for (bytes, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.00 KiB"),
            (1_610_612_736, "1.50 GiB"),
            (u64::MAX, "16383 PiB"),
        ] {
            assert_eq!(ByteCount(bytes).to_string(), text);
        }
        assert_eq!(ByteCount(123 * 1024 * 1024).to_string(), "123 MiB");
    }
}
