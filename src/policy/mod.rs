//! The policy as checked, with types that cannot be wrong.
//!
//! The file as written (`file`) and the flags become a [`Policy`] once, at start (`check`, `flags`); nothing later checks
//! again. Text comes in and a policy or a [`PolicyError`] comes out: reading the file is the command line's work.

mod address;
mod check;
mod checked;
mod duration;
mod error;
mod file;
mod flags;
mod keep;
mod pattern;
mod period;
mod pruning;
mod structure;
mod suggest;
mod target;

pub use address::Address;
pub use checked::{Policy, SourceRoot, TransferSettings};
pub use duration::parse as parse_duration;
pub use error::PolicyError;
pub use flags::Flags;
pub use keep::{Keep, KeepRules};
pub use pattern::{Pattern, PatternError};
pub use target::{
    ArchiveDivergence, ArchiveRules, BackupDivergence, BackupRules, OnNoBase, Target, TargetKind,
};

/// A complete policy file in which every key stands, with what it means and its default.
pub const EXAMPLE: &str = include_str!("example.toml");
