//! Bytes and messages to another machine. Knows no datasets.

mod ssh;

pub use ssh::Ssh;
