//! Bytes and messages to another machine. Knows no datasets.
//!
//! | file | what it holds |
//! | --- | --- |
//! | [`Ssh`] | the `ssh` child |
//! | [`lanes`] | connections beside it, over which frames travel |

pub mod lanes;
mod ssh;

pub use ssh::Ssh;
