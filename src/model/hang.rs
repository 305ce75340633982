//! A pool that hangs, and how that is known.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A pool from which nothing more is expected: whatever is asked of it waits, or is refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HangingPool {
    /// The pool.
    pub pool: String,
    /// How that is known.
    pub hang: Hang,
}

/// The pool of a dataset, snapshot or bookmark.
pub(crate) fn pool_of(name: &str) -> &str {
    name.split(['/', '@', '#']).next().unwrap_or(name)
}

impl HangingPool {
    /// The pool of a dataset, snapshot or bookmark.
    pub fn of(name: &str, hang: Hang) -> Box<Self> {
        Box::new(Self { pool: pool_of(name).to_owned(), hang })
    }
}

impl fmt::Display for HangingPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pool {} hangs: {}", self.pool, self.hang)
    }
}

/// The activity of a pool, as far as it can be read without waiting for the pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Liveness {
    /// It is suspended after I/O errors.
    Suspended,
    /// This is its newest transaction group: a pool that is alive begins one every few seconds.
    Alive(u64),
    /// It could not be found out.
    Unknown,
}

/// Why nothing more is expected of a pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Hang {
    /// It is suspended after I/O errors: each call waits until it is resumed, or is refused.
    Suspended,
    /// A call did not return within this number of seconds.
    NoReturn(u64),
}

impl fmt::Display for Hang {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Suspended => f.write_str("it is suspended after I/O errors"),
            Self::NoReturn(seconds) => write!(f, "a call into ZFS did not return within {seconds} seconds"),
        }
    }
}
