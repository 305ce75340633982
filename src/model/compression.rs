//! How a stream is compressed, by name.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// How a stream is compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compression {
    /// As strongly as the link leaves time for, and not at all where nothing shrinks.
    #[default]
    Auto,
    /// Not at all.
    Off,
    /// lz4: hardly any work, moderate gain.
    Lz4,
    /// zstd at a level from -7 (fast) to 19 (strong).
    Zstd(i32),
}

/// The level of `zstd` without a number.
const ZSTD_DEFAULT: i32 = 3;
const ZSTD_MIN: i32 = -7;
const ZSTD_MAX: i32 = 19;

/// A text that names no compression.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0:?} is no compression: auto, off, lz4, zstd or zstd:LEVEL with a level from -7 to 19, not 0")]
pub struct CompressionError(String);

impl FromStr for Compression {
    type Err = CompressionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || CompressionError(text.to_owned());
        match text {
            "auto" => Ok(Self::Auto),
            "off" => Ok(Self::Off),
            "lz4" => Ok(Self::Lz4),
            "zstd" => Ok(Self::Zstd(ZSTD_DEFAULT)),
            _ => {
                let level = text.strip_prefix("zstd:").ok_or_else(wrong)?;
                let level: i32 = level.parse().map_err(|_| wrong())?;
                // 0 means "the default" to zstd: not what anybody who writes 0 wants.
                let is_level = (ZSTD_MIN..=ZSTD_MAX).contains(&level) && level != 0;
                if is_level { Ok(Self::Zstd(level)) } else { Err(wrong()) }
            }
        }
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => formatter.write_str("auto"),
            Self::Off => formatter.write_str("off"),
            Self::Lz4 => formatter.write_str("lz4"),
            Self::Zstd(level) => write!(formatter, "zstd:{level}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_and_written() {
        for name in ["auto", "off", "lz4", "zstd:3", "zstd:-7", "zstd:19"] {
            assert_eq!(name.parse::<Compression>().unwrap().to_string(), name);
        }
        assert_eq!("zstd".parse(), Ok(Compression::Zstd(3)));
        for name in ["", "on", "zstd:", "zstd:0", "zstd:20", "zstd:-8", "ZSTD", "lz4:1", "zstd:3 "] {
            assert!(name.parse::<Compression>().is_err(), "{name}");
        }
    }
}
